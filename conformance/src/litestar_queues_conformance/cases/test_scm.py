"""SCM: stores, their schema and their clients."""

from __future__ import annotations

import asyncio
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from datetime import timedelta
from multiprocessing.connection import Connection
from typing import Any

from litestar_queues.backends.base import QueueBackend
from litestar_queues.errors import BackendUnavailableError, QueueError
from litestar_queues.lifecycle import Claim, Complete, step
from litestar_queues.records import Enqueued, NamedRecord, NewTask, Want, admit
from litestar_queues_conformance.harness import T0, Check, Store, at, guarantee
from litestar_queues_conformance.killing import hear, processes
from litestar_queues_conformance.moves import (
    RESULT,
    claim_all,
    claim_one,
    commit,
    everything,
    ids,
    kinds,
    pictures,
    running,
    stored,
)
from litestar_queues_conformance.patience import ended_beside, starting
from litestar_queues_conformance.target import load_target

_TTL = timedelta(seconds=30)
_SOON = 20.0
"""Fair seconds within which what ends at all has ended, also where a call is tried again before it gives up."""


@guarantee("SCM-01")
async def test_creating_the_schema_again_keeps_everything(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    await kinds(store, a, metadata='{"m": 1}')
    held = await store.enqueue(a, key="k")
    await a.lock("reaper", "a", _TTL, now=T0)
    before = await pictures(a)
    for actor in (b, a, b):
        await actor.create_schema()
        check.equal("SCM-01", await pictures(b), before, "what is stored")
        [answer] = await b.enqueue_many([store.new_task(key="k")], now=at(1))
        check.equal("SCM-01", answer, Enqueued(held, False), "the answer to a held key")
        check.equal("SCM-01", await b.lock("reaper", "b", _TTL, now=at(1)), False, "whether the lock was lost")
    owned = await claim_one(a, held, now=at(2))
    await commit(a, owned, Complete(RESULT), at(3))


@guarantee("SCM-01")
async def test_the_schema_is_created_at_any_moment(store: Store, check: Check) -> None:
    a, b, c = await store.actors(3)
    owned = await running(store, a)
    batch = store.new_tasks(50)
    after = step(owned, Complete(RESULT), at(1))
    answers, moved, *_ = await asyncio.gather(
        a.enqueue_many(batch, now=T0), b.commit([after]), c.create_schema(), b.create_schema(), c.create_schema()
    )
    check.equal("SCM-01", answers, [Enqueued(admit(new, T0), True) for new in batch], "the answers to the batch")
    check.equal("SCM-01", moved, {owned.id}, "the answer to the commit")
    check.equal("SCM-01", sorted(ids(await everything(c))), sorted(ids([owned, *batch])), "what is stored")


@guarantee("SCM-02")
async def test_clients_that_open_a_new_store_at_once_see_one_store(store: Store, check: Check) -> None:
    for _ in range(3):
        fresh = store.another()
        actors = await asyncio.gather(*(fresh.actor() for _ in range(6)))
        new = [store.new_task(key="k"), *(store.new_task() for _ in range(5))]
        answers = await asyncio.gather(
            *(actor.enqueue_many([one], now=T0) for actor, one in zip(actors, new, strict=True))
        )
        expected = [[Enqueued(admit(one, T0), True)] for one in new]
        check.equal("SCM-02", answers, expected, "what each was answered")
        for actor in actors:
            check.equal("SCM-02", sorted(ids(await everything(actor))), sorted(ids(new)), "what each of them sees")
            [answer] = await actor.enqueue_many([store.new_task(key="k")], now=at(1))
            check.equal("SCM-02", answer, Enqueued(admit(new[0], T0), False), "the answer to a held key")


@guarantee("SCM-03")
async def test_two_stores_do_not_see_each_other(store: Store, check: Check) -> None:
    here, there = await store.actor(), await store.another().actor()
    new = store.new_task(key="k", run_at=at(10))
    for actor, now in ((here, T0), (there, at(1))):
        check.equal("SCM-03", await actor.get([new.id]), {}, "a task before it is enqueued here")
        check.equal("SCM-03", await actor.enqueue_many([new], now=now), [Enqueued(admit(new, now), True)], "the answer")
    await kinds(store, here, queue="other")
    check.equal("SCM-03", ids(await everything(there)), [new.id], "what is stored there")
    check.equal("SCM-03", sum(one.tasks for one in await there.count()), 1, "how many are counted there")
    check.equal("SCM-03", ids(await claim_all(here, now=at(20), queues=("default",))), [new.id], "a claim here")
    check.equal("SCM-03", await stored(there, new.id), admit(new, at(1)), "the task there after a claim here")
    check.equal("SCM-03", await there.next_due(), at(10), "when something comes due there")
    owned = await stored(here, new.id)
    check.equal("SCM-03", await there.touch_heartbeats([owned.held], now=at(21)), set[str](), "its heartbeat there")
    done = await commit(here, owned, Complete(RESULT), at(22))
    check.equal("SCM-03", await there.delete([done.held]), set[str](), "its deletion there")
    check.equal("SCM-03", await here.get([new.id]), {new.id: done}, "the task here")
    check("SCM-03", await here.lock("reaper", "a", _TTL, now=T0), "a free lock was refused here")
    check("SCM-03", await there.lock("reaper", "b", _TTL, now=T0), "a lock that is held here was refused there")


@guarantee("SCM-30")
async def test_what_a_client_wrote_outlives_it(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    owned = await running(store, a, key="k")
    await a.close()
    await a.close()
    check.equal("SCM-30", await b.get([owned.id]), {owned.id: owned}, "what another client reads")
    c = await store.actor()
    check.equal("SCM-30", await c.get([owned.id]), {owned.id: owned}, "what a later client reads")
    done = await commit(c, owned, Complete(RESULT), at(1))
    check.equal("SCM-30", await b.get([owned.id]), {owned.id: done}, "what another client reads of a later one")


@guarantee("SCM-04", "SCM-30")
async def test_a_client_closes_while_its_calls_are_under_way(store: Store, check: Check) -> None:
    reader, elsewhere = await store.actor(), await store.another().actor()
    for turn in range(6):
        a = await store.actor()
        batches = [store.new_tasks(5, queue=f"q{turn}-{n}") for n in range(4)]
        calls = [asyncio.ensure_future(a.enqueue_many(batch, now=T0)) for batch in batches]
        for _ in range(turn):
            await asyncio.sleep(0)  # which is not a pause: each turn closes at another point of the calls
        closing = asyncio.ensure_future(a.close())
        await ended_beside(elsewhere.count, [closing, *calls], _SOON)
        late = {one for one in (closing, *calls) if not one.done()}
        for one in late:
            one.cancel()
        check("SCM-04", closing not in late, "closing with calls under way did not end")
        check("SCM-04", not late, "calls under way did not end after closing")
        await closing
        for batch, call in zip(batches, calls, strict=True):
            error = call.exception()
            check(
                "SCM-04", error is None or isinstance(error, QueueError), f"a call that lost its client said {error!r}"
            )
            found = len(await reader.get(ids(batch)))
            whole = {len(batch)} if error is None else {0, len(batch)}
            check("SCM-30", found in whole, f"{found} of {len(batch)} are stored of a batch that ended in {error!r}")


@guarantee("SCM-30")
async def test_what_a_durable_store_was_told_outlives_all_its_clients(store: Store, check: Check) -> None:
    a = await store.actor()
    await kinds(store, a, metadata='{"m": 1}')
    await a.lock("reaper", "a", _TTL, now=T0)
    before = await pictures(a)
    await a.close()
    if not store.target.capabilities.durable:
        # Harmless: such a store lives no longer than its process, which the target declares.
        check("SCM-30", True, "declared absent")
        check.absent("SCM-30", "durable")
        return
    b = await store.actor()
    check.equal("SCM-30", await pictures(b), before, "what a later client reads")
    check.equal("SCM-30", await b.lock("reaper", "b", _TTL, now=at(1)), False, "whether the lock was lost")


_WORD = "written"
_RECORD = NamedRecord(name="conformance", value='{"n": 1}', version=1)


async def _write(pipe: Connection, backend: QueueBackend) -> None:
    """Make calls of every kind, and say when all of them were answered."""
    pipe.send("here")
    tasks: list[NewTask] = pipe.recv()
    await backend.enqueue_many(tasks, now=T0)
    [owned, *_] = await backend.claim(Want(worker="worker-a", limit=2), now=at(1))
    await backend.commit([step(owned, Complete(RESULT), at(2))])
    await backend.lock("reaper", "a", _TTL, now=at(2))
    await backend.write_records([_RECORD])
    pipe.send(_WORD)


@guarantee("SCM-09", time="given")  # a process that is killed does not translate times
async def test_what_was_acknowledged_outlives_the_processes_of_all_clients(store: Store, check: Check) -> None:
    tasks = [store.new_task(priority=3 - number, key=f"k{number}") for number in range(4)]
    with processes(store, 1, _write) as [(process, pipe)]:
        pipe.send(tasks)
        hear(pipe, _WORD)
        process.kill()
        process.join()
    later = await store.actor()
    found = await later.get(ids(tasks))
    records = await later.read_records(_RECORD.name)
    locked = not await later.lock("reaper", "b", _TTL, now=at(3))
    if not store.target.capabilities.durable:
        # Kept though declared absent is refused as well: whoever relies on the declaration would be misled.
        check.equal("SCM-09", (found, records, locked), ({}, {}, False), "what is left of a store that is not durable")
        check.absent("SCM-09", "durable")
        return
    waiting = [admit(new, T0) for new in tasks]
    first, second = (step(one, Claim("worker-a"), at(1)) for one in waiting[:2])
    expected = {one.id: one for one in (step(first, Complete(RESULT), at(2)), second, *waiting[2:])}
    check.equal("SCM-09", found, expected, "what a later client reads")
    check.equal("SCM-09", list(records.values()), [_RECORD], "the named records")
    check("SCM-09", locked, "the lock was lost")


async def _read(target_name: str, config: dict[str, Any], id_: str) -> tuple[bool, bool]:
    try:
        backend = await load_target(target_name).open(config)
    except BackendUnavailableError:  # a store that lets one process in: nothing is less visible
        return True, False
    try:
        return backend.process_local, id_ in await backend.get([id_])
    finally:
        await backend.close()


def _read_elsewhere(target_name: str, config: dict[str, Any], id_: str) -> tuple[bool, bool]:
    return asyncio.run(_read(target_name, config, id_))


@guarantee("SCM-05")
async def test_whether_other_processes_see_the_tasks_is_as_declared(store: Store, check: Check) -> None:
    a = await store.actor()
    new = await store.enqueue(a)
    check.equal("SCM-05", a.process_local, not store.multi_process, "process_local, beside the capability")
    with starting(), ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        process_local, seen = await asyncio.get_running_loop().run_in_executor(
            pool, _read_elsewhere, store.target_name, store.config, new.id
        )
    check.equal("SCM-05", process_local, a.process_local, "process_local in another process")
    # Seen though declared absent is refused as well: whoever relies on the declaration would be misled.
    check.equal("SCM-05", seen, store.multi_process, "whether another process sees a task of this one")
