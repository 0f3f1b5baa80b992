"""The drill of schedules: which fires became tasks, and when, while their leaders are lost."""
