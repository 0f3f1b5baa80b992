"""Processes that run one task each, on a PostgreSQL whose connections and locks the test decides."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import asyncpg
import pytest
from postgres_lab import dsn, server
from run_lab import Start, dispatch, record_of, reserve, starting
from sqlspec.adapters.asyncpg import AsyncpgConfig
from waiting import DEADLINE

from litestar_queues import QueueConfig, QueueService, State, TaskRegistry, task
from litestar_queues.backends.sqlspec import SQLSpecBackendConfig

__all__ = ("dsn", "server")

pytestmark = pytest.mark.anyio

registry = TaskRegistry()
for name in ("until_told", "blocks_until_told"):

    @task(name, registry=registry)
    async def elsewhere(path: str) -> str: ...


@pytest.fixture
async def service(dsn: str) -> AsyncIterator[QueueService]:
    config = QueueConfig(queue_backend=SQLSpecBackendConfig(config=AsyncpgConfig(connection_config={"dsn": dsn})))
    async with QueueService(config, registry=registry) as service:
        yield service


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    async with starting(tmp_path) as start:
        yield start


async def test_a_run_whose_connections_were_cut_while_it_was_stopped_goes_on(
    start: Start, service: QueueService, dsn: str, tmp_path: Path
) -> None:
    told = await service.enqueue("until_told", str(tmp_path / "told"))
    reserved = await reserve(service)
    assert await dispatch(service, reserved, "projects/p/executions/x")
    process = await start(
        DATABASE=dsn,
        LITESTAR_QUEUES_TASK_ID=told.id,
        LITESTAR_QUEUES_TASK_FENCE=reserved.fence,
        CLOUD_RUN_EXECUTION="x",
    )
    await process.said("running")
    process.send(signal.SIGTSTP, signal.SIGSTOP)
    connection = await asyncpg.connect(dsn)
    await connection.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    await connection.close()
    stopped_at = (await record_of(service, told.id)).heartbeat_at
    process.send(signal.SIGCONT)
    assert stopped_at is not None
    async with asyncio.timeout(DEADLINE):
        while ((await record_of(service, told.id)).heartbeat_at or stopped_at) <= stopped_at:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    (tmp_path / "told").touch()
    code, errors = await process.ended()
    assert code == 0, errors
    assert (await told.refresh()).status is State.COMPLETED


async def test_a_run_waits_for_a_transaction_that_has_locked_its_task(
    start: Start, service: QueueService, dsn: str, tmp_path: Path
) -> None:
    """Such as the one in which a dispatcher stores the reference."""
    (tmp_path / "told").touch()
    told = await service.enqueue("until_told", str(tmp_path / "told"))
    reserved = await reserve(service)
    connection = await asyncpg.connect(dsn)
    async with connection.transaction():
        await connection.execute("SELECT 1 FROM litestar_queue_task WHERE id = $1 FOR UPDATE", told.id)
        process = await start(
            DATABASE=dsn, LITESTAR_QUEUES_TASK_ID=told.id, LITESTAR_QUEUES_TASK_FENCE=reserved.fence, SAY="claim"
        )
        for _ in range(3):
            await process.said("claim")
    await connection.close()
    code, errors = await process.ended()
    assert code == 0, errors
    assert (await told.refresh()).attempt == 1


async def test_the_heart_of_a_run_beats_while_its_event_loop_is_blocked(
    start: Start, service: QueueService, dsn: str, tmp_path: Path
) -> None:
    blocks = await service.enqueue("blocks_until_told", str(tmp_path / "told"))
    process = await start(DATABASE=dsn, LITESTAR_QUEUES_TASK_ID=blocks.id, STALE_AFTER=1)
    await process.said("running")
    claimed = await record_of(service, blocks.id)
    assert claimed.started_at is not None
    async with asyncio.timeout(DEADLINE):
        while True:
            record = await record_of(service, blocks.id)
            assert record.heartbeat_at is not None
            if record.heartbeat_at > claimed.started_at + timedelta(seconds=3):
                break
            await asyncio.sleep(0.05)
    assert (await service.operations.recover_stale(timedelta(seconds=60))).ids == []
    (tmp_path / "told").touch()
    assert (await process.ended())[0] == 0
