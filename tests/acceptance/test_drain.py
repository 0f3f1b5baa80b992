"""SIGTERM and SIGINT: what runs may end, what does not is given back unspent, and a second signal waits for nothing."""

from __future__ import annotations

import signal

import pytest

from acceptance.processes import Workers
from acceptance.stage import Journal, Stage
from acceptance.tasks import on_stage, on_stage_in_a_thread, quick, stubborn
from litestar_queues import QueueService, State

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
@pytest.mark.every_database
async def test_a_signalled_worker_lets_its_tasks_end_and_claims_nothing_more(
    workers: Workers, service: QueueService, stage: Stage, number: signal.Signals
) -> None:
    (worker,) = await workers.started(count=1, worker_max_concurrency=2)
    held = [await service.enqueue(each, priority=1) for each in (on_stage, on_stage_in_a_thread)]
    actors = await stage.arrivals(2)
    waiting = await service.enqueue_many([quick.call(number) for number in range(5)])

    worker.send(number)
    await worker.logged("drains: 2 tasks run")
    actors[held[0].id].order("return")  # a slot is free again
    await worker.told("complete", held[0].id)
    late = await service.enqueue(quick, 5)
    actors[held[1].id].order("return")

    assert await worker.ended() == 0
    for task in held:
        assert (await task.refresh()).status is State.COMPLETED
        assert task.attempt == 1
    for task in [*waiting, late]:
        assert ((await task.refresh()).status, task.record.fence) == (State.PENDING, 0)
    assert {event["task_id"] for event in worker.events("claim")} == actors.keys()


@pytest.mark.every_database
async def test_what_does_not_end_within_the_drain_timeout_is_given_back_unspent(
    workers: Workers, service: QueueService, stage: Stage, journal: Journal
) -> None:
    (worker,) = await workers.started(count=1, worker_drain_timeout=0.3)
    held = [await service.enqueue(each) for each in (on_stage, on_stage_in_a_thread)]
    actors = await stage.arrivals(2)

    assert await worker.terminate() == 1

    (said,) = [line for line in worker.lines if "given_back" in line]
    assert (sorted(said["given_back"]), said["unsettled"]) == (sorted(actors), [])
    stored = workers.database.rows(*actors)
    for task in held:
        row = stored[task.id]
        assert (row["state"], row["attempt"], row["heartbeat_at"]) == ("pending", 0, None)
        assert row["fence"] == actors[task.id].fence + 1

    (successor,) = await workers.started(count=1)
    for actor in (await stage.arrivals(2)).values():
        assert actor.attempt == 1
        actor.order("return")
    for task in held:
        await task.wait(60)
        assert (task.status, task.attempt, task.result) == (State.COMPLETED, 1, successor.pid)
    # The first one's process had ended before the second one's began, whose tasks may start in any order.
    ended = min(journal.executions()[task.id][1].start for task in held)
    assert journal.overlaps({worker.pid: ended}) == []


async def test_a_second_signal_waits_for_nobody(workers: Workers, service: QueueService, stage: Stage) -> None:
    (worker,) = await workers.started(count=1, worker_drain_timeout=3600)
    held = [await service.enqueue(each) for each in (on_stage, on_stage_in_a_thread, stubborn)]
    await stage.arrivals(3)

    worker.send(signal.SIGTERM)
    await worker.logged("drains: 3 tasks run")
    assert worker.events("requeue") == []
    worker.send(signal.SIGTERM)

    assert await worker.ended() == 1
    for task in held:
        assert ((await task.refresh()).status, task.attempt) == (State.PENDING, 0)


async def test_a_worker_that_holds_nothing_ends_at_once(workers: Workers) -> None:
    (worker,) = await workers.started(count=1, worker_drain_timeout=3600)
    assert await worker.terminate() == 0
