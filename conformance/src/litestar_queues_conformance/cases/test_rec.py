"""REC: recovery of tasks whose owner is not heard of."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

import pytest

from litestar_queues.lifecycle import Complete, Fail, LoseHeartbeat, NullHeartbeat, Requeue, Snooze, State, step
from litestar_queues.records import Held, Matching, Stale, TaskRecord
from litestar_queues_conformance.harness import T0, Check, Store, at, guarantee
from litestar_queues_conformance.moves import (
    ERROR,
    FATES,
    LOST,
    RESULT,
    beat_at,
    claim_all,
    claim_one,
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
    for record in await b.find(Stale.since(at(9_000)), 99):
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
    found = await b.find(Stale.since(before), 99)
    check.equal("REC-01", {one.id: one for one in found}, expected, "what is found as stale")


@guarantee("REC-01")
async def test_a_fresh_claim_counts_as_a_heartbeat(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    owned = await running(store, a, now=BEFORE)
    check.equal("REC-01", await b.find(Stale.since(BEFORE), 9), [], "what is stale at the time of the claim")
    found = await b.find(Stale.since(BEFORE + _MICROSECOND), 9)
    check.equal("REC-01", found, [owned], "what is stale a microsecond later")


@guarantee("REC-02")
async def test_the_stale_are_found_oldest_first_and_up_to_the_limit(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    await a.enqueue_many([store.new_task(priority=store.random.randint(-9, 9)) for _ in range(40)], now=T0)
    owned = await claim_all(a, now=T0)
    store.random.shuffle(owned)
    beats = [at(i // 3, microseconds=i % 2) for i in range(len(owned))]
    await beat_at(a, [(one.held, beat) for one, beat in zip(owned, beats, strict=True)])
    nulled = [await commit(a, one, NullHeartbeat(), at(60)) for one in owned[30:]]
    expected = sorted(ids(nulled)) + [
        id_ for _, id_ in sorted((beat, one.id) for one, beat in zip(owned[:30], beats[:30], strict=True))
    ]
    for limit in (40, 25, 10, 9, 1, 1000):
        found = await b.find(Stale.since(at(100)), limit)
        check.equal("REC-02", ids(found), expected[:limit], f"the first {limit} of the stale")
    check.equal("REC-02", await b.find(Stale.since(at(100)), 0), [], "the first 0 of the stale")


@guarantee("REC-03")
async def test_a_heartbeat_that_lands_meanwhile_saves_the_task(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    for beat in (BEFORE, BEFORE + _MICROSECOND, at(9999)):
        owned = await running(store, a, max_attempts=3)
        [read] = await b.find(Stale.since(BEFORE), 9)
        await a.touch_heartbeats([owned.held], now=beat)
        await b.commit(_lost([read]), stale=Stale.since(BEFORE))
        saved = owned.evolve(heartbeat_at=beat)
        check.equal("REC-03", await stored(b, owned.id), saved, f"the task, saved {beat - BEFORE} from the limit")
        after = step(owned, Complete(RESULT), at(300))
        check.equal("REC-03", await a.commit([after]), {owned.id}, "its owner's completion")


@guarantee("REC-03")
async def test_without_a_heartbeat_meanwhile_the_task_is_recovered(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    for beat in (None, at(50), BEFORE - _MICROSECOND):
        owned = await running(store, a, max_attempts=3)
        [read] = await b.find(Stale.since(BEFORE), 9)
        if beat is not None:
            await a.touch_heartbeats([owned.held], now=beat)
        [after] = _lost([read])
        check.equal(
            "REC-03", await b.commit([after], stale=Stale.since(BEFORE)), {owned.id}, f"a recovery, beaten at {beat}"
        )
        check.equal("REC-03", await stored(a, owned.id), after, "the recovered task")


@guarantee("REC-03")
async def test_a_task_that_was_saved_does_not_save_the_others_of_its_batch(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    owned = [await running(store, a, max_attempts=3) for _ in range(6)]
    read = await b.find(Stale.since(BEFORE), 9)
    saved = owned[::2]
    await a.touch_heartbeats([one.held for one in saved], now=at(150))
    await b.commit(_lost(read), stale=Stale.since(BEFORE))
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
    read = await b.find(Stale.since(BEFORE), 99)
    check.equal("REC-04", set(ids(read)), set(ids([*gone, *saved, *left])), "what was found")
    await a.touch_heartbeats([one.held for one in saved], now=at(150))
    for record, happen in zip(gone, fates, strict=True):
        await happen(a, record)
    after = _lost(read)
    check.equal("REC-04", await b.commit(after, stale=Stale.since(BEFORE)), set(ids(left)), "the answer")
    expected = {one.id: one for one in after if one.id in ids(left)}
    check.equal("REC-04", await a.get(ids(left)), expected, "those that were moved")


@guarantee("REC-30")
async def test_of_two_recoverers_each_task_has_one(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    owned = [await running(store, a, max_attempts=3) for _ in range(9)]
    first, second = await a.find(Stale.since(BEFORE), 5), await b.find(Stale.since(BEFORE), 99)
    moved = (
        await a.commit(_lost(first), stale=Stale.since(BEFORE)),
        await b.commit(_lost(second), stale=Stale.since(BEFORE)),
    )
    check.equal("REC-30", moved[0], set(ids(first)), "what the first was told that it moved")
    check.equal("REC-30", moved[1], set(ids(owned)) - set(ids(first)), "what the second was told that it moved")


@guarantee("REC-30")
async def test_of_many_recoverers_at_once_each_task_has_one(store: Store, check: Check) -> None:
    actors = await store.actors(4)
    for _ in range(5):
        owned = [await running(store, actors[0], max_attempts=3) for _ in range(12)]
        reads = [await actor.find(Stale.since(BEFORE), 99) for actor in actors]
        for read in reads:
            store.random.shuffle(read)
        moved = await asyncio.gather(
            *(actor.commit(_lost(read), stale=Stale.since(BEFORE)) for actor, read in zip(actors, reads, strict=True))
        )
        told = sorted(id_ for ids_ in moved for id_ in ids_)
        check.equal("REC-30", told, sorted(ids(owned)), "what all were told that they moved")
        for record in (await actors[0].get(ids(owned))).values():
            check.equal("REC-30", record.fence, 2, "the fence of a task that was moved once")


@pytest.mark.parametrize("recoveries", [0, 1, 3])
@guarantee("REC-05")
async def test_a_recovered_task_has_its_recoveries_counted(store: Store, check: Check, recoveries: int) -> None:
    a, b = await store.actors(2)
    record = await store.enqueue(a, max_recoveries=recoveries, key="k")
    for count in range(recoveries + 1):
        [owned] = await claim_all(a, now=at(300 * count), worker=f"w{count}")
        check.equal(
            "REC-05", (owned.attempt, owned.recoveries), (1, count), "the attempt, and the recoveries before it"
        )
        query = Stale.since(at(300 * count + 60))
        [read] = await b.find(query, 9)
        after = step(read, LoseHeartbeat(LOST), at(300 * count + 61))
        check.equal("REC-05", await b.commit([after], stale=query), {record.id}, "the answer to the recovery")
        check.equal("REC-05", await stored(a, record.id), after, f"the task after recovery {count + 1} of {recoveries}")
    check.equal("REC-05", (await stored(a, record.id)).state, State.FAILED, "the state once no recovery is left")
    check.equal("REC-05", await claim_all(a, now=at(9999)), [], "what is claimed once no recovery is left")
    check.equal("REC-05", await b.find(Stale.since(at(9999)), 9), [], "what is stale once no recovery is left")


@guarantee("REC-05")
async def test_an_attempt_that_ends_by_itself_starts_the_count_of_recoveries_again(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    for event in (Fail(ERROR, at(70)), Snooze(at(70))):
        lost = await running(store, a, max_attempts=3, max_recoveries=1)
        waiting = await commit(b, lost, LoseHeartbeat(LOST), at(60))
        again = await claim_one(a, waiting, now=at(61))
        check.equal("REC-05", again.recoveries, 1, "the recoveries before the attempt ends")
        after = await commit(a, again, event, at(62))
        check.equal("REC-05", after.recoveries, 0, f"the recoveries after a {event.name}")
        check.equal("REC-05", await stored(b, lost.id), after, f"the task after a {event.name}")


@pytest.mark.parametrize("fate", FATES)
@guarantee("REC-06")
async def test_a_late_recovery_resurrects_nothing(store: Store, check: Check, fate: str) -> None:
    a, b = await store.actors(2)
    for attempts in (2, 5):
        owned = await running(store, a, max_attempts=attempts)
        [read] = [one for one in await b.find(Stale.since(BEFORE), 99) if one.id == owned.id]
        await FATES[fate](a, owned)
        before = picture(await stored(a, owned.id))
        for recovered in (step(read, LoseHeartbeat(ERROR), at(200)), step(read, Requeue(), at(200))):
            for query in (Stale.since(BEFORE), Stale.since(at(9999)), None):
                answer = await b.commit([recovered], stale=query)
                check.equal("REC-06", answer, set[str](), f"a late recovery of a task that was {fate}")
        check.equal("REC-06", picture(await stored(a, owned.id)), before, f"a task that was {fate}")


@guarantee("REC-06")
async def test_a_recovery_touches_nothing_but_the_stale(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    others = await kinds(store, a)
    await a.touch_heartbeats([others["running"].held], now=at(150))
    owned = await running(store, a, max_attempts=3)
    before = await pictures(a)
    read = await b.find(Stale.since(BEFORE), 99)
    [after] = _lost(read)
    check.equal("REC-06", await b.commit([after], stale=Stale.since(BEFORE)), {owned.id}, "the answer")
    found = await pictures(a)
    check.equal("REC-06", found, {**before, owned.id: found[owned.id]}, "everything else")
    check.equal("REC-06", await b.get([store.new_id(), owned.id]), {owned.id: after}, "the recovered task")


@guarantee("REC-06")
async def test_a_zombie_cannot_write_after_its_task_was_recovered(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    owned = await running(store, a, max_attempts=3)
    [after] = _lost(await b.find(Stale.since(BEFORE), 9))
    await b.commit([after], stale=Stale.since(BEFORE))
    late = await a.touch_heartbeats([Held(owned.id, owned.fence, '"late"')], now=at(201))
    check.equal("REC-06", late, set[str](), "the zombie's heartbeat")
    check.equal("REC-06", await a.commit([step(owned, Complete(RESULT), at(202))]), set[str](), "its completion")
    check.equal("REC-06", await stored(b, owned.id), after, "the recovered task")


@guarantee("REC-07")
async def test_a_task_is_stale_by_the_window_of_its_owner(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    windows = (None, 0.000001, 0.5, 5.0, 60.000001, 3600.0, 86400.25, 1e9)
    owned = {window: await running(store, a, stale_after=window) for window in windows}
    for window, record in owned.items():
        check.equal("REC-07", await stored(b, record.id), record, f"a task that was claimed with the window {window}")
        silent = timedelta(seconds=30 if window is None else window)
        for past, late in ((timedelta(0), False), (_MICROSECOND + store.slack(T0), True)):
            found = await b.find(Stale(at=T0 + silent + past, window=30), 99)
            what = f"whether a task with the window {window} is stale after {silent + past}"
            check.equal("REC-07", record.id in ids(found), late, what)


@guarantee("REC-07")
async def test_a_heartbeat_sets_the_window_and_leaves_it_without_one(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    owned = await running(store, a, stale_after=60.0)
    for window, stored_one in ((5.5, 5.5), (None, 5.5), (600.0, 600.0)):
        await a.touch_heartbeats([Held(owned.id, owned.fence, None, window)], now=T0)
        expected = owned.evolve(heartbeat_at=T0, stale_after=stored_one)
        check.equal(
            "REC-07", await stored(b, owned.id), expected, f"the task after a heartbeat with the window {window}"
        )
        for past, found in ((timedelta(0), []), (_MICROSECOND + store.slack(T0), [owned.id])):
            when = T0 + timedelta(seconds=stored_one) + past
            stale = await b.find(Stale(at=when, window=1), 9)
            check.equal("REC-07", ids(stale), found, f"what is stale {when - T0} after a heartbeat with {window}")


@guarantee("REC-07")
async def test_a_query_can_say_that_its_window_counts_for_all(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    owned = [await running(store, a, stale_after=window) for window in (None, 5.0, 3600.0)]
    query = Stale(at=at(31), window=30, own_windows=False)
    check.equal("REC-07", set(ids(await b.find(query, 9))), set(ids(owned)), "what is stale by the query's window")
    query = Stale(at=at(31), window=40, own_windows=False)
    check.equal("REC-07", await b.find(query, 9), [], "what is stale by a longer one")


@guarantee("REC-07")
async def test_a_recovery_is_refused_where_the_owner_has_a_longer_window_by_now(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    owned = [await running(store, a, stale_after=5.0) for _ in range(2)]
    query = Stale(at=at(10), window=1)
    read = await b.find(query, 9)
    await a.touch_heartbeats([Held(owned[0].id, owned[0].fence, None, 60.0)], now=T0)
    check.equal("REC-07", await b.commit(_lost(read), stale=query), {owned[1].id}, "what was recovered")


@guarantee("REC-08", time="given")  # it compares windows with one another, and the machine does so in both modes
async def test_tasks_with_a_long_window_are_left_out_where_the_query_says_so(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    own = {window: await running(store, a, stale_after=window) for window in (5.0, 19.999999, 20.0, 3600.0)}
    none = await running(store, a)
    nulled = await commit(a, await running(store, a, stale_after=3600.0), NullHeartbeat(), at(1))
    for window, expected in ((19, [5.0, 19.999999, None]), (20, [5.0, 19.999999])):
        query = Stale(at=at(99_999), window=window, longest=20)
        wanted = {none.id if one is None else own[one].id for one in expected} | {nulled.id}
        check.equal("REC-08", set(ids(await b.find(query, 99))), wanted, f"what is stale with the window {window}")
    read = list((await b.get([record.id for record in own.values()])).values())
    query = Stale(at=at(99_999), window=19, longest=20)
    moved = await b.commit(_lost(read), stale=query)
    check.equal("REC-08", moved, {own[5.0].id, own[19.999999].id}, "what a recovery with such a query moves")
