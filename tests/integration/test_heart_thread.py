"""Heartbeats and maintenance in a thread, on files of SQLite."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from acceptance.database import DRIVERS, SqliteFile
from advanced_alchemy.config import EngineConfig, SQLAlchemyAsyncConfig
from heart_lab import goes_on_during, has_thread, until, watched_worker
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlspec import SQLSpec
from sqlspec.adapters.aiosqlite import AiosqliteConfig
from waiting import DEADLINE

from litestar_queues import QueueConfig, QueueService, State, TaskRegistry, Worker, apart, current_task, task
from litestar_queues.backends.advanced_alchemy import AdvancedAlchemyBackendConfig
from litestar_queues.backends.sqlspec import SQLSpecBackendConfig

pytestmark = pytest.mark.anyio


@pytest.fixture(params=DRIVERS)
def file(request: pytest.FixtureRequest, tmp_path: Path) -> SqliteFile:
    return SqliteFile(request.param, tmp_path / "queues.db")


def connections(file: Path) -> int:
    """How many connections this process has to a file."""
    found = 0
    for descriptor in Path("/proc/self/fd").iterdir():
        try:
            found += descriptor.readlink() == file
        except OSError:
            continue  # it was closed meanwhile
    return found


async def test_the_thread_closes_its_connections_with_the_worker(file: SqliteFile) -> None:
    async with watched_worker(file.backend()) as (_, id_, _):
        await until(lambda: file.rows(id_)[id_]["heartbeat_at"] is not None)
        assert has_thread()
        assert connections(file.path) >= 2
    assert not has_thread()
    assert connections(file.path) == 0


async def test_what_is_apart_has_two_connections_at_most(file: SqliteFile) -> None:
    first = file.backend().create_backend()
    async with asyncio.timeout(DEADLINE), AsyncExitStack() as stack:
        stack.push_async_callback(first.close)
        await first.open()
        second = first.apart()
        assert second is not None
        before = connections(file.path)
        stack.push_async_callback(second.close)
        await second.open()
        for _ in range(5):
            await asyncio.gather(*(second.count() for _ in range(20)))
            assert 1 <= connections(file.path) - before <= 2
    assert connections(file.path) == 0


@asynccontextmanager
async def all_of_a_pool(spec: SQLSpec, config: AiosqliteConfig) -> AsyncIterator[None]:
    async with AsyncExitStack() as stack:
        for _ in range(2):
            await stack.enter_async_context(spec.provide_session(config))
        yield


async def test_they_go_on_while_the_application_holds_every_connection_of_sqlspecs_pool(tmp_path: Path) -> None:
    file = SqliteFile("aiosqlite", tmp_path / "queues.db")
    spec = SQLSpec()
    config = AiosqliteConfig(connection_config={"database": str(tmp_path / "queues.db"), "pool_size": 2})
    spec.add_config(config)
    backend = SQLSpecBackendConfig(config=config, sqlspec=spec)
    async with watched_worker(backend) as (service, id_, _):
        await until(lambda: file.rows(id_)[id_]["heartbeat_at"] is not None)
        await goes_on_during(all_of_a_pool(spec, config), service, file.rows, id_)
    await config.close_pool()


@asynccontextmanager
async def all_of_an_engine(engine: AsyncEngine) -> AsyncIterator[None]:
    async with engine.connect(), engine.connect():
        yield


async def test_they_go_on_while_the_application_holds_every_connection_of_the_engine(tmp_path: Path) -> None:
    path = tmp_path / "queues.db"
    file = SqliteFile("alchemy-aiosqlite", path)
    config = SQLAlchemyAsyncConfig(
        connection_string=f"sqlite+aiosqlite:///{path}", engine_config=EngineConfig(pool_size=2, max_overflow=0)
    )
    engine = config.get_engine()
    backend = AdvancedAlchemyBackendConfig(sqlalchemy_config=config, create_schema=True)
    async with watched_worker(backend) as (service, id_, _):
        await until(lambda: file.rows(id_)[id_]["heartbeat_at"] is not None)
        await goes_on_during(all_of_an_engine(engine), service, file.rows, id_)
    assert connections(path) >= 1, "the application's engine is open, and is its own to dispose of"
    await engine.dispose()
    assert connections(path) == 0, "the thread has left nothing open"


async def test_an_engine_that_was_handed_over_is_used_in_its_own_event_loop(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "queues.db"
    file = SqliteFile("alchemy-aiosqlite", path)
    engine = create_async_engine(f"sqlite+aiosqlite:///{path}")
    config = SQLAlchemyAsyncConfig(engine_instance=engine)
    backend = AdvancedAlchemyBackendConfig(sqlalchemy_config=config, create_schema=True)
    with caplog.at_level(logging.INFO, "litestar_queues.worker"):
        async with watched_worker(backend) as (_, id_, _):
            assert not has_thread()
            first = file.rows(id_)[id_]["heartbeat_at"]
            await until(lambda: file.rows(id_)[id_]["heartbeat_at"] != first)
    assert caplog.text.count("heartbeats stay in the event loop") == 1
    await engine.dispose()


async def test_without_the_thread_heartbeats_share_the_event_loop(file: SqliteFile) -> None:
    async with watched_worker(file.backend(), worker_heartbeat_thread=False) as (_, id_, _):
        assert not has_thread()
        first = file.rows(id_)[id_]["heartbeat_at"]
        await until(lambda: file.rows(id_)[id_]["heartbeat_at"] != first)


async def test_the_thread_ends_before_the_application_closes_its_pool(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(apart, "_CLOSING", DEADLINE)  # however slow the machine is
    monkeypatch.setattr(apart, "_LET_GO", DEADLINE)
    work = apart.Aside._work

    def work_and_linger(self: apart.Aside, *runs: apart.Run) -> None:
        work(self, *runs)
        threading.Event().wait(0.1)  # as the system may, between a thread's last line and its end

    monkeypatch.setattr(apart.Aside, "_work", work_and_linger)
    config = AiosqliteConfig(connection_config={"database": str(tmp_path / "queues.db"), "pool_size": 2})
    closing: list[bool] = []
    close: Any = config.close_pool

    async def close_pool() -> None:
        closing.append(has_thread())
        await close()

    config.close_pool = close_pool  # type: ignore[method-assign]
    async with watched_worker(SQLSpecBackendConfig(config=config)):
        assert has_thread()
    await asyncio.sleep(0)
    assert closing == [False]


async def work_elsewhere(file: SqliteFile, begun: threading.Event, left: threading.Event) -> None:
    """A worker in an event loop of its own, which would take over every stale task."""
    await asyncio.to_thread(begun.wait)
    config = QueueConfig(queue_backend=file.backend(), worker_poll_interval=0.05, maintenance_interval=0.1)
    async with QueueService(config, registry=TaskRegistry()) as service:
        worker = Worker(service)
        running = asyncio.ensure_future(worker.run())
        await asyncio.to_thread(left.wait)
        worker.drain()
        await running


async def test_an_immediate_task_that_keeps_its_event_loop_for_longer_than_the_window_is_not_taken_over(
    file: SqliteFile,
) -> None:
    registry, window = TaskRegistry(), timedelta(seconds=1.5)
    begun, left = threading.Event(), threading.Event()

    @task("computes", registry=registry, execution_backend="immediate")
    async def computes() -> int:
        own, end, beats = current_task(), time.monotonic() + DEADLINE / 3, 0
        began = time.monotonic()
        begun.set()
        last = file.rows(own.id)[own.id]["heartbeat_at"]
        while time.monotonic() < began + 2 * window.total_seconds() or beats < 3:
            row = file.rows(own.id)[own.id]
            assert row["fence"] == own.record.fence, "another worker has taken it over"
            assert time.monotonic() < end, "no heartbeat"
            beats += row["heartbeat_at"] != last
            last = row["heartbeat_at"]
            time.sleep(0.02)  # noqa: ASYNC251  # it keeps the event loop
        return beats

    config = QueueConfig(queue_backend=file.backend(), worker_heartbeat_interval=0.2, worker_stale_after=window)
    async with QueueService(config, registry=registry) as service:
        elsewhere = asyncio.ensure_future(asyncio.to_thread(lambda: asyncio.run(work_elsewhere(file, begun, left))))
        try:
            result = await service.enqueue(computes)
        finally:
            begun.set()
            left.set()
            await elsewhere
        assert (result.status, result.attempt, result.recoveries) == (State.COMPLETED, 1, 0)
    assert not has_thread()
    assert connections(file.path) == 0
