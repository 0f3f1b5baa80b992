"""Tasks that are enqueued once the response has been sent."""

from __future__ import annotations

import logging
from typing import Any

from litestar.background_tasks import BackgroundTask

from litestar_queues.errors import QueueError
from litestar_queues.service import QueueService, open_service
from litestar_queues.task import Task, TaskCall

__all__ = ("QueuedBackgroundTask",)

_log = logging.getLogger("litestar_queues")


class QueuedBackgroundTask(BackgroundTask):
    """`Response(..., background=QueuedBackgroundTask(send_mail, address))`: a worker runs it, not this process.

    It is enqueued after the response has been sent, with the service of the application that handles the request. What
    can be wrong with the task, its arguments or its options is said when this is made, which is before the response. The
    store is not asked before: enqueue inside the handler where the response must not be sent without the task.

    Args:
        task: The task, its registered name, or a call of it (`task.call(...)`). Where this is made while no service is
            open, such as in a decorator, a name is looked up later.
        *args: Its arguments.
        **kwargs: Its keyword arguments, and options: see `TaskOptions`.

    Raises:
        UnknownTaskError: No task of this name is registered here.
        InvalidTaskError: Arguments or options cannot be stored.
    """

    __slots__ = ()

    def __init__(self, task: TaskCall[Any] | Task[..., Any] | str, /, *args: Any, **kwargs: Any) -> None:
        try:
            service = open_service()
        except QueueError:
            if isinstance(task, str):
                super().__init__(_enqueue, task, *args, **kwargs)
                return
            service = QueueService()
        super().__init__(_enqueue, service.prepare(task, *args, **kwargs))


async def _enqueue(task: TaskCall[Any] | str, /, *args: Any, **kwargs: Any) -> None:
    try:
        await open_service().enqueue(task, *args, **kwargs)
    except Exception:
        name = task if isinstance(task, str) else task.task.name
        _log.exception("task %r was to be enqueued after the response, which has been sent, and could not be", name)
        raise
