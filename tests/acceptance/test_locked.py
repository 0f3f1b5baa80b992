"""Another process keeps the database locked for longer than anybody waits for it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from acceptance.database import SqliteFile, locked_by_another_process
from acceptance.processes import Workers, producer
from acceptance.stage import Journal, Stage, until
from acceptance.tasks import on_stage, on_stage_in_a_thread, quick, quick_in_a_thread
from litestar_queues import BackendUnavailableError, QueueService, State

pytestmark = pytest.mark.anyio
WINDOW = 3.0
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
                await worker.logged("for the store: ")
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


@pytest.mark.every_database
async def test_a_worker_that_cannot_beat_for_longer_than_its_window_goes_on_with_its_tasks(
    database: SqliteFile, workers: Workers, service: QueueService, stage: Stage, journal: Journal
) -> None:
    two = await workers.started(store=IMPATIENT, worker_stale_after=WINDOW)
    tasks = [await service.enqueue(each, requeue_on_stale=False) for each in (on_stage, on_stage_in_a_thread) * 2]
    actors = await stage.arrivals(4)
    owners = [worker for worker in two if any(actor.pid == worker.pid for actor in actors.values())]

    async with locked_by_another_process(database.path):
        locked = service.clock.now()

        async def is_over() -> bool:
            return service.clock.now() - locked > 2 * timedelta(seconds=WINDOW)

        for worker in owners:
            await worker.logged("was not stored")
        await until(is_over)
        assert stage.is_empty
        unlocked = service.clock.now()

    async def beat_again() -> bool:
        records = await service.operations.backend.get(list(actors))
        return all(record.heartbeat_at is not None and record.heartbeat_at > unlocked for record in records.values())

    await until(beat_again)
    assert stage.is_empty
    for actor in actors.values():
        actor.order("return")

    for task in tasks:
        await task.wait(60)
        assert (task.status, task.attempt, task.result) == (State.COMPLETED, 1, actors[task.id].pid)
        assert task.recoveries == 0
    assert stage.is_empty
    assert journal.overlaps() == []
    assert [worker.events("fence_loss") for worker in two] == [[], []]
    assert [await worker.terminate() for worker in two] == [0, 0]
