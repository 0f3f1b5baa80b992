"""What else a worker promises while it lives."""

from __future__ import annotations

from datetime import timedelta
from functools import partial

import pytest

import litestar_queues
from acceptance.processes import Workers, producer
from acceptance.stage import Journal, Stage, until
from acceptance.tasks import (
    burning,
    fails_first,
    on_stage,
    on_stage_in_a_thread,
    quick,
    quick_in_a_thread,
)
from litestar_queues import Progress, QueueService, State, TaskRegistry, TaskResult

pytestmark = pytest.mark.anyio


@pytest.mark.every_database
async def test_a_long_task_is_left_alone_while_its_worker_lives(
    workers: Workers, service: QueueService, stage: Stage, journal: Journal
) -> None:
    stale_after = 6.0
    (owner,) = await workers.started(count=1, worker_stale_after=stale_after)
    tasks = [await service.enqueue(each, retries=1) for each in (on_stage, on_stage_in_a_thread, burning)]
    actors = await stage.arrivals(3)
    (witness,) = await workers.started(count=1, worker_stale_after=stale_after)
    long_enough = timedelta(seconds=1.5 * stale_after)

    async def is_old(task: TaskResult[int]) -> bool:
        record = (await task.refresh()).record
        assert record.started_at is not None
        assert record.heartbeat_at is not None
        return record.heartbeat_at - record.started_at >= long_enough

    for task in tasks:
        await until(partial(is_old, task))
    for actor in actors.values():
        actor.order("return")

    for task in tasks:
        await task.wait(60)
        assert (task.status, task.attempt, task.result) == (State.COMPLETED, 1, owner.pid)
    assert stage.is_empty
    assert witness.events("lose_heartbeat") == owner.events("fence_loss") == []
    assert journal.overlaps() == []


async def test_a_task_that_no_worker_knows_fails_by_name(workers: Workers, service: QueueService) -> None:
    elsewhere = TaskRegistry()

    @litestar_queues.task("reports.monthly", registry=elsewhere)
    async def monthly() -> None: ...

    (worker,) = await workers.started(count=1)
    unknown = await service.enqueue(monthly.using(retries=5).call())
    known = await service.enqueue(quick, 3)
    await unknown.wait(60)
    await known.wait(60)

    assert (unknown.status, unknown.attempt) == (State.FAILED, 1)
    assert unknown.error is not None
    assert unknown.error.type == "UnknownTaskError"
    assert "'reports.monthly'" in unknown.error.message
    assert "reports.monthly" in workers.database.rows(unknown.id)[unknown.id]["error"]
    assert known.result == 3
    assert await worker.terminate() == 0


@pytest.mark.every_database
async def test_a_running_task_that_is_cancelled_elsewhere_stops_at_the_next_heartbeat(
    workers: Workers, service: QueueService, stage: Stage, journal: Journal
) -> None:
    (worker,) = await workers.started(count=1, worker_heartbeat_interval=0.5, worker_stale_after=600)
    tasks = [await service.enqueue(each, retries=3) for each in (on_stage, on_stage_in_a_thread)]
    actors = await stage.arrivals(2)
    for task in tasks:
        await service.cancel(task.id)
    for actor in actors.values():
        await actor.left()
    await worker.told("fence_loss", *actors)

    for task in tasks:
        assert ((await task.refresh()).status, task.attempt) == (State.CANCELLED, 1)
        assert task.record.finished_at is not None
        (run,) = journal.executions()[task.id]
        assert run.end - run.start < 10  # some beats; the stale window is 600 s, and the task would run for ever
    after = await service.enqueue(quick, 1)
    await after.wait(60)
    assert stage.is_empty
    assert worker.events("complete") == [event for event in worker.events("complete") if event["task_id"] == after.id]
    assert await worker.terminate() == 0


async def test_progress_is_stored_with_the_heartbeat(workers: Workers, service: QueueService, stage: Stage) -> None:
    await workers.started(count=1)
    tasks = [await service.enqueue(each) for each in (on_stage, on_stage_in_a_thread)]
    actors = await stage.arrivals(2)
    for done, message in ((0.25, "a quarter"), (0.75, "nearly")):
        for actor in actors.values():
            actor.order("progress", done=done, message=message)

        async def says_so(task: TaskResult[int], wanted: Progress) -> bool:
            return (await task.refresh()).progress == wanted

        for task in tasks:
            await until(partial(says_so, task, Progress(done, message)))
            assert task.status is State.RUNNING
    for actor in actors.values():
        actor.order("return")
    for task in tasks:
        await task.wait(60)
        assert task.status is State.COMPLETED


async def test_workers_serve_the_queues_that_they_are_given(
    workers: Workers, service: QueueService, stage: Stage
) -> None:
    red = await workers.start(worker_queues=["red"])
    both = await workers.start(worker_queues=["blue", "green"])
    names = {"red": await red.ready(), "blue": await both.ready(), "green": await both.ready()}
    tasks = [await service.enqueue(quick, number, queue=queue) for number in range(5) for queue in names]
    nobodys = await service.enqueue(quick, 0)
    for task in tasks:
        await task.wait(60)
    assert [task.record.worker for task in tasks] == [names[task.record.queue] for task in tasks]
    assert [await red.terminate(), await both.terminate()] == [0, 0]
    assert (await nobodys.refresh()).record.fence == 0

    await workers.started(count=1)
    await nobodys.wait(60)
    assert nobodys.status is State.COMPLETED


@pytest.mark.every_database
async def test_eight_workers_start_at_once_on_a_new_database_and_share_the_work(
    workers: Workers, stage: Stage, journal: Journal
) -> None:
    eight = [await workers.start(barrier=True, worker_max_concurrency=4) for _ in range(8)]
    gate = [await stage.arrival() for _ in eight]
    assert workers.database.tables() == []
    for waiting in gate:
        waiting.order("go")
    for worker in eight:
        await worker.ready()
    calls = [*map(quick.call, range(200)), *map(quick_in_a_thread.call, range(200, 300))]
    calls += [fails_first.using(retries=1).call() for _ in range(50)]
    async with producer(workers) as service:
        tasks = await service.enqueue_many(calls)
        for task in tasks:
            await task.wait(60)

    assert [task.result for task in tasks] == [*range(300), *[2] * 50]
    assert {task.status for task in tasks} == {State.COMPLETED}
    runs = journal.executions()
    assert [len(runs[task.id]) for task in tasks] == [*[1] * 300, *[2] * 50]
    assert journal.overlaps() == []
    assert len({run.pid for executions in runs.values() for run in executions}) > 1
    assert workers.database.tables() == [*workers.database.tables_made]
    assert {await worker.terminate() for worker in eight} == {0}
