from __future__ import annotations

import asyncio
import logging
import pickle
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from queue_lab import WatchedBackend, within

from litestar_queues import (
    BackendError,
    BackendUnavailableError,
    KeyHeldError,
    State,
    TaskEvent,
    TaskNotFoundError,
    TaskRecord,
    TasksLockedError,
    TaskStateError,
)
from litestar_queues.backends.memory import MemoryBackend
from litestar_queues.clock import ManualClock
from litestar_queues.events import EventDispatcher
from litestar_queues.lifecycle import Cancel, Claim, Complete, Fail, IllegalTransition, LoseHeartbeat, Requeue, step
from litestar_queues.operations import Move, QueueOperations
from litestar_queues.records import Held, NewTask, Stale, Want

pytestmark = pytest.mark.anyio
MINUTE = timedelta(minutes=1)


@dataclass
class Stage:
    """Operations over a watched store, on a clock that stands still."""

    clock: ManualClock
    backend: WatchedBackend
    operations: QueueOperations
    events: list[TaskEvent]
    ended: list[TaskRecord]

    async def claimed(self, **fields: Any) -> TaskRecord:
        """A task that `w1` runs."""
        await self.waiting(**fields)
        (record,) = await self.operations.claim(Want(worker="w1", limit=1))
        return record

    async def waiting(self, **fields: Any) -> TaskRecord:
        given = {"id": f"t{len(self.backend.inner.tasks)}", "name": "n", "max_attempts": 3, **fields}
        return (await self.operations.enqueue(NewTask(**given))).record

    async def stored(self, task: TaskRecord) -> TaskRecord:
        return (await self.backend.inner.get([task.id]))[task.id]

    async def told(self, kind: str) -> list[TaskEvent]:
        await within(self.operations.events.flush())
        return [event for event in self.events if event.kind == kind]


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    async with on_stage() as made:
        yield made


@asynccontextmanager
async def on_stage() -> AsyncIterator[Stage]:
    clock, events, ended = ManualClock(), list[TaskEvent](), list[TaskRecord]()
    backend = WatchedBackend(MemoryBackend(clock))
    operations = QueueOperations(backend, clock, events=EventDispatcher([events.append]), on_terminal=ended.extend)
    yield Stage(clock, backend, operations, events, ended)
    await operations.events.flush()


async def test_a_task_goes_its_way_and_each_step_is_counted(stage: Stage) -> None:
    task = await stage.claimed(key="k")
    retried = await stage.operations.fail_task(task, '"why"', retry_at=stage.clock.now())
    again = await stage.operations.claim_task(task.id, worker="w2")
    assert again is not None
    done = await stage.operations.complete_task(again, "5")
    assert (retried.state, again.worker, done.state, done.result) == (State.PENDING, "w2", State.COMPLETED, "5")
    assert await stage.stored(task) == done
    assert stage.operations.counters == {"enqueue": 1, "claim": 2, "fail": 1, "complete": 1}
    assert stage.ended == [done]


async def test_a_task_that_cannot_be_claimed_now_is_not(stage: Stage) -> None:
    later = await stage.waiting(run_at=stage.clock.now() + MINUTE)
    assert await stage.operations.claim_task(later.id, worker="w") is None
    assert await stage.operations.claim_task("nosuch", worker="w") is None
    assert stage.operations.counters["claim"] == 0


async def test_a_lost_owner_is_told_counted_and_logged_and_changes_nothing(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    task = await stage.claimed()
    cancelled = await stage.operations.cancel_task(task.id)
    with pytest.raises(TaskStateError) as refused:
        await stage.operations.complete_task(task, "5")
    assert str(refused.value) == f"cannot complete task {task.id}: it is 'cancelled' (fence 2, yours 1)"
    with pytest.raises(TaskStateError, match="cannot fail task t0: it is 'cancelled'"):
        await stage.operations.fail_task(task, '"e"')
    assert await stage.stored(task) == cancelled
    assert stage.operations.counters["fence_loss"] == 2
    assert [(e.task_id, e.fence, e.state) for e in await stage.told("fence_loss")] == [
        ("t0", 2, State.COMPLETED), ("t0", 2, State.FAILED),
    ]  # fmt: skip
    lines = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert lines[0] == "fence loss: task t0 (n) is no longer this worker's: complete under fence 1 was refused"
    assert len(lines) == 2


async def test_a_deleted_task_is_a_loss_that_says_so(stage: Stage) -> None:
    task = await stage.claimed()
    cancelled = await stage.operations.cancel_task(task.id)
    await stage.backend.inner.delete([cancelled.held])
    with pytest.raises(TaskStateError, match=r"^cannot complete task t0: it is deleted$"):
        await stage.operations.complete_task(task)


async def test_a_batch_is_split_into_what_was_stored_and_what_was_lost(stage: Stage) -> None:
    tasks = [await stage.claimed() for _ in range(3)]
    await stage.operations.cancel_task(tasks[1].id)
    settled = await stage.operations.apply([Move(task, Complete("1")) for task in tasks])
    assert [r.id for r in settled.stored] == ["t0", "t2"]
    assert [r.id for r in settled.lost] == ["t1"]
    assert [await stage.stored(r) for r in settled.stored] == settled.stored
    assert [r.id for r in stage.ended] == ["t1", "t0", "t2"]


async def test_nothing_is_written_where_one_event_of_a_batch_is_illegal(stage: Stage) -> None:
    task, waiting = await stage.claimed(), await stage.waiting()
    with pytest.raises(IllegalTransition, match="cannot complete task t1: it is 'pending'"):
        await stage.operations.apply([Move(task, Complete("1")), Move(waiting, Complete("1"))])
    assert stage.backend.of("commit") == []


@pytest.mark.parametrize("event", [Complete("5"), Fail('"e"'), Requeue(), Cancel()])
async def test_a_write_whose_reply_was_lost_is_recognised_when_it_is_repeated(stage: Stage, event: Any) -> None:
    task = await stage.claimed(key="k")
    steps = [(Move(task, event), step(task, event, stage.clock.now()))]
    stage.backend.deaf.append("commit")
    with pytest.raises(BackendUnavailableError):
        await stage.operations.store(steps)
    settled = await stage.operations.store(steps)
    assert (len(settled.stored), settled.lost) == (1, [])
    assert await stage.stored(task) == steps[0][1]
    assert stage.operations.counters["fence_loss"] == 0
    assert len(await stage.told(event.name.value)) == 1


async def test_a_repeated_write_is_recognised_beside_a_new_one(stage: Stage) -> None:
    first, second = await stage.claimed(), await stage.claimed()
    steps = [(Move(task, Requeue()), step(task, Requeue(), stage.clock.now())) for task in (first, second)]
    stage.backend.deaf.append("commit")
    with pytest.raises(BackendUnavailableError):
        await stage.operations.store(steps[:1])
    settled = await stage.operations.store(steps)
    assert ([r.id for r in settled.stored], settled.lost) == ([first.id, second.id], [])


async def test_a_repeated_write_that_somebody_overtook_is_a_loss(stage: Stage) -> None:
    task = await stage.claimed()
    steps = [(Move(task, Requeue()), step(task, Requeue(), stage.clock.now()))]
    stage.backend.away.add("commit")
    with pytest.raises(BackendUnavailableError):
        await stage.operations.store(steps)
    stage.backend.away.clear()
    stage.clock.advance(1)
    other = step(task, Requeue(), stage.clock.now())
    assert await stage.backend.inner.commit([other]) == {task.id}
    settled = await stage.operations.store(steps)
    assert (settled.stored, [r.id for r in settled.lost]) == ([], [task.id])
    assert stage.operations.counters["fence_loss"] == 1
    assert await stage.stored(task) == other


async def test_a_stale_task_is_requeued_or_failed_and_both_are_named(stage: Stage) -> None:
    first, last = await stage.claimed(), await stage.claimed(max_recoveries=0)
    stage.clock.advance(61)
    fresh = await stage.claimed()
    recovery = await stage.operations.requeue_stale_running(MINUTE)
    assert ([r.id for r in recovery.requeued], [r.id for r in recovery.failed]) == ([first.id], [last.id])
    assert recovery.ids == [first.id, last.id]
    assert [(await stage.stored(t)).state for t in (first, last, fresh)] == [State.PENDING, State.FAILED, State.RUNNING]
    error = (await stage.stored(last)).error or ""
    assert (
        "the heartbeat of worker w1 stopped (last at 2030-01-01T00:00:00+00:00) in attempt 1; the task must not run a second time"
        in error
    )
    assert stage.operations.counters["lose_heartbeat"] == 2
    assert (await stage.operations.requeue_stale_running(MINUTE)).ids == []


async def test_a_heartbeat_is_stale_only_after_the_whole_window(stage: Stage) -> None:
    await stage.claimed()
    stage.clock.advance(60)
    assert (await stage.operations.requeue_stale_running(MINUTE)).ids == []
    stage.clock.advance(timedelta(microseconds=1))
    assert (await stage.operations.requeue_stale_running(MINUTE)).ids == ["t0"]


async def test_a_heartbeat_between_the_look_and_the_write_saves_the_task(stage: Stage) -> None:
    saved, lost = await stage.claimed(), await stage.claimed()
    stage.clock.advance(61)
    inner = stage.backend.inner
    find = inner.find

    async def find_then_beat(*args: Any, **kwargs: Any) -> Any:
        found = await find(*args, **kwargs)
        assert [r.id for r in found] == [saved.id, lost.id]
        assert await inner.touch_heartbeats([saved.held]) == {saved.id}
        return found

    inner.find = find_then_beat  # type: ignore[method-assign]
    recovery = await stage.operations.requeue_stale_running(MINUTE)
    assert recovery.ids == [lost.id]
    assert (await stage.stored(saved)).state is State.RUNNING
    assert stage.operations.counters["fence_loss"] == 0
    done = await stage.operations.complete_task(saved)
    assert done.state is State.COMPLETED


async def test_a_nulled_heartbeat_is_stale_at_once_and_its_owner_has_given_it_up(stage: Stage) -> None:
    task = await stage.claimed()
    settled = await stage.operations.null_heartbeats([task])
    assert settled.stored[0].heartbeat_at is None
    assert not await stage.operations.touch_heartbeat(task)
    assert (await stage.operations.requeue_stale_running(MINUTE)).ids == [task.id]
    with pytest.raises(TaskStateError):
        await stage.operations.complete_task(task)


class _Particular(WatchedBackend):
    """Refuses heartbeats with some progress, and those of some tasks whatever they carry; other tasks are locked."""

    def __init__(
        self, inner: MemoryBackend, *, progress: str = "", ids: Collection[str] = (), locked: Collection[str] = ()
    ) -> None:
        super().__init__(inner)
        self._progress, self._ids, self._locked = progress, ids, locked

    async def touch_heartbeats(self, held: Sequence[Held]) -> set[str]:
        if any(one.id in self._ids or (one.progress is not None and one.progress == self._progress) for one in held):
            raise BackendError("the store refuses a heartbeat")
        kept: set[str] = await self._call("touch_heartbeats", [one for one in held if one.id not in self._locked])
        if locked := {one.id for one in held} & set(self._locked):
            raise TasksLockedError(kept, locked)
        return kept


async def test_progress_that_the_store_refuses_costs_no_task_its_heartbeat(stage: Stage) -> None:
    tasks = [await stage.claimed() for _ in range(7)]
    stage.operations.backend = _Particular(stage.backend.inner, progress="odd")
    stage.clock.advance(MINUTE)
    beats = [Held(task.id, task.fence, "odd" if task is tasks[4] else "1", 45.0) for task in tasks]
    assert await stage.operations.touch_heartbeats(beats) == {task.id for task in tasks}
    stored = [await stage.stored(task) for task in tasks]
    assert [one.progress for one in stored] == ["1", "1", "1", "1", None, "1", "1"]
    assert [(one.heartbeat_at, one.stale_after) for one in stored] == [(stage.clock.now(), 45.0)] * 7


async def test_a_heartbeat_that_is_refused_whatever_it_carries_holds_up_no_other(stage: Stage) -> None:
    tasks = [await stage.claimed() for _ in range(7)]
    stage.operations.backend = _Particular(stage.backend.inner, ids={tasks[0].id, tasks[3].id})
    stage.clock.advance(MINUTE)
    with pytest.raises(BackendError, match="refuses a heartbeat"):
        await stage.operations.touch_heartbeats([Held(task.id, task.fence, "1") for task in tasks])
    beating = [(await stage.stored(task)).heartbeat_at == stage.clock.now() for task in tasks]
    assert beating == [False, True, True, False, True, True, True]


async def test_a_task_that_is_locked_holds_up_no_other_where_a_batch_is_taken_apart(stage: Stage) -> None:
    tasks = [await stage.claimed() for _ in range(7)]
    ids = [task.id for task in tasks]
    stage.operations.backend = _Particular(stage.backend.inner, progress="odd", locked={ids[1], ids[6]})
    stage.clock.advance(MINUTE)
    with pytest.raises(TasksLockedError) as caught:
        await stage.operations.touch_heartbeats(
            [Held(task.id, task.fence, "odd" if task is tasks[4] else None) for task in tasks]
        )
    assert (caught.value.kept, caught.value.locked) == ({*ids} - {ids[1], ids[6]}, {ids[1], ids[6]})
    beating = {task.id for task in tasks if (await stage.stored(task)).heartbeat_at == stage.clock.now()}
    assert beating == caught.value.kept
    assert (again := pickle.loads(pickle.dumps(caught.value))).locked == caught.value.locked
    assert str(again) == str(caught.value)


async def test_heartbeats_are_not_taken_apart_while_the_store_is_away(stage: Stage) -> None:
    tasks = [await stage.claimed() for _ in range(7)]
    stage.backend.away.add("touch_heartbeats")
    with pytest.raises(BackendUnavailableError):
        await stage.operations.touch_heartbeats([task.held for task in tasks])
    assert len(stage.backend.of("touch_heartbeats")) == 1


async def test_a_recovery_gives_owners_the_time_to_send_a_heartbeat(stage: Stage) -> None:
    task = await stage.claimed()
    stage.clock.advance(MINUTE)
    recovering = asyncio.ensure_future(stage.operations.recover_stale(MINUTE / 2, grace=0.05))
    while not stage.backend.of("find"):  # noqa: ASYNC110  # nothing tells of it
        await asyncio.sleep(0)
    assert await stage.backend.inner.touch_heartbeats([task.held]) == {task.id}
    assert (await within(recovering)).ids == []
    stage.clock.advance(MINUTE)
    assert (await stage.operations.recover_stale(MINUTE / 2, grace=0.001)).ids == [task.id]


async def test_a_heartbeat_is_kept_only_for_the_owner(stage: Stage) -> None:
    task = await stage.claimed()
    assert await stage.operations.touch_heartbeat(task)
    assert not await stage.operations.touch_heartbeat(task.evolve(fence=0))


async def test_overdue_tasks_expire_and_others_do_not(stage: Stage) -> None:
    soon, late = stage.clock.now() + MINUTE, stage.clock.now() + 2 * MINUTE
    first, second = await stage.waiting(expires_at=soon), await stage.waiting(expires_at=late)
    running = await stage.claimed(expires_at=soon, priority=5)
    stage.clock.advance(MINUTE)
    assert [r.id for r in await stage.operations.expire_overdue()] == [first.id]
    states = [(await stage.stored(t)).state for t in (first, second, running)]
    assert states == [State.EXPIRED, State.PENDING, State.RUNNING]


async def test_old_terminal_tasks_are_deleted_and_a_revived_one_is_not(stage: Stage) -> None:
    old, revived = await stage.waiting(), await stage.waiting()
    for task in (old, revived):
        await stage.operations.cancel_task(task.id)
    stage.clock.advance(61)
    young = await stage.waiting()
    await stage.operations.cancel_task(young.id)
    inner, find = stage.backend.inner, stage.backend.inner.find

    async def find_then_revive(*args: Any, **kwargs: Any) -> Any:
        found = await find(*args, **kwargs)
        inner.find = find  # type: ignore[method-assign]
        await stage.operations.revive_task(revived.id)
        return found

    inner.find = find_then_revive  # type: ignore[method-assign]
    assert await stage.operations.delete_finished(MINUTE) == {old.id}
    assert set(await inner.get(["t0", "t1", "t2"])) == {revived.id, young.id}


async def test_cancelling_twice_is_harmless_and_too_late_is_said(stage: Stage) -> None:
    task = await stage.waiting()
    first = await stage.operations.cancel_task(task.id)
    assert await stage.operations.cancel_task(task.id) == first
    done = await stage.operations.complete_task(await stage.claimed())
    with pytest.raises(TaskStateError, match=f"cannot cancel task {done.id}: it is 'completed'"):
        await stage.operations.cancel_task(done.id)
    with pytest.raises(TaskNotFoundError, match="no task 'nosuch' is stored: it never was, or retention"):
        await stage.operations.cancel_task("nosuch")


async def test_a_cancellation_beats_a_worker_that_moves_the_task_meanwhile(stage: Stage) -> None:
    task = await stage.waiting()
    inner, commit = stage.backend.inner, stage.backend.inner.commit

    async def claim_first(*args: Any, **kwargs: Any) -> Any:
        inner.commit = commit  # type: ignore[method-assign]
        await inner.claim(Want(worker="w", limit=1))
        return await commit(*args, **kwargs)

    inner.commit = claim_first  # type: ignore[method-assign]
    assert (await stage.operations.cancel_task(task.id)).fence == 2
    assert stage.operations.counters["fence_loss"] == 0


async def test_a_task_that_never_stands_still_is_given_up(stage: Stage) -> None:
    task = await stage.waiting()
    stage.backend.inner.commit = lambda *args, **kwargs: none_stored(stage, task.id)  # type: ignore[method-assign]
    with pytest.raises(TaskStateError, match="cannot cancel task t0: it changed 20 times meanwhile; try again"):
        await stage.operations.cancel_task(task.id)


async def none_stored(stage: Stage, task_id: str) -> set[str]:
    record = stage.backend.inner.tasks[task_id]
    stage.backend.inner.tasks[task_id] = record.evolve(fence=record.fence + 1)
    return set()


async def test_a_revived_task_has_a_fresh_budget(stage: Stage) -> None:
    failed = await stage.operations.fail_task(await stage.claimed(max_attempts=1), '"e"')
    revived = await stage.operations.revive_task(failed.id)
    assert (revived.state, revived.attempt, revived.error, revived.fence) == (State.PENDING, 0, None, failed.fence + 1)
    with pytest.raises(TaskStateError, match="cannot revive task t0: it is 'pending'"):
        await stage.operations.revive_task(failed.id)


async def test_a_task_whose_key_another_one_took_is_not_revived(stage: Stage) -> None:
    first = await stage.waiting(key="k")
    await stage.operations.cancel_task(first.id)
    second = await stage.waiting(key="k")
    with pytest.raises(KeyHeldError, match="cannot revive task t0: another active task holds its key 'k'"):
        await stage.operations.revive_task(first.id)
    await stage.operations.cancel_task(second.id)
    assert (await stage.operations.revive_task(first.id)).state is State.PENDING


async def test_workers_are_woken_once_per_batch_and_only_by_what_they_could_claim(stage: Stage) -> None:
    mail, other = stage.operations.notifier.listen(["mail"]), stage.operations.notifier.listen(["other"])
    await stage.operations.enqueue_many(
        [NewTask(id="a", name="n", queue="mail"), NewTask(id="b", name="n", queue="mail", key="k")]
    )
    assert (mail.event.is_set(), other.event.is_set()) == (True, False)
    mail.event.clear()
    await stage.operations.enqueue(NewTask(id="c", name="n", queue="mail", key="k"))
    assert not mail.event.is_set()
    task = await stage.operations.claim_task("a", worker="w")
    assert task is not None
    await stage.operations.complete_task(task)
    assert not mail.event.is_set()
    task = await stage.operations.claim_task("b", worker="w")
    assert task is not None
    await stage.operations.fail_task(task, '"e"', retry_at=stage.clock.now())
    assert not mail.event.is_set()  # its only attempt
    await stage.operations.revive_task("b")
    assert mail.event.is_set()
    mail.event.clear()
    mail.close()
    await stage.operations.enqueue(NewTask(id="d", name="n", queue="mail"))
    assert not mail.event.is_set()


async def test_an_empty_batch_asks_the_store_nothing(stage: Stage) -> None:
    settled = await stage.operations.apply([])
    assert (settled.stored, settled.lost, stage.backend.calls) == ([], [], [])


async def test_the_reaper_loses_to_an_owner_that_settled_first(stage: Stage) -> None:
    task = await stage.claimed()
    stage.clock.advance(61)
    await stage.operations.complete_task(task)
    move = Move(task, LoseHeartbeat('"e"'))
    settled = await stage.operations.apply([move], stale=Stale.since(stage.clock.now()))
    assert settled.stored == []
    assert stage.operations.counters["fence_loss"] == 0


async def test_the_progress_of_a_heartbeat_is_stored(stage: Stage) -> None:
    task = await stage.claimed()
    await stage.backend.inner.touch_heartbeats([Held(task.id, task.fence, '{"done":0.5}')])
    await stage.backend.inner.touch_heartbeats([task.held])
    assert (await stage.stored(task)).progress == '{"done":0.5}'
    assert step(await stage.stored(await stage.waiting()), Claim("w"), stage.clock.now()).progress is None
