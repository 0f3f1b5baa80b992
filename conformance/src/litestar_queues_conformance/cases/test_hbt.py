"""HBT: heartbeats."""

from __future__ import annotations

import pytest

from litestar_queues.lifecycle import Complete, LoseHeartbeat, NullHeartbeat, State, step
from litestar_queues.records import Held, Stale
from litestar_queues_conformance.harness import T0, Check, Store, at, guarantee
from litestar_queues_conformance.moves import (
    FATES,
    LOST,
    RESULT,
    claim_all,
    commit,
    ids,
    picture,
    pictures,
    reach,
    running,
    stored,
)

_BEATING = (State.RUNNING, State.DISPATCHED)


@guarantee("HBT-01")
async def test_a_heartbeat_sets_its_time_and_nothing_else(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    owned = await running(store, a, key="k", metadata='{"m": 1}', max_attempts=3)
    for time in (at(10), at(20, microseconds=1), at(30).replace(microsecond=0)):
        check.equal("HBT-01", await a.touch_heartbeats([owned.held], now=time), {owned.id}, "the answer")
        check.equal("HBT-01", await stored(b, owned.id), owned.evolve(heartbeat_at=time), "the task")


@guarantee("HBT-01")
async def test_progress_travels_with_a_heartbeat_and_stays_without(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    owned = await running(store, a)
    progress = None
    given = ('{"done": 1}', None, '{"done": 2}', None, "null", None, "0", "false", '""', None)
    for i, text in enumerate(given):
        progress = text or progress
        await a.touch_heartbeats([Held(owned.id, owned.fence, text)], now=at(10 + i))
        expected = owned.evolve(heartbeat_at=at(10 + i), progress=progress)
        check.equal("HBT-01", await stored(b, owned.id), expected, f"the task after a heartbeat with progress {text}")


@guarantee("HBT-01")
async def test_each_heartbeat_of_a_batch_carries_its_own_progress(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    await a.enqueue_many(store.new_tasks(9), now=T0)
    owned = await claim_all(a, now=T0)
    beats = [Held(one.id, one.fence, f"[{i}]" if i % 3 else None) for i, one in enumerate(owned)]
    check.equal("HBT-01", await a.touch_heartbeats(beats, now=at(5)), set(ids(owned)), "the answer")
    expected = {
        one.id: one.evolve(heartbeat_at=at(5), progress=beat.progress) for one, beat in zip(owned, beats, strict=True)
    }
    check.equal("HBT-01", await b.get(ids(owned)), expected, "the tasks")


@guarantee("HBT-02")
async def test_a_batch_of_heartbeats_is_answered_with_what_is_still_held(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    owned = [await running(store, a, max_attempts=5) for _ in range(4)]
    fates = [happen for fate, happen in FATES.items() if fate not in ("cancelled", "heartbeat nulled")]
    lost = [await running(store, a, max_attempts=5) for _ in fates]
    for record, happen in zip(lost, fates, strict=True):
        await happen(b, record)
    waiting = [await reach(store, a, State.PENDING), await reach(store, a, State.SCHEDULED)]
    ended = [await reach(store, a, state) for state in (State.COMPLETED, State.EXPIRED)]
    wrong = [Held(owned[0].id, owned[0].fence - 1), Held(owned[1].id, owned[1].fence + 1), Held(store.new_id(), 1)]
    batch = [*(one.held for one in (*owned[2:], *lost, *waiting, *ended)), *wrong]
    store.random.shuffle(batch)
    check.equal("HBT-02", await a.touch_heartbeats(batch, now=at(200)), set(ids(owned[2:])), "the answer")


@guarantee("HBT-02")
async def test_a_large_batch_of_heartbeats_is_answered_with_what_is_still_held(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    await a.enqueue_many([store.new_task() for _ in range(2000)], now=T0)
    owned = await claim_all(a, now=T0)
    check.equal("HBT-02", len(owned), 2000, "how many were claimed")
    gone = owned[::7]
    await b.commit([step(one, Complete(RESULT), at(1)) for one in gone])
    kept = await a.touch_heartbeats([one.held for one in owned], now=at(2))
    check.equal("HBT-02", kept, set(ids(owned)) - set(ids(gone)), "the answer")


@pytest.mark.parametrize("fate", FATES)
@guarantee("HBT-03")
async def test_a_lost_owners_heartbeat_leaves_no_trace(store: Store, check: Check, fate: str) -> None:
    a, b = await store.actors(2)
    lost = await running(store, a, max_attempts=5)
    mine = await running(store, a)
    await FATES[fate](b, lost)
    before = picture(await stored(b, lost.id))
    for beats in ([Held(lost.id, lost.fence, '"late"')], [lost.held, mine.held]):
        await a.touch_heartbeats(beats, now=at(200))
        check.equal("HBT-03", picture(await stored(b, lost.id)), before, f"a task that was {fate}, after a late beat")


@guarantee("HBT-03")
async def test_what_does_not_run_takes_no_heartbeat_under_its_own_fence(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    records = [await reach(store, a, state) for state in store.states if state not in _BEATING]
    before = await pictures(b)
    beats = [Held(one.id, one.fence, '"late"') for one in records]
    await a.touch_heartbeats(beats, now=at(200))
    check.equal("HBT-03", await pictures(b), before, "what is stored")


@guarantee("HBT-04", "HBT-30")
async def test_a_nulled_heartbeat_is_stale_at_once_and_lost_to_its_owner(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    owned = await running(store, a, max_attempts=3)
    fresh = await running(store, a)
    nulled = await commit(a, owned, NullHeartbeat(), at(1))
    check.equal("HBT-04", await b.find(Stale.since(at(-9999)), 9), [nulled], f"what is stale, beside {fresh.id}")
    check.equal("HBT-30", await a.touch_heartbeats([owned.held], now=at(2)), set[str](), "a beat under the old fence")
    check.equal("HBT-30", await stored(b, owned.id), nulled, "the task after it")
    recovered = step(nulled, LoseHeartbeat(LOST), at(3))
    check.equal("HBT-04", await b.commit([recovered], stale=Stale.since(at(-9999))), {owned.id}, "its recovery")
    check.equal("HBT-04", ids(await claim_all(b, now=at(4))), [owned.id], "what is claimed next")
