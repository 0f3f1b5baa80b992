"""A worker whose tasks have ended, and a store that refuses their outcomes for a while."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, asynccontextmanager
from typing import Any

from waiting import DEADLINE

from litestar_queues import QueueConfig, QueueService, State, TaskRegistry, TaskResult, Worker, WorkerExit
from litestar_queues import task as task_decorator
from litestar_queues.backends.base import BackendConfig
from litestar_queues.operations import OUTCOMES_WAITING

__all__ = ("Refusal", "Refused", "refused")

Refusal = Callable[[], AbstractContextManager[Any]]
"""Makes a store refuse for as long as it is entered."""
WAITED = 1.0
"""Seconds for which the store refuses once it has begun: some pauses between tries."""


class Refused:
    """A service with a worker, whose tasks end when they are let go."""

    def __init__(self, backend: BackendConfig) -> None:
        self.registry = TaskRegistry()
        config = QueueConfig(
            queue_backend=backend,
            worker_heartbeat_interval=0.5,
            worker_stale_after=300,
            worker_poll_interval=0.1,
            worker_max_concurrency=50,
        )
        self.service = QueueService(config, registry=self.registry)
        self.worker: Worker | None = None
        self.running: asyncio.Task[WorkerExit] | None = None
        self.go = asyncio.Event()
        self.begun = 0

        async def wait(number: int, size: int = 0, text: str = "") -> str:
            self.begun += 1
            await self.go.wait()
            return "x" * size + str(number + len(text))

        self.task = task_decorator("wait", registry=self.registry)(wait)

    @property
    def waiting(self) -> int:
        """How many outcomes the store has refused."""
        return self.service.operations.counters[OUTCOMES_WAITING]

    async def begin(self, count: int, size: int = 0) -> list[TaskResult[Any]]:
        """Tasks that run, and wait to be let go."""
        self.go.clear()
        self.begun = 0
        results = await self.service.enqueue_many([self.task.call(number, size) for number in range(count)])
        await self.until(lambda: self.begun == count)
        return list(results)

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(DEADLINE):
            while not holds():  # noqa: ASYNC110  # a counter sets no event
                await asyncio.sleep(0.02)

    async def end_while(self, refusal: Refusal, count: int = 20, size: int = 0) -> None:
        """Let tasks end while the store refuses; every outcome is stored once it takes them again, as it was."""
        results = await self.begin(count, size)
        entered = refusal()
        await asyncio.to_thread(entered.__enter__)
        try:
            assert self.worker is not None
            worker = self.worker
            self.go.set()
            await self.until(lambda: worker.waiting.outcomes == count and self.waiting > 0)
            until = time.monotonic() + WAITED
            await self.until(lambda: time.monotonic() > until)
            assert worker.waiting.outcomes == count, "the store did not refuse"
        finally:
            await asyncio.to_thread(entered.__exit__, None, None, None)
        ended = [await asyncio.wait_for(result.wait(), DEADLINE) for result in results]
        assert {(one.status, one.attempt) for one in ended} == {(State.COMPLETED, 1)}
        await self.until(lambda: self.waiting == 0)


@asynccontextmanager
async def refused(backend: BackendConfig) -> AsyncIterator[Refused]:
    """A service on the store, with a worker that is drained in the end, and leaves nothing behind."""
    lab = Refused(backend)
    async with lab.service as service:
        lab.worker = Worker(service)
        lab.running = asyncio.get_running_loop().create_task(lab.worker.run())
        await lab.worker.started.wait()
        try:
            yield lab
        finally:
            lab.go.set()
            lab.worker.drain()
            ended = await asyncio.wait_for(lab.running, DEADLINE)
        assert ended.drained, ended
