"""Workers: claim tasks, run them, keep them, settle them."""

from litestar_queues.worker.worker import Worker, WorkerExit

__all__ = ("Worker", "WorkerExit")
