"""Heartbeats and maintenance in a thread, with connections of their own that the servers count."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from importlib import import_module

import asyncpg
import pytest
from acceptance.database import ServedDatabase
from acceptance.redis_database import RedisDatabase
from acceptance.server_database import server_database
from acceptance.test_blocked import test_a_task_that_blocks_its_worker_for_longer_than_the_window_is_not_taken_over
from advanced_alchemy.config import EngineConfig, SQLAlchemyAsyncConfig
from heart_lab import goes_on_during, has_thread, until, watched_worker
from postgres_lab import dsn, server
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlspec import SQLSpec
from sqlspec.adapters.asyncpg import AsyncpgConfig

from litestar_queues.backends.advanced_alchemy import AdvancedAlchemyBackendConfig
from litestar_queues.backends.base import ApartBackend, QueueBackend
from litestar_queues.backends.sqlspec import SQLSpecBackendConfig
from litestar_queues.records import Held

__all__ = (
    "dsn",
    "server",
    "test_a_task_that_blocks_its_worker_for_longer_than_the_window_is_not_taken_over",
)

pytestmark = pytest.mark.anyio


async def busy(client: QueueBackend, database: ServedDatabase) -> int:
    """Beat and maintain at once, again and again; the most connections that were seen."""
    await client.open()
    most = 0
    for _ in range(5):
        working = [
            asyncio.ensure_future(call)
            for _ in range(10)
            for call in (client.touch_heartbeats([Held("a", 1)]), client.lock("m", "w", timedelta(seconds=9)))
        ]
        most = max(most, await asyncio.to_thread(database.connections))
        await asyncio.gather(*working)
        most = max(most, await asyncio.to_thread(database.connections))
    await client.close()
    return most


async def settled(database: ServedDatabase) -> int:
    """How many connections there are, once that has not changed for a second: a pool may still fill itself."""
    seen = [-1]
    while len(seen) < 10 or len(set(seen[-10:])) > 1:
        seen.append(database.connections())
        await asyncio.sleep(0.1)
    return seen[-1]


async def test_the_second_client_has_one_connection_or_two_and_closes_them(database: ServedDatabase) -> None:
    backend = database.backend(notifications=False).create_backend()
    await backend.open()
    try:
        assert isinstance(backend, ApartBackend)
        client = backend.apart()
        assert client is not None
        before = await settled(database)
        most = await asyncio.to_thread(lambda: asyncio.run(busy(client, database)))
        assert 1 <= most - before <= 2
        await until(lambda: database.connections() == before)
        assert await backend.now()
    finally:
        await backend.close()


async def test_a_worker_leaves_none_behind(database: ServedDatabase) -> None:
    async with watched_worker(database.backend()) as (_, id_, _):
        assert has_thread()
        first = database.rows(id_)[id_]["heartbeat_at"]
        await until(lambda: database.rows(id_)[id_]["heartbeat_at"] != first)
    assert not has_thread()
    await until(lambda: database.connections() == 0)


@asynccontextmanager
async def all_of_a_pool(spec: SQLSpec, config: AsyncpgConfig) -> AsyncIterator[None]:
    async with AsyncExitStack() as stack:
        for _ in range(2):
            await stack.enter_async_context(spec.provide_session(config))
        yield


async def test_they_go_on_while_the_application_holds_every_connection_of_sqlspecs_pool(dsn: str) -> None:
    spec = SQLSpec()
    config = AsyncpgConfig(connection_config={"dsn": dsn, "min_size": 1, "max_size": 2})
    spec.add_config(config)
    rows = server_database("asyncpg", dsn).rows
    backend = SQLSpecBackendConfig(config=config, sqlspec=spec, notifications=False)
    async with watched_worker(backend) as (service, id_, _):
        await goes_on_during(all_of_a_pool(spec, config), service, rows, id_)
    await config.close_pool()


@asynccontextmanager
async def all_of_an_engine(engine: AsyncEngine) -> AsyncIterator[None]:
    async with engine.connect(), engine.connect():
        yield


async def test_they_go_on_while_the_application_holds_every_connection_of_the_engine(dsn: str) -> None:
    url = dsn.replace("postgresql://", "postgresql+asyncpg://")
    config = SQLAlchemyAsyncConfig(connection_string=url, engine_config=EngineConfig(pool_size=2, max_overflow=0))
    engine = config.get_engine()
    rows = server_database("alchemy-asyncpg", dsn).rows
    backend = AdvancedAlchemyBackendConfig(sqlalchemy_config=config, create_schema=True, notifications=False)
    async with watched_worker(backend) as (service, id_, _):
        await goes_on_during(all_of_an_engine(engine), service, rows, id_)
    await engine.dispose()


async def test_a_pool_that_was_handed_over_is_used_in_its_own_event_loop(
    dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    rows = server_database("asyncpg", dsn).rows
    async with asyncpg.create_pool(dsn, min_size=1, max_size=4) as pool:
        backend = SQLSpecBackendConfig(config=AsyncpgConfig(connection_instance=pool), notifications=False)
        with caplog.at_level(logging.INFO, "litestar_queues.worker"):
            async with watched_worker(backend) as (_, id_, _):
                assert not has_thread()
                first = rows(id_)[id_]["heartbeat_at"]
                await until(lambda: rows(id_)[id_]["heartbeat_at"] != first)
    assert caplog.text.count("heartbeats stay in the event loop") == 1


async def test_a_redis_client_that_was_handed_over_gets_a_second_one_of_its_settings(database: ServedDatabase) -> None:
    if not isinstance(database, RedisDatabase):
        pytest.skip("a database of another kind")
    library = import_module(f"{database.client}.asyncio")
    made = getattr(library, database.client.capitalize())
    client = made.from_url(database.url, client_name=database.prefix, max_connections=7)
    async with watched_worker(database.backend(client=client, notifications=False)) as (_, id_, _):
        assert has_thread()
        first = database.rows(id_)[id_]["heartbeat_at"]
        await until(lambda: database.rows(id_)[id_]["heartbeat_at"] != first)
        pool = client.connection_pool
        own = len(pool._available_connections) + len(pool._in_use_connections)
        assert 1 <= database.connections() - own <= 2
    assert await client.ping(), "it is the application's, and open"
    await until(lambda: database.connections() <= own)
    await client.aclose()
