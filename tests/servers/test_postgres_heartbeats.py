from __future__ import annotations

import logging

import asyncpg
import pytest
from heartbeat_lab import beat_while_exhausted
from postgres_lab import dsn, server
from sqlspec.adapters.asyncpg import AsyncpgConfig

from litestar_queues.backends.sqlspec import SQLSpecBackendConfig
from litestar_queues.records import Held

__all__ = ("dsn", "server")

pytestmark = pytest.mark.anyio


def config(dsn: str, size: int) -> AsyncpgConfig:
    return AsyncpgConfig(connection_config={"dsn": dsn, "min_size": 1, "max_size": size})


async def test_heartbeats_stay_on_time_while_the_main_pool_is_exhausted(dsn: str) -> None:
    assert await beat_while_exhausted(config(dsn, 2), config(dsn, 1), 2)


async def test_without_a_pool_of_their_own_they_do_not(dsn: str) -> None:
    assert not await beat_while_exhausted(config(dsn, 2), None, 2)


async def test_a_pool_that_cannot_be_opened_is_warned_of_once_and_done_without(
    dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    away = config("postgresql://app:s3cr3t@127.0.0.1:1/queues", 1)
    backend = SQLSpecBackendConfig(config=config(dsn, 2), heartbeat_pool_config=away).create_backend()
    with caplog.at_level(logging.WARNING, "litestar_queues"):
        await backend.open()
        assert await backend.touch_heartbeats([Held("a", 1)]) == set()
        assert await backend.touch_heartbeats([Held("a", 1)]) == set()
    await backend.close()
    [warning] = [record.getMessage() for record in caplog.records if record.name == "litestar_queues"]
    assert warning.startswith("asyncpg database 127.0.0.1:1/queues: the heartbeat pool cannot be used")
    assert "no connection" in warning
    assert "s3cr3t" not in caplog.text
    assert away.connection_instance is None


async def test_a_pool_of_a_database_without_the_table_is_not_used(dsn: str, caplog: pytest.LogCaptureFixture) -> None:
    elsewhere = config(f"{dsn.rpartition('/')[0]}/postgres", 1)
    backend = SQLSpecBackendConfig(config=config(dsn, 2), heartbeat_pool_config=elsewhere).create_backend()
    await backend.open()
    assert await backend.touch_heartbeats([Held("a", 1)]) == set()
    await backend.close()
    assert "litestar_queue_task" in caplog.text


async def test_the_backend_closes_the_pool_that_it_opened_and_no_other(dsn: str) -> None:
    ours, theirs = config(dsn, 1), config(dsn, 1)
    await theirs.create_pool()
    for heartbeats in (ours, theirs):
        backend = SQLSpecBackendConfig(config=config(dsn, 1), heartbeat_pool_config=heartbeats).create_backend()
        await backend.open()
        assert heartbeats.connection_instance is not None
        await backend.close()
    assert ours.connection_instance is None
    assert theirs.connection_instance is not None
    await theirs.close_pool()
    connection = await asyncpg.connect(dsn)
    others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    assert await connection.fetchval(others) == 0
    await connection.close()
