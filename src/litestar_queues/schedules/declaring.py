"""`schedule(...)`: further schedules of a task, in code."""

from __future__ import annotations

import inspect
from typing import Any

from litestar_queues.calls import make_call
from litestar_queues.errors import InvalidTaskError, QueueConfigurationError
from litestar_queues.schedules.options import split_options
from litestar_queues.task import Task, TaskCall, TaskRegistry, TaskTemplate, declare, default_registry

__all__ = ("schedule",)


def schedule(
    task: Task[..., Any] | TaskTemplate[..., Any] | TaskCall[Any],
    /,
    *args: Any,
    name: str | None = None,
    registry: TaskRegistry = default_registry,
    **options: Any,
) -> None:
    """Declare a schedule of a task, beside the one that `@task` may have declared; workers bring it into the store.

    `schedule(report, "daily", cron="0 3 * * *", timezone="Europe/Berlin", name="reports.daily")`

    Args:
        task: The task, with options (`task.using(...)`) or with its arguments (`task.call(...)`).
        *args: Its arguments.
        name: The schedule's; the task's unless given. Several schedules of a task need names.
        registry: Where it is declared: the registry of the task.
        **options: Keyword arguments of the task, its options (`TaskOptions`), and those of the schedule (`ScheduleSettings`).

    Raises:
        QueueConfigurationError: The options contradict each other, mean no time that comes, or the arguments do not fit.
    """
    try:
        scheduling, others = split_options(options)
        call = make_call(registry, task, args, others)
    except InvalidTaskError as error:
        raise QueueConfigurationError(f"a schedule cannot be declared: {error}") from error
    # A worker that does not import the caller must not take the schedule for one that was removed from the code.
    here = inspect.currentframe()
    caller = None if here is None else here.f_back
    module = None if caller is None else caller.f_globals.get("__name__")
    declare(registry, name or call.task.name, call, scheduling, module or call.task.__module__)
