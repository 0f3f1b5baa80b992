"""RET: deletion of old tasks."""

from __future__ import annotations

from datetime import timedelta

import pytest

from litestar_queues.lifecycle import TERMINAL, Complete, Fail, Revive, State, step
from litestar_queues.records import Finished, Held, Matching, Overdue, Stale, TaskRecord
from litestar_queues_conformance.harness import T0, Check, Store, at, guarantee
from litestar_queues_conformance.moves import (
    ERROR,
    RESULT,
    claim_all,
    claim_one,
    commit,
    everything,
    ids,
    kinds,
    pictures,
    reach,
    stored,
)

_MICROSECOND = timedelta(microseconds=1)


@guarantee("RET-01")
async def test_a_deletion_forgets_terminal_tasks_under_their_fence(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    gone = [await reach(store, a, state, key=f"key-{state}") for state in sorted(TERMINAL)]
    left = [await reach(store, a, state) for state in sorted(TERMINAL)]
    before = await pictures(b)
    wrong = [Held(one.id, one.fence + ahead) for one, ahead in zip(left, (-1, 1, 2, -2), strict=True)]
    batch = [*(one.held for one in gone), *wrong, Held(store.new_id(), 2)]
    store.random.shuffle(batch)
    check.equal("RET-01", await a.delete(batch), set(ids(gone)), "the answer")
    after = await pictures(b)
    check.equal("RET-01", after, {one.id: before[one.id] for one in left}, "what is left")
    check.equal("RET-01", await b.delete([one.held for one in gone]), set[str](), "the answer to the same again")


@guarantee("RET-01")
async def test_a_revive_that_lands_meanwhile_saves_the_task(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    await reach(store, a, State.FAILED)
    other = await reach(store, a, State.CANCELLED)
    read = await b.find(Finished(before=at(100)), 9)
    [failed] = [one for one in read if one.state is State.FAILED]
    revived = await commit(a, failed, Revive(), at(101))
    check.equal("RET-01", await b.delete([one.held for one in read]), {other.id}, "the answer")
    check.equal("RET-01", await stored(b, failed.id), revived, "the revived task")
    failed_again = await commit(a, await claim_one(a, revived, now=at(102)), Fail(ERROR), at(103))
    check.equal("RET-01", await b.delete([failed.held]), set[str](), "a deletion from before the revive")
    check.equal("RET-01", await stored(b, failed.id), failed_again, "the task that failed again")


@guarantee("RET-01")
async def test_a_large_deletion_is_answered_with_what_it_forgot(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    await a.enqueue_many([store.new_task() for _ in range(2000)], now=T0)
    owned = await claim_all(a, now=T0)
    done = [step(one, Complete(RESULT), at(1)) for one in owned[:1500]]
    check.equal("RET-01", await a.commit(done), set(ids(done)), "the completions")
    held = [one.held for one in (*done, *owned[1500:])]
    check.equal("RET-01", await b.delete(held), set(ids(done)), "the answer")
    check.equal("RET-01", sorted(ids(await everything(a))), sorted(ids(owned[1500:])), "what is left")


@pytest.mark.parametrize("state", [State.PENDING, State.SCHEDULED, State.RUNNING])
@guarantee("RET-02")
async def test_an_active_task_is_not_deleted(store: Store, check: Check, state: State) -> None:
    a, b = await store.actors(2)
    active = await reach(store, a, state, key="k", max_attempts=3)
    for fence in range(active.fence + 2):
        check.equal("RET-02", await b.delete([Held(active.id, fence)]), set[str](), f"the answer under fence {fence}")
    check.equal("RET-02", await b.get([active.id]), {active.id: active}, f"the {state} task")


@guarantee("RET-02")
async def test_a_task_that_waits_again_is_not_deleted(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    revived = await commit(a, await reach(store, a, State.FAILED), Revive(), at(9))
    retried = await commit(a, await reach(store, a, State.RUNNING, max_attempts=2), Fail(ERROR, at(0)), at(9))
    check.equal("RET-02", await b.delete([revived.held, retried.held]), set[str](), "the answer")
    check.equal("RET-02", sorted(ids(await everything(b))), sorted(ids([revived, retried])), "what is stored")


@guarantee("RET-03")
async def test_exactly_the_terminal_tasks_are_found_earliest_first(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    cutoff = at(100)
    await kinds(store, a)  # these finish at two seconds after T0
    finished = [one for one in await everything(a) if one.state in TERMINAL]
    moments = (cutoff - _MICROSECOND, cutoff - timedelta(seconds=1), cutoff.replace(microsecond=0), at(2), at(1))
    late = (cutoff, cutoff + _MICROSECOND, at(9999))
    for i, moment in enumerate((*moments, *moments, *late)):
        owned = await claim_one(a, await store.enqueue(a, priority=i), now=at(0.5))
        done = await commit(a, owned, (Complete(RESULT), Fail(ERROR))[i % 2], moment)
        if moment < cutoff:
            finished.append(done)
    finished.sort(key=lambda one: (one.finished_at, one.id))
    for limit in (99, 12, 5, 1, 0):
        found = await b.find(Finished(before=cutoff), limit)
        check.equal("RET-03", found, finished[:limit], f"the first {limit} that had finished")
    check.equal("RET-03", await b.find(Finished(before=at(1)), 9), [], "what had finished before the first")
    for since in (at(1), at(2), cutoff - _MICROSECOND, cutoff):
        expected = [one for one in finished if one.finished_at is not None and one.finished_at >= since]
        found = await b.find(Finished(before=cutoff, since=since), 99)
        check.equal("RET-03", found, expected, f"what had finished since {since}")
        found = await b.find(Finished(before=cutoff, since=since), 2)
        check.equal("RET-03", found, expected[:2], f"the first 2 that had finished since {since}")


@guarantee("RET-03")
async def test_a_revived_task_has_not_finished(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    revived = await commit(a, await reach(store, a, State.CANCELLED), Revive(), at(9))
    check.equal("RET-03", await b.find(Finished(before=at(9999)), 9), [], "what has finished after a revive")
    done = await commit(a, await claim_one(a, revived, now=at(10)), Complete(RESULT), at(11))
    check.equal("RET-03", await b.find(Finished(before=at(9999)), 9), [done], "what has finished after it completed")


@guarantee("RET-04")
async def test_a_deleted_task_is_gone_for_every_reader(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    gone: list[TaskRecord] = [await reach(store, a, state, key=f"k-{state}") for state in sorted(TERMINAL)]
    check.equal("RET-04", await a.delete([one.held for one in gone]), set(ids(gone)), "the answer")
    for actor in (a, b):
        check.equal("RET-04", await actor.get(ids(gone)), {}, "get")
        check.equal("RET-04", await actor.find(Matching(), 99), [], "find, of any")
        check.equal("RET-04", await actor.find(Matching(key=gone[0].key), 99), [], "find, by key")
        check.equal("RET-04", await actor.find(Finished(before=at(9999)), 99), [], "find, of the finished")
        check.equal("RET-04", await actor.find(Overdue(at=at(9999)), 99), [], "find, of the overdue")
        check.equal("RET-04", await actor.find(Stale.since(at(9999)), 99), [], "find, of the stale")
        check.equal("RET-04", [one for one in await actor.count() if one.tasks], [], "count")
        check.equal("RET-04", await actor.next_due(), None, "next_due")
    for one in gone:
        check.equal("RET-04", await b.touch_heartbeats([one.held], now=at(9)), set[str](), "a heartbeat")
        if one.state in {State.FAILED, State.CANCELLED}:
            check.equal("RET-04", await b.commit([step(one, Revive(), at(9))]), set[str](), "a revive")
    check.equal("RET-04", await everything(a), [], "what is stored at the end")
