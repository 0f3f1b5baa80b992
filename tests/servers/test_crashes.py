"""The server is killed under load and comes back, or cuts every connection: what was acknowledged holds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from acceptance.processes import Workers
from acceptance.server_database import ServerDatabase
from acceptance.stage import Stage
from acceptance.tasks import on_stage, on_stage_in_a_thread
from load import Ledger, check, load, quiet

from litestar_queues import QueueService, State
from litestar_queues_matrix.servers import Server

pytestmark = pytest.mark.anyio

FAULTS = 4
WINDOWS: dict[str, Any] = {"worker_heartbeat_interval": 0.5, "worker_stale_after": 12.0, "worker_max_concurrency": 12}
"""A claim that the server made, and whose answer was lost, comes back after the stale window at the latest."""


async def under_load(
    strike: Callable[[], object],
    heal: Callable[[], object],
    *,
    workers: Workers,
    database: ServerDatabase,
    service: QueueService,
    stage: Stage,
) -> None:
    """Strike while producers enqueue and workers claim, beat, complete and retry."""
    crew = await workers.started(count=3, **WINDOWS)
    ledger = Ledger()
    try:
        await _strikes(strike, heal, database=database, service=service, stage=stage, ledger=ledger)
        await quiet(database)
    except Exception as error:
        error.add_note(workers.histories())
        raise
    assert [await worker.terminate() for worker in crew] == [0, 0, 0]
    check(database, ledger, crew)
    assert len(ledger.acknowledged) > FAULTS * 100


async def _strikes(
    strike: Callable[[], object],
    heal: Callable[[], object],
    *,
    database: ServerDatabase,
    service: QueueService,
    stage: Stage,
    ledger: Ledger,
) -> None:
    async with load(service, database, ledger):
        for _ in range(FAULTS):
            held = [await service.enqueue(each, retries=0, priority=9) for each in (on_stage, on_stage_in_a_thread)]
            actors = await stage.arrivals(2)
            await ledger.more(50)
            running = await asyncio.to_thread(database.count, "state = 'running'")
            assert running >= 2, "the fault would hit nobody"
            await asyncio.to_thread(strike)
            actors[held[0].id].order("return")  # the outcome has to wait for the store
            await actors[held[0].id].left()
            await asyncio.to_thread(heal)
            await ledger.more(50)
            actors[held[1].id].order("return")
            for task in held:
                await task.wait(60)
                assert (task.status, task.attempt) == (State.COMPLETED, 1)  # it took time, and nothing else


async def test_what_was_acknowledged_survives_the_servers_sudden_death(
    killable: Server, workers: Workers, database: ServerDatabase, service: QueueService, stage: Stage
) -> None:
    await under_load(killable.kill, killable.restart, workers=workers, database=database, service=service, stage=stage)


async def test_connections_that_the_server_ends_cost_time_and_nothing_else(
    workers: Workers, database: ServerDatabase, service: QueueService, stage: Stage
) -> None:
    def cut() -> None:
        assert database.cut_connections() >= 3

    again = database.cut_connections  # those that are back already, however many
    await under_load(cut, again, workers=workers, database=database, service=service, stage=stage)
