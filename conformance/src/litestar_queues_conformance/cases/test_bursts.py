"""The guarantees of which several clients can rob one another, by bursts: see `bursts`."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest

from litestar_queues import QueueConfig, QueueService
from litestar_queues.clock import StoreClock
from litestar_queues.lifecycle import (
    ACTIVE,
    Cancel,
    Complete,
    Dispatch,
    Divert,
    Event,
    Fail,
    LoseHeartbeat,
    Release,
    Requeue,
    Revive,
    State,
    step,
)
from litestar_queues.operations import QueueOperations
from litestar_queues.records import Held, Matching, NewTask, Stale, TaskRecord, Want
from litestar_queues.schedules.firing import fire_due
from litestar_queues.schedules.model import PREFIX, Schedule, read_all, record_name
from litestar_queues.schedules.syncing import CODE
from litestar_queues_conformance.bursts import Client, Crew, burst, crew_of, refuse_errors
from litestar_queues_conformance.compare import shown
from litestar_queues_conformance.dispatching import keeps_dispatched
from litestar_queues_conformance.harness import T0, Check, Store, at, guarantee
from litestar_queues_conformance.moves import ERROR, LOST, REF, REFUSED, RESULT, WINDOW, ids, reserve_all
from litestar_queues_conformance.scheduling import TIMES, GivenClock, Scene, SchedulerClient, Time, registry_of, scene

_ALL = 1_000_000
_TTL = timedelta(seconds=30)
_FRESH = at(100_000)
"""A heartbeat that is stale in no round."""


@pytest.fixture
def crew(request: pytest.FixtureRequest, store: Store) -> Crew:
    """Four processes, shared by the cases of the run: cases of other modules come between them."""
    return crew_of(request.session, store.target_name)


@pytest.fixture
def large_crew(store: Store) -> Iterator[Crew]:
    """Eight processes, for one case."""
    crew = Crew(store.target_name, 8)
    yield crew
    crew.close()


# One key


async def enqueue_same_key(client: Client, given: tuple[str, list[str], datetime]) -> tuple[str, bool]:
    key, new_ids, now = given
    new = NewTask(id=new_ids[client.index], name="conformance.task", key=key, queue=f"queue-{client.index % 2}")
    [answer] = await client.opened.enqueue_many([new], now=now)
    return answer.record.id, answer.is_new


@guarantee("KEY-01", deadline=90)
async def test_of_many_that_enqueue_one_key_at_once_one_is_stored(store: Store, check: Check, crew: Crew) -> None:
    reader = await store.actor()
    rounds = [(f"key-{i}", [store.new_id() for _ in range(crew.clients)], at(i)) for i in range(150)]
    for (key, new_ids, _), answers in zip(rounds, await burst(store, enqueue_same_key, rounds, crew=crew), strict=True):
        refuse_errors(check, "KEY-01", "an enqueue", answers)
        there = ids(await reader.find(Matching(key=key), _ALL))
        check("KEY-01", len(there) == 1, f"{len(there)} of {crew.clients} tasks with the key {key!r} are active")
        expected = [(there[0], id_ == there[0]) for id_ in new_ids]
        check.equal("KEY-01", answers, expected, f"the clients' answers for {key!r}")


async def enqueue_or_complete(client: Client, given: tuple[TaskRecord, list[str], int]) -> Any:
    holder, new_ids, reads = given
    if client.index == 0:
        # Reads first, in some of the rounds, so that it is not always the first to write.
        for _ in range(reads):
            await client.opened.get([holder.id])
        return await client.opened.commit([step(holder, Complete(RESULT), at(5))])
    new = NewTask(id=new_ids[client.index], name="conformance.task", key=holder.key)
    [answer] = await client.opened.enqueue_many([new], now=at(5))
    return answer


@guarantee("KEY-06", deadline=90)
async def test_enqueues_that_race_the_holders_end_find_the_holder_or_store_one_task(
    store: Store, check: Check, crew: Crew
) -> None:
    owner = await store.actor()
    await owner.enqueue_many([store.new_task(key=f"key-{i}") for i in range(120)], now=T0)
    holders = await owner.claim(Want(worker="owner", limit=_ALL), now=at(1))
    rounds = [(holder, [store.new_id() for _ in range(crew.clients)], i % 4) for i, holder in enumerate(holders)]
    for (holder, _, _), answers in zip(rounds, await burst(store, enqueue_or_complete, rounds, crew=crew), strict=True):
        refuse_errors(check, "KEY-06", "an enqueue, or the commit that it races,", answers)
        check.equal("KEY-06", answers[0], {holder.id}, "the answer to the holder's own commit")
        new = [one.record.id for one in answers[1:] if one.is_new]
        check("KEY-06", len(new) <= 1, f"{len(new)} enqueues of {holder.key!r} were told that theirs is new")
        active = ids(await owner.find(Matching(key=holder.key, states=tuple(ACTIVE)), _ALL))
        check.equal("KEY-06", active, new, f"the active tasks with the key {holder.key!r}, beside what was answered")
        for one in answers[1:]:
            legal = one.record.id in (holder.id, *new) and one.record.state in ACTIVE
            check("KEY-06", legal, f"an enqueue of {holder.key!r} was answered with what holds no key: {one}")


async def revive_or_enqueue(client: Client, given: tuple[list[TaskRecord], list[str]]) -> set[str]:
    ended, new_ids = given
    if client.index < len(ended):
        return await client.opened.commit([step(ended[client.index], Revive(), at(20))])
    new = NewTask(id=new_ids[client.index], name="conformance.task", key=ended[0].key)
    [answer] = await client.opened.enqueue_many([new], now=at(20))
    return {new.id} if answer.is_new else set()


@guarantee("KEY-09", deadline=90)
async def test_of_revives_and_enqueues_that_want_one_key_at_once_one_gets_it(
    store: Store, check: Check, crew: Crew
) -> None:
    owner = await store.actor()
    ended: list[list[TaskRecord]] = [[], []]
    for revived in ended:
        await owner.enqueue_many([store.new_task(key=f"key-{i}") for i in range(60)], now=T0)
        for record in await owner.claim(Want(worker="owner", limit=_ALL), now=at(1)):
            revived.append(step(record, Fail(ERROR), at(2)))
        await owner.commit(revived)
        revived.sort(key=lambda record: record.key or "")
    rounds = [(list(both), [store.new_id() for _ in range(crew.clients)]) for both in zip(*ended, strict=True)]
    for (both, _), answers in zip(rounds, await burst(store, revive_or_enqueue, rounds, crew=crew), strict=True):
        refuse_errors(check, "KEY-09", "a revive, or the enqueue that it races,", answers)
        told = sorted(set[str]().union(*answers))
        active = ids(await owner.find(Matching(key=both[0].key, states=tuple(ACTIVE)), _ALL))
        check("KEY-09", len(active) == 1, f"{len(active)} tasks with the key {both[0].key!r} are active")
        check.equal("KEY-09", told, active, f"who was told to have the key {both[0].key!r}")


# Claims


async def claim_some(client: Client, given: tuple[int, datetime]) -> list[tuple[str, int]]:
    number, now = given
    limit = (1, 3, 7)[(number + client.index) % 3]
    claimed = await client.opened.claim(Want(worker=f"worker-{client.index}", limit=limit), now=now)
    if number % 3 == 2:
        await client.opened.commit([step(record, Requeue(), now) for record in claimed])
    return [(record.id, record.fence) for record in claimed]


@guarantee("CLM-02", deadline=90)
async def test_many_that_claim_at_once_are_given_different_tasks(store: Store, check: Check, crew: Crew) -> None:
    reader = await store.actor()
    new = store.new_tasks(600)
    await reader.enqueue_many(new, now=T0)
    rounds = [(i, at(i + 1)) for i in range(60)]
    given: dict[tuple[str, int], str] = {}
    for answers in await burst(store, claim_some, rounds, crew=crew):
        refuse_errors(check, "CLM-02", "a claim", answers)
        for index, claimed in enumerate(answers):
            for id_, fence in claimed:
                # A claim makes it odd, and giving back makes it even: who takes a task from its owner gets an even one.
                check(
                    "CLM-02", fence % 2, f"{id_} was given to worker-{index} under fence {fence} while another had it"
                )
                other = given.setdefault((id_, fence), f"worker-{index}")
                check("CLM-02", other == f"worker-{index}", f"{id_} under fence {fence} was given to {other} too")
            check("CLM-02", len(set(claimed)) == len(claimed), f"one claim was given a task twice: {shown(claimed)}")
    rest = await reader.claim(Want(worker="rest", limit=_ALL), now=at(1000))
    for record in rest:
        check(
            "CLM-02", (record.id, record.fence) not in given, f"{record.id} was given under fence {record.fence} twice"
        )
        given[record.id, record.fence] = "rest"
    there = await reader.get([one.id for one in new])
    check.equal("CLM-02", sorted(there), sorted(one.id for one in new), "the tasks that are stored")
    for record in there.values():
        owner = given.get((record.id, record.fence))
        check(
            "CLM-02",
            record.state is State.RUNNING and record.worker == owner,
            f"given to {owner}, but is {shown(record)} of {record.worker}",
        )


# One owner


_FATES: tuple[Event, ...] = (Complete(RESULT), Fail(ERROR), Requeue(), Cancel())


async def commit_own_outcome(client: Client, given: list[TaskRecord]) -> set[str]:
    fate = _FATES[client.index % len(_FATES)]
    return await client.opened.commit([step(record, fate, at(5)) for record in given])


@guarantee("OWN-05", deadline=90)
async def test_of_many_outcomes_at_once_one_is_stored(store: Store, check: Check, crew: Crew) -> None:
    reader = await store.actor()
    await reader.enqueue_many(store.new_tasks(300), now=T0)
    owned = await reader.claim(Want(worker="owner", limit=_ALL), now=at(1))
    rounds = [owned[i : i + 2] for i in range(0, len(owned), 2)]
    for given, answers in zip(rounds, await burst(store, commit_own_outcome, rounds, crew=crew), strict=True):
        refuse_errors(check, "OWN-05", "a commit", answers)
        there = await reader.get(ids(given))
        for record in given:
            stored_by = [index for index, answer in enumerate(answers) if record.id in answer]
            check("OWN-05", len(stored_by) == 1, f"{len(stored_by)} of {crew.clients} commits were told: stored")
            expected = step(record, _FATES[stored_by[0] % len(_FATES)], at(5))
            check.equal("OWN-05", there.get(record.id), expected, "beside the commit that was told: stored, the task")


# Recovery


async def recover(client: Client, given: tuple[datetime, list[Held], int]) -> set[str]:
    before, held, reads = given
    if client.index == 0 and held:
        for _ in range(reads):
            await client.opened.find(Stale.since(before), 1)
        return await client.opened.touch_heartbeats(held, now=_FRESH)
    stale = await client.opened.find(Stale.since(before), _ALL)
    await asyncio.sleep(0)  # where all clients share one process, the others come between reading and writing too
    return await client.opened.commit(
        [step(record, LoseHeartbeat(LOST), before) for record in stale], stale=Stale.since(before)
    )


async def _stale(store: Store) -> list[tuple[datetime, list[TaskRecord]]]:
    """For each round, tasks that are stale at its time and at none of the earlier ones."""
    reader = await store.actor()
    rounds: list[tuple[datetime, list[TaskRecord]]] = []
    for i in range(60):
        await reader.enqueue_many(store.new_tasks(5, max_attempts=1 + i % 2), now=T0)
        owned = await reader.claim(Want(worker="owner", limit=5), now=at(10 * i))
        rounds.append((at(10 * i + 5), owned))
    return rounds


@guarantee("REC-30", deadline=90)
async def test_of_many_recoverers_at_once_one_moves_each_task(store: Store, check: Check, crew: Crew) -> None:
    reader = await store.actor()
    stale = await _stale(store)
    rounds: list[tuple[datetime, list[Held], int]] = [(before, [], 0) for before, _ in stale]
    for (before, tasks), answers in zip(stale, await burst(store, recover, rounds, crew=crew), strict=True):
        refuse_errors(check, "REC-30", "a recovery", answers)
        moved = Counter(id_ for answer in answers for id_ in answer)
        check.equal("REC-30", dict(moved), dict.fromkeys(ids(tasks), 1), "how many recoverers say that they moved each")
        there = await reader.get(ids(tasks))
        expected = {record.id: step(record, LoseHeartbeat(LOST), before) for record in tasks}
        check.equal("REC-30", there, expected, "the recovered tasks")


@guarantee("REC-03", deadline=90)
async def test_a_heartbeat_at_the_moment_of_recovery_saves_the_task_or_is_told_of_its_loss(
    store: Store, check: Check, crew: Crew
) -> None:
    """Each task goes one of two ways: kept, and reported by no recoverer; or moved by one, and lost to its owner."""
    reader = await store.actor()
    stale = await _stale(store)
    rounds = [(before, [record.held for record in tasks], i % 4) for i, (before, tasks) in enumerate(stale)]
    for (before, tasks), answers in zip(stale, await burst(store, recover, rounds, crew=crew), strict=True):
        refuse_errors(check, "REC-03", "a recovery, or the heartbeat that it races,", answers)
        there = await reader.get(ids(tasks))
        for record in tasks:
            kept = record.id in answers[0]
            moved = sum(record.id in answer for answer in answers[1:])
            check("REC-03", kept == (moved == 0), f"kept by its owner: {kept}; moved by so many recoverers: {moved}")
            expected = record.evolve(heartbeat_at=_FRESH) if kept else step(record, LoseHeartbeat(LOST), before)
            check.equal("REC-03", there.get(record.id), expected, f"the task, of which its owner heard: kept={kept},")


# Locks


async def lock_and_unlock(client: Client, given: tuple[str, str]) -> bool:
    what, name = given
    if what == "unlock":
        return await client.opened.unlock(name, f"owner-{client.index}")
    return await client.opened.lock(name, f"owner-{client.index}", _TTL, now=at(100))


@guarantee("LCK-01", deadline=90)
async def test_of_many_that_want_a_lock_at_once_one_gets_it(store: Store, check: Check, crew: Crew) -> None:
    """Some of the locks are new, some have run out, some were just given back."""
    earlier = await store.actor()
    for i in range(0, 60, 2):
        await earlier.lock(f"lock-{i}", "owner-of-old", _TTL, now=T0)
    rounds = [(what, f"lock-{i}") for i in range(60) for what in ("lock", "unlock", "lock")]
    for (what, name), answers in zip(rounds, await burst(store, lock_and_unlock, rounds, crew=crew), strict=True):
        refuse_errors(check, "LCK-01", f"{what} of {name}", answers)
        check("LCK-01", sum(answers) == 1, f"{what} of {name}: {sum(answers)} of {crew.clients} were told yes")


# Runs elsewhere


async def reserve_or_claim(client: Client, given: tuple[int, datetime]) -> list[tuple[str, int]]:
    """Reserve some, and start or give back what was reserved; every fourth client claims tasks for itself instead."""
    number, now = given
    limit = (1, 3, 7)[(number + client.index) % 3]
    worker = f"worker-{client.index}"
    if client.index % 4 == 3:
        want = Want(worker=worker, limit=limit)
    else:
        want = Want(worker=worker, limit=limit, reserve=True, stale_after=WINDOW)
    taken = await client.opened.claim(want, now=now)
    if want.reserve and number % 3 == 2:
        await client.opened.commit([step(record, Release(), now) for record in taken])
    return [(record.id, record.fence) for record in taken]


@guarantee("EXE-01", deadline=90)
async def test_many_that_reserve_at_once_are_given_different_tasks(store: Store, check: Check, crew: Crew) -> None:
    if not await keeps_dispatched(store, check, "EXE-01"):
        return
    reader = await store.actor()
    new = store.new_tasks(600)
    await reader.enqueue_many(new, now=T0)
    rounds = [(i, at(i + 1)) for i in range(60)]
    given: dict[tuple[str, int], str] = {}
    for answers in await burst(store, reserve_or_claim, rounds, crew=crew):
        refuse_errors(check, "EXE-01", "a reservation", answers)
        for index, taken in enumerate(answers):
            for id_, fence in taken:
                # A claim makes it odd, and giving back makes it even.
                check(
                    "EXE-01", fence % 2, f"{id_} was given to worker-{index} under fence {fence} while another had it"
                )
                other = given.setdefault((id_, fence), f"worker-{index}")
                check("EXE-01", other == f"worker-{index}", f"{id_} under fence {fence} was given to {other} too")
            check("EXE-01", len(set(taken)) == len(taken), f"one reservation was given a task twice: {shown(taken)}")
    for record in await reserve_all(reader, now=at(1000), worker="rest"):
        check("EXE-01", (record.id, record.fence) not in given, f"{record.id} was given under {record.fence} twice")
        given[record.id, record.fence] = "rest"
    there = await reader.get([one.id for one in new])
    check.equal("EXE-01", sorted(there), sorted(one.id for one in new), "the tasks that are stored")
    for record in there.values():
        owner = given.get((record.id, record.fence))
        taken_by = record.worker if record.state in (State.DISPATCHED, State.RUNNING) else "nobody"
        check("EXE-01", taken_by == owner, f"given to {owner}, but is {shown(record)} of {record.worker}")


async def claim_as_run(client: Client, given: list[Held]) -> list[tuple[str, str | None]]:
    ref = f"run-{client.index}" if client.index % 2 else None
    want = Want(worker=f"run-{client.index}", limit=_ALL, tasks=tuple(given), execution_ref=ref)
    return [(record.id, record.worker) for record in await client.opened.claim(want, now=at(5))]


async def _reserved(store: Store, count: int, size: int, **fields: Any) -> list[list[TaskRecord]]:
    """So many lists of tasks of this size, all reserved by one dispatcher."""
    dispatcher = await store.actor()
    await dispatcher.enqueue_many(store.new_tasks(count * size, **fields), now=T0)
    out = await reserve_all(dispatcher, now=at(1), worker="dispatcher")
    return [out[i : i + size] for i in range(0, len(out), size)]


@guarantee("EXE-08", deadline=90)
async def test_of_many_runs_that_claim_a_task_at_once_one_gets_it(store: Store, check: Check, crew: Crew) -> None:
    if not await keeps_dispatched(store, check, "EXE-08"):
        return
    reader = await store.actor()
    rounds = await _reserved(store, 80, 3)
    for out in rounds:
        [first, *_] = out
        out[0] = step(first, Dispatch(REF, WINDOW), at(2))
    await reader.commit([out[0] for out in rounds])
    given = [[record.held for record in out] for out in rounds]
    for out, answers in zip(rounds, await burst(store, claim_as_run, given, crew=crew), strict=True):
        refuse_errors(check, "EXE-08", "a run's claim", answers)
        winners = Counter(id_ for answer in answers for id_, _ in answer)
        check.equal("EXE-08", dict(winners), dict.fromkeys(ids(out), 1), "how many runs were given each task")
        owners = {id_: worker for answer in answers for id_, worker in answer}
        there = await reader.get(ids(out))
        check.equal("EXE-08", {id_: one.worker for id_, one in there.items()}, owners, "whose the tasks are")
        fences = {id_: one.fence for id_, one in there.items()}
        expected = {record.id: record.fence + 1 for record in out}
        check.equal("EXE-08", fences, expected, "the fences of the tasks")


_WAYS: tuple[Event, ...] = (Dispatch(REF, WINDOW), Cancel(), LoseHeartbeat(LOST), Divert("local", REFUSED))


async def refer_or_claim(client: Client, given: tuple[list[TaskRecord], int, int]) -> set[str]:
    """One client writes something under the reservation's fence, and the others claim under it."""
    out, way, reads = given
    if client.index == 0:
        for _ in range(reads):
            await client.opened.get(ids(out))
        return await client.opened.commit([step(record, _WAYS[way], at(5)) for record in out])
    want = Want(worker="run", limit=_ALL, tasks=tuple(record.held for record in out), execution_ref="own")
    return set(ids(await client.opened.claim(want, now=at(6))))


@guarantee("EXE-13", deadline=90)
async def test_of_a_run_and_its_dispatcher_at_once_one_is_stored(store: Store, check: Check, crew: Crew) -> None:
    if not await keeps_dispatched(store, check, "EXE-13"):
        return
    reader = await store.actor()
    reserved = await _reserved(store, 120, 2, execution_backend="cloudrun")
    rounds = [(out, i % len(_WAYS), i // len(_WAYS) % 4) for i, out in enumerate(reserved)]
    for (out, way, _), answers in zip(rounds, await burst(store, refer_or_claim, rounds, crew=crew), strict=True):
        refuse_errors(check, "EXE-13", "a run's claim, or the commit that it races,", answers)
        there = await reader.get(ids(out))
        for record in out:
            told = [index for index, answer in enumerate(answers) if record.id in answer]
            what = f"of the dispatcher's {_WAYS[way].name} and the runs' claims {len(told)} were told: stored"
            check("EXE-13", len(told) == 1, what)
            claim = Want(worker="run", limit=1, execution_ref="own").event
            expected = step(record, _WAYS[way], at(5)) if told == [0] else step(record, claim, at(6))
            parts = [(one.state, one.fence, one.execution_ref) for one in (there[record.id], expected)]
            check.equal("EXE-13", parts[0], parts[1], f"state, fence and reference once client {told} was told so")


async def enqueue_or_dispatch(client: Client, given: tuple[TaskRecord, list[str]]) -> list[tuple[str, bool]]:
    """One client takes the holder of a key through reservations, and the others enqueue its key meanwhile."""
    record, new_ids = given
    if client.index == 0:
        for event in (Release(), Divert("local", REFUSED), LoseHeartbeat(LOST), Dispatch(REF, WINDOW)):
            want = Want(worker="d", limit=1, tasks=(record.held,), reserve=True, stale_after=WINDOW)
            taken: list[TaskRecord] = []
            for _ in range(200):  # an enqueue may hold the task for a moment, and a claim passes over what is held
                taken = taken or await client.opened.claim(want, now=at(1))
                await asyncio.sleep(0)  # where all clients share one process
            if not taken:
                raise LookupError(f"{record.id} was given back, and could not be reserved again")
            record = step(taken[0], event, at(1))
            await client.opened.commit([record])
        return [(record.id, False)]
    answers: list[tuple[str, bool]] = []
    for number in range(4):
        new = NewTask(id=new_ids[client.index * 4 + number], name="conformance.task", key=record.key)
        [answer] = await client.opened.enqueue_many([new], now=at(2))
        answers.append((answer.record.id, answer.is_new))
    return answers


@guarantee("EXE-14", deadline=90)
async def test_a_key_is_never_free_while_its_task_is_reserved_and_given_back(
    store: Store, check: Check, crew: Crew
) -> None:
    if not await keeps_dispatched(store, check, "EXE-14"):
        return
    reader = await store.actor()
    rounds = [
        (await store.enqueue(reader, key=f"key-{i}"), [store.new_id() for _ in range(4 * crew.clients)])
        for i in range(40)
    ]
    for (record, _), answers in zip(rounds, await burst(store, enqueue_or_dispatch, rounds, crew=crew), strict=True):
        refuse_errors(check, "EXE-14", "an enqueue, or what happens to the holder meanwhile,", answers)
        expected = [[(record.id, False)], *[[(record.id, False)] * 4] * (crew.clients - 1)]
        check.equal("EXE-14", answers, expected, f"what enqueues of {record.key!r} were answered")
        there = await reader.find(Matching(key=record.key), _ALL)
        check.equal("EXE-14", ids(there), [record.id], f"the tasks with the key {record.key!r}")
        check.equal("EXE-14", (there[0].state, there[0].fence), (State.DISPATCHED, 8), "the state and the fence")


# Many at once


async def enqueue_or_look(client: Client, given: tuple[list[NewTask], int]) -> list[int]:
    batch, size = given
    if client.index == 0:
        await client.opened.enqueue_many(batch, now=T0)
        return []
    seen: list[int] = []
    # Until it is there, so that some of the looks fall into the time of the write, however long that takes.
    while not seen or seen[-1] < size:
        seen.append(len(await client.opened.get(ids(batch))))
        await asyncio.sleep(0)  # where all clients share one process
    return seen


@guarantee("BLK-03", deadline=120)
async def test_a_large_batch_is_seen_whole_or_not_at_all(store: Store, check: Check, crew: Crew) -> None:
    for there in store.in_each_way():
        await there.actor()
        rounds = [(store.new_tasks(1500, queue=f"round-{i}"), 1500) for i in range(4)]
        for answers in await burst(there, enqueue_or_look, rounds, crew=crew, seconds=60):
            refuse_errors(check, "BLK-03", "an enqueue, or a look at it,", answers)
            for answer in answers:
                check("BLK-03", set(answer) <= {0, 1500}, f"so many of 1,500 were seen: {sorted(set(answer))}")


# Schemas


async def open_and_enqueue(client: Client, given: tuple[dict[str, Any], list[str]]) -> list[str]:
    config, new_ids = given
    backend = await client.open(config)
    try:
        await backend.create_schema()
        await backend.enqueue_many([NewTask(id=new_ids[client.index], name="conformance.task")], now=T0)
        return sorted(await backend.get(new_ids))
    finally:
        await backend.close()


@guarantee("SCM-02", deadline=120)
async def test_of_many_that_open_a_new_store_at_once_all_succeed(store: Store, check: Check, large_crew: Crew) -> None:
    stores = [store.another() for _ in range(10)]
    rounds = [(one.config, [one.new_id() for _ in range(large_crew.clients)]) for one in stores]
    opened = await burst(store, open_and_enqueue, rounds, crew=large_crew, opens=True, seconds=90)
    for one, (_, new_ids), answers in zip(stores, rounds, opened, strict=True):
        refuse_errors(check, "SCM-02", "opening a new store", answers)
        for index, seen in enumerate(answers):
            check("SCM-02", new_ids[index] in seen, f"client {index} does not see its own task in the new store")
        there = await (await one.actor()).get(new_ids)
        check.equal("SCM-02", sorted(there), sorted(new_ids), "the tasks that the new store has")


# Schedules


async def look_at_once(client: Client, given: tuple[str, Time, datetime]) -> None:
    name, time, now = given
    clock: StoreClock = GivenClock(now) if time == "given" else StoreClock()
    await clock.sync(client.opened)
    backend = SchedulerClient(client.opened, clock if time == "given" else None)
    found = read_all(await backend.read_records(record_name(name)))
    await fire_due(QueueOperations(backend, clock), [one for one in found.values() if one.name == name], now)


@guarantee("SCH-01", deadline=90)
async def test_of_many_schedulers_that_look_at_once_each_fire_is_enqueued_once(
    store: Store, check: Check, crew: Crew
) -> None:
    rounds: list[tuple[str, Time, datetime]] = []
    kept: list[tuple[Scene, Schedule]] = []
    for time in TIMES:
        place = await scene(store, "SCH-01", time)
        for i in range(10):
            # The first half is due for the first time; of the other one, some fires wait for one another.
            rest = {"overlap": "allow"} if i % 2 else {"overlap": "queue", "misfire_grace": 86400.0}
            one = await place.keep(f"{time} {i}", since=3.2, catch_up="all", **rest)
            rounds.append((one.name, time, place.zero))
            kept.append((place, one))
    answers_of = await burst(store, look_at_once, rounds, crew=crew)
    for (place, one), answers in zip(kept, answers_of, strict=True):
        refuse_errors(check, "SCH-01", "a look", answers)
        after, numbers = await place.read(one.name), (2, 1, 0) if one.definition.overlap == "allow" else (2,)
        check.equal("SCH-01", after.enqueued, len(numbers), f"how many occurrences {one.name!r} counts")
        wanted = {place.id_of(one, number) for number in numbers}
        check.equal("SCH-01", set(await place.reader.get(wanted)), wanted, f"the occurrences of {one.name!r}")
    enqueued = sum([(await place.read(one.name)).enqueued for place, one in kept])
    stored = len(await kept[0][0].reader.find(Matching(), _ALL))
    check.equal("SCH-01", stored, enqueued, "how many tasks are stored")


async def run_or_look_or_pause(client: Client, given: tuple[str, datetime]) -> str | None:
    name, now = given
    backend = SchedulerClient(client.opened, GivenClock(now))
    service = QueueService(QueueConfig(queue_backend=backend), registry=registry_of())
    service.clock = GivenClock(now)
    async with service:
        if client.index % 4 == 2:
            await fire_due(service.operations, read_all(await backend.read_records(record_name(name))).values(), now)
        elif client.index % 4 == 3:
            await service.schedules.pause(name)
        else:
            return (await service.schedules.run_now(name)).id
    return None


@guarantee("SCH-12", deadline=90)
async def test_a_schedule_that_is_run_paused_and_looked_at_at_once_counts_every_occurrence(
    store: Store, check: Check, crew: Crew
) -> None:
    place = await scene(store, "SCH-12")
    kept = [await place.keep(f"s{i}", since=2.2, overlap="allow", misfire_grace=86400.0) for i in range(10)]
    rounds = [(one.name, place.zero) for one in kept]
    expected = set[str]()
    for one, answers in zip(kept, await burst(store, run_or_look_or_pause, rounds, crew=crew), strict=True):
        refuse_errors(check, "SCH-12", "`run_now`, or the look or pause that it races,", answers)
        wanted = {id_ for id_ in answers if id_ is not None} | {place.id_of(one, number) for number in (0, 1)}
        check.equal("SCH-12", set(await place.reader.get(wanted)), wanted, f"the tasks of {one.name!r}")
        after = await place.read(one.name)
        check.equal("SCH-12", after.enqueued, 4, f"how many occurrences {one.name!r} counts")
        check.equal("SCH-12", after.is_active, False, f"whether {one.name!r} fires on")
        expected |= wanted
    check.equal("SCH-12", set(ids(await place.reader.find(Matching(), _ALL))), expected, "the tasks that are stored")


def _code(version: str, number: int) -> dict[str, Any]:
    """What a version of the code declares: a schedule that all have, and one that this version alone has."""
    minutes = 60 * (number + 1) + ord(version)
    return {"shared": {"interval": 60.0 * minutes}, f"only {version} {number}": {"interval": 7200.0}}


async def synchronise(client: Client, given: tuple[int, datetime]) -> list[str]:
    number, now = given
    service = QueueService(
        QueueConfig(queue_backend=SchedulerClient(client.opened, GivenClock(now))),
        registry=registry_of(**_code("ab"[client.index % 2], number)),
    )
    service.clock = GivenClock(now)
    async with service:
        return list(await service.schedules.sync())


@guarantee("SCH-20", deadline=90)
async def test_of_many_versions_of_the_code_the_latest_one_is_stored(store: Store, check: Check, crew: Crew) -> None:
    place = await scene(store, "SCH-20")
    for number in range(8):
        [answers] = await burst(store, synchronise, [(number, place.zero)], crew=crew)
        refuse_errors(check, "SCH-20", "`sync`", answers)
        numbers = json.loads((await place.reader.read_records(CODE))[CODE].value)["numbers"]
        expected = list(range(1, 2 * number + 3))
        check.equal("SCH-20", sorted(numbers.values()), expected, "the numbers of all versions of the code")
        declared = {version: _code(version, number) for version in "ab"}
        services = [await place.service(registry_of(**code)) for code in declared.values()]
        before = await place.read("shared")
        for service in services:
            async with service:
                await service.schedules.sync()
        check.equal(
            "SCH-20", (await place.read("shared")).version, before.version, "the version of the shared schedule"
        )
        latest = [v for v, code in declared.items() if before.definition.spec.interval == code["shared"]["interval"]]
        check("SCH-20", latest, f"the shared schedule is of neither version: {before.definition.spec}")
        found = read_all(await place.reader.read_records(PREFIX))
        alive = sorted(name for name, one in found.items() if one.removed_at is None)
        check.equal("SCH-20", alive, sorted(declared[latest[0]]), f"the schedules of the latest version, {latest[0]}")
