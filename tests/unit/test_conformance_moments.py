from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta, timezone
from random import Random
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from litestar_queues.backends.base import TransactionalBackend
from litestar_queues.backends.memory import MemoryBackend
from litestar_queues.clock import ManualClock
from litestar_queues.records import Finished, Held, NewTask, Overdue, Stale, Want
from litestar_queues_conformance.harness import at
from litestar_queues_conformance.moments import GAP, SLACK, Onward, Present, Shifted, presents
from litestar_queues_conformance.telling import told_to

MOMENT = datetime(2031, 5, 17, 10, 20, 30, 123_456, tzinfo=UTC)
NOW = datetime(2026, 1, 2, 3, 4, 5, 600_000, tzinfo=UTC)
pytestmark = pytest.mark.anyio
SECOND, MICROSECOND = timedelta(seconds=1), timedelta(microseconds=1)
times = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001  # Hypothesis wants naive ones


class Watched(MemoryBackend):
    """A store whose clock a test sets, and which remembers what it was given as `now`."""

    def __init__(self) -> None:
        self.time = ManualClock(NOW)
        super().__init__(self.time)
        self.given: list[datetime | None] = []

    async def enqueue_many(self, tasks: Any, *, now: datetime | None = None) -> Any:
        self.given.append(now)
        return await super().enqueue_many(tasks, now=now)

    async def claim(self, want: Want, *, now: datetime | None = None) -> Any:
        self.given.append(now)
        return await super().claim(want, now=now)

    async def touch_heartbeats(self, held: Any, *, now: datetime | None = None) -> Any:
        self.given.append(now)
        return await super().touch_heartbeats(held, now=now)

    async def lock(self, name: str, owner: str, ttl: timedelta, *, now: datetime | None = None) -> bool:
        self.given.append(now)
        return await super().lock(name, owner, ttl, now=now)


def begun(present: Present) -> Present:
    asyncio.run(present.begin(Watched()))
    return present


def task(**fields: Any) -> NewTask:
    return NewTask(**{"id": "a", "name": "task", **fields})


@given(times)
def test_what_a_call_was_given_is_told_as_the_case_had_it(told: datetime) -> None:
    present = begun(Present(MOMENT))
    assert present.told(present.real(told)) == told


@given(times, times)
def test_what_comes_later_in_the_case_comes_later_in_the_store(one: datetime, other: datetime) -> None:
    present = begun(Present(MOMENT))
    assert (present.real(one) < present.real(other)) == (one < other)


def test_no_later_moment_comes_while_the_case_runs() -> None:
    present = begun(Present(MOMENT))
    assert present.real(MOMENT) == NOW
    assert present.real(MOMENT + MICROSECOND) == NOW + GAP + MICROSECOND
    assert present.real(MOMENT - MICROSECOND) == NOW - MICROSECOND
    assert timedelta(0) < SLACK < GAP


def test_the_stores_time_is_the_present_and_no_other_is() -> None:
    present = begun(Present(MOMENT))
    assert present.told(NOW) == MOMENT
    assert present.told(NOW + SECOND) == MOMENT
    for other in (-MICROSECOND, timedelta(minutes=1), timedelta(hours=1), timedelta(days=-40)):
        assert present.told(NOW + other) != MOMENT, other


def test_the_ends_of_time_and_the_zone_of_a_time_stay_what_they_are() -> None:
    present = begun(Present(MOMENT))
    last = datetime.max.replace(tzinfo=UTC)
    assert present.real(last) == last == present.told(last)
    zone = timezone(timedelta(hours=5, minutes=45))
    assert present.real(MOMENT.astimezone(zone)).tzinfo == zone


def test_a_case_is_told_again_at_its_last_moment_and_one_in_the_middle() -> None:
    present = begun(Present(MOMENT))
    assert presents(present) == ()
    for seconds in (0, 5, 3, 0):
        present.now(MOMENT + seconds * SECOND)
    assert presents(present) == (MOMENT + 3 * SECOND, MOMENT + 5 * SECOND)
    for seconds in range(20):
        present.now(MOMENT + seconds * SECOND)
    assert presents(present) == (MOMENT + 19 * SECOND, MOMENT + 10 * SECOND)


def test_given_times_are_moved_as_the_seed_says_and_all_by_the_same() -> None:
    shifted, other = Shifted.drawn(Random(1)), Shifted.drawn(Random(2))
    assert shifted.by != other.by
    assert shifted == Shifted.drawn(Random(1))
    for told in (at(-3600), at(0), at(5, microseconds=1), at(86_400 * 400)):
        assert shifted.told(shifted.real(told)) == told
        assert shifted.real(told) - shifted.real(at(0)) == told - at(0)
        assert shifted.real(told) > datetime.now(UTC)
    for end in (datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)):
        assert shifted.real(end) == shifted.told(end) == end


def test_distances_stay_what_they_are_where_time_goes_on() -> None:
    onward = Onward(MOMENT)
    asyncio.run(onward.begin(Watched()))
    assert onward.now(MOMENT - SECOND) == NOW - SECOND
    assert onward.now(MOMENT) is onward.now(MOMENT + SECOND) is onward.now(None) is None
    assert onward.told(onward.real(MOMENT + SECOND)) == MOMENT + SECOND


async def test_calls_of_the_present_leave_now_out_and_all_others_are_given_theirs() -> None:
    store = Watched()
    client = await told_to(store, Present(MOMENT))
    for seconds in (-1, 0, 1):
        now = MOMENT + seconds * SECOND
        [answer] = await client.enqueue_many([task(id=f"{seconds}")], now=now)
        assert answer.record.created_at == now
        assert await client.get([f"{seconds}"]) == {f"{seconds}": answer.record}
        assert await client.lock(f"{seconds}", "me", SECOND, now=now)
    assert store.given == [NOW - SECOND] * 2 + [None] * 2 + [NOW + GAP + SECOND] * 2
    assert await client.now() == MOMENT


async def test_a_task_comes_due_and_expires_when_the_case_says() -> None:
    store = Watched()
    client = await told_to(store, Present(MOMENT))
    later = MOMENT + MICROSECOND
    await client.enqueue_many(
        [
            task(id="due", run_at=MOMENT),
            task(id="ahead", run_at=later),
            task(id="over", expires_at=MOMENT),
            task(id="not over", expires_at=later),
        ],
        now=MOMENT - SECOND,
    )
    store.time.advance(2)
    claimed = await client.claim(Want(worker="w", limit=9), now=MOMENT)
    assert {one.id for one in claimed} == {"due", "not over"}
    assert {one.started_at for one in claimed} == {MOMENT}
    assert await client.next_due() == later
    assert [one.id for one in await client.find(Overdue(MOMENT), 9)] == ["over"]
    assert [one.id for one in await client.find(Overdue(later), 9)] == ["over"]


async def test_windows_and_locks_that_begin_in_the_present_end_after_the_case() -> None:
    store = Watched()
    client = await told_to(store, Present(MOMENT))
    await client.enqueue_many([task()], now=MOMENT)
    [owned] = await client.claim(Want(worker="w", limit=1, stale_after=5.0), now=MOMENT)
    assert owned.stale_after == 5.0
    assert await client.lock("l", "a", SECOND, now=MOMENT)
    store.time.advance(3)
    assert not await client.lock("l", "b", SECOND, now=MOMENT)
    assert await client.find(Stale(at=MOMENT + 5 * SECOND, window=1), 9) == []
    assert [one.id for one in await client.find(Stale(at=MOMENT + 5 * SECOND + SLACK, window=1), 9)] == ["a"]
    await client.touch_heartbeats([Held("a", owned.fence, None, 7.0)], now=MOMENT)
    [beaten] = (await client.get(["a"])).values()
    assert (beaten.stale_after, beaten.heartbeat_at) == (7.0, MOMENT)
    ended = MOMENT - SECOND
    await client.commit([beaten.evolve(fence=beaten.fence + 1, finished_at=ended)])
    assert store.tasks["a"].finished_at == NOW - SECOND
    assert await client.find(Finished(ended), 9) == []


async def test_a_told_client_has_what_the_client_has_and_nothing_more() -> None:
    class Transacts(Watched):
        def bind(self, session: Any) -> Any:
            del session
            return self

    store = Transacts()
    for inner, transacts in ((Watched(), False), (store, True)):
        client = await told_to(inner, Present(MOMENT))
        assert isinstance(client, TransactionalBackend) == transacts
        assert cast("Any", client).dispatches
    client = await told_to(store, Present(MOMENT))
    assert isinstance(client, TransactionalBackend)
    bound = client.bind(None)
    [answer] = await bound.enqueue_many([task()], now=MOMENT)
    assert (answer.record.created_at, store.given) == (MOMENT, [None])
    assert await told_to(store, None) is store


def test_what_is_asked_before_it_began_is_a_mistake_in_the_suite() -> None:
    for telling in (Present(MOMENT), Onward(MOMENT)):
        with pytest.raises(RuntimeError, match="begin"):
            telling.real(MOMENT - SECOND)
