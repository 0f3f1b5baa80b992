"""What lies between calls: records in the middle of a write, and calls that never come to their end."""

from __future__ import annotations

import asyncio
import time as clock
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing.connection import Connection
from typing import Any

import pytest

from litestar_queues.backends.base import QueueBackend
from litestar_queues.lifecycle import (
    Cancel,
    Complete,
    Dispatch,
    Event,
    Fail,
    IllegalTransition,
    LoseHeartbeat,
    NullHeartbeat,
    Requeue,
    Revive,
    State,
    step,
)
from litestar_queues.records import Held, Matching, NamedRecord, NewTask, Stale, TaskRecord, Want
from litestar_queues_conformance.bursts import Client, Crew, burst, crew_of, refuse_errors
from litestar_queues_conformance.compare import difference
from litestar_queues_conformance.harness import T0, Check, Store, at, guarantee
from litestar_queues_conformance.killing import hear, processes
from litestar_queues_conformance.moves import ERROR, LOST, REF, RESULT, claim_all, ids, picture
from litestar_queues_conformance.patience import ended_beside

_ALL = 1_000_000
_TTL = timedelta(seconds=600)


@pytest.fixture
def crew(request: pytest.FixtureRequest, store: Store) -> Crew:
    """The processes that the cases of the run share."""
    return crew_of(request.session, store.target_name)


# A record in the middle of a write


@dataclass(frozen=True, slots=True)
class Life:
    """What the clients do in one round: one writes these tasks, and the others read them.

    Attributes:
        tasks: The first holds a key.
        mark: The id of a task that the writer enqueues last.
        others: An id for each client.
        dispatches: Whether the tasks are dispatched once.
    """

    tasks: list[NewTask]
    mark: str
    others: list[str]
    dispatches: bool


_WINDOWS = ((1, 30), (2, 40), (5, 30), (8, 30), (9, 50), (10, 30))
"""The times at which owners tell their windows, in seconds, and the windows."""
_TRIES = 1000
"""How often a writer asks for tasks that it should be given: a reader's look locks them for a moment, and no longer."""


class _NotGiven(Exception):
    """A writer was not given what is its own, which breaks other guarantees."""


async def _tries() -> AsyncIterator[None]:
    for _ in range(_TRIES):
        yield
        await asyncio.sleep(0)  # where all clients share one process
    raise _NotGiven


async def write_or_watch(client: Client, life: Life) -> list[tuple[str, TaskRecord]]:
    backend = client.opened
    for seconds, window in _WINDOWS:
        if client.telling is not None:  # another client stored the window, so that this one has not translated it
            client.telling.lasts(at(seconds), window)
    if client.index == 0:
        try:
            after: list[TaskRecord] = []
            # A claim that took another task, or otherwise, or nothing, breaks other guarantees.
            with suppress(IllegalTransition, _NotGiven):
                await _live(backend, life, after)
            return [("", one) for one in after]
        finally:
            await backend.enqueue_many([NewTask(id=life.mark, name="conformance.task", queue="marks")], now=T0)
    seen: dict[tuple[str, str], tuple[str, TaskRecord]] = {}
    is_over = False
    while not is_over:
        is_over = life.mark in await backend.get([life.mark])
        for how, record in await _look(client, life):
            seen[how, picture(record)] = how, record
        await asyncio.sleep(0)  # where all clients share one process
    return list(seen.values())


async def _look(client: Client, life: Life) -> list[tuple[str, TaskRecord]]:
    """The records of the tasks that this client reads, each with the way in which it reads them."""
    backend, task_ids, queue = client.opened, ids(life.tasks), life.tasks[0].queue
    found = list((await backend.get(task_ids)).values())
    looks = [("get", one) for one in found]
    if client.index == 1:
        looks += [("find", one) for one in await backend.find(Matching(queues=(queue,)), _ALL)]
    if client.index == 2:
        stale = await backend.find(Stale.since(at(9_000_000)), _ALL)
        looks += [("find of stale tasks", one) for one in stale if one.queue == queue]
    if client.index == 3 and len(found) == len(life.tasks):
        same = NewTask(id=life.others[3], name="conformance.task", key=life.tasks[0].key, queue="others")
        answers = await backend.enqueue_many([*life.tasks, same], now=at(99))
        looks += [("enqueue", one.record) for one in answers if one.record.queue == queue]
    return looks


async def _live(backend: QueueBackend, life: Life, after: list[TaskRecord]) -> None:
    """Write the tasks in every way, and note each record that is stored after a write."""
    queue, task_ids = life.tasks[0].queue, ids(life.tasks)

    async def stored() -> list[TaskRecord]:
        found = await backend.get(task_ids)
        after.extend(found.values())
        return [found[id_] for id_ in task_ids if id_ in found]

    async def claim(seconds: float, **more: Any) -> list[TaskRecord]:
        # A claim and a recovery leave out what a reader's look has locked for a moment.
        left = set(task_ids)
        want = Want(worker="writer", limit=9, stale_after=30.0, **more)
        async for _ in _tries():
            left -= set(ids(await backend.claim(want, now=at(seconds))))
            if not left:
                break
        return await stored()

    await backend.enqueue_many(life.tasks, now=T0)
    await stored()
    owned = await claim(1, queues=(queue,))
    beats = [Held(one.id, one.fence, progress='{"done": 1}', stale_after=40.0) for one in owned]
    await backend.touch_heartbeats(beats, now=at(2))
    owned = await stored()
    await backend.commit([step(one, Fail(ERROR, at(4)), at(3)) for one in owned])
    await stored()
    owned = await claim(5, queues=(queue,))
    await backend.commit([step(one, NullHeartbeat(), at(6)) for one in owned])
    owned = await stored()
    lost = {one.id: step(one, LoseHeartbeat(LOST), at(7)) for one in owned}
    async for _ in _tries():
        for id_ in await backend.commit(list(lost.values()), stale=Stale.since(at(6))):
            del lost[id_]
        if not lost:
            break
    owned = await stored()
    if life.dispatches:
        owned = await claim(8, queues=(queue,), reserve=True)
        await backend.commit([step(one, Dispatch(REF, 50.0), at(9)) for one in owned])
        owned = await stored()
        owned = await claim(10, tasks=tuple(one.held for one in owned))
    else:
        owned = await claim(10, queues=(queue,))
    # The first stays active: a reader enqueues its key, which must not become free.
    ends: list[Event] = [Requeue(), Cancel(), Complete(RESULT)]
    await backend.commit([step(one, event, at(11)) for one, event in zip(owned, ends, strict=True)])
    ended = await stored()
    await backend.commit([step(ended[1], Revive(), at(12))])
    await stored()


@guarantee("LIF-14", deadline=120)
async def test_readers_see_each_record_as_it_is_between_two_writes(store: Store, check: Check, crew: Crew) -> None:
    dispatches = store.target.capabilities.dispatch
    rounds = [
        Life(
            [
                store.new_task(queue=f"round-{i}", key=key, args='["a"]', max_attempts=9, max_recoveries=9)
                for key in (f"key-{i}", None, None)
            ],
            store.new_id(),
            [store.new_id() for _ in range(crew.clients)],
            dispatches,
        )
        for i in range(6)
    ]
    for life, (stored, *seen) in zip(rounds, await burst(store, write_or_watch, rounds, crew=crew), strict=True):
        refuse_errors(check, "LIF-14", "a write, or a look at it,", [stored, *seen])
        legal: dict[str, list[TaskRecord]] = {new.id: [] for new in life.tasks}
        for _, record in stored:
            legal[record.id].append(record)
            if record.state is State.SCHEDULED:  # a backend may make it pending as soon as it is due
                legal[record.id].append(record.evolve(state=State.PENDING))
        for how, record in (one for looks in seen for one in looks):
            check("LIF-14", record in legal[record.id], _torn(how, record, legal[record.id]))


def _torn(how: str, record: TaskRecord, legal: Sequence[TaskRecord]) -> str:
    if record in legal or not legal:
        return f"{how} returned a record that no write left behind: {picture(record)}"
    closest = min((difference(record, one) or "" for one in legal), key=len)
    return f"{how} returned a record that no write left behind; the closest one that did differs: {closest}"


# A call that is cancelled

Call = Callable[[QueueBackend], Awaitable[Any]]
_Items = list[str | None]


@dataclass(frozen=True, slots=True)
class Write:
    """A call of the port, and the items of the store that it changes.

    Attributes:
        call: Makes the call. A repetition after it took effect changes nothing.
        items: The items as they are stored, without what tells two writes of one kind apart.
    """

    call: Call
    items: Callable[[QueueBackend], Awaitable[_Items]]


_Prepared = Callable[[Store, QueueBackend, int, str], Awaitable[Write]]
"""Prepares a write of so many tasks, in a queue of its own."""


def _tasks(new: Sequence[NewTask]) -> Callable[[QueueBackend], Awaitable[_Items]]:
    async def items(reader: QueueBackend) -> _Items:
        found = await reader.get(ids(new))
        return [_alike(found[one.id]) if one.id in found else None for one in new]

    return items


def _alike(record: TaskRecord) -> str:
    alike: dict[str, Any] = {"id": "", "queue": ""}
    return picture(record.evolve(**alike) if record.key is None else record.evolve(**alike, key="k"))


def _enqueue(keyed: Callable[[int], bool]) -> _Prepared:
    async def prepare(store: Store, actor: QueueBackend, size: int, queue: str) -> Write:
        del actor
        new = [store.new_task(queue=queue, priority=i, key=f"{queue} {i}" if keyed(i) else None) for i in range(size)]
        return Write(lambda client: client.enqueue_many(new, now=T0), _tasks(new))

    return prepare


def _claim(*, reserve: bool) -> _Prepared:
    async def prepare(store: Store, actor: QueueBackend, size: int, queue: str) -> Write:
        new = store.new_tasks(size, queue=queue)
        await actor.enqueue_many(new, now=T0)
        want = Want(worker="worker-a", limit=size, queues=(queue,), reserve=reserve, stale_after=60.0)
        return Write(lambda client: client.claim(want, now=at(1)), _tasks(new))

    return prepare


async def _running(store: Store, actor: QueueBackend, size: int, queue: str) -> tuple[list[NewTask], list[TaskRecord]]:
    new = store.new_tasks(size, queue=queue, max_attempts=9, max_recoveries=9)
    await actor.enqueue_many(new, now=T0)
    return new, await claim_all(actor, now=at(1), queues=(queue,))


async def _beat(store: Store, actor: QueueBackend, size: int, queue: str) -> Write:
    new, owned = await _running(store, actor, size, queue)
    beats = [Held(one.id, one.fence, progress='{"done": 1}', stale_after=40.0) for one in owned]
    return Write(lambda client: client.touch_heartbeats(beats, now=at(2)), _tasks(new))


def _commit(change: Callable[[TaskRecord], TaskRecord], stale: Stale | None = None) -> _Prepared:
    async def prepare(store: Store, actor: QueueBackend, size: int, queue: str) -> Write:
        new, owned = await _running(store, actor, size, queue)
        after = [change(one) for one in owned]
        return Write(lambda client: client.commit(after, stale=stale), _tasks(new))

    return prepare


async def _delete(store: Store, actor: QueueBackend, size: int, queue: str) -> Write:
    new, owned = await _running(store, actor, size, queue)
    ended = [step(one, Complete(RESULT), at(2)) for one in owned]
    await actor.commit(ended)
    return Write(lambda client: client.delete([one.held for one in ended]), _tasks(new))


async def _write_records(store: Store, actor: QueueBackend, size: int, queue: str) -> Write:
    del store
    names = [f"{queue} {i}" for i in range(size)]
    await actor.write_records([NamedRecord(one, 1, "1") for one in names])
    second = [NamedRecord(one, 2, "2") for one in names]

    async def items(reader: QueueBackend) -> _Items:
        found = await reader.read_records(queue)
        return [found[one].value if one in found else None for one in names]

    return Write(lambda client: client.write_records(second), items)


async def _nothing(reader: QueueBackend) -> _Items:
    """A lock is one item: it is always changed wholly."""
    del reader
    return []


async def _lock(store: Store, actor: QueueBackend, size: int, queue: str) -> Write:
    del store, actor, size
    return Write(lambda client: client.lock(queue, "owner-a", _TTL, now=T0), _nothing)


async def _unlock(store: Store, actor: QueueBackend, size: int, queue: str) -> Write:
    del store, size
    await actor.lock(queue, "owner-a", _TTL, now=T0)
    return Write(lambda client: client.unlock(queue, "owner-a"), _nothing)


_WRITES: dict[str, _Prepared] = {
    "enqueue": _enqueue(lambda _: False),
    "enqueue_keyed": _enqueue(lambda _: True),
    "enqueue_mixed": _enqueue(lambda i: i % 2 == 1),
    "claim": _claim(reserve=False),
    "reserve": _claim(reserve=True),
    "heartbeat": _beat,
    "complete": _commit(lambda one: step(one, Complete(RESULT), at(2))),
    "retry": _commit(lambda one: step(one, Fail(ERROR, at(500)), at(2))),
    "recover": _commit(lambda one: step(one, LoseHeartbeat(LOST), at(300)), Stale.since(at(200))),
    "delete": _delete,
    "write_records": _write_records,
    "lock": _lock,
    "unlock": _unlock,
}
_COUNTED = 40
"""Up to so many turns of the event loop, a call is cancelled after each of them."""
_MOMENTS = 8
_BATCH = 12
_LARGE_BATCH = 600
_AGAIN_SECONDS = 15.0
"""Fair seconds in which the same call is answered after one that was cancelled."""


async def _turns_of(calling: Awaitable[Any]) -> int:
    """How many turns of the event loop a call takes that nobody cancels."""
    task = asyncio.ensure_future(calling)
    turns = 0
    while not task.done():
        await asyncio.sleep(0)
        turns += 1
    task.result()
    return turns


def _moments(turns: int) -> list[int]:
    """After how many turns a call that takes so many is cancelled.

    The turns of a backend without I/O are counted: after each of them. Others wait for a socket or a thread, in turns whose
    number is never the same twice: after some, which lie closer to each other at the beginning.
    """
    if turns <= _COUNTED:
        return list(range(turns + 1))
    return sorted({round(turns ** (i / _MOMENTS)) for i in range(_MOMENTS)} | {turns * 3 // 4, turns * 9 // 10})


async def _cancelled(calling: Awaitable[Any], turns: int) -> None:
    """Cancel a call after so many turns of the event loop, and wait for its end."""
    task = asyncio.ensure_future(calling)
    for _ in range(turns):
        if task.done():
            break
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait({task})
    if not task.cancelled():
        task.result()


async def _repeated(check: Check, id_: str, other: QueueBackend, repeating: Awaitable[Any], what: str) -> None:
    """Await the same call again; `other` is a client of another store."""
    task = asyncio.ensure_future(repeating)
    try:
        check(id_, await ended_beside(other.now, [task], _AGAIN_SECONDS), f"{what} did not end")
        with check.works(id_, what):
            await task
    finally:
        task.cancel()


async def _cancel_everywhere(store: Store, check: Check, prepare: _Prepared, size: int) -> None:
    other = await store.another().actor()
    writer, reader = await store.actors(2)
    control = await prepare(store, reader, size, "control")
    before = await control.items(reader)
    turns_of_all = await _turns_of(control.call(writer))
    after = await control.items(reader)
    writes: list[Write] = []
    for turns in _moments(turns_of_all):
        what = f"a call that was cancelled after {turns} of {turns_of_all} turns of the event loop"
        write = await prepare(store, reader, size, f"after-{turns}")
        writes.append(write)
        with check.works("LIF-15", what):
            await _cancelled(write.call(writer), turns)
        for _ in range(2):
            _whole(check, "LIF-15", await write.items(reader), (before, after), what)

        async def again(write: Write = write) -> None:
            # What goes on in a thread may hold the items for a moment, so that a claim leaves them out.
            while True:
                await write.call(writer)
                if await write.items(reader) == after:
                    return
                await asyncio.sleep(0)  # so that a store in this process does not block what waits beside

        await _repeated(check, "LIF-15", other, again(), f"the same call again, after {what},")
    for write in writes:
        check.equal("LIF-15", await write.items(reader), after, "the items after the calls that came later")


def _whole(check: Check, id_: str, items: _Items, legal: tuple[_Items, _Items], what: str) -> None:
    """Check that the items are all as before a call, or all as after it."""
    before, after = legal
    changed = sum(one == then for one, then in zip(items, after, strict=True))
    kept = sum(one == then for one, then in zip(items, before, strict=True))
    check(
        id_,
        items in legal,
        f"{what} took effect in part: of {len(items)} items {changed} are as after the call, and {kept} as before",
    )


@pytest.mark.parametrize("name", _WRITES)
@guarantee("LIF-15", deadline=150)
async def test_a_cancelled_call_took_effect_wholly_or_not_at_all(store: Store, check: Check, name: str) -> None:
    if name == "reserve" and not store.target.capabilities.dispatch:
        check.equal("LIF-15", State.DISPATCHED in store.states, False, "whether tasks can be dispatched")
        return
    await _cancel_everywhere(store, check, _WRITES[name], _BATCH)


@pytest.mark.parametrize("name", ["enqueue", "enqueue_mixed", "complete"])
@guarantee("LIF-15", deadline=150, time="given")  # what is large about a batch is the same at every time
async def test_a_cancelled_call_with_a_large_batch_took_effect_wholly_or_not_at_all(
    store: Store, check: Check, name: str
) -> None:
    for there in store.in_each_way():
        await _cancel_everywhere(there, check, _WRITES[name], _LARGE_BATCH)


# A call whose process is killed


async def _obey(pipe: Connection, backend: QueueBackend) -> None:
    """Make a call, and say when it begins and ends."""
    pipe.send("here")
    name, given = pipe.recv()
    pipe.send("begun")
    await _call(backend, name, given)
    pipe.send("ended")


async def _call(backend: QueueBackend, name: str, given: Any) -> None:
    match name:
        case "claim":
            await backend.claim(given, now=at(1))
        case "complete":
            await backend.commit(given)
        case _:
            await backend.enqueue_many(given, now=T0)


_KILLS = (("enqueue", 0.5), ("enqueue_keyed", 0.3), ("enqueue_keyed", 0.7), ("claim", 0.5), ("complete", 0.5))
"""The calls, and the parts of their time after which their processes are killed."""
_KILLED_BATCH = 2000


async def _to_be_killed(store: Store, actor: QueueBackend, name: str, queue: str) -> tuple[list[NewTask], Any]:
    """The tasks of a call, and what it is given."""
    match name:
        case "claim":
            new = store.new_tasks(_KILLED_BATCH, queue=queue)
            await actor.enqueue_many(new, now=T0)
            return new, Want(worker="worker-a", limit=_KILLED_BATCH, queues=(queue,))
        case "complete":
            new, owned = await _running(store, actor, _KILLED_BATCH, queue)
            return new, [step(one, Complete(RESULT), at(2)) for one in owned]
        case _:
            keyed = name == "enqueue_keyed"
            new = [store.new_task(queue=queue, key=f"{queue} {i}" if keyed else None) for i in range(_KILLED_BATCH)]
            return new, new


@guarantee("LIF-16", deadline=150, time="given")  # a process that is killed does not translate times
async def test_a_call_whose_process_is_killed_took_effect_wholly_or_not_at_all(store: Store, check: Check) -> None:
    reader = await store.actor()
    check.equal("LIF-16", reader.process_local, not store.multi_process, "process_local, beside the capability")
    if not store.multi_process:
        check.absent("LIF-16", "multi_process")
        return
    other = await store.another().actor()
    controls: dict[str, tuple[_Items, _Items, float]] = {}
    for name in dict(_KILLS):
        new, given = await _to_be_killed(store, reader, name, f"control-{name}")
        before = await _tasks(new)(reader)
        began = clock.monotonic()
        await _call(reader, name, given)
        controls[name] = before, await _tasks(new)(reader), clock.monotonic() - began
    with processes(store, len(_KILLS), _obey) as killed:
        for (name, part), (process, pipe) in zip(_KILLS, killed, strict=True):
            before, after, seconds = controls[name]
            new, given = await _to_be_killed(store, reader, name, f"{name}-{part}")
            items = _tasks(new)
            pipe.send((name, given))
            hear(pipe, "begun")
            pipe.poll(seconds * part)
            process.kill()
            process.join()
            what = f"a call ({name}) of {_KILLED_BATCH} tasks whose process was killed"
            for _ in range(2):
                _whole(check, "LIF-16", await items(reader), (before, after), what)

            async def again(name: str = name, given: Any = given, items: Any = items, after: Any = after) -> None:
                # A server may find out late that its client is gone, and hold the tasks until then.
                while True:
                    await _call(reader, name, given)
                    if await items(reader) == after:
                        return
                    await asyncio.sleep(0)

            await _repeated(check, "LIF-16", other, again(), f"the same call again, after {what},")


# A heartbeat between the read and the commit of a large recovery


@guarantee("REC-09")
async def test_heartbeats_save_tasks_anywhere_in_a_large_recovery(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    new, _ = await _running(store, a, 1200, "q")
    read = await b.find(Stale.since(at(100)), len(new))
    check.equal("REC-09", len(read), len(new), "how many stale tasks a recovery read")
    saved = [*read[:2], *read[99:1200:100], *read[-2:]]
    kept = await a.touch_heartbeats([one.held for one in saved], now=at(150))
    check.equal("REC-09", kept, set(ids(saved)), "the tasks of which the owner sent a heartbeat")
    moved = await b.commit([step(one, LoseHeartbeat(LOST), at(200)) for one in read], stale=Stale.since(at(100)))
    states = {one.id: one.state for one in (await a.get(ids(new))).values()}
    recovered = {id_ for id_, state in states.items() if state is State.PENDING}
    check.equal("REC-09", recovered & set(ids(saved)), set[str](), "the recovered tasks whose heartbeat had arrived")
    check.equal("REC-09", recovered, set(ids(read)) - set(ids(saved)), "the recovered tasks")
    check.equal("REC-09", moved, recovered, "the answer to the recovery")
