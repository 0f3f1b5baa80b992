"""`litestar queues`: workers and operators' commands, in the command line of Litestar."""

from litestar_queues.cli import run, run_task, schedules, status, tasks
from litestar_queues.cli.group import queues_group

__all__ = ("queues_group", "run", "run_task", "schedules", "status", "tasks")
