"""Schedules: tasks that are enqueued at times."""
