"""The guarantees of which several clients can rob one another, by bursts: see `bursts`."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest

from litestar_queues.lifecycle import ACTIVE, Cancel, Complete, Event, Fail, LoseHeartbeat, Requeue, Revive, State, step
from litestar_queues.records import Held, Matching, NewTask, Stale, TaskRecord, Want
from litestar_queues_conformance.bursts import Client, Crew, burst, refuse_errors
from litestar_queues_conformance.compare import shown
from litestar_queues_conformance.harness import T0, Check, Store, at, guarantee
from litestar_queues_conformance.moves import ERROR, LOST, RESULT, ids

_CREW = pytest.StashKey[Crew]()
_ALL = 1_000_000
_TTL = timedelta(seconds=30)
_FRESH = at(100_000)
"""A heartbeat that is stale in no round."""


@pytest.fixture
def crew(request: pytest.FixtureRequest, store: Store) -> Crew:
    """Four processes, shared by the cases of this module."""
    module = request.node.getparent(pytest.Module)
    crew: Crew | None = module.stash.get(_CREW, None)
    if crew is None:
        crew = module.stash[_CREW] = Crew(store.target_name)
        module.addfinalizer(crew.close)
    return crew


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


@guarantee("REC-04", deadline=90)
async def test_of_many_recoverers_at_once_one_moves_each_task(store: Store, check: Check, crew: Crew) -> None:
    reader = await store.actor()
    stale = await _stale(store)
    rounds: list[tuple[datetime, list[Held], int]] = [(before, [], 0) for before, _ in stale]
    for (before, tasks), answers in zip(stale, await burst(store, recover, rounds, crew=crew), strict=True):
        refuse_errors(check, "REC-04", "a recovery", answers)
        moved = Counter(id_ for answer in answers for id_ in answer)
        check.equal("REC-04", dict(moved), dict.fromkeys(ids(tasks), 1), "how many recoverers say that they moved each")
        there = await reader.get(ids(tasks))
        expected = {record.id: step(record, LoseHeartbeat(LOST), before) for record in tasks}
        check.equal("REC-04", there, expected, "the recovered tasks")


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
    backend = await client.target.open(config)
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
