"""BLK: batches that are larger than what a driver, a statement or a loop takes at once."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pytest

from litestar_queues.backends.base import QueueBackend
from litestar_queues.lifecycle import Complete, LoseHeartbeat, Requeue, State, step
from litestar_queues.records import Held, NewTask, Stale, TaskRecord, Want
from litestar_queues_conformance.bursts import Client, Crew, burst, crew_of, refuse_errors
from litestar_queues_conformance.harness import T0, Check, Store, at, guarantee
from litestar_queues_conformance.moves import LOST, RESULT, ids

_ENQUEUED = 6000
"""More rows than SQLite takes parameters (32,766), and PostgreSQL with some more columns (65,535)."""
_CHANGED = 3000


@pytest.fixture
def crew(request: pytest.FixtureRequest, store: Store) -> Crew:
    """The processes that the cases of the run share."""
    return crew_of(request.session, store.target_name)


@dataclass(frozen=True, slots=True)
class Batch:
    """What one client writes while the others look.

    Attributes:
        tasks: The tasks, in a queue of their own.
        mark: The id of a task that the writer enqueues last.
    """

    tasks: list[NewTask]
    mark: str

    @property
    def queue(self) -> str:
        """Their queue."""
        return self.tasks[0].queue


Counted = tuple[tuple[str, int], ...]
"""How many tasks are in each state."""


async def _marked(backend: QueueBackend, batch: Batch) -> None:
    await backend.enqueue_many([NewTask(id=batch.mark, name="conformance.task", queue="marks")], now=T0)


async def _counts_until_marked(backend: QueueBackend, batch: Batch) -> list[Counted]:
    """What was counted, each once, until all is written."""
    counted: dict[Counted, None] = {}
    is_over = False
    while not is_over:
        is_over = batch.mark in await backend.get([batch.mark])
        counts = await backend.count((batch.queue,))
        counted[tuple(sorted((one.state.value, one.tasks) for one in counts if one.tasks))] = None
        await asyncio.sleep(0)  # where all clients share one process
    return list(counted)


async def enqueue_or_count(client: Client, batch: Batch) -> list[tuple[str, bool]] | list[Counted]:
    if client.index > 0:
        return await _counts_until_marked(client.opened, batch)
    try:
        return [(one.record.id, one.is_new) for one in await client.opened.enqueue_many(batch.tasks, now=T0)]
    finally:
        await _marked(client.opened, batch)


@pytest.mark.parametrize("keyed", ["none", "half", "all"])
@guarantee("BLK-04", deadline=120, time="given")  # BLK-01 has large batches without a time
async def test_thousands_are_enqueued_in_one_step(store: Store, check: Check, crew: Crew, keyed: str) -> None:
    every = {"none": 0, "half": 2, "all": 1}[keyed]
    tasks = [
        store.new_task(queue=f"{keyed}-keyed", key=f"key-{i}" if every and i % every == 0 else None)
        for i in range(_ENQUEUED)
    ]
    await store.actor()  # the schema is there before the clients open the store
    [(answers, *seen)] = await burst(store, enqueue_or_count, [Batch(tasks, store.new_id())], crew=crew, seconds=90)
    refuse_errors(check, "BLK-04", "an enqueue of thousands, or a count meanwhile,", [answers, *seen])
    legal = {(), ((State.PENDING.value, _ENQUEUED),)}
    for counted in seen:
        check("BLK-04", set(counted) <= legal, f"while {_ENQUEUED} tasks were enqueued, a client counted {counted}")
    check.equal("BLK-04", answers, [(one.id, True) for one in tasks], "the ids, and whether each is new")
    reader = await store.actor()
    found = await reader.get(ids(tasks))
    check.equal("BLK-04", len(found), _ENQUEUED, "how many are stored")
    wrong = [one.id for one in tasks if found[one.id].key != one.key]
    check.equal("BLK-04", wrong, [], "the tasks that are stored with another key")


async def change_or_count(client: Client, batch: Batch) -> list[tuple[str, int]] | list[Counted]:
    if client.index > 0:
        return await _counts_until_marked(client.opened, batch)
    try:
        return await _changed(client.opened, batch)
    finally:
        await _marked(client.opened, batch)


async def _changed(backend: QueueBackend, batch: Batch) -> list[tuple[str, int]]:
    """Change all of the tasks in each way, and return how many each call says that it changed."""
    wanted, told = set(ids(batch.tasks)), list[tuple[str, int]]()

    def note(what: str, changed: set[str]) -> None:
        told.append((what, len(changed & wanted)))

    async def claim(seconds: float) -> list[TaskRecord]:
        want = Want(worker="worker-a", limit=len(wanted), queues=(batch.queue,))
        claimed = await backend.claim(want, now=at(seconds))
        note("a claim", set(ids(claimed)))
        return claimed

    owned = await claim(1)
    beats = [Held(one.id, one.fence, progress=f'{{"at": {i}}}') for i, one in enumerate(owned)]
    note("a batch of heartbeats", await backend.touch_heartbeats(beats, now=at(2)))
    there = await backend.get(wanted)
    note(
        "the progress",
        {
            one.id
            for one in beats
            if (there[one.id].progress or "").replace(" ", "") == (one.progress or "").replace(" ", "")
        },
    )
    owned = [there[one.id] for one in owned]
    note("a commit", await backend.commit([step(one, Requeue(), at(3)) for one in owned]))
    await claim(4)
    stale = Stale.since(at(100))
    read = await backend.find(stale, len(wanted))
    note("a query for stale tasks", set(ids(read)))
    note("a recovery", await backend.commit([step(one, LoseHeartbeat(LOST), at(200)) for one in read], stale=stale))
    ended = [step(one, Complete(RESULT), at(202)) for one in await claim(201)]
    note("the last commit", await backend.commit(ended))
    note("a deletion", await backend.delete([one.held for one in ended]))
    return told


@guarantee("BLK-05", deadline=150, time="given")  # BLK-01 has large batches without a time
async def test_thousands_are_changed_in_one_step(store: Store, check: Check, crew: Crew) -> None:
    a = await store.actor()
    tasks = store.new_tasks(_CHANGED, queue="changed", max_recoveries=9)
    await a.enqueue_many(tasks, now=T0)
    [(told, *seen)] = await burst(store, change_or_count, [Batch(tasks, store.new_id())], crew=crew, seconds=120)
    refuse_errors(check, "BLK-05", "a write of thousands, or a count meanwhile,", [told, *seen])
    for what, changed in told:
        check.equal("BLK-05", changed, _CHANGED, f"how many tasks {what} has")
    legal = {(), *(((state.value, _CHANGED),) for state in State)}
    for counted in seen:
        mixed = [one for one in counted if one not in legal]
        check.equal("BLK-05", mixed, [], f"the counts in which {_CHANGED} tasks are in more than one state")
