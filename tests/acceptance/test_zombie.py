"""SIGSTOP past the stale window, then SIGCONT: the worker comes back to tasks that are another's by now."""

from __future__ import annotations

import signal
from datetime import timedelta

import pytest

from acceptance.processes import Workers
from acceptance.stage import Journal, Stage
from acceptance.tasks import on_stage, on_stage_in_a_thread, quick
from litestar_queues import QueueService, State

pytestmark = pytest.mark.anyio


@pytest.mark.every_database
async def test_a_worker_that_was_stopped_too_long_cannot_write_and_goes_on_working(
    workers: Workers, service: QueueService, stage: Stage, journal: Journal
) -> None:
    (zombie,) = await workers.started(count=1)
    ended, running = [await service.enqueue(on_stage_in_a_thread, retries=1) for _ in range(2)]
    awaiting = await service.enqueue(on_stage, retries=1)
    ids = (ended.id, running.id, awaiting.id)
    old = await stage.arrivals(3)

    zombie.stop(workers.database)
    (successor,) = await workers.started(count=1)
    new = await stage.arrivals(3)
    new[ended.id].order("return")
    await successor.told("complete", ended.id)
    before = workers.database.rows(ended.id)
    for actor in old.values():
        actor.order("return")  # the first thing that it does when it goes on
    zombie.send(signal.SIGCONT)
    await zombie.told("fence_loss", *ids)

    assert len(zombie.events("fence_loss")) == 3
    await zombie.logged("fence loss: task", count=3)
    assert zombie.events("complete") == []
    assert workers.database.rows(ended.id) == before
    for task in (running, awaiting):
        row = workers.database.rows(task.id)[task.id]
        assert (row["state"], row["fence"], row["worker"]) == ("running", new[task.id].fence, await successor.ready())
        new[task.id].order("return")
    for task in (ended, running, awaiting):
        await task.wait(60)
        assert (task.status, task.attempt, task.result) == (State.COMPLETED, 1, successor.pid)
    completed = await successor.told("complete", *ids)  # each after it was stored
    assert sorted(event["task_id"] for event in completed) == sorted(ids)
    assert successor.events("fence_loss") == []
    assert journal.overlaps(besides=zombie.pid) == []

    assert await successor.terminate() == 0
    later = await service.enqueue(quick, 7)
    await later.wait(60)
    assert (later.result, later.record.worker) == (7, await zombie.ready())
    assert await zombie.terminate() == 0


async def test_an_outcome_from_before_the_stop_is_refused_when_it_comes_late(
    workers: Workers, service: QueueService, stage: Stage
) -> None:
    """No heartbeat warns this zombie: what it writes is refused by its fence alone."""
    (zombie,) = await workers.started(count=1, worker_heartbeat_interval=600, worker_stale_after=3600)
    task = await service.enqueue(on_stage_in_a_thread)
    old = await stage.arrival()
    zombie.stop(workers.database)
    await service.operations.requeue_stale_running(timedelta(0))  # an operator's word: its own window is an hour
    (successor,) = await workers.started(count=1)
    new = await stage.arrival()
    new.order("fail", message="the successor's failure")
    await task.wait(60)
    before = workers.database.rows(task.id)

    old.order("return")
    zombie.send(signal.SIGCONT)
    (loss,) = await zombie.told("fence_loss", task.id)

    assert (loss["state"], loss["fence"]) == ("completed", old.fence + 1)
    assert workers.database.rows(task.id) == before
    assert ((await task.refresh()).status, task.attempt) == (State.FAILED, 1)
    assert task.error is not None
    assert task.error.message == "the successor's failure"
    assert await zombie.terminate() == 0
    assert await successor.terminate() == 0


@pytest.mark.every_database
async def test_a_stop_shorter_than_the_stale_window_costs_nothing(
    workers: Workers, service: QueueService, stage: Stage, journal: Journal
) -> None:
    (worker,) = await workers.started(count=1, worker_stale_after=3600)
    task = await service.enqueue(on_stage)
    actor = await stage.arrival()
    worker.stop(workers.database)
    (witness,) = await workers.started(count=1, worker_stale_after=3600)
    other = await service.enqueue(quick, 1)
    await other.wait(60)  # the witness is at work, and its reaper has looked
    actor.order("return")
    worker.send(signal.SIGCONT)
    await task.wait(60)

    assert (task.status, task.attempt, task.result) == (State.COMPLETED, 1, worker.pid)
    assert worker.events("fence_loss") == witness.events("lose_heartbeat") == []
    assert journal.overlaps() == []
