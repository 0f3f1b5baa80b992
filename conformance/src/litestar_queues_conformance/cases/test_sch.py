"""SCH: schedules. The library's own scheduler runs over clients of the store, in both time modes; see `scheduling`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pytest

from litestar_queues.backends.base import QueueBackend
from litestar_queues.errors import BackendUnavailableError
from litestar_queues.lifecycle import (
    Cancel,
    Complete,
    Expire,
    Fail,
    LoseHeartbeat,
    Revive,
    Snooze,
    State,
    step,
)
from litestar_queues.operations import QueueOperations
from litestar_queues.records import NewTask, TaskRecord, admit
from litestar_queues.schedules.fires import Fire, jitter_of, occurrence_id
from litestar_queues.schedules.model import SCHEDULE_MAX, WAITING_MAX, Occurrence, Schedule, Skipped, Template
from litestar_queues.schedules.spec import ScheduleSpec
from litestar_queues.worker.scheduler import Scheduler
from litestar_queues_conformance.harness import Check, Store, guarantee
from litestar_queues_conformance.moves import (
    ERROR,
    LOST,
    RESULT,
    claim_all,
    claim_one,
    commit,
    everything,
    ids,
    pictures,
)
from litestar_queues_conformance.scheduling import (
    HOUR,
    TASK,
    End,
    Ended,
    GivenClock,
    Scene,
    Time,
    registry_of,
    scene,
)

_DAY = 24 * HOUR
_MICROSECOND = timedelta(microseconds=1)


def _of(one: Schedule, *numbers: int) -> list[str]:
    """The occurrences of these fires, as `Scene.fired` names them."""
    return sorted(f"{one.name} {number}" for number in numbers)


def _now(place: Scene) -> datetime:
    """When workers claim: everything that is there is due then, also where the store's clock is a little behind."""
    return place.clock.now() + timedelta(minutes=1 if place.time == "store" else 0)


async def _claim(place: Scene, record: TaskRecord) -> TaskRecord:
    """Claim a task."""
    return await claim_one(place.reader, record, now=_now(place))


async def _finish(place: Scene, record: TaskRecord, hours: float = 0) -> TaskRecord:
    """Claim and complete a task; it ends at that hour of the scene."""
    return await commit(place.reader, await _claim(place, record), Complete(RESULT), place.at(hours))


async def _finish_all(place: Scene, hours: float = 0) -> None:
    """Complete every task that is there."""
    owned = await claim_all(place.reader, now=_now(place))
    await place.reader.commit([step(one, Complete(RESULT), place.at(hours)) for one in owned])


# Each fire once


@guarantee("SCH-01")
async def test_schedulers_that_look_at_once_enqueue_each_fire_once(store: Store, check: Check, time: Time) -> None:
    place = await scene(store, "SCH-01", time)
    clients = [await place.client() for _ in range(4)]
    kept = [
        await place.keep(f"{catch_up} {round_}", since=3.2, catch_up=catch_up, overlap="allow", misfire_grace=grace)
        for round_ in range(3)
        for catch_up, grace in (("all", 60.0), ("skip", _DAY))
    ]
    for one in kept:
        await asyncio.gather(*(place.look(client, name=one.name) for client in clients))
        after = await place.read(one.name)
        check.equal("SCH-01", after.enqueued, 3, "how many occurrences the schedule counts")
        check.equal("SCH-01", after.cursor, place.fires(one)[0].at, "how far the schedule has come")
    expected = sorted(f"{one.name} {number}" for one in kept for number in range(3))
    check.equal("SCH-01", await place.fired(*kept), expected, "the tasks of all fires")


async def _ends(store: Store, place: Scene, client: QueueBackend, end: End, name: str) -> bool:
    """Whether a scheduler that looks an hour ago ended there.

    A call that was cancelled inside may take effect later. Its scheduler has a client of its own, which is closed: nothing
    is under way any more.
    """
    own = await store.actor() if end.how == "inside" else client
    try:
        await place.look(place.of(own, end=end), -1, name=name)
    except (Ended, BackendUnavailableError):
        return True
    finally:
        if own is not client:
            await own.close()
    return False


@pytest.mark.parametrize("finish", [False, True], ids=["waiting", "finished"])
@guarantee("SCH-02")
async def test_the_next_look_completes_what_a_scheduler_left_that_ended_at_any_call(
    store: Store, check: Check, time: Time, *, finish: bool
) -> None:
    place = await scene(store, "SCH-02", time)
    first, second = await store.actors(2)
    kept: list[Schedule] = []
    for call in count(1):
        ended = False
        for end in End.all_at(call):
            one = await place.keep(f"{end}", since=3.2, catch_up="all", overlap="allow")
            kept.append(one)
            ended |= await _ends(store, place, first, end, one.name)
            if finish:
                await _finish_all(place, -1)
            # After a lost reply the same scheduler looks again, and another one after its end.
            next_one = first if end.error is BackendUnavailableError else second
            await place.look(place.of(next_one), 0, name=one.name)
            after = await place.read(one.name)
            check.equal("SCH-02", after.enqueued, 3, f"how many occurrences the schedule counts after {end}")
            last = None if after.last is None else after.last.id
            check.equal("SCH-02", last, place.id_of(one, 0), f"its last occurrence after {end}")
        if not ended:
            break
    expected = sorted(f"{one.name} {number}" for one in kept for number in range(3))
    check.equal("SCH-02", await place.fired(*kept), expected, "the tasks of all fires")


@guarantee("SCH-02")
async def test_the_next_look_completes_what_two_schedulers_left_one_after_the_other(store: Store, check: Check) -> None:
    place = await scene(store, "SCH-02")
    actors = await store.actors(3)
    ends = [End(call, how) for call in range(1, 5) for how in ("before", "after")]
    kept: list[Schedule] = []
    for first in ends:
        for then in ends:
            one = await place.keep(f"{first}, {then}", since=4.2, catch_up="all", overlap="allow")
            kept.append(one)
            for actor, end, hours in zip(actors, (first, then, None), (-2, -1, 0), strict=True):
                with suppress(Ended):
                    await place.look(place.of(actor, end=end), hours, name=one.name)
            after = await place.read(one.name)
            check.equal("SCH-02", after.enqueued, 4, f"how many occurrences the schedule counts after {first}, {then}")
    expected = sorted(f"{one.name} {number}" for one in kept for number in range(4))
    check.equal("SCH-02", await place.fired(*kept), expected, "the tasks of all fires")


Fate = Callable[[Scene, TaskRecord], Awaitable[object]]


async def _waits(place: Scene, record: TaskRecord) -> None:
    del place, record


async def _runs(place: Scene, record: TaskRecord) -> None:
    await _claim(place, record)


async def _completes(place: Scene, record: TaskRecord) -> None:
    await _finish(place, record)


async def _fails(place: Scene, record: TaskRecord) -> None:
    await commit(place.reader, await _claim(place, record), Fail(ERROR), place.at(0))


async def _fails_after_a_retry(place: Scene, record: TaskRecord) -> None:
    waiting = await commit(place.reader, await _claim(place, record), Fail(ERROR, place.at(-9)), place.clock.now())
    await commit(place.reader, await _claim(place, waiting), Fail(ERROR), place.at(0))


async def _is_cancelled(place: Scene, record: TaskRecord) -> None:
    await commit(place.reader, record, Cancel(), place.at(0))


async def _is_cancelled_while_it_runs(place: Scene, record: TaskRecord) -> None:
    await commit(place.reader, await _claim(place, record), Cancel(), place.at(0))


async def _expires(place: Scene, record: TaskRecord) -> None:
    await commit(place.reader, record, Expire(), place.at(2000))


async def _is_recovered_and_completes(place: Scene, record: TaskRecord) -> None:
    waiting = await commit(place.reader, await _claim(place, record), LoseHeartbeat(LOST), place.clock.now())
    await commit(place.reader, await _claim(place, waiting), Complete(RESULT), place.at(0))


async def _is_recovered_too_often(place: Scene, record: TaskRecord) -> None:
    while record.state is not State.FAILED:
        record = await commit(place.reader, await _claim(place, record), LoseHeartbeat(LOST), place.clock.now())


async def _is_recovered(place: Scene, record: TaskRecord) -> None:
    await commit(place.reader, await _claim(place, record), LoseHeartbeat(LOST), place.clock.now())


async def _is_snoozed(place: Scene, record: TaskRecord) -> None:
    await commit(place.reader, await _claim(place, record), Snooze(place.at(900)), place.clock.now())


async def _is_deleted(place: Scene, record: TaskRecord) -> None:
    await place.reader.delete([(await _finish(place, record)).held])


ACTIVE_FATES: tuple[Fate, ...] = (_waits, _runs, _is_recovered, _is_snoozed)
ENDED_FATES: tuple[Fate, ...] = (
    *(_completes, _fails, _fails_after_a_retry, _is_cancelled, _is_cancelled_while_it_runs, _expires),
    *(_is_recovered_and_completes, _is_recovered_too_often),
)


def _words(fate: Fate) -> str:
    return getattr(fate, "__name__", "").strip("_").replace("_", " ")


@guarantee("SCH-03")
async def test_a_fire_that_is_enqueued_again_changes_nothing(store: Store, check: Check, time: Time) -> None:
    place = await scene(store, "SCH-03", time)
    first, second = await store.actors(2)
    template = Template(task=TASK, max_attempts=2, expires_in=1000 * HOUR)
    kept: list[Schedule] = []
    for fate in (*ACTIVE_FATES, *ENDED_FATES):
        one = await place.keep(_words(fate), since=1.2, template=template, overlap="allow", misfire_grace=_DAY)
        kept.append(one)
        before: dict[str, str] = {}

        async def others(fate: Fate = fate, one: Schedule = one, before: dict[str, str] = before) -> None:
            await place.look(place.of(second), name=one.name)
            await fate(place, await place.occurrence(one, 0))
            before |= await pictures(place.reader)

        # The scheduler has found no occurrence; another one enqueues it before the scheduler does.
        await place.look(place.of(first, meanwhile={"enqueue_many": others}), name=one.name)
        check.equal("SCH-03", await pictures(place.reader), before, f"what is stored, where the occurrence {one.name}")
        check.equal("SCH-03", (await place.read(one.name)).enqueued, 1, "how many occurrences the schedule counts")
    check.equal("SCH-03", await place.fired(*kept), sorted(f"{one.name} 0" for one in kept), "the tasks of all fires")


@guarantee("SCH-04")
async def test_a_scheduler_with_an_earlier_version_changes_no_schedule(store: Store, check: Check, time: Time) -> None:
    place = await scene(store, "SCH-04", time)
    slow, fast = await store.actors(2)
    async with await place.service() as service:
        changes: dict[str, Callable[[str], Awaitable[object]]] = {
            "fired": lambda name: place.look(place.of(fast), name=name),
            "paused": service.schedules.pause,
            "removed": service.schedules.remove,
            "changed": lambda name: service.schedules.change(name, catch_up="skip", overlap="allow"),
            "run": service.schedules.run_now,
        }
        for what, change in changes.items():
            for call in ("get", "enqueue_many", "write_records"):
                one = await place.keep(f"{what} before {call}", since=2.2, catch_up="all", overlap="allow")
                after: list[Schedule] = []

                async def others(
                    change: Callable[[str], Awaitable[object]] = change,
                    one: Schedule = one,
                    after: list[Schedule] = after,
                ) -> None:
                    await change(one.name)
                    after.append(await place.read(one.name))

                # The schedule is read before, with the version 1.
                changed = await place.fire(place.of(slow, meanwhile={call: others}), [one], place.at(0))
                check.equal("SCH-04", await place.read(one.name), after[0], f"the schedule that was {one.name}")
                check.equal("SCH-04", changed, [], "what the scheduler changed")


# Fires that were missed


@guarantee("SCH-05")
async def test_missed_fires_are_skipped(store: Store, check: Check, time: Time) -> None:
    place = await scene(store, "SCH-05", time)
    client = await place.client()
    none = await place.keep("none", since=5.2, catch_up="skip", overlap="allow")
    some = await place.keep("some", since=5.2, catch_up="skip", overlap="allow", misfire_grace=1.5 * HOUR)
    late = await place.keep("late", since=5.2, catch_up="skip", overlap="allow", misfire_grace=0.5 * HOUR - 0.001)
    await place.look(client)
    await place.look(client)
    check.equal("SCH-05", await place.fired(none, some, late), ["some 0", "some 1"], "the tasks of all fires")
    for one, missed in ((none, 5), (some, 3), (late, 5)):
        after = await place.read(one.name)
        last = place.fires(one)[5 - missed].at
        expected = (Skipped("missed", place.fires(one)[4].at, last, missed),)
        check.equal("SCH-05", after.skipped, expected, f"the skipped fires of {one.name!r}")


@guarantee("SCH-06")
async def test_missed_fires_become_one_occurrence_with_the_id_of_the_first(
    store: Store, check: Check, time: Time
) -> None:
    place = await scene(store, "SCH-06", time)
    client = await place.client()
    missed = await place.keep("missed", since=5.2, catch_up="once", overlap="allow")
    some = await place.keep("some", since=5.2, catch_up="once", overlap="allow", misfire_grace=1.5 * HOUR)
    single = await place.keep("single", since=1.2, catch_up="once", overlap="allow")
    await place.look(client)
    await place.look(client)
    expected = ["missed 4", "single 0", "some 0", "some 1", "some 4"]
    check.equal("SCH-06", await place.fired(missed, some, single), expected, "the tasks of all fires")
    after = await place.read("missed")
    merged = (Skipped("merged", place.fires(missed)[3].at, place.fires(missed)[0].at, 4),)
    check.equal("SCH-06", (after.skipped, after.enqueued), (merged, 1), "what the schedule counts")


@guarantee("SCH-06")
async def test_a_scheduler_that_ended_while_it_caught_up_and_the_next_make_one_occurrence(
    store: Store, check: Check, time: Time
) -> None:
    place = await scene(store, "SCH-06", time)
    first, second = await store.actors(2)
    kept: list[Schedule] = []
    expected: list[str] = []
    for end in (end for call in range(1, 5) for end in End.all_at(call)):
        one = await place.keep(f"{end}", since=3.2, catch_up="once", overlap="allow")
        kept.append(one)
        await _ends(store, place, first, end, one.name)  # with fires 2 and 1
        ids_ = {number: place.id_of(one, number) for number in range(3)}
        is_stored = ids_[2] in await place.reader.get(list(ids_.values()))
        is_noted = (await place.read(one.name)).version > 1
        await _finish_all(place, -1)
        await place.look(place.of(second), 0, name=one.name)  # and fire 0
        # The occurrence stands for all fires until it was enqueued, which was just now by the store's own time.
        apart = is_noted or (is_stored and time == "given")
        expected += [f"{one.name} {number}" for number in ((2, 0) if apart else (2,))]
        check.equal("SCH-06", await place.fired(*kept), sorted(expected), f"the tasks after {end}")


@guarantee("SCH-06")
async def test_schedulers_that_ended_one_after_the_other_and_the_next_make_one_occurrence(
    store: Store, check: Check
) -> None:
    place = await scene(store, "SCH-06")
    first, second, third = await store.actors(3)
    one = await place.keep("s", since=2.7, catch_up="once", overlap="allow", misfire_grace=0.7 * HOUR)
    for client, hours in ((first, -2.4), (second, -1.4)):  # fire 2 and fire 1, each just in time
        with suppress(Ended):
            await place.look(place.of(client, end=End(4, "before")), hours)
        await _finish_all(place, hours)
    check.equal("SCH-06", await place.fired(one), _of(one, 2, 1), "the tasks that were enqueued, which is not noted")
    await place.look(place.of(third), 2.4)
    check.equal("SCH-06", await place.fired(one), _of(one, 2, 1, 0), "the tasks after fires 0 to -2 were missed")


@guarantee("SCH-07")
async def test_the_latest_missed_fires_are_enqueued(store: Store, check: Check, time: Time) -> None:
    place = await scene(store, "SCH-07", time)
    client = await place.client()
    every = await place.keep("every", since=14.2, catch_up="all")
    latest = await place.keep("latest", since=14.2, catch_up="all", catch_up_limit=10)
    one = await place.keep("one", since=14.2, catch_up="all", catch_up_limit=1)
    await place.look(client)
    await place.look(client)
    expected = [f"{kept.name} {n}" for kept, most in ((every, 14), (latest, 10), (one, 1)) for n in range(most)]
    check.equal("SCH-07", await place.fired(every, latest, one), sorted(expected), "the tasks of all fires")
    for kept, most in ((every, 14), (latest, 10), (one, 1)):
        after, fires = await place.read(kept.name), place.fires(kept)
        left = () if most == 14 else (Skipped("missed", fires[13].at, fires[most].at, 14 - most),)
        check.equal("SCH-07", after.skipped, left, f"the skipped fires of {kept.name!r}")
        last = None if after.last is None else after.last.fire
        check.equal("SCH-07", last, fires[0].at, f"the last fire of {kept.name!r}")


# Fires that overlap


@guarantee("SCH-08")
async def test_a_fire_is_skipped_while_the_last_occurrence_is_active(store: Store, check: Check, time: Time) -> None:
    place = await scene(store, "SCH-08", time)
    client = await place.client()
    kept: list[Schedule] = []
    for fate in ACTIVE_FATES:
        one = await place.keep(_words(fate), since=3.2, overlap="skip", misfire_grace=_DAY)
        kept.append(one)
        await place.look(client, -2, name=one.name)
        await fate(place, await place.occurrence(one, 2))
        await place.look(client, -1, name=one.name)
        expected = sorted(f"{it.name} 2" for it in kept)
        check.equal("SCH-08", await place.fired(*kept), expected, f"the tasks, while the last occurrence {one.name}")
        skipped = (Skipped("overlap", place.fires(one)[1].at, place.fires(one)[1].at),)
        check.equal("SCH-08", (await place.read(one.name)).skipped, skipped, "the skipped fires")


@guarantee("SCH-08")
async def test_a_fire_is_skipped_while_an_occurrence_is_active_of_a_scheduler_that_ended(
    store: Store, check: Check, time: Time
) -> None:
    place = await scene(store, "SCH-08", time)
    first, second = await store.actors(2)
    one = await place.keep("s", since=2.7, overlap="skip")
    with suppress(Ended):
        await place.look(place.of(first, end=End(4, "before")), -2.49)
    place.set(0)
    record = await _claim(place, await place.occurrence(one, 2))
    await place.look(place.of(second), 0)
    check.equal("SCH-08", await place.fired(one), _of(one, 2), "the tasks while the first one runs")
    await commit(place.reader, record, Complete(RESULT), place.at(0))
    await place.look(place.of(second), 1)
    check.equal("SCH-08", await place.fired(one), _of(one, 2, -1), "the tasks of all fires")


@guarantee("SCH-09")
async def test_every_fire_is_enqueued_where_occurrences_may_overlap(store: Store, check: Check, time: Time) -> None:
    place = await scene(store, "SCH-09", time)
    client = await place.client()
    kept: list[Schedule] = []
    for fate in ACTIVE_FATES:
        one = await place.keep(_words(fate), since=4.2, overlap="allow", misfire_grace=_DAY)
        kept.append(one)
        await place.look(client, -3, name=one.name)
        await fate(place, await place.occurrence(one, 3))
        await place.look(client, -2, name=one.name)
        await place.look(client, 0, name=one.name)
    expected = sorted(f"{one.name} {number}" for one in kept for number in range(4))
    check.equal("SCH-09", await place.fired(*kept), expected, "the tasks of all fires")


@pytest.mark.parametrize("grace", [60.0, _DAY], ids=["missed", "on-time"])
@guarantee("SCH-10")
async def test_fires_wait_for_one_another_in_their_order(store: Store, check: Check, time: Time, grace: float) -> None:
    place = await scene(store, "SCH-10", time)
    client = await place.client()
    one = await place.keep("s", since=6.2, overlap="queue", catch_up="all", misfire_grace=grace)
    await place.look(client, -5)
    fired = [5]
    check.equal("SCH-10", await place.fired(one), _of(one, *fired), "the tasks after the first look")
    await place.look(client, 0)
    check.equal("SCH-10", len((await place.read("s")).waiting), 5, "how many fires wait")
    while len(fired) < 6:
        for active in ACTIVE_FATES[:2]:
            await active(place, await place.occurrence(one, fired[-1]))
            await place.look(client)
            check.equal("SCH-10", await place.fired(one), _of(one, *fired), f"the tasks while {fired[-1]} is active")
        record = await place.occurrence(one, fired[-1])
        await commit(place.reader, record, Complete(RESULT), place.at(0))
        await place.look(client)
        fired.append(fired[-1] - 1)
        check.equal("SCH-10", await place.fired(one), _of(one, *fired), f"the tasks after the end of {fired[-2]}")
    check.equal("SCH-10", (await place.read("s")).waiting, (), "the fires that wait at the end")


# What people do


@guarantee("SCH-11")
async def test_a_schedule_fires_while_it_is_not_paused(store: Store, check: Check, time: Time) -> None:
    place = await scene(store, "SCH-11", time)
    client = await place.client()
    one = await place.keep("s", since=2.2, overlap="allow", misfire_grace=_DAY)
    async with await place.service() as service:
        await service.schedules.pause("s")
        check.equal("SCH-11", await place.fired(one), _of(one, 0, 1), "the tasks of the fires that were due before")
        await place.look(client, 2)
        check.equal("SCH-11", await place.fired(one), _of(one, 0, 1), "the tasks while it is paused")
        resumed, fire = (2.0, -3) if time == "given" else (0.0, -1)
        await service.schedules.resume("s")
        await place.look(client, resumed)
        check.equal("SCH-11", await place.fired(one), _of(one, 0, 1), "the tasks as soon as it is resumed")
        await place.look(client, resumed + 1)
        check.equal("SCH-11", await place.fired(one), _of(one, 0, 1, fire), "the tasks an hour after it was resumed")


@guarantee("SCH-12")
async def test_a_schedule_can_be_run_at_once(store: Store, check: Check, time: Time) -> None:
    place = await scene(store, "SCH-12", time)
    client = await place.client()
    one = await place.keep("s", since=1.2, misfire_grace=_DAY)
    run: list[str] = []

    async def check_all(*fires: int) -> None:
        found = sorted(ids(await everything(place.reader)))
        check.equal("SCH-12", found, sorted([*run, *(place.id_of(one, n) for n in fires)]), "the tasks that are stored")
        counted = (await place.read("s")).enqueued
        check.equal("SCH-12", counted, len(found), "how many occurrences the schedule counts")

    async with await place.service() as service:
        for _ in range(2):
            run.append((await service.schedules.run_now("s")).id)
            await check_all(0)
        await service.schedules.pause("s")
        run.append((await service.schedules.run_now("s")).id)
        await check_all(0)
        await _finish_all(place)
        await service.schedules.resume("s")
        await place.look(client, 1)
        await check_all(0, -1)
        for record in (await place.reader.get(run)).values():
            check.equal("SCH-12", (record.name, record.queue), (TASK, "default"), "what was run")


@guarantee("SCH-17")
async def test_a_change_holds_for_the_fires_after_it(store: Store, check: Check, time: Time) -> None:
    place = await scene(store, "SCH-17", time)
    client = await place.client()
    one = await place.keep("s", since=2.2, overlap="allow", misfire_grace=_DAY)
    async with await place.service() as service:
        await service.schedules.change("s", interval=3 * HOUR, anchor=place.at(1.25))
    changed = await place.read("s")
    due = [place.id_of(one, 1), place.id_of(one, 0)]
    check.equal("SCH-17", sorted(ids(await everything(place.reader))), sorted(due), "the tasks of the fires before")
    await place.look(client, 1)
    check.equal("SCH-17", sorted(ids(await everything(place.reader))), sorted(due), "the tasks, where none is due yet")
    await place.look(client, 4)
    due.append(place.id_of(changed, -1))
    check.equal("SCH-17", sorted(ids(await everything(place.reader))), sorted(due), "the tasks of all fires")
    check.equal("SCH-17", changed.definition.spec.interval, 3 * HOUR, "the new interval")


@guarantee("SCH-18")
async def test_a_schedule_fires_until_it_is_removed(store: Store, check: Check, time: Time) -> None:
    place = await scene(store, "SCH-18", time)
    client = await place.client()
    one = await place.keep("s", since=2.2, overlap="allow", misfire_grace=_DAY)
    waiting = await place.keep("waiting", since=3.2, overlap="queue", misfire_grace=_DAY)
    expected = ["s 0", "s 1", "waiting 2"]
    async with await place.service() as service:
        await service.schedules.remove("s")
        await service.schedules.remove("waiting")
        check.equal("SCH-18", await place.fired(one, waiting), expected, "the tasks of the fires that were due before")
        await _finish_all(place)
        await place.look(client, 2)
        check.equal("SCH-18", await place.fired(one, waiting), expected, "the tasks after the removal")
        options: dict[str, Any] = {"interval": HOUR, "anchor": place.at(-0.5), "overlap": "allow"}
        await service.schedules.create(TASK, name="s", **options)
        made, fire = (2.0, -3) if time == "given" else (0.0, -1)
        await place.look(client, made)
        check.equal("SCH-18", await place.fired(one, waiting), expected, "the tasks when it has been made again")
        await place.look(client, made + 0.5)
        check.equal("SCH-18", await place.fired(one, waiting), sorted([*expected, f"s {fire}"]), "the tasks after that")


# Code


def _every(hours: float, place: Scene, **rest: Any) -> dict[str, Any]:
    return {"interval": hours * HOUR, "anchor": place.at(-0.5), "overlap": "allow", "misfire_grace": _DAY, **rest}


@guarantee("SCH-18")
async def test_a_schedule_fires_until_the_code_declares_it_no_more(store: Store, check: Check, time: Time) -> None:
    place = await scene(store, "SCH-18", time)
    client = await place.client()
    async with await place.service(registry_of(a=_every(1, place), b=_every(1, place))) as older:
        check.equal("SCH-18", await older.schedules.sync(), ["a", "b"], "what the first code changed")
    a, b = await place.read("a"), await place.read("b")
    check.equal("SCH-18", await place.fired(a, b), [], "the tasks of fires before the schedules were made")
    async with await place.service(registry_of(a=_every(1, place))) as newer:
        check.equal("SCH-18", await newer.schedules.sync(), ["b"], "what the next code changed")
    await place.look(client, 1)
    check.equal("SCH-18", await place.fired(a, b), ["a -1"], "the tasks of all fires")
    check.equal("SCH-18", (await place.read("a")).code, a.code, "the schedule that stayed")


@guarantee("SCH-19")
async def test_older_code_that_starts_again_changes_nothing(store: Store, check: Check, time: Time) -> None:
    place = await scene(store, "SCH-19", time)
    client = await place.client()
    versions = (
        registry_of(a=_every(1, place), b=_every(1, place)),
        registry_of(a=_every(2, place), c=_every(1, place)),
        registry_of(a=_every(3, place), c=_every(1, place, catch_up="skip")),
    )
    services = [await place.service(registry) for registry in versions]
    changes = (["a", "b"], ["a", "b", "c"], ["a", "c"])
    for service, changed in zip(services, changes, strict=True):
        async with service:
            check.equal("SCH-19", await service.schedules.sync(), changed, "what new code changed")
    stored = await place.reader.read_records("")
    for service in (*services, *services[:2]):
        async with service:
            check.equal("SCH-19", await service.schedules.sync(), [], "what code changed that is known")
        check.equal("SCH-19", await place.reader.read_records(""), stored, "the named records")
    await place.look(client, 1)
    kept = [await place.read(name) for name in ("a", "b", "c")]
    check.equal("SCH-19", await place.fired(*kept), ["c -1"], "the tasks of all fires")


# Clocks that change

_YEARS = {"given": 2031, "store": 2025}
"""In 2025 and 2031 the clock of Berlin is set forward on 30 March and back on 26 October."""


async def _follow(place: Scene, client: Any, begin: datetime, end: datetime) -> None:
    """Look every half hour."""
    now = begin
    while now <= end:
        if isinstance(place.clock, GivenClock):
            place.clock.moment = now
        await place.fire(client, [await place.read("s")], now)
        now += timedelta(minutes=30)


async def _check_fires(place: Scene, check: Check, id_: str, spec: ScheduleSpec, expected: Iterable[Fire]) -> None:
    """Check which occurrences there are, and when they were due; with the store's own time, that is now."""
    wanted = {occurrence_id("s", spec, fire): fire.at if place.time == "given" else None for fire in expected}
    found = {one.id: one.due_at if place.time == "given" else None for one in await everything(place.reader)}
    check.equal(id_, found, wanted, f"the tasks of all fires of {spec}, with the times at which they were due")


def _utc(year: int, month: int, day: int, hour: int, minute: int = 0) -> datetime:
    return datetime(year, month, day, hour, minute, tzinfo=UTC)


@pytest.mark.parametrize("change", ["gap", "fold"])
@guarantee("SCH-13")
async def test_a_fixed_time_fires_once_a_day_when_the_clock_changes(
    store: Store, check: Check, time: Time, change: str
) -> None:
    place, year = await scene(store, "SCH-13", time), _YEARS[time]
    spec = ScheduleSpec(cron="30 2 * * *", timezone="Europe/Berlin")
    if change == "gap":
        begin, end = _utc(year, 3, 28, 12), _utc(year, 3, 31, 12)
        moments = ((29, _utc(year, 3, 29, 1, 30)), (30, _utc(year, 3, 30, 1)), (31, _utc(year, 3, 31, 0, 30)))
    else:
        begin, end = _utc(year, 10, 24, 12), _utc(year, 10, 27, 12)
        moments = ((25, _utc(year, 10, 25, 0, 30)), (26, _utc(year, 10, 26, 0, 30)), (27, _utc(year, 10, 27, 1, 30)))
    await place.write(
        Schedule(name="s", definition=place.definition(spec=spec, catch_up="all", overlap="allow"), cursor=begin)
    )
    await _follow(place, await place.client(), begin, end)
    expected = [Fire(at, f"{year}-{begin.month:02}-{day}T02:30:00") for day, at in moments]
    await _check_fires(place, check, "SCH-13", spec, expected)


@pytest.mark.parametrize("change", ["gap", "fold"])
@guarantee("SCH-14")
async def test_real_time_fires_in_each_pass_when_the_clock_changes(
    store: Store, check: Check, time: Time, change: str
) -> None:
    place, year = await scene(store, "SCH-14", time), _YEARS[time]
    spec = ScheduleSpec(cron="*/30 * * * *", timezone="Europe/Berlin")
    month, day = (3, 30) if change == "gap" else (10, 26)
    begin, end = _utc(year, month, day, 0) - timedelta(minutes=15), _utc(year, month, day, 2)
    walls = {
        "gap": ("01:00", "01:30", "03:00", "03:30", "04:00"),
        "fold": ("02:00", "02:30", "02:00+1", "02:30+1", "03:00"),
    }[change]
    await place.write(
        Schedule(name="s", definition=place.definition(spec=spec, catch_up="all", overlap="allow"), cursor=begin)
    )
    await _follow(place, await place.client(), begin + timedelta(minutes=15), end)
    expected = [
        Fire(_utc(year, month, day, 0) + timedelta(minutes=30 * i), f"{year}-{month:02}-{day}T{wall[:5]}:00{wall[5:]}")
        for i, wall in enumerate(walls)
    ]
    await _check_fires(place, check, "SCH-14", spec, expected)


# Occurrences that end


@pytest.mark.parametrize("overlap", ["skip", "queue"])
@guarantee("SCH-15")
async def test_a_schedule_goes_on_whatever_becomes_of_its_occurrences(
    store: Store, check: Check, time: Time, overlap: str
) -> None:
    place = await scene(store, "SCH-15", time)
    client = await place.client()
    template = Template(task=TASK, max_attempts=2, expires_in=400 * HOUR, max_recoveries=2)
    kept: list[Schedule] = []
    for fate in (*ENDED_FATES, _is_deleted):
        one = await place.keep(_words(fate), since=3.2, template=template, overlap=overlap, misfire_grace=_DAY)
        kept.append(one)
        for number in (2, 1, 0):
            await place.look(client, -number, name=one.name)
            await fate(place, await place.occurrence(one, number))
        after = await place.read(one.name)
        check.equal("SCH-15", after.enqueued, 3, f"how many occurrences there are, where each {one.name}")
        check.equal("SCH-15", after.skipped, (), f"the skipped fires, where each {one.name}")
    expected = sorted(f"{one.name} {number}" for one in kept[:-1] for number in range(3))
    check.equal("SCH-15", await place.fired(*kept), expected, "the tasks of all fires")


@guarantee("SCH-15")
async def test_a_schedule_goes_on_after_a_revived_occurrence_has_ended(store: Store, check: Check, time: Time) -> None:
    place = await scene(store, "SCH-15", time)
    client = await place.client()
    one = await place.keep("s", since=3.2, misfire_grace=_DAY)
    await place.look(client, -2)
    await _fails(place, await place.occurrence(one, 2))
    await commit(place.reader, await place.occurrence(one, 2), Revive(), place.clock.now())
    await place.look(client, -1)
    check.equal("SCH-15", await place.fired(one), _of(one, 2), "the tasks while the revived occurrence is active")
    await _finish(place, await place.occurrence(one, 2))
    await place.look(client, 0)
    check.equal("SCH-15", await place.fired(one), _of(one, 2, 0), "the tasks of all fires")


@guarantee("SCH-16")
async def test_a_fire_whose_key_is_held_is_skipped_alone(store: Store, check: Check, time: Time) -> None:
    place = await scene(store, "SCH-16", time)
    client = await place.client()
    template = Template(task=TASK, key="the key")
    held = await place.keep("held", since=3.2, template=template, overlap="allow", misfire_grace=_DAY)
    free = await place.keep("free", since=3.2, overlap="allow", misfire_grace=_DAY)
    [holder] = await client.enqueue_many([store.new_task(key="the key")])
    await place.look(client, -1)
    other = f"another task, {holder.record.id}"
    check.equal("SCH-16", await place.fired(held, free), [other, "free 1", "free 2"], "the tasks while the key is held")
    after, fires = await place.read("held"), place.fires(held)
    skipped = (Skipped("key", fires[2].at, fires[1].at, 2, f"task {holder.record.id} holds it"),)
    check.equal("SCH-16", (after.skipped, after.last), (skipped, None), "what the schedule counts")
    place.set(0)
    await _finish(place, holder.record)
    await place.look(client, 0)
    expected = [other, "free 0", "free 1", "free 2", "held 0"]
    check.equal("SCH-16", await place.fired(held, free), expected, "the tasks of all fires")


# Retention


async def _delete(place: Scene, limit: int = 1000) -> set[str]:
    """What a deletion of everything that has ended removes."""
    deleted = set[str]()
    client = await place.client()
    for _ in range(50):  # as often as there are tasks
        found = await QueueOperations(client, place.clock).delete_finished(timedelta(0), limit=limit)
        deleted |= found
        if not found:
            break
    return deleted


@pytest.mark.parametrize("fate", [_completes, _fails, _is_cancelled], ids=_words)
@guarantee("SCH-21")
async def test_an_occurrence_is_kept_until_its_schedule_has_come_past_it(
    store: Store, check: Check, time: Time, fate: Fate
) -> None:
    place = await scene(store, "SCH-21", time)
    first, second = await store.actors(2)
    one = await place.keep("s", since=40.2, catch_up="all", overlap="allow")
    with suppress(Ended):
        await place.look(
            place.of(first, end=End(4, "before")), -36.7
        )  # fires 39 to 37 are enqueued, which is not noted
    check.equal("SCH-21", await place.fired(one), _of(one, 37, 38, 39), "the tasks that were enqueued")
    place.set(-36)
    earlier = Scene(store, "SCH-21", time, place.at(-30), place.clock, place.reader)
    for number in (37, 38, 39):
        await fate(earlier, await place.occurrence(one, number))
    place.set(0)
    check.equal("SCH-21", await _delete(place), set[str](), "the deletion before the schedule has come past them")
    await place.look(place.of(second), -36.6)
    check.equal("SCH-21", await place.fired(one), _of(one, 37, 38, 39), "the tasks after the next look")
    place.set(0)
    expected = {place.id_of(one, number) for number in (37, 38, 39)}
    check.equal("SCH-21", await _delete(place), expected, "the deletion after that")


@guarantee("SCH-22")
async def test_an_occurrence_is_kept_for_a_day(store: Store, check: Check, time: Time) -> None:
    place = await scene(store, "SCH-22", time)
    client = await place.client()
    one = await place.keep("s", since=50.2, catch_up="all", overlap="allow")
    await place.look(client, -47)
    ends = {47: -46.9, 48: -24.01, 49: -23.9}
    for number, hours in ends.items():
        await _finish(place, await place.occurrence(one, number), hours)
    place.set(0)
    expected = {place.id_of(one, number) for number in (47, 48)}
    check.equal("SCH-22", await _delete(place), expected, "what a deletion without retention removes")
    check.equal("SCH-22", await place.fired(one), _of(one, 49), "the tasks that are left")
    if isinstance(place.clock, GivenClock):
        place.clock.moment = place.at(0.1) - _MICROSECOND
        check.equal("SCH-22", await _delete(place), set[str](), "the deletion a microsecond before the day is over")
        place.clock.moment = place.at(0.1)
        check.equal("SCH-22", await _delete(place), {place.id_of(one, 49)}, "the deletion when the day is over")


@guarantee("SCH-23")
async def test_a_deletion_finds_what_has_ended_behind_occurrences_that_it_keeps(
    store: Store, check: Check, time: Time
) -> None:
    place = await scene(store, "SCH-23", time)
    client = await place.client()
    one = await place.keep("s", since=50.2, catch_up="all", overlap="allow")
    with suppress(Ended):
        await place.look(place.of(client.inner, end=End(4, "before")), -44)
    kept = [await place.occurrence(one, number) for number in range(44, 50)]
    for i, record in enumerate(kept):
        await _finish(place, record, -43 + i // 3)  # three end at one moment
    others = [answer.record for answer in await client.enqueue_many([store.new_task() for _ in range(7)])]
    for i, record in enumerate(others):
        await _finish(place, record, -43.5 + i / 2)
    place.set(0)
    check.equal("SCH-23", await _delete(place, limit=2), set(ids(others)), "what a deletion in steps of 2 removes")
    check.equal("SCH-23", sorted(ids(await everything(place.reader))), sorted(ids(kept)), "the tasks that are left")


# Stores, leaders, and many schedules


@guarantee("SCH-24")
async def test_a_schedule_of_another_store_is_another_schedule(store: Store, check: Check, time: Time) -> None:
    here = await scene(store, "SCH-24", time)
    other = store.another()
    there = Scene(other, "SCH-24", time, here.zero, here.clock, await other.actor())
    one = await here.keep("s", since=2.2, overlap="allow", misfire_grace=_DAY)
    check.equal("SCH-24", await there.reader.read_records(""), {}, "the named records of the other store")
    another = await there.keep("s", since=3.2, overlap="allow", misfire_grace=_DAY)
    await here.look(await here.client())
    check.equal("SCH-24", await here.fired(one), _of(one, 0, 1), "the tasks of this store")
    check.equal("SCH-24", await there.fired(another), [], "the tasks of the other store")
    await there.look(await there.client())
    check.equal(
        "SCH-24", await there.fired(another), _of(another, 0, 1, 2), "the tasks of the other store after a look"
    )
    check.equal("SCH-24", await here.fired(one), _of(one, 0, 1), "the tasks of this store after that")


@guarantee("SCH-25")
async def test_another_scheduler_fires_as_soon_as_the_lock_of_one_that_is_gone_has_ended(
    store: Store, check: Check
) -> None:
    place = await scene(store, "SCH-25")
    interval = timedelta(seconds=5)
    first, second = await store.actors(2)
    for call in count(1):
        one = await place.keep(f"{call}", since=1.2, overlap="allow", misfire_grace=_DAY)
        begin = place.clock.now()
        leader = Scheduler(place.clock, owner=f"leader {call}", interval=interval)
        ended = False
        try:
            await leader.look(QueueOperations(place.of(first, end=End(call, "after")), place.clock))
        except Ended:
            ended = True
        again = await place.keep(f"{call} again", since=1.2, overlap="allow", misfire_grace=_DAY)
        successor = Scheduler(place.clock, owner=f"successor {call}", interval=interval)
        operations = QueueOperations(place.of(second), place.clock)
        _set(place, begin + 3 * interval - _MICROSECOND)
        await successor.look(operations)
        waits = place.id_of(again, 0) not in await place.reader.get([place.id_of(again, 0)])
        check("SCH-25", waits, "another scheduler fires while the lock is held")
        _set(place, begin + 3 * interval + store.slack(begin))
        await successor.look(operations)
        wanted = {place.id_of(one, 0), place.id_of(again, 0)}
        check.equal("SCH-25", set(await place.reader.get(wanted)), wanted, "the tasks as soon as the lock has ended")
        await successor.leave(operations.backend)
        if not ended:
            break


def _set(place: Scene, moment: datetime) -> None:
    assert isinstance(place.clock, GivenClock)  # a mistake in a case
    place.clock.moment = moment


@guarantee("SCH-25")
async def test_another_scheduler_fires_as_soon_as_one_has_left(store: Store, check: Check, time: Time) -> None:
    place = await scene(store, "SCH-25", time)
    actors = await store.actors(2)
    schedulers = [Scheduler(place.clock, owner=f"worker {i}", interval=timedelta(hours=1)) for i in range(2)]
    clients = [QueueOperations(place.of(actor), place.clock) for actor in actors]
    await schedulers[0].look(clients[0])
    one = await place.keep("s", since=1.2, overlap="allow", misfire_grace=_DAY)
    await schedulers[1].look(clients[1])
    check.equal("SCH-25", await place.fired(one), [], "the tasks while the first scheduler leads")
    await schedulers[0].leave(clients[0].backend)
    await schedulers[1].look(clients[1])
    check.equal("SCH-25", await place.fired(one), _of(one, 0), "the tasks after the first scheduler has left")


@guarantee("SCH-26")
async def test_every_schedule_that_is_due_fires(store: Store, check: Check, time: Time) -> None:
    place = await scene(store, "SCH-26", time)
    client = await place.client()
    alike = ("s", "S", "s ", "\u00e9", "e\u0301", "\u00e8", "s%", "s_", "schedule:", "n" * SCHEDULE_MAX)
    names = [*alike, "n" * (SCHEDULE_MAX - 1), *(f"nightly {i}" for i in range(230))]
    made = [
        Schedule(name=name, definition=place.definition(overlap="allow", misfire_grace=_DAY), cursor=place.at(-1.2))
        for name in names
    ]
    await place.write(*made)
    changed = await place.look(client)
    check.equal("SCH-26", sorted(one.name for one in changed), sorted(names), "the schedules that were changed")
    check.equal("SCH-26", await place.fired(*made), sorted(f"{name} 0" for name in names), "the tasks of all fires")
    check.equal("SCH-26", await place.look(client), [], "what another look changes")


# What is stored


@guarantee("SCH-27")
async def test_a_schedule_reads_back_as_it_was_written(store: Store, check: Check, time: Time) -> None:
    place = await scene(store, "SCH-27", time)
    client = await place.client()
    name = "\U0001f550" * SCHEDULE_MAX
    text = "\u00e9\\ \" ' % \u4f60 \U0001f389 \\u0000 " + "x" * 60_000
    options: dict[str, Any] = {"cron": "*/7 3 * * mon-fri", "timezone": "Europe/Berlin", "catch_up": "all"}
    async with await place.service() as service:
        await service.schedules.create(TASK, 7, text, name=name, jitter=30.5, overlap="queue", **options)
    one = await place.read(name)
    fires = tuple(place.fires(one.evolve(definition=place.definition())).values())
    skipped = tuple(Skipped("overlap", fire.at, fire.at, 9, "\u00e9" * 300) for fire in fires[:10])
    full = one.evolve(
        waiting=(fires * 2)[:WAITING_MAX], skipped=skipped, enqueued=2**40, paused_at=place.at(-1) + _MICROSECOND,
        last=Occurrence(store.new_id(), place.at(-3), place.at(-2)), number=7, code="c" * 32, module="m",
    )  # fmt: skip
    await place.write(full)
    expected = full.evolve(version=full.version + 1)
    check.equal("SCH-27", await place.read(name), expected, "the schedule as it was written")
    async with await place.service() as service:
        await service.schedules.resume(name)
        await place.look(client)
    after = await place.read(name)
    check.equal("SCH-27", after.definition, one.definition, "the definition after other changes")
    check.equal("SCH-27", after.definition.template.args, one.definition.template.args, "the arguments")


@guarantee("SCH-28")
async def test_an_occurrence_has_everything_of_its_schedule(store: Store, check: Check, time: Time) -> None:
    place = await scene(store, "SCH-28", time)
    client = await place.client()
    new = NewTask(
        id="-", name=TASK, args='[1, "\u00e9 \\u0000", 1e22, {"b": [], "a": null}]', kwargs='{"k": 12345678901234567890}',
        queue="reports", key="a key", priority=-7, max_attempts=5, metadata='{"a.b": {"c.d": 1}, "": ""}',
        description="what it does", timeout=12.5, execution_backend="local", execution_profile="heavy", max_recoveries=0,
    )  # fmt: skip
    template = Template.of(new, expires_in=1.5 * HOUR)
    spec = ScheduleSpec(interval=HOUR, anchor=place.at(-0.5), jitter=HOUR)
    # A name whose occurrence is still to begin, for the jitter follows from the name and the fire.
    made = (Schedule(name=f"s{i}", definition=place.definition(spec=spec), cursor=place.at(-1)) for i in count())
    name = next(one.name for one in made if jitter_of(spec, place.id_of(one, 0)) > timedelta(minutes=35))
    one = await place.keep(name, since=1.2, template=template, spec=spec, misfire_grace=_DAY)
    await place.look(client)
    fire = place.fires(one)[0]
    record = await place.occurrence(one, 0)
    expected = admit(one.occurrence(fire, place.at(0)), record.created_at)
    check.equal("SCH-28", record, expected, "the occurrence as it is stored")
    if time == "given":
        check.equal("SCH-28", record.created_at, place.at(0), "when it was enqueued")
    due = await claim_all(place.reader, now=record.due_at - _MICROSECOND)
    check.equal("SCH-28", due, [], "what can be claimed a microsecond before it is due")
