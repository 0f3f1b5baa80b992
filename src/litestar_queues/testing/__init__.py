"""Helpers for tests of applications with queues: what was enqueued, run it here, let time pass."""

from litestar_queues.testing.async_tester import AsyncQueueTester
from litestar_queues.testing.base import Until
from litestar_queues.testing.draining import Drained, DrainError, Maintained
from litestar_queues.testing.performing import Performed, perform, perform_sync
from litestar_queues.testing.tester import QueueTester
from litestar_queues.testing.views import EnqueuedTask

__all__ = (
    "AsyncQueueTester",
    "DrainError",
    "Drained",
    "EnqueuedTask",
    "Maintained",
    "Performed",
    "QueueTester",
    "Until",
    "perform",
    "perform_sync",
)
