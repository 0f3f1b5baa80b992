"""CLK: whose clock counts, and what a wrong one does. No case passes `now` where it is about the clock."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta

from litestar_queues.backends.base import QueueBackend
from litestar_queues.lifecycle import State
from litestar_queues.records import Enqueued, Held, Stale, TaskRecord, Want
from litestar_queues_conformance.harness import Check, Store, at, guarantee
from litestar_queues_conformance.hearing import SOON
from litestar_queues_conformance.moves import ids, stored
from litestar_queues_conformance.patience import TURN, Deadline
from litestar_queues_conformance.skewing import in_zone, skewed

_HOUR = timedelta(hours=1)
_HALF = timedelta(minutes=30)
_NEAR = timedelta(minutes=10)
"""How far apart two readings of one clock are at most: more than a case takes, and less than the nearest time zone."""
_ZONES = ("XXX-05:45", "XXX+09:30", "UTC0")
_SKEWS = (_HOUR, -_HOUR)


def _skew(by: timedelta) -> str:
    return f"an hour {'ahead' if by > timedelta(0) else 'behind'}"


async def _new(actor: QueueBackend, store: Store, **fields: object) -> TaskRecord:
    """A task whose enqueue takes the time of the store's clock, or of the client's where the store has none."""
    [one] = await actor.enqueue_many([store.new_task(**fields)])
    return one.record


async def _claimed(actor: QueueBackend, limit: int = 9, *named: TaskRecord) -> list[TaskRecord]:
    tasks = tuple(Held(one.id, one.fence) for one in named) or None
    return await actor.claim(Want(worker="w", limit=limit, tasks=tasks))


@guarantee("CLK-01", time="given")  # `now` is left out in any mode
async def test_now_follows_the_clients_clock_where_the_store_is_declared_to_have_none(
    store: Store, check: Check
) -> None:
    right = await store.actor()
    declared = store.target.capabilities.server_clock
    for by in _SKEWS:
        with skewed(by):
            found = await (await store.actor()).now()
        off = found - await right.now()
        if declared:
            follows = (
                f"server_clock is declared, and is absent: now() of a client whose clock is {_skew(by)} is off by {off}"
            )
            check("CLK-01", abs(off) < _NEAR, follows)
        else:
            own = f"server_clock is declared absent, and is there: now() of a client whose clock is {_skew(by)} is off by {off}"
            check("CLK-01", abs(off - by) < _NEAR, own)


async def _has_own(store: Store, check: Check) -> bool:
    """Whether the store has a clock, as declared. Where it has none, a client's clock stamps what that client writes."""
    if store.target.capabilities.server_clock:
        return True
    right = await store.actor()
    for by in _SKEWS:
        with skewed(by):
            one = await _new(await store.actor(), store)
        off = one.created_at - await right.now()
        own = f"server_clock is declared absent, and is there: a client whose clock is {_skew(by)} stamped a task {off} off"
        check("CLK-02", abs(off - by) < _NEAR, own)
    check.absent("CLK-02", "server_clock")
    return False


@guarantee("CLK-02", time="given")
async def test_a_client_with_a_wrong_clock_stamps_what_it_writes_by_the_stores(store: Store, check: Check) -> None:
    if not await _has_own(store, check):
        return
    right = await store.actor()
    for by in _SKEWS:
        with skewed(by):
            wrong = await store.actor()
            new = await _new(wrong, store)
            batch = [one.record for one in await wrong.enqueue_many(store.new_tasks(3))]
            claimed = await _claimed(wrong, 1, new)
            check.equal("CLK-02", ids(claimed), [new.id], f"what a client claims whose clock is {_skew(by)}")
            await wrong.touch_heartbeats([claimed[0].held])
        now, beaten = await right.now(), await stored(right, new.id)
        times: dict[str, list[datetime | None]] = {
            "created_at": [new.created_at, *(one.created_at for one in batch)],
            "due_at": [new.due_at, *(one.due_at for one in batch)],
            "started_at": [claimed[0].started_at],
            "heartbeat_at of a claim": [claimed[0].heartbeat_at],
            "heartbeat_at": [beaten.heartbeat_at],
        }
        for name, found in times.items():
            near = all(one is not None and abs(one - now) < _NEAR for one in found)
            check("CLK-02", near, f"{name} of a client whose clock is {_skew(by)} is {found}, at {now}")


@guarantee("CLK-02", time="given")
async def test_what_is_due_or_overdue_does_not_follow_a_wrong_clock(store: Store, check: Check) -> None:
    if not await _has_own(store, check):
        return
    right = await store.actor()
    now = await right.now()
    for by in _SKEWS:
        with skewed(by):
            wrong = await store.actor()
            soon = await _new(wrong, store, run_at=now + _HALF)
            check.equal(
                "CLK-02", (soon.state, soon.due_at), (State.SCHEDULED, now + _HALF), "a task of half an hour later"
            )
            past = await _new(wrong, store, run_at=now - _HALF, key=f"past {by}")
            check.equal("CLK-02", past.state, State.PENDING, "the state of a task of half an hour ago")
            await _new(wrong, store, expires_at=now - _HALF)
            lasting = await _new(wrong, store, expires_at=now + _HALF)
            ready = await _new(right, store)
            claimed = await _claimed(wrong)
        expected = [past.id, lasting.id, ready.id]
        what = f"what a client claims whose clock is {_skew(by)}"
        check.equal("CLK-02", sorted(ids(claimed)), sorted(expected), what)


@guarantee("CLK-02", time="given")
async def test_locks_and_heartbeats_last_by_the_clock_of_the_store(store: Store, check: Check) -> None:
    if not await _has_own(store, check):
        return
    right = await store.actor()
    for by in _SKEWS:
        what = f"a client whose clock is {_skew(by)}"
        name = store.new_id()
        check("CLK-02", await right.lock(f"{name} ours", "right", _HALF), "a free lock was refused")
        with skewed(by):
            wrong = await store.actor()
            got = await wrong.lock(f"{name} ours", "wrong", _HALF)
            check.equal("CLK-02", got, False, f"whether {what} got a lock that another holds for half an hour")
            check("CLK-02", await wrong.lock(f"{name} theirs", "wrong", _HALF), "a free lock was refused")
            check(
                "CLK-02",
                await wrong.lock(f"{name} short", "wrong", timedelta(milliseconds=1)),
                "a free lock was refused",
            )
            task = await _new(wrong, store)
            owned = await _claimed(wrong, 1, task)
            check.equal("CLK-02", ids(owned), [task.id], f"what {what} claims")
            await wrong.touch_heartbeats([owned[0].held])
        got = await right.lock(f"{name} theirs", "right", _HALF)
        check.equal("CLK-02", got, False, f"whether a lock of half an hour that {what} took was given to another")
        check("CLK-02", await _gets(right, f"{name} short"), f"a lock of a millisecond that {what} took does not end")
        now = await right.now()
        for after, stale in ((timedelta(0), []), (_HALF + _NEAR, [task.id])):
            query = Stale(at=now + after, window=_HALF.total_seconds())
            found = ids(await right.find(query, 99))
            check.equal(
                "CLK-02", [one for one in found if one == task.id], stale, f"stale {after} after a heartbeat of {what}"
            )


async def _gets(actor: QueueBackend, name: str) -> bool:
    """Whether the lock is free, before so many looks and so much time have passed."""
    deadline, turns = Deadline(SOON), int(SOON / TURN)
    while not (got := await actor.lock(name, "right", _HALF)) and (turns > 0 or deadline.left > 0):
        await asyncio.sleep(0)
        turns -= 1
    return got


@guarantee("CLK-03", time="given")
async def test_the_local_time_zone_of_a_client_does_not_matter(store: Store, check: Check) -> None:
    for zone in _ZONES:
        with in_zone(zone):
            actor = await store.actor()
            before = datetime.fromtimestamp(time.time(), UTC)
            answers: list[Enqueued] = await actor.enqueue_many([store.new_task()])
            times = {
                "now()": await actor.now(),
                "created_at": answers[0].record.created_at,
                "created_at as it is read": (await stored(actor, answers[0].record.id)).created_at,
            }
        for name, found in times.items():
            check.equal("CLK-03", found.utcoffset(), timedelta(0), f"the offset of {name} from UTC")
            near = abs(found - before) < _NEAR
            check("CLK-03", near, f"{name} of a client in the time zone {zone} is {found}, at {before}")


@guarantee("CLK-04", time="given")
async def test_a_time_that_goes_back_claims_nothing_early(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    early = [await store.enqueue(a, run_at=at(100)) for _ in range(3)]
    late = await store.enqueue(a, run_at=at(200))
    first = await a.claim(Want(worker="w", limit=1), now=at(150))
    check.equal("CLK-04", len(first), 1, "how many are claimed once they are due")
    rest = [one for one in early if one.id != first[0].id]
    for moment, due in ((50, []), (99.999999, []), (100, sorted(ids(rest)))):
        named = Want(worker="w", limit=9, tasks=tuple(one.held for one in (*rest[:1], late)))
        if not due:
            check.equal(
                "CLK-04", await b.claim(named, now=at(moment)), [], f"a claim by id at {moment}, after one at 150"
            )
        claimed = await b.claim(Want(worker="w", limit=9), now=at(moment))
        check.equal("CLK-04", sorted(ids(claimed)), due, f"what is claimed at {moment}, after a claim at 150")


@guarantee("CLK-04", time="given")
async def test_a_clock_that_goes_back_claims_nothing_early(store: Store, check: Check) -> None:
    right = await store.actor()
    now = await right.now()
    tasks = [await _new(right, store, run_at=now + _HALF) for _ in range(3)]
    with skewed(_HOUR):
        ahead = await _claimed(right, 1)
    expected = 0 if store.target.capabilities.server_clock else 1
    check.equal("CLK-04", len(ahead), expected, "how many are claimed by a client whose clock is an hour ahead")
    left = [one for one in tasks if one.id not in ids(ahead)]
    check.equal("CLK-04", await _claimed(right), [], "what is claimed once the clock has gone back")
    check.equal("CLK-04", await _claimed(right, 9, *left), [], "what is claimed by id once the clock has gone back")
