"""REC: recovery of tasks whose owner is not heard of."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

import pytest

from litestar_queues.lifecycle import Complete, LoseHeartbeat, NullHeartbeat, Requeue, State, step
from litestar_queues.records import Held, Matching, Stale, TaskRecord
from litestar_queues_conformance.harness import T0, Check, Store, at, guarantee
from litestar_queues_conformance.moves import (
    ERROR,
    FATES,
    LOST,
    RESULT,
    claim_all,
    commit,
    ids,
    kinds,
    picture,
    pictures,
    running,
    stored,
)

_MICROSECOND = timedelta(microseconds=1)
BEFORE = at(100)


def _lost(records: list[TaskRecord]) -> list[TaskRecord]:
    return [step(one, LoseHeartbeat(LOST), at(200)) for one in records]


@pytest.mark.parametrize("before", [BEFORE, BEFORE.replace(microsecond=0), BEFORE.replace(microsecond=1)])
@guarantee("REC-01")
async def test_exactly_the_stale_are_found(store: Store, check: Check, before: datetime) -> None:
    a, b = await store.actors(2)
    await kinds(store, a)
    for record in await claim_all(a, now=at(3)):
        await commit(a, record, Complete(RESULT), at(4))
    for record in await b.find(Stale(before=at(9_000)), 99):
        await commit(a, record, Complete(RESULT), at(4))
    stale = [await running(store, a) for _ in range(3)]
    fresh = [await running(store, a) for _ in range(3)]
    for one, beat in zip(stale, (before - _MICROSECOND, before - timedelta(seconds=1), None), strict=True):
        if beat is not None:
            await a.touch_heartbeats([one.held], now=beat)
    for one, beat in zip(fresh, (before, before + _MICROSECOND, before + timedelta(days=1)), strict=True):
        await a.touch_heartbeats([one.held], now=beat)
    nulled = await running(store, a)
    await a.touch_heartbeats([nulled.held], now=before + timedelta(days=1))
    nulled = await commit(a, nulled, NullHeartbeat(), at(5))
    expected = await b.get(ids([*stale, nulled]))
    found = await b.find(Stale(before=before), 99)
    check.equal("REC-01", {one.id: one for one in found}, expected, "what is found as stale")


@guarantee("REC-01")
async def test_a_fresh_claim_counts_as_a_heartbeat(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    owned = await running(store, a, now=BEFORE)
    check.equal("REC-01", await b.find(Stale(before=BEFORE), 9), [], "what is stale at the time of the claim")
    found = await b.find(Stale(before=BEFORE + _MICROSECOND), 9)
    check.equal("REC-01", found, [owned], "what is stale a microsecond later")


@guarantee("REC-02")
async def test_the_stale_are_found_oldest_first_and_up_to_the_limit(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    await a.enqueue_many([store.new_task(priority=store.random.randint(-9, 9)) for _ in range(40)], now=T0)
    owned = await claim_all(a, now=T0)
    store.random.shuffle(owned)
    beats = [at(i // 3, microseconds=i % 2) for i in range(len(owned))]
    for one, beat in zip(owned, beats, strict=True):
        await a.touch_heartbeats([one.held], now=beat)
    nulled = [await commit(a, one, NullHeartbeat(), at(60)) for one in owned[30:]]
    expected = sorted(ids(nulled)) + [
        id_ for _, id_ in sorted((beat, one.id) for one, beat in zip(owned[:30], beats[:30], strict=True))
    ]
    for limit in (40, 25, 10, 9, 1, 1000):
        found = await b.find(Stale(before=at(100)), limit)
        check.equal("REC-02", ids(found), expected[:limit], f"the first {limit} of the stale")
    check.equal("REC-02", await b.find(Stale(before=at(100)), 0), [], "the first 0 of the stale")


@guarantee("REC-03")
async def test_a_heartbeat_that_lands_meanwhile_saves_the_task(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    for beat in (BEFORE, BEFORE + _MICROSECOND, at(9999)):
        owned = await running(store, a, max_attempts=3)
        [read] = await b.find(Stale(before=BEFORE), 9)
        await a.touch_heartbeats([owned.held], now=beat)
        await b.commit(_lost([read]), stale_before=BEFORE)
        saved = owned.evolve(heartbeat_at=beat)
        check.equal("REC-03", await stored(b, owned.id), saved, f"the task, saved {beat - BEFORE} from the limit")
        after = step(owned, Complete(RESULT), at(300))
        check.equal("REC-03", await a.commit([after]), {owned.id}, "its owner's completion")


@guarantee("REC-03")
async def test_without_a_heartbeat_meanwhile_the_task_is_recovered(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    for beat in (None, at(50), BEFORE - _MICROSECOND):
        owned = await running(store, a, max_attempts=3)
        [read] = await b.find(Stale(before=BEFORE), 9)
        if beat is not None:
            await a.touch_heartbeats([owned.held], now=beat)
        [after] = _lost([read])
        check.equal("REC-03", await b.commit([after], stale_before=BEFORE), {owned.id}, f"a recovery, beaten at {beat}")
        check.equal("REC-03", await stored(a, owned.id), after, "the recovered task")


@guarantee("REC-03")
async def test_a_task_that_was_saved_does_not_save_the_others_of_its_batch(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    owned = [await running(store, a, max_attempts=3) for _ in range(6)]
    read = await b.find(Stale(before=BEFORE), 9)
    saved = owned[::2]
    await a.touch_heartbeats([one.held for one in saved], now=at(150))
    await b.commit(_lost(read), stale_before=BEFORE)
    recovered = {one.id for one in await a.find(Matching(states=(State.PENDING,)), 9)}
    check.equal("REC-03", recovered, set(ids(owned[1::2])), "those that were recovered")
    found = await b.get(ids(saved))
    check.equal("REC-03", found, {one.id: one.evolve(heartbeat_at=at(150)) for one in saved}, "those that were saved")


@guarantee("REC-04")
async def test_a_recovery_is_answered_with_what_it_moved(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    fates = [FATES[fate] for fate in ("completed", "claimed again", "recovered", "requeued")]
    gone = [await running(store, a, max_attempts=5) for _ in fates]
    saved = [await running(store, a, max_attempts=5) for _ in range(3)]
    left = [await running(store, a, max_attempts=5) for _ in range(3)]
    read = await b.find(Stale(before=BEFORE), 99)
    check.equal("REC-04", set(ids(read)), set(ids([*gone, *saved, *left])), "what was found")
    await a.touch_heartbeats([one.held for one in saved], now=at(150))
    for record, happen in zip(gone, fates, strict=True):
        await happen(a, record)
    after = _lost(read)
    check.equal("REC-04", await b.commit(after, stale_before=BEFORE), set(ids(left)), "the answer")
    expected = {one.id: one for one in after if one.id in ids(left)}
    check.equal("REC-04", await a.get(ids(left)), expected, "those that were moved")


@guarantee("REC-04")
async def test_of_two_recoverers_each_task_has_one(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    owned = [await running(store, a, max_attempts=3) for _ in range(9)]
    first, second = await a.find(Stale(before=BEFORE), 5), await b.find(Stale(before=BEFORE), 99)
    moved = await a.commit(_lost(first), stale_before=BEFORE), await b.commit(_lost(second), stale_before=BEFORE)
    check.equal("REC-04", moved[0], set(ids(first)), "what the first was told that it moved")
    check.equal("REC-04", moved[1], set(ids(owned)) - set(ids(first)), "what the second was told that it moved")


@guarantee("REC-04")
async def test_of_many_recoverers_at_once_each_task_has_one(store: Store, check: Check) -> None:
    actors = await store.actors(4)
    for _ in range(5):
        owned = [await running(store, actors[0], max_attempts=3) for _ in range(12)]
        reads = [await actor.find(Stale(before=BEFORE), 99) for actor in actors]
        for read in reads:
            store.random.shuffle(read)
        moved = await asyncio.gather(
            *(actor.commit(_lost(read), stale_before=BEFORE) for actor, read in zip(actors, reads, strict=True))
        )
        told = sorted(id_ for ids_ in moved for id_ in ids_)
        check.equal("REC-04", told, sorted(ids(owned)), "what all were told that they moved")
        for record in (await actors[0].get(ids(owned))).values():
            check.equal("REC-04", record.fence, 2, "the fence of a task that was moved once")


@pytest.mark.parametrize("attempts", [1, 2, 5])
@guarantee("REC-05")
async def test_a_recovered_task_has_its_attempts_counted(store: Store, check: Check, attempts: int) -> None:
    a, b = await store.actors(2)
    record = await store.enqueue(a, max_attempts=attempts, key="k")
    for attempt in range(1, attempts + 1):
        [owned] = await claim_all(a, now=at(300 * attempt), worker=f"w{attempt}")
        check.equal("REC-05", owned.attempt, attempt, "the attempt")
        [read] = await b.find(Stale(before=at(300 * attempt + 60)), 9)
        after = step(read, LoseHeartbeat(LOST), at(300 * attempt + 61))
        answer = await b.commit([after], stale_before=at(300 * attempt + 60))
        check.equal("REC-05", answer, {record.id}, "the answer to the recovery")
        check.equal("REC-05", await stored(a, record.id), after, f"the task after recovery {attempt} of {attempts}")
    check.equal("REC-05", (await stored(a, record.id)).state, State.FAILED, "the state once no attempt is left")
    check.equal("REC-05", await claim_all(a, now=at(9999)), [], "what is claimed once no attempt is left")
    check.equal("REC-05", await b.find(Stale(before=at(9999)), 9), [], "what is stale once no attempt is left")


@pytest.mark.parametrize("fate", FATES)
@guarantee("REC-06")
async def test_a_late_recovery_resurrects_nothing(store: Store, check: Check, fate: str) -> None:
    a, b = await store.actors(2)
    for attempts in (2, 5):
        owned = await running(store, a, max_attempts=attempts)
        [read] = [one for one in await b.find(Stale(before=BEFORE), 99) if one.id == owned.id]
        await FATES[fate](a, owned)
        before = picture(await stored(a, owned.id))
        for recovered in (step(read, LoseHeartbeat(ERROR), at(200)), step(read, Requeue(), at(200))):
            for stale_before in (BEFORE, at(9999), None):
                answer = await b.commit([recovered], stale_before=stale_before)
                check.equal("REC-06", answer, set[str](), f"a late recovery of a task that was {fate}")
        check.equal("REC-06", picture(await stored(a, owned.id)), before, f"a task that was {fate}")


@guarantee("REC-06")
async def test_a_recovery_touches_nothing_but_the_stale(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    others = await kinds(store, a)
    await a.touch_heartbeats([others["running"].held], now=at(150))
    owned = await running(store, a, max_attempts=3)
    before = await pictures(a)
    read = await b.find(Stale(before=BEFORE), 99)
    [after] = _lost(read)
    check.equal("REC-06", await b.commit([after], stale_before=BEFORE), {owned.id}, "the answer")
    found = await pictures(a)
    check.equal("REC-06", found, {**before, owned.id: found[owned.id]}, "everything else")
    check.equal("REC-06", await b.get([store.new_id(), owned.id]), {owned.id: after}, "the recovered task")


@guarantee("REC-06")
async def test_a_zombie_cannot_write_after_its_task_was_recovered(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    owned = await running(store, a, max_attempts=3)
    [after] = _lost(await b.find(Stale(before=BEFORE), 9))
    await b.commit([after], stale_before=BEFORE)
    late = await a.touch_heartbeats([Held(owned.id, owned.fence, '"late"')], now=at(201))
    check.equal("REC-06", late, set[str](), "the zombie's heartbeat")
    check.equal("REC-06", await a.commit([step(owned, Complete(RESULT), at(202))]), set[str](), "its completion")
    check.equal("REC-06", await stored(b, owned.id), after, "the recovered task")
