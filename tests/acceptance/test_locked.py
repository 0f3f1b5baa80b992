"""Another process keeps the database locked for longer than anybody waits for it."""

from __future__ import annotations

from typing import Any

import pytest

from acceptance.database import SqliteFile, locked_by_another_process
from acceptance.processes import Workers, producer
from acceptance.stage import Journal, Stage
from acceptance.tasks import on_stage, on_stage_in_a_thread, quick, quick_in_a_thread
from litestar_queues import BackendUnavailableError, QueueService, State

pytestmark = pytest.mark.anyio
IMPATIENT: dict[str, Any] = {"busy_timeout": 50, "lock_timeout": 1.0}
"""How long a call waits for the lock: milliseconds in SQLite, then seconds in all."""


@pytest.mark.every_database
async def test_a_locked_database_costs_time_and_nothing_else(
    database: SqliteFile, workers: Workers, service: QueueService, stage: Stage, journal: Journal
) -> None:
    two = await workers.started(store=IMPATIENT, worker_stale_after=3600, worker_max_concurrency=3)
    held = [await service.enqueue(each) for each in (on_stage, on_stage_in_a_thread) * 2]
    actors = await stage.arrivals(4)
    many = await service.enqueue_many([*map(quick.call, range(50)), *map(quick_in_a_thread.call, range(50, 100))])

    async with locked_by_another_process(database.path):
        for actor in actors.values():
            actor.order("return")
            await actor.left()
        for worker in two:
            if any(actor.pid == worker.pid for actor in actors.values()):
                await worker.logged("outcomes wait for the store")
            await worker.logged("no task could be claimed")
            await worker.logged("maintenance could not be done")
        with pytest.raises(BackendUnavailableError, match=r"queues\.db"):
            async with producer(workers, **IMPATIENT) as other:
                await other.enqueue(quick, -1)

    for task in [*held, *many]:
        await task.wait(60)
        assert (task.status, task.attempt) == (State.COMPLETED, 1)
    assert [task.result for task in many] == list(range(100))
    assert journal.overlaps() == []
    assert [await worker.terminate() for worker in two] == [0, 0]
    assert [worker.events("fence_loss") for worker in two] == [[], []]
    assert len(workers.database.rows()) == 104
