"""NTF: hints, by which clients wake each other, and which nobody may need."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from datetime import timedelta
from typing import Any

from litestar_queues.backends.base import QueueBackend
from litestar_queues.clock import SystemClock
from litestar_queues.errors import QueueError
from litestar_queues.lifecycle import Cancel, Complete, Requeue
from litestar_queues.operations import Move, QueueOperations
from litestar_queues.records import Want
from litestar_queues_conformance.harness import T0, Check, Store, at, guarantee
from litestar_queues_conformance.hearing import AGAIN, SOON, heard, hints, marked, ready, wakes
from litestar_queues_conformance.moves import RESULT, claim_all, claim_one, ids, superseded
from litestar_queues_conformance.patience import TURN, ended_beside, starting
from litestar_queues_conformance.refusals import proven_cut
from litestar_queues_conformance.target import CutsConnections, load_target


def _absent(id_: str, actor: QueueBackend, store: Store, check: Check) -> bool:
    """Whether the target declares that there are no hints; checks that there are none."""
    if store.target.capabilities.notifications:
        return False
    check(id_, actor.wakeups is None, "wakeups are declared absent, and are there")
    check.absent(id_, "notifications")
    return True


def _operations(actor: QueueBackend) -> QueueOperations:
    return QueueOperations(actor, SystemClock())


@guarantee("NTF-01")
async def test_tasks_are_found_without_any_hint(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    waiting = None if b.wakeups is None else asyncio.create_task(b.wakeups.wait(None, 3600))
    await asyncio.sleep(0)
    new = store.new_tasks(3)
    await a.enqueue_many(new, now=T0)
    late = await store.enqueue(a, run_at=at(10))
    check.equal("NTF-01", ids(await claim_all(b, now=at(1))), ids(new), "what a client finds that was told nothing")
    check.equal("NTF-01", await b.next_due(), at(10), "when it has to look again")
    check.equal("NTF-01", ids(await claim_all(b, now=at(10))), [late.id], "what it finds then")
    if waiting is not None:
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)


@guarantee("NTF-02")
async def test_wakeups_are_there_as_declared(store: Store, check: Check) -> None:
    a = await store.actor()
    check.equal("NTF-02", a.wakeups is not None, store.target.capabilities.notifications, "whether there are wakeups")


@guarantee("NTF-03")
async def test_who_is_woken_can_claim_at_once(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    if _absent("NTF-03", a, store, check):
        return
    await ready("NTF-03", a, b, ("q",), check)
    for _ in range(10):
        new = store.new_tasks(5, queue="q")
        enqueueing = asyncio.create_task(_operations(a).enqueue_many(new))
        check("NTF-03", await heard(a, b, ("q",)), "no hint came for a batch")
        claimed = await b.claim(Want(worker="w", limit=5, queues=("q",)))
        check.equal("NTF-03", sorted(ids(claimed)), sorted(ids(new)), "what the one who was woken can claim")
        await enqueueing
        check("NTF-03", await marked(a, b), "a mark did not arrive")
        await hints(b).wait(("q",), 0)  # a hint may be doubled


@guarantee("NTF-04")
async def test_what_leaves_nothing_to_run_wakes_nobody(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    if _absent("NTF-04", a, store, check):
        return
    held = await store.enqueue(a, queue="q", key="k")
    first, second = await superseded(store, a)
    done = await claim_one(a, await store.enqueue(a, queue="q"), now=at(30))
    gone = await store.enqueue(a, queue="q")
    await ready("NTF-04", a, b, ("q", held.queue, first.queue), check)
    operations = _operations(a)
    await operations.enqueue_many([store.new_task(queue="q", key="k"), store.new_task(queue="q", key="k")])
    await operations.enqueue_many([])
    refused = await operations.apply([Move(first, Requeue())])
    check.equal("NTF-04", refused.stored, [], "what a lost owner stored")
    await operations.apply([Move(done, Complete(RESULT)), Move(second, Complete(RESULT))])
    await operations.apply([Move(gone, Cancel())])
    check("NTF-04", await marked(a, b), "a mark did not arrive")
    woken = await hints(b).wait(("q", held.queue, first.queue), 0)
    check.equal("NTF-04", woken, False, "whether what leaves nothing to run woke somebody")


_QUEUES = tuple(f"q{n:02}" for n in range(16))
_DOUBLED = 2
"""How often a batch wakes a waiting client at most: once, and once more where the transport doubles a hint."""


async def _woken(ear: QueueBackend, queues: tuple[str, ...], batch: asyncio.Task[None]) -> int:
    """How often a batch wakes a waiting client: while the call is under way, and by the hints that have arrived since."""
    woken = 0
    while not batch.done():
        woken += await hints(ear).wait(queues, TURN)
    while woken <= _DOUBLED and await hints(ear).wait(queues, 0):
        woken += 1
    return woken


@guarantee("NTF-05")
async def test_a_batch_wakes_once(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    if _absent("NTF-05", a, store, check):
        return
    await ready("NTF-05", a, b, _QUEUES, check)
    new = [store.new_task(queue=queue) for queue in _QUEUES for _ in range(6)]

    async def enqueue() -> None:
        await _operations(a).enqueue_many(new)

    async def give_back() -> None:
        owned = await a.claim(Want(worker="w", limit=len(new), queues=_QUEUES))
        check.equal("NTF-05", len(owned), len(new), "how many were claimed")
        await _operations(a).apply([Move(record, Requeue()) for record in owned])

    for batch in (enqueue, give_back):
        running = asyncio.create_task(batch())
        woken = await _woken(b, _QUEUES, running)
        await running
        if not woken:
            check("NTF-05", await heard(a, b, _QUEUES), "no hint came for a batch")
            woken = 1
        check("NTF-05", await marked(a, b), "a mark did not arrive")
        woken += await hints(b).wait(_QUEUES, 0)
        check("NTF-05", woken <= _DOUBLED, f"a batch in {len(_QUEUES)} queues woke a waiting client {woken} times")


@guarantee("NTF-06")
async def test_a_hint_wakes_who_waits_for_its_queue_or_for_any(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    if _absent("NTF-06", a, store, check):
        return
    for wanted in (("q",), ("x", "q", "y"), None):
        await ready("NTF-06", a, b, wanted, check)
        await hints(a).notify({"q", "z"})
        check("NTF-06", await heard(a, b, wanted), f"a hint for 'q' and 'z' did not wake who waits for {wanted}")
        many = {f"queue-{n}-{'x' * 60}" for n in range(300)} | {"q"}
        check("NTF-06", await marked(a, b), "a mark did not arrive")
        await hints(b).wait(wanted, 0)
        await hints(a).notify(many)
        check("NTF-06", await heard(a, b, wanted), f"a hint for 301 queues did not wake who waits for {wanted}")


_TURNS = 450
"""How many times another process listens, `TURN` seconds each, before it counts as deaf."""


async def _wait(target_name: str, config: dict[str, Any]) -> bool:
    backend = await load_target(target_name).open(config)
    try:
        for _ in range(_TURNS):  # by turns, and not by the clock: on a slow machine each takes longer
            if await hints(backend).wait(("q",), TURN):
                return True
        return False
    finally:
        await backend.close()


def _wait_elsewhere(target_name: str, config: dict[str, Any]) -> bool:
    return asyncio.run(_wait(target_name, config))


@guarantee("NTF-06")
async def test_a_hint_reaches_another_process(store: Store, check: Check) -> None:
    a = await store.actor()
    if _absent("NTF-06", a, store, check):
        return
    if not store.multi_process:
        check.equal("NTF-06", a.process_local, True, "process_local, where no other process sees the store")
        return
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        loop = asyncio.get_running_loop()
        with starting():
            await loop.run_in_executor(pool, os.getpid)
        woken = loop.run_in_executor(pool, _wait_elsewhere, store.target_name, store.config)
        while not woken.done():  # when the other has begun to listen is not known
            await hints(a).notify(["q"])
            await asyncio.wait({woken}, timeout=TURN)
        check("NTF-06", woken.result(), "no hint reached another process")


@guarantee("NTF-07")
async def test_a_listener_comes_back_after_its_connection_was_cut(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    if _absent("NTF-07", a, store, check):
        return
    target = store.target
    if not isinstance(target, CutsConnections):
        check.unknown("NTF-07", "the target cannot cut connections, and so it was not found out")
        return
    for _ in range(2):
        await ready("NTF-07", a, b, ("q",), check)
        await proven_cut(target, store.config)
        check("NTF-07", await wakes(a, b, ["q"], ("q",), AGAIN), f"deaf {AGAIN:g} s after its connections were cut")


@guarantee("NTF-08", "NTF-30")
async def test_a_wait_ends_with_its_time_and_with_its_client(store: Store, check: Check) -> None:
    a, b = await store.actors(2)
    if _absent("NTF-08", a, store, check) and _absent("NTF-30", a, store, check):
        return
    await ready("NTF-08", a, b, ("q",), check)

    async def ends(id_: str, awaited: asyncio.Future[Any], what: str) -> None:
        ended = await ended_beside(a.count, [awaited], SOON)
        if not ended:
            awaited.cancel()
        check(id_, ended, what)

    short = asyncio.ensure_future(hints(b).wait(("q",), timedelta(milliseconds=50).total_seconds()))
    await ends("NTF-08", short, "a wait of 50 ms did not end")
    check.equal("NTF-08", short.result(), False, "whether a hint came that nobody sent")
    waiting = [asyncio.ensure_future(hints(b).wait(wanted, 3600)) for wanted in (("q",), None)]
    await asyncio.sleep(0)
    await ends("NTF-30", asyncio.ensure_future(b.close()), "closing a client in which somebody waits did not end")
    for one in waiting:
        await ends("NTF-30", one, "a wait outlived its client")
        error = one.exception()
        check("NTF-30", error is None or isinstance(error, QueueError), f"a wait ended in {error!r}")
