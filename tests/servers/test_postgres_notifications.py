"""Hints by LISTEN and NOTIFY, on a real PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import asyncpg
import pytest
from postgres_lab import dsn, server
from sqlspec.adapters.asyncpg import AsyncpgConfig
from sqlspec.adapters.psqlpy import PsqlpyConfig
from sqlspec.adapters.psycopg import PsycopgAsyncConfig, PsycopgSyncConfig
from waiting import DEADLINE

from litestar_queues.backends.base import QueueBackend, Wakeups
from litestar_queues.backends.sqlspec import SQLSpecBackendConfig

__all__ = ("dsn", "server")

pytestmark = pytest.mark.anyio

CONFIGS: dict[str, Callable[[str, int], Any]] = {
    "asyncpg": lambda dsn, size: AsyncpgConfig(connection_config={"dsn": dsn, "min_size": 1, "max_size": size}),
    "psycopg": lambda dsn, size: PsycopgAsyncConfig(
        connection_config={"conninfo": dsn, "min_size": 1, "max_size": size}
    ),
    "psycopg-sync": lambda dsn, size: PsycopgSyncConfig(
        connection_config={"conninfo": dsn, "min_size": 1, "max_size": size}
    ),
    "psqlpy": lambda dsn, size: PsqlpyConfig(connection_config={"dsn": dsn, "max_db_pool_size": max(size, 2)}),
}
ADAPTERS = pytest.mark.parametrize("adapter", list(CONFIGS))
OTHERS = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"


async def opened(adapter: str, dsn: str, size: int = 3, **options: Any) -> tuple[QueueBackend, Wakeups]:
    config = CONFIGS[adapter](dsn, size)
    asks = {"notifications": True} if adapter == "psycopg-sync" else {}
    backend = SQLSpecBackendConfig(config=config, **{**asks, **options}).create_backend()
    await backend.open()
    assert backend.wakeups is not None, "on by default"
    return backend, backend.wakeups


async def ask(dsn: str, statement: str) -> Any:
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


async def heard(speaker: Wakeups, ear: Wakeups, queue: str = "q", *, seconds: float = 25) -> bool:
    """Whether an ear hears, which may take some time after it opened, or lost its connection."""
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    while loop.time() < until:
        await speaker.notify([queue])
        if await ear.wait((queue,), 0.2):
            return True
    return False


@ADAPTERS
async def test_a_listener_comes_back_again_and_again(adapter: str, dsn: str) -> None:
    (a, speaker), (b, ear) = await opened(adapter, dsn), await opened(adapter, dsn)
    for cuts in range(3):
        assert await heard(speaker, ear, f"after {cuts} cuts")
        assert await ask(dsn, f"SELECT count(pg_terminate_backend(pid)) {OTHERS}") > 1
    assert await heard(speaker, ear, "at last")
    await a.close()
    await b.close()


@ADAPTERS
async def test_a_pool_of_one_connection_is_enough_and_all_of_it_is_the_users(adapter: str, dsn: str) -> None:
    (a, speaker), (b, ear) = await opened(adapter, dsn, 1), await opened(adapter, dsn, 1)
    assert await heard(speaker, ear)
    waiting = asyncio.create_task(ear.wait(("never",), 60))
    await asyncio.sleep(0)
    assert await asyncio.wait_for(b.count(), DEADLINE) == []
    await b.close()
    await asyncio.wait_for(waiting, DEADLINE)
    await a.close()


@ADAPTERS
async def test_only_who_waits_holds_a_connection_and_closing_gives_everything_back(adapter: str, dsn: str) -> None:
    listens = f"SELECT count(*) {OTHERS} AND query ILIKE 'listen %'"
    (a, speaker), (b, ear) = await opened(adapter, dsn), await opened(adapter, dsn)
    await speaker.notify(["q"])
    await a.count()
    assert await ask(dsn, listens) == 0
    assert await heard(speaker, ear)
    assert await ask(dsn, listens) == 1
    before = asyncio.all_tasks()
    waiting = asyncio.create_task(ear.wait(None, 60))
    await asyncio.sleep(0)
    async with asyncio.timeout(DEADLINE):
        await b.close()
    await asyncio.wait_for(waiting, DEADLINE)
    await a.close()
    assert asyncio.all_tasks() <= before
    left = f"SELECT count(*) {OTHERS}"
    async with asyncio.timeout(DEADLINE):
        while await ask(dsn, left):  # the server takes a moment to see that they are gone
            pass


@ADAPTERS
async def test_a_listener_of_psqlpys_does_not_disturb_others(adapter: str, dsn: str) -> None:
    (a, speaker), (b, ear) = await opened(adapter, dsn), await opened(adapter, dsn)
    assert await heard(speaker, ear)
    c, late = await opened("psqlpy", dsn)
    assert await heard(speaker, late)
    assert await heard(speaker, ear, seconds=5)
    for one in (a, b, c):
        await one.close()


async def test_queues_in_two_tables_do_not_wake_each_other(dsn: str) -> None:
    (a, speaker), (b, ear) = (
        await opened("asyncpg", dsn, table_name="here"),
        await opened("asyncpg", dsn, table_name="here"),
    )
    c, elsewhere = await opened("asyncpg", dsn, table_name="there")
    assert await heard(speaker, ear)
    await ear.wait(("q",), 0)
    await elsewhere.notify(["q"])
    await c.close()  # by which its hint is sent
    await speaker.notify(["mark"])
    assert await ear.wait(("mark",), 20)
    assert not await ear.wait(("q",), 0)
    await a.close()
    await b.close()
