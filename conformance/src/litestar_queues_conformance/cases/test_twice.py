"""CLM-13, HBT-05, OWN-08, RET-05: a task that one batch names twice."""

from __future__ import annotations

from litestar_queues.lifecycle import Cancel, Complete, Fail, Snooze, State, step
from litestar_queues.records import Held, TaskRecord, Want
from litestar_queues_conformance.harness import T0, Check, Store, at, guarantee
from litestar_queues_conformance.moves import (
    ERROR,
    RESULT,
    WINDOW,
    claim_all,
    commit,
    ids,
    reach,
    reserve_all,
    running,
    stored,
)

_MANY = 300


def _twice(store: Store, records: list[TaskRecord]) -> tuple[Held, ...]:
    """The rights to write these records, each two times, in any order."""
    held = [one.held for one in records] * 2
    store.random.shuffle(held)
    return tuple(held)


@guarantee("CLM-13")
async def test_a_task_that_a_claim_names_twice_is_given_once(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    waiting = await store.enqueue(a)
    other = await store.enqueue(a, now=at(1), max_attempts=5)
    named = (waiting.held, other.held, waiting.held, other.held, waiting.held)
    claimed = await b.claim(Want(worker="worker-b", limit=9, tasks=named), now=at(2))
    check.equal("CLM-13", ids(claimed), [waiting.id, other.id], "a claim that names each task several times")
    for one in claimed:
        check.equal("CLM-13", await stored(a, one.id), one, "the task as it is stored")
    again = await commit(a, claimed[1], Fail(ERROR, at(-5)), at(3))
    beside = (again.held, Held(again.id, again.fence + 1), Held(again.id, again.fence - 1), again.held)
    taken = await b.claim(Want(worker="worker-b", limit=9, tasks=beside), now=at(4))
    check.equal("CLM-13", ids(taken), [again.id], "a claim that names a task under its fence and beside it")


@guarantee("CLM-13")
async def test_a_task_that_is_named_twice_counts_once_towards_the_limit(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    new = store.new_tasks(_MANY)
    records = [one.record for one in await a.enqueue_many(new, now=T0)]
    claimed = await b.claim(Want(worker="worker-b", limit=7, tasks=_twice(store, records)), now=at(1))
    check.equal("CLM-13", ids(claimed), ids(new[:7]), "a claim of seven that names each task twice")
    rest = await b.claim(Want(worker="worker-b", limit=2 * _MANY, tasks=_twice(store, records)), now=at(1))
    check.equal("CLM-13", ids(rest), ids(new[7:]), "a claim of the others that names each task twice")
    if store.target.capabilities.dispatch:
        more = [one.record for one in await a.enqueue_many(store.new_tasks(3), now=T0)]
        reserved = await reserve_all(b, now=at(1), stale_after=WINDOW, tasks=_twice(store, more), limit=3)
        check.equal("CLM-13", ids(reserved), ids(more), "a reservation of three that names each task twice")


@guarantee("HBT-05")
async def test_of_two_heartbeats_of_a_task_the_last_progress_counts(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    owned = await running(store, a, stale_after=30.0)
    id_, fence = owned.id, owned.fence
    batches: list[tuple[list[Held], str | None, float]] = [
        ([Held(id_, fence), Held(id_, fence)], None, 30.0),
        ([Held(id_, fence, "[1]"), Held(id_, fence, "[2]")], "[2]", 30.0),
        ([Held(id_, fence, "[4]", 45.0), Held(id_, fence, "[3]")], "[3]", 45.0),
        ([Held(id_, fence, "[5]"), Held(id_, fence, None, 50.0), Held(id_, fence)], "[5]", 50.0),
        ([Held(id_, fence, "[9]", 60.0), Held(id_, fence, None, 55.0)], "[9]", 55.0),
        ([Held(id_, fence, "[6]"), Held(id_, fence + 1, "[7]"), Held(id_, fence - 1, "[8]")], "[6]", 55.0),
    ]
    for i, (batch, progress, window) in enumerate(batches):
        kept = await a.touch_heartbeats(batch, now=at(1 + i))
        check.equal("HBT-05", kept, {id_}, f"the answer to a batch that names the task {len(batch)} times")
        expected = owned.evolve(heartbeat_at=at(1 + i), progress=progress, stale_after=window)
        check.equal("HBT-05", await stored(b, id_), expected, f"the task after {batch}")


@guarantee("HBT-05")
async def test_a_large_batch_that_names_each_task_twice_is_one_heartbeat_of_each(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    await a.enqueue_many(store.new_tasks(_MANY), now=T0)
    owned = await claim_all(a, now=T0)
    first = [Held(one.id, one.fence, f'["first", {i}]') for i, one in enumerate(owned)]
    last = [Held(one.id, one.fence, f'["last", {i}]' if i % 2 else None) for i, one in enumerate(owned)]
    check.equal("HBT-05", await a.touch_heartbeats([*first, *last], now=at(5)), set(ids(owned)), "the answer")
    expected = {
        one.id: one.evolve(heartbeat_at=at(5), progress=late.progress or early.progress)
        for one, early, late in zip(owned, first, last, strict=True)
    }
    check.equal("HBT-05", await b.get(ids(owned)), expected, "the tasks")


@guarantee("OWN-08")
async def test_of_two_outcomes_of_a_task_the_first_is_stored(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    for key in (None, "k"):
        owned = [await running(store, a, max_attempts=5, key=key and f"{key}{i}") for i in range(4)]
        done = [step(one, Complete(RESULT), at(10)) for one in owned]
        failed = [step(one, Fail(ERROR), at(10)) for one in owned]
        later = [step(one, Snooze(at(500)), at(10)) for one in owned]
        batch = [done[0], failed[1], later[0], done[1], later[2], done[2], failed[0], later[3], later[3]]
        check.equal("OWN-08", await a.commit(batch), set(ids(owned)), "the answer to a batch of several outcomes")
        expected = {one.id: one for one in (done[0], failed[1], later[2], later[3])}
        check.equal("OWN-08", await b.get(ids(owned)), expected, "the tasks after it")


@guarantee("OWN-08")
async def test_no_outcome_behind_the_first_is_stored(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    owned = await running(store, a, max_attempts=5)
    mine = await running(store, a)
    waiting = step(owned, Fail(ERROR, at(500)), at(10))
    follows = step(waiting, Cancel(), at(11))
    ended = step(mine, Complete(RESULT), at(10))
    check.equal(
        "OWN-08", await a.commit([follows, waiting, ended]), {mine.id}, "the answer, with a refused outcome first"
    )
    check.equal("OWN-08", await stored(b, owned.id), owned, "the task whose first outcome was refused")
    check.equal("OWN-08", await a.commit([waiting, follows]), {owned.id}, "the answer")
    check.equal("OWN-08", await stored(b, owned.id), waiting, "the task after an outcome, and one that follows it")


@guarantee("RET-05")
async def test_a_task_that_is_named_twice_is_deleted_once(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    ended = [await reach(store, a, state) for state in (State.COMPLETED, State.CANCELLED, State.FAILED)]
    kept = await reach(store, a, State.COMPLETED)
    beside = [Held(kept.id, kept.fence - 1), Held(kept.id, kept.fence + 1)]
    batch = [*_twice(store, ended), *beside, *beside]
    check.equal("RET-05", await a.delete(batch), set(ids(ended)), "the answer to a batch that names each task twice")
    check.equal("RET-05", await b.get(ids([*ended, kept])), {kept.id: kept}, "what is left")
    counts = {one.state: one.tasks for one in await b.count() if one.tasks}
    check.equal("RET-05", counts, {State.COMPLETED: 1}, "the counts after it")
