"""Workers: claim tasks, run them, keep them, settle them."""

from litestar_queues.worker.exit import WorkerExit
from litestar_queues.worker.worker import Worker

__all__ = ("Worker", "WorkerExit")
