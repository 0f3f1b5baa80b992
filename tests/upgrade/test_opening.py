"""Several processes open a store of the first version: who changes its tables, and who waits for that."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from golden import load
from openers import open_at_once
from processes import Processes
from upgrading import CREATES, FIXED, WAYS, assert_kept, before, opened, schema_record
from waiting import DEADLINE

from litestar_queues.columns import VERSION
from litestar_queues.errors import QueueConfigurationError

pytestmark = pytest.mark.anyio

SHARED = pytest.mark.only_through("aiosqlite", "alchemy", "async")
"""DuckDB admits one process, and Redis has no tables."""
AT_ONCE = 4
WAITS = "waiting for up to"


@SHARED
async def test_processes_that_open_at_the_same_moment_upgrade_once(
    place: dict[str, Any], way: str, processes: Processes
) -> None:
    load(place)
    await before(way, place, processes)
    assert await asyncio.to_thread(open_at_once, place, WAYS[way], AT_ONCE) == [None] * AT_ONCE
    # A migration of the application's records no version: that is read from what is there.
    written = 1 if place["through"].startswith("alchemy") else VERSION - 1  # once, or once for each version
    assert schema_record(place) == (None if way == "alembic" else (written, VERSION))
    async with opened(place, **FIXED) as backend:
        await assert_kept(backend)


@SHARED
async def test_a_process_that_may_not_change_the_tables_waits_until_another_has(
    place: dict[str, Any], processes: Processes
) -> None:
    load(place)
    waiting = await processes.start("new", place, options=FIXED | {"migration_timeout": DEADLINE})
    waiting.order()
    await waiting.logged(WAITS)
    async with opened(place, **CREATES) as backend:
        await waiting.ready()
        waiting.order(gate="open")
        await waiting.ran(1)
        assert len([line for line in waiting.lines if WAITS in line.get("log", "")]) == 1, "it says so once"
        assert await waiting.terminate() == 0
        assert await backend.count()


@pytest.mark.only_through("aiosqlite", "alchemy", "async", "duckdb")
async def test_a_process_that_has_waited_for_long_enough_ends_with_advice(place: dict[str, Any]) -> None:
    load(place)
    advice = "Alembic.*create_schema=True" if place["through"].startswith("alchemy") else "_0003.*create_schema=True"
    with pytest.raises(QueueConfigurationError, match=rf"version 1 .*{VERSION}.*({advice})"):
        async with opened(place, **FIXED, migration_timeout=0.1):
            pass
    async with opened(place, **CREATES) as backend:
        await assert_kept(backend)
