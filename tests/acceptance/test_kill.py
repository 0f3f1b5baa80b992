"""SIGKILL: what a dead worker held is done by another."""

from __future__ import annotations

import pytest

from acceptance.processes import Workers
from acceptance.stage import Journal, Stage
from acceptance.tasks import on_stage, on_stage_in_a_thread, quick, quick_in_a_thread
from litestar_queues import QueueService, State

pytestmark = pytest.mark.anyio


@pytest.mark.every_database
async def test_what_a_killed_worker_ran_runs_again_elsewhere_and_ends_once(
    workers: Workers, service: QueueService, stage: Stage, journal: Journal
) -> None:
    (victim,) = await workers.started(count=1, worker_max_concurrency=3)
    held = [await service.enqueue(each, priority=1) for each in (on_stage, on_stage, on_stage_in_a_thread)]
    first = await stage.arrivals(3)
    waiting = await service.enqueue_many([*map(quick.call, range(10)), *map(quick_in_a_thread.call, range(10, 20))])
    assert first.keys() == {task.id for task in held}
    assert {actor.attempt for actor in first.values()} == {1}

    await victim.kill()
    (successor,) = await workers.started(count=1)
    name = await successor.ready()
    second = await stage.arrivals(3)
    for actor in second.values():
        actor.order("return")

    assert second.keys() == first.keys()
    for task in held:
        await task.wait(60)
        assert (task.status, task.attempt, task.result) == (State.COMPLETED, 1, successor.pid), task.to_dict()
        assert task.recoveries == 1, "the death of a worker costs no attempt"
        assert task.record.worker == name
        assert second[task.id].fence > first[task.id].fence
        assert task.record.fence == second[task.id].fence + 1
    for task in waiting:
        await task.wait(60)
    assert [task.result for task in waiting] == list(range(20))
    await successor.told("lose_heartbeat", *first)
    assert sorted(event["task_id"] for event in successor.events("lose_heartbeat")) == sorted(first)
    assert journal.overlaps(workers.died) == []
    runs = journal.executions(workers.died)
    assert [[run.how for run in runs[task.id]] for task in held] == [["killed", "returned"]] * 3
    assert [[run.how for run in runs[task.id]] for task in waiting] == [["returned"]] * 20
    stored = workers.database.rows()
    assert {row["state"] for row in stored.values()} == {"completed"}
    assert len(stored) == 23
    assert await successor.terminate() == 0


async def test_a_task_that_must_not_run_twice_fails_when_its_worker_is_killed_and_says_why(
    workers: Workers, service: QueueService, stage: Stage
) -> None:
    victim, witness = await workers.started(worker_max_concurrency=1)
    task = await service.enqueue(on_stage, requeue_on_stale=False)
    if (actor := await stage.arrival()).pid != victim.pid:
        victim, witness = witness, victim
    assert actor.pid == victim.pid

    await victim.kill()
    await witness.told("lose_heartbeat", task.id)
    await task.wait(60)

    assert (task.status, task.attempt) == (State.FAILED, 1)
    assert task.error is not None
    assert task.error.type == "HeartbeatLost"
    assert str(victim.pid) in task.error.message
    assert stage.is_empty
