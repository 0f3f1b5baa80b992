"""Tasks that are enqueued once the response has been sent."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, ParamSpec, TypeVarTuple, Unpack, overload

from litestar.background_tasks import BackgroundTask

from litestar_queues.calls import AnyTask
from litestar_queues.errors import QueueError
from litestar_queues.execution.registry import ExecutionBackends
from litestar_queues.options import Duration, EnqueueOptions, UniqueBy
from litestar_queues.service import QueueService
from litestar_queues.serving import open_service
from litestar_queues.task import Task, TaskCall, TaskOf, TaskTemplate

__all__ = ("QueuedBackgroundTask",)

P = ParamSpec("P")
Ts = TypeVarTuple("Ts")
_log = logging.getLogger("litestar_queues")


class QueuedBackgroundTask(BackgroundTask):
    """`Response(..., background=QueuedBackgroundTask(send_mail, address))`: a worker runs it, not this process.

    It is enqueued after the response has been sent, with the service of the application that handles the request. What
    can be wrong with the task, its arguments or its options is said when this is made, which is before the response. The
    store is not asked before: enqueue inside the handler where the response must not be sent without the task.

    Args:
        task: The task, the task with options (`task.using(delay=30)`), a call of it (`task.call(...)`), or its registered
            name. If no service is open yet, such as in a decorator, a name is looked up later.
        *args: Its arguments.
        **kwargs: Its keyword arguments, and options: see `TaskOptions`.

    Raises:
        UnknownTaskError: No task of this name is registered here.
        InvalidTaskError: Arguments or options cannot be stored.
    """

    __slots__ = ()

    @overload
    def __init__(self, task: Task[P, Any] | TaskTemplate[P, Any], /, *args: P.args, **kwargs: P.kwargs) -> None: ...
    @overload
    def __init__(
        self,
        task: TaskOf[Callable[[*Ts], TaskCall[Any]]],
        /,
        *args: *Ts,
        **options: Unpack[EnqueueOptions],
    ) -> None: ...
    @overload
    def __init__(
        self,
        task: str,
        /,
        *args: Any,
        queue: str | None = None,
        priority: int | None = None,
        retries: int | None = None,
        max_recoveries: int | None = None,
        requeue_on_stale: bool | None = None,
        timeout: Duration | None = None,
        key: str | None = None,
        unique_by: UniqueBy | None = None,
        delay: Duration | None = None,
        run_after: datetime | Duration | None = None,
        expires_in: Duration | None = None,
        expires_at: datetime | None = None,
        metadata: Mapping[str, Any] | None = None,
        description: str | None = None,
        execution_backend: str | None = None,
        execution_profile: str | None = None,
        **kwargs: Any,
    ) -> None: ...
    @overload
    def __init__(self, task: TaskCall[Any], /, **options: Unpack[EnqueueOptions]) -> None: ...
    def __init__(  # type: ignore[misc]  # as QueueService.enqueue
        self, task: AnyTask | TaskOf[Any], /, *args: Any, **kwargs: Any
    ) -> None:
        try:
            service = open_service()
        except QueueError:
            if isinstance(task, str):
                super().__init__(_enqueue, task, *args, **kwargs)
                return
            service = QueueService()
            service.execution = ExecutionBackends("local", knows_all=True)  # the enqueue refuses what is not known
        super().__init__(_enqueue, service.prepare(task, *args, **kwargs))


async def _enqueue(task: TaskCall[Any] | str, /, *args: Any, **kwargs: Any) -> None:
    try:
        await open_service().enqueue(task, *args, **kwargs)
    except Exception:
        name = task if isinstance(task, str) else task.task.name
        _log.exception("task %r was to be enqueued after the response, which has been sent, and could not be", name)
        raise
