"""EXP: tasks that must not start after a time."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from litestar_queues.lifecycle import Event, Expire, Fail, LoseHeartbeat, Requeue, Snooze, State, step
from litestar_queues.records import Overdue, TaskRecord, Want
from litestar_queues_conformance.harness import Check, Store, at, guarantee
from litestar_queues_conformance.moves import ERROR, LOST, claim_all, claim_one, commit, ids, reach, running, stored

_MICROSECOND = timedelta(microseconds=1)


@pytest.mark.parametrize("over", [at(100), at(100).replace(microsecond=0), at(100).replace(microsecond=1)])
@guarantee("EXP-01")
async def test_an_overdue_task_is_not_claimed(store: Store, check: Check, over: datetime) -> None:
    a, b = await store.actors(2)
    pending = await store.enqueue(a, expires_at=over, priority=9)
    scheduled = await store.enqueue(a, expires_at=over, run_at=over - timedelta(seconds=1), priority=9)
    never = await store.enqueue(a, expires_at=over, run_at=over + timedelta(seconds=1), priority=9)
    records = [pending, scheduled, never]
    for now in (over, over + _MICROSECOND, over + timedelta(days=1)):
        check.equal("EXP-01", await claim_all(b, now=now), [], f"a claim of anything, {now - over} after the time")
        named = Want(worker="w", limit=9, tasks=tuple(one.held for one in records))
        check.equal("EXP-01", await b.claim(named, now=now), [], f"a claim by id, {now - over} after the time")
    for record in records:
        found = await stored(a, record.id)
        check.equal("EXP-01", (found.fence, found.attempt, found.worker), (0, 0, None), "a task that was passed over")


@guarantee("EXP-01")
async def test_a_task_is_claimed_up_to_the_microsecond_before_it_expires(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    for over in (at(100), at(200).replace(microsecond=0), at(300).replace(microsecond=1)):
        waiting = await store.enqueue(a, expires_at=over)
        claimed = await claim_all(b, now=over - _MICROSECOND)
        check.equal("EXP-01", ids(claimed), [waiting.id], "a claim a microsecond before")


@guarantee("EXP-30")
async def test_overdue_tasks_do_not_hide_the_others(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    over = [store.new_task(priority=9, expires_at=at(50)) for _ in range(1200)]
    over += [store.new_task(priority=9, run_at=at(40), expires_at=at(50)) for _ in range(300)]
    await a.enqueue_many(over, now=at(0))
    live = store.new_tasks(12)
    await a.enqueue_many(live, now=at(1))
    for limit, expected in ((1, live[:1]), (3, live[1:4]), (99, live[4:])):
        claimed = await b.claim(Want(worker="w", limit=limit, queues=("default",)), now=at(60))
        check.equal("EXP-30", ids(claimed), ids(expected), f"a claim of {limit} behind 1,500 that are overdue")


@pytest.mark.parametrize("name", ["retry", "retry later", "requeue", "snooze", "recover"])
@guarantee("EXP-02")
async def test_a_task_that_waits_again_is_not_claimed_once_it_expired(store: Store, check: Check, name: str) -> None:
    a, b = await store.actors(2)
    events: dict[str, Event] = {
        "retry": Fail(ERROR, at(0)),
        "retry later": Fail(ERROR, at(20)),
        "requeue": Requeue(),
        "snooze": Snooze(at(20)),
        "recover": LoseHeartbeat(LOST),
    }
    event = events[name]
    for given_back in (at(10), at(60)):  # before it expires, and after
        owned = await running(store, a, max_attempts=5, expires_at=at(50))
        waiting = await commit(a, owned, event, given_back)
        for now in (at(60), at(61), at(5000)):
            check.equal("EXP-02", await claim_all(b, now=now), [], f"a claim of anything after {name}")
            named = Want(worker="w", limit=9, tasks=(waiting.held,))
            check.equal("EXP-02", await b.claim(named, now=now), [], f"a claim by id after {name}")
        check.equal("EXP-02", (await stored(b, owned.id)).fence, waiting.fence, "the fence of what was passed over")
    owned = await running(store, a, max_attempts=5, expires_at=at(50), queue="other")
    await commit(a, owned, event, at(10))
    claimed = await claim_all(b, now=at(50) - _MICROSECOND, queues=("other",))
    check.equal("EXP-02", ids(claimed), [owned.id], "a claim in time")


@guarantee("EXP-02")
async def test_a_task_that_was_claimed_in_time_runs_on(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    owned = await running(store, a, expires_at=at(50))
    check.equal("EXP-02", await b.find(Overdue(at=at(100)), 9), [], "what is overdue while it runs")
    check.equal("EXP-02", await a.touch_heartbeats([owned.held], now=at(100)), {owned.id}, "its heartbeat")


@guarantee("EXP-03")
async def test_exactly_the_overdue_are_found_earliest_first(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    when = at(100)
    over: list[TaskRecord] = []
    for i in range(12):
        expires_at = when - timedelta(seconds=i // 3, microseconds=i % 2)
        over.append(await store.enqueue(a, expires_at=expires_at, run_at=at(9999) if i % 4 == 0 else None, priority=i))
    await store.enqueue(a, expires_at=when + _MICROSECOND)
    await store.enqueue(a)
    await running(store, a, expires_at=at(50))
    for state in (State.COMPLETED, State.FAILED, State.CANCELLED, State.EXPIRED):
        await reach(store, a, state, **({} if state is State.EXPIRED else {"expires_at": at(50)}))
    over.sort(key=lambda one: (one.expires_at, one.id))
    for limit in (99, 12, 11, 4, 1, 0):
        check.equal("EXP-03", await b.find(Overdue(at=when), limit), over[:limit], f"the first {limit} of the overdue")
    check.equal("EXP-03", await b.find(Overdue(at=at(90)), 9), [], "what was overdue earlier")


@guarantee("EXP-03")
async def test_a_task_that_waits_again_is_found_as_overdue(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    for event in (Requeue(), Snooze(at(9999))):
        owned = await running(store, a, expires_at=at(50), max_attempts=3)
        waiting = await commit(a, owned, event, at(60))
        check.equal("EXP-03", await b.find(Overdue(at=at(50)), 9), [waiting], f"what is overdue after {event.name}")
        expired = step(waiting, Expire(), at(61))
        check.equal("EXP-03", await b.commit([expired]), {owned.id}, "the answer to its expiry")
        check.equal("EXP-03", await stored(a, owned.id), expired, "the expired task")
        check.equal("EXP-03", await b.find(Overdue(at=at(99)), 9), [], "what is overdue after its expiry")


@guarantee("EXP-03")
async def test_a_claim_that_lands_before_the_expiry_wins(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    await store.enqueue(a, expires_at=at(50))
    [read] = await b.find(Overdue(at=at(50)), 9)
    owned = await claim_one(a, read, now=at(49))
    check.equal("EXP-03", await b.commit([step(read, Expire(), at(51))]), set[str](), "the answer to the expiry")
    check.equal("EXP-03", await stored(b, read.id), owned, "the claimed task")
