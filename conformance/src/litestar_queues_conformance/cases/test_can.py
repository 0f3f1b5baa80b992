"""CAN: cancellation."""

from __future__ import annotations

import pytest

from litestar_queues.lifecycle import Cancel, State, step
from litestar_queues.records import Held, Stale, Want
from litestar_queues_conformance.harness import Check, Store, at, guarantee
from litestar_queues_conformance.moves import claim_all, reach, running, stored


@pytest.mark.parametrize("state", [State.PENDING, State.SCHEDULED, State.RUNNING])
@guarantee("CAN-01", "CAN-30")
async def test_a_cancelled_task_is_stored_as_cancelled_and_never_claimed(
    store: Store, check: Check, state: State
) -> None:
    a, b = await store.actors(2)
    before = await reach(store, a, state, priority=9, max_attempts=5)
    cancelled = step(before, Cancel(), at(10))
    check.equal("CAN-01", await b.commit([cancelled]), {before.id}, "the answer")
    check.equal("CAN-01", await stored(a, before.id), cancelled, "the task")
    check.equal("CAN-01", await a.next_due(), None, "when something comes due")
    other = await store.enqueue(a, priority=-9)
    for fence in range(cancelled.fence + 2):
        claimed = await a.claim(Want(worker="w", limit=9, tasks=(Held(before.id, fence),)), now=at(9_000))
        check.equal("CAN-30", claimed, [], f"a claim by id under fence {fence}")
    claimed = await claim_all(a, now=at(9_000))
    check.equal("CAN-30", [one.id for one in claimed], [other.id], "a claim of anything, much later")
    check.equal("CAN-01", await b.find(Stale.since(at(8_000)), 9), [], "what is stale")


@guarantee("CAN-01", "CAN-30")
async def test_a_cancelled_task_in_a_batch_leaves_the_others(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    batch = store.new_tasks(10)
    records = [one.record for one in await a.enqueue_many(batch, now=at(0))]
    gone = records[::2]
    answer = await b.commit([step(one, Cancel(), at(1)) for one in gone])
    check.equal("CAN-01", answer, {one.id for one in gone}, "the answer")
    claimed = await claim_all(a, now=at(2))
    check.equal("CAN-30", [one.id for one in claimed], [one.id for one in records[1::2]], "what is claimed")


@guarantee("CAN-02")
async def test_the_owner_of_a_cancelled_task_learns_of_it(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    owned, other = await running(store, a, max_attempts=5), await running(store, a)
    kept = await a.touch_heartbeats([owned.held, other.held], now=at(5))
    check.equal("CAN-02", kept, {owned.id, other.id}, "the heartbeats before")
    read = await stored(b, owned.id)
    cancelled = step(read, Cancel(), at(10))
    check.equal("CAN-02", await b.commit([cancelled]), {owned.id}, "the answer to the cancel")
    kept = await a.touch_heartbeats([owned.held, other.held], now=at(15))
    check.equal("CAN-02", kept, {other.id}, "the heartbeats after")
    check.equal("CAN-02", await stored(b, owned.id), cancelled, "the cancelled task")
