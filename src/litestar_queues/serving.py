"""What tasks and commands find at run time, without importing it: open services, and the plugin of an application."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING

from litestar_queues.errors import QueueError

if TYPE_CHECKING:
    from litestar_queues.config import QueueConfig
    from litestar_queues.service import QueueService
    from litestar_queues.task import TaskRegistry

__all__ = ("OPEN", "SERVING", "HasQueues", "open_service")

OPEN: list[QueueService] = []
"""The open services, in the order in which they were opened."""
SERVING: ContextVar[QueueService | None] = ContextVar("litestar_queues_service", default=None)
"""The service of the application whose request, or whose task, this context belongs to."""


def open_service() -> QueueService:
    """The service of the application that this code runs for, or else the one that is open in this process.

    Raises:
        QueueError: There is none, or more than one.
    """
    serving = SERVING.get()
    if serving is not None and serving in OPEN:
        return serving
    for left in [one for one in OPEN if one.home is not None and one.home.is_closed]:
        left.abandon()
    if not OPEN:
        raise QueueError(
            "no queue service is open in this process: enqueue inside the application's lifespan, inside a worker, "
            "or open one with `async with QueueService(config) as service`"
        )
    running = [one for one in OPEN if one.home is not None and one.home.is_running]
    if len(running) == 1:
        return running[0]
    if len(OPEN) > 1:
        raise QueueError(f"{len(OPEN)} queue services are open in this process: say which, with service.enqueue(...)")
    return OPEN[0]


class HasQueues:
    """The plugin through which an application has queues.

    Attributes:
        config: The queues.
        registry: Where tasks are found by name.
    """

    config: QueueConfig
    registry: TaskRegistry
