"""A server whose tables are emptied, or dropped and made again, under a worker: it leaves, and writes nothing more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from acceptance.database import TABLES_MADE, ServedDatabase
from waiting import DEADLINE

from litestar_queues import QueueConfig, QueueService, StoreReplacedError, TaskRegistry, Worker, WorkerExit, task
from litestar_queues_matrix.servers import Server, ask, resp

pytestmark = pytest.mark.anyio

registry = TaskRegistry()


@task("endless", registry=registry)
async def endless() -> None:
    await asyncio.Event().wait()


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(DEADLINE):
        while True:
            if await condition():
                return
            await asyncio.sleep(0.01)


class Watched:
    """A worker that runs a task, and knows its store."""

    def __init__(self, service: QueueService, held: str, running: asyncio.Task[WorkerExit]) -> None:
        self.service = service
        self.held = held
        self.running = running

    async def left(self) -> None:
        """It has left, and named what it held; and the store is empty."""
        ended = await asyncio.wait_for(self.running, DEADLINE)
        assert isinstance(ended.replaced, StoreReplacedError)
        assert (ended.given_back, ended.unsettled) == ([], [self.held])
        backend = self.service.operations.backend
        assert await backend.get([self.held]) == {}
        assert await backend.read_records("") == {}


@asynccontextmanager
async def watched(database: ServedDatabase, **options: Any) -> AsyncIterator[Watched]:
    config = QueueConfig(
        queue_backend=database.backend(),
        worker_heartbeat_interval=60,
        worker_stale_after=600,
        worker_poll_interval=0.05,
        maintenance_interval=0.1,
        **options,
    )
    async with QueueService(config, registry=registry) as service:
        backend = service.operations.backend
        held = await service.enqueue("endless")
        worker = Worker(service)
        running = asyncio.ensure_future(worker.run())
        try:

            async def knows_the_store() -> bool:
                found = (await backend.read_records("maintenance")).get("maintenance")
                runs = (await backend.get([held.id]))[held.id].worker is not None
                return runs and found is not None and found.version > 1

            await until(knows_the_store)
            yield Watched(service, held.id, running)
        finally:
            worker.abort()
            await asyncio.wait({running}, timeout=DEADLINE)


@pytest.fixture
def tables(killable: Server) -> str:
    """The server's url, where it has tables."""
    if killable.url.startswith(resp.SCHEMES):
        pytest.skip("has no tables")
    return killable.url


async def test_a_worker_leaves_tables_that_were_emptied(tables: str, database: ServedDatabase) -> None:
    async with watched(database) as worker:
        if tables.startswith("postgresql"):
            ask.execute(database.url, f"TRUNCATE {', '.join(TABLES_MADE)}")
        else:
            # The records are the last of them: until then, nothing is noticed.
            ask.execute(database.url, *(f"TRUNCATE TABLE {table}" for table in TABLES_MADE))
        await worker.left()


async def test_a_worker_waits_for_tables_that_were_dropped_and_leaves_them_once_they_are_made_again(
    tables: str, database: ServedDatabase, caplog: pytest.LogCaptureFixture
) -> None:
    async with watched(database) as worker:
        ask.execute(database.url, *(f"DROP TABLE {table}" for table in TABLES_MADE))

        async def has_said_so() -> bool:
            return "maintenance could not be done" in caplog.text

        await until(has_said_so)
        assert not worker.running.done()
        await worker.service.operations.backend.create_schema()
        await worker.left()


async def test_a_worker_leaves_a_server_that_was_flushed(killable: Server, database: ServedDatabase) -> None:
    if not killable.url.startswith(resp.SCHEMES):
        pytest.skip("has tables")
    async with watched(database) as worker:
        with resp.connected(killable.url) as command:
            command("FLUSHALL")
        await worker.left()
