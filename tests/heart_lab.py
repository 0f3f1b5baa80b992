"""A worker of the test's own process whose heartbeats and maintenance are watched from outside."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from waiting import DEADLINE

from litestar_queues import QueueConfig, QueueService, TaskRegistry, Worker, task
from litestar_queues.backends.base import BackendConfig, QueueBackend

__all__ = ("HEART", "Rows", "goes_on_during", "has_thread", "until", "watched_worker")

HEART = "litestar-queues-heart"
Rows = Callable[..., dict[str, dict[str, Any]]]
"""Reads rows of tasks, by a connection that has nothing to do with the queues."""
WINDOWS: dict[str, Any] = {
    "worker_heartbeat_interval": 0.05,
    "worker_stale_after": 60,
    "maintenance_interval": 0.1,
    "worker_queues": ["default"],
}


def has_thread() -> bool:
    """Whether a thread for heartbeats runs in this process."""
    return any(thread.name == HEART for thread in threading.enumerate())


async def until(holds: Callable[[], object]) -> None:
    """Look again and again, with a deadline, in a thread, so that the loop moves."""
    async with asyncio.timeout(DEADLINE):
        while not await asyncio.to_thread(holds):  # noqa: ASYNC110  # a database sets no event
            await asyncio.sleep(0.02)


@asynccontextmanager
async def watched_worker(
    backend: BackendConfig | QueueBackend, **config: Any
) -> AsyncIterator[tuple[QueueService, str, asyncio.Event]]:
    """A worker that runs one task; yields the service, the task's id, and what lets the task end."""
    registry, go, runs = TaskRegistry(), asyncio.Event(), asyncio.Event()

    @task("waits", registry=registry)
    async def waits() -> None:
        runs.set()
        await go.wait()

    settings = {"queue_backend": backend, **WINDOWS, **config}
    async with QueueService(QueueConfig(**settings), registry=registry) as service:
        worker = Worker(service)
        running = asyncio.get_running_loop().create_task(worker.run())
        result = await service.enqueue(waits)
        try:
            async with asyncio.timeout(DEADLINE):
                await runs.wait()
            yield service, result.id, go
        finally:
            go.set()
            worker.drain()
            await running


async def goes_on_during(
    exhaustion: AbstractAsyncContextManager[Any],
    service: QueueService,
    rows: Rows,
    task_id: str,
    column: str = "heartbeat_at",
) -> None:
    """Heartbeats and maintenance go on while something is exhausted."""
    async with asyncio.timeout(DEADLINE):
        overdue = await service.enqueue("waits", queue="nobody", expires_in=1.5)
    async with exhaustion:
        before = rows(task_id)[task_id][column]
        await until(lambda: rows(task_id)[task_id][column] != before)
        await until(lambda: rows(overdue.id)[overdue.id]["state"] == "expired")
        between = rows(task_id)[task_id][column]
        await until(lambda: rows(task_id)[task_id][column] != between)
