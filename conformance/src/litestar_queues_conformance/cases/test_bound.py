"""TXN: a backend that is bound to an application's transaction, beside other clients, and after the end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any, cast

from litestar_queues.backends.base import QueueBackend, TransactionalBackend
from litestar_queues.errors import QueueConfigurationError, QueueError
from litestar_queues.lifecycle import Cancel, Complete, step
from litestar_queues.records import Enqueued, Matching, NamedRecord, NewTask, TaskRecord, Want, admit
from litestar_queues_conformance.harness import T0, Check, Store, at, guarantee
from litestar_queues_conformance.moves import RESULT, claim_one, commit, everything, ids, pictures, running
from litestar_queues_conformance.patience import TURN, Deadline, ended_beside
from litestar_queues_conformance.target import Transacts

_TTL = timedelta(seconds=30)
_A_WHILE = 0.5
"""Fair seconds for which a call is given the chance to come first."""
_SOON = 20.0
"""Fair seconds within which what ends at all has ended, also where a call is tried again before it gives up."""
_CUTS = 5
"""How many times a transaction is cancelled, each time at another point."""


class _RollBack(Exception):
    """What leaves a transaction that is not to be committed."""


async def _bound(store: Store, session: object) -> QueueBackend:
    return cast("TransactionalBackend", await store.actor()).bind(session)


def _can(store: Store, check: Check, id_: str) -> bool:
    """Whether there is anything to check; TXN-01 checks whether a backend takes sessions as its target declares."""
    declared = store.target.capabilities.transactional
    if not declared:
        check(id_, not isinstance(store.target, Transacts), "the target makes sessions, and declares none")
        check.absent(id_, "transactional")
    return declared


@dataclass(slots=True)
class _End:
    """How a transaction with one enqueue came to its end."""

    answer: Enqueued | None = None
    committed: bool = False
    error: Exception | None = None


async def _enqueue_inside(
    store: Store,
    new: NewTask,
    *,
    before: Callable[[QueueBackend], Awaitable[None]] | None = None,
    after: Callable[[], Awaitable[None]] | None = None,
) -> _End:
    """Enqueue in a transaction of its own, with others' work before or after that, and commit it."""
    end = _End()
    try:
        async with cast("Transacts", store.target).transaction(store.config) as session:
            bound = await _bound(store, session)
            if before is not None:
                await before(bound)
            [end.answer] = await bound.enqueue_many([new], now=T0)
            if after is not None:
                await after()
    except Exception as error:  # noqa: BLE001  # the application's commit raises whatever its driver has
        end.error = error
    else:
        end.committed = True
    return end


# Which of two transactions is first does not depend on the time that they are given.
@guarantee("TXN-06", time="given", deadline=180.0)
async def test_a_task_that_was_returned_as_new_is_stored_or_there_is_an_error(store: Store, check: Check) -> None:
    if not _can(store, check, "TXN-06"):
        return
    b, elsewhere = await store.actor(), await store.another().actor()
    for first in ("the other client", "the transaction"):
        mine, theirs = store.new_task(key=first), store.new_task(key=first)
        call: asyncio.Future[list[Enqueued]] | None = None

        async def take(theirs: NewTask = theirs) -> None:
            nonlocal call
            call = asyncio.ensure_future(b.enqueue_many([theirs], now=T0))
            # It may have to wait for the transaction's end.
            await ended_beside(elsewhere.count, [call], _A_WHILE)

        async def look_and_take(bound: QueueBackend) -> None:
            await bound.get([store.new_id()])  # from here on, some databases show what there was by then
            await take()

        if first == "the transaction":
            end = await _enqueue_inside(store, mine, after=take)
        else:
            end = await _enqueue_inside(store, mine, before=look_and_take)
        assert call is not None
        check("TXN-06", await ended_beside(elsewhere.count, [call], 3 * _SOON), "a call did not end after the commit")
        other = call.exception()
        check("TXN-06", other is None or isinstance(other, QueueError), f"enqueueing beside it raised {other!r}")
        there = await b.get(ids([mine, theirs]))
        if end.committed and end.answer is not None and end.answer.is_new:
            check("TXN-06", mine.id in there, f"a task was returned as new, and is not stored; {first} was first")
        elif end.committed:
            check.equal("TXN-06", end.answer, Enqueued(admit(theirs, T0), False), "the answer to a key that is held")
        else:
            check("TXN-06", mine.id not in there, f"the transaction ended in {end.error!r}, and its task is stored")
        if other is None:
            [answer] = call.result()
            check("TXN-06", answer.record.id in there, "the other client was given a task that is not stored")
        check("TXN-06", len(there) <= 1, f"two tasks are stored under one key; {first} was first")


@dataclass(slots=True)
class _Scene:
    """What a store holds before a transaction that writes of everything."""

    waiting: TaskRecord
    owned: TaskRecord
    ended: TaskRecord
    record: NamedRecord

    @classmethod
    async def of(cls, store: Store, client: QueueBackend) -> _Scene:
        waiting = await store.enqueue(client, key="waiting")
        owned = await running(store, client, key="owned")
        ended = await commit(client, await running(store, client), Complete(RESULT), at(1))
        record = NamedRecord("there", 1, '"before"')
        await client.write_records([record])
        return cls(waiting, owned, ended, record)

    async def write(self, store: Store, bound: QueueBackend, check: Check, id_: str) -> list[NewTask]:
        """Write of everything; the new tasks."""
        new = [store.new_task(key="new"), store.new_task(run_at=at(600))]
        answers = await bound.enqueue_many(new, now=at(2))
        check.equal(id_, answers, [Enqueued(admit(one, at(2)), True) for one in new], "the answers to an enqueue")
        outcomes = [step(self.owned, Complete(RESULT), at(3)), step(self.waiting, Cancel(), at(3))]
        check.equal(id_, await bound.commit(outcomes), set(ids(outcomes)), "the answer to a commit")
        check.equal(id_, await bound.commit(outcomes), set[str](), "the answer to a repeated commit")
        check.equal(id_, await bound.delete([self.ended.held]), {self.ended.id}, "the answer to a deletion")
        records = [NamedRecord("there", 2, '"after"'), NamedRecord("there as well", 1, '"new"')]
        stored = await bound.write_records(records)
        check.equal(id_, stored, {"there", "there as well"}, "the answer to written records")
        return new


@guarantee("TXN-07")
async def test_what_is_listed_as_working_works_in_a_transaction(store: Store, check: Check) -> None:
    if not _can(store, check, "TXN-07"):
        return
    b = await store.actor()
    scene = await _Scene.of(store, b)
    before, records = await pictures(b), await b.read_records("")
    async with cast("Transacts", store.target).transaction(store.config) as session:
        bound = await _bound(store, session)
        with check.works("TXN-07", "a method that works in a transaction"):
            await bound.open()
            await bound.now()
            new = await scene.write(store, bound, check, "TXN-07")
            inside = await pictures(bound)
            counted = {(one.queue, one.state.value): one.tasks for one in await bound.count() if one.tasks}
            due, named = await bound.next_due(), await bound.read_records("there")
            found = await bound.find(Matching(key="new"), 10)
            got = await bound.get([scene.ended.id, new[0].id])
        expected = {("default", state): 1 for state in ("pending", "scheduled", "completed", "cancelled")}
        check.equal("TXN-07", counted, expected, "what the transaction counts")
        check.equal("TXN-07", due, at(600), "when something comes due, for the transaction")
        check.equal("TXN-07", sorted(named), ["there", "there as well"], "the named records, for the transaction")
        check.equal("TXN-07", ids(found), [new[0].id], "what the transaction finds by a key")
        check.equal("TXN-07", sorted(got), [new[0].id], "what the transaction gets")
        check.equal("TXN-07", await pictures(b), before, "what another client reads before the commit")
        check.equal("TXN-07", await b.read_records(""), records, "the records for another client before the commit")
    check.equal("TXN-07", await pictures(b), inside, "what another client reads after the commit")
    check.equal("TXN-07", await b.read_records("there"), named, "the records for another client after the commit")
    [answer] = await b.enqueue_many([store.new_task(key="owned")], now=at(4))
    check.equal("TXN-07", answer.is_new, True, "whether the key of a task is free that a transaction settled")


@guarantee("TXN-08")
async def test_what_is_listed_as_refused_is_refused_in_a_transaction(store: Store, check: Check) -> None:
    if not _can(store, check, "TXN-08"):
        return
    b = await store.actor()
    scene = await _Scene.of(store, b)
    await b.lock("held", "a", _TTL, now=T0)
    before = await pictures(b)
    new = store.new_task()
    async with cast("Transacts", store.target).transaction(store.config) as session:
        bound = await _bound(store, session)
        calls: dict[str, Callable[[], Awaitable[Any]]] = {
            "claim": lambda: bound.claim(Want(worker="worker-b", limit=5), now=at(5)),
            "touch_heartbeats": lambda: bound.touch_heartbeats([scene.owned.held], now=at(5)),
            "lock": lambda: bound.lock("free", "b", _TTL, now=at(5)),
            "unlock": lambda: bound.unlock("held", "a"),
            "create_schema": bound.create_schema,
        }
        for name, call in calls.items():
            try:
                answer: object = await call()
            except Exception as error:  # noqa: BLE001  # what it is, is what is checked
                refused, said = isinstance(error, QueueConfigurationError), repr(error)
            else:
                refused, said = False, f"the answer {answer!r}"
            check("TXN-08", refused, f"{name} in a transaction gave {said}, and no QueueConfigurationError")
        await bound.enqueue_many([new], now=at(6))  # what was refused has not ended the transaction
    after = await pictures(b)
    check("TXN-08", after.pop(new.id, None) is not None, "a transaction stored nothing after something was refused")
    check.equal("TXN-08", after, before, "what is stored after all that was refused")
    check.equal("TXN-08", await b.lock("free", "c", _TTL, now=at(7)), True, "whether a lock is free that was refused")
    check.equal("TXN-08", await b.lock("held", "c", _TTL, now=at(7)), False, "whether a lock is free that was held")


async def _is_new(client: QueueBackend, new: NewTask) -> bool:
    [answer] = await client.enqueue_many([new], now=at(2))
    return answer.is_new


async def _soon(store: Store, check: Check, what: str, call: Callable[[], Awaitable[Any]]) -> None:
    """Call until the answer is true, or not empty; each call has to end while another store answers."""
    elsewhere = await store.another().actor()
    deadline = Deadline(_SOON / 2)
    while True:
        calling = asyncio.ensure_future(call())
        ended = await ended_beside(elsewhere.count, [calling], _SOON)
        if not ended:
            calling.cancel()
            await asyncio.wait([calling], timeout=_SOON)
        check("TXN-09", ended, f"{what} does not end")
        error = calling.exception()
        check("TXN-09", error is None, f"{what} raised {error!r}")
        if answer := calling.result():
            break
        await asyncio.sleep(TURN)  # a server finds out in its own time that a connection is gone, and no event tells
        check("TXN-09", deadline.left > 0, f"{what} was answered with {answer!r}")


# Which locks are left does not depend on the time that calls are given.
@guarantee("TXN-09", time="given", deadline=240.0)
async def test_a_transaction_that_was_rolled_back_holds_nobody_up(store: Store, check: Check) -> None:
    if not _can(store, check, "TXN-09"):
        return
    b = await store.actor()
    began, usual = time.monotonic(), 0.0
    for cut in (None, *range(_CUTS)):
        waiting = await store.enqueue(b, key=f"waiting {cut}")
        record = NamedRecord(f"record {cut}", 1, "1")
        inside = asyncio.Event()

        async def work(cut: int | None = cut, waiting: TaskRecord = waiting, inside: asyncio.Event = inside) -> None:
            async with cast("Transacts", store.target).transaction(store.config) as session:
                bound = await _bound(store, session)
                inside.set()
                await bound.enqueue_many([store.new_task(key=f"new {cut}")], now=T0)
                await bound.commit([step(waiting, Cancel(), at(1))])
                await bound.write_records([NamedRecord(f"record {cut}", 1, "2")])
                await bound.enqueue_many(store.new_tasks(50), now=T0)
                if cut is None:
                    raise _RollBack
                await asyncio.Event().wait()  # until it is cancelled

        working = asyncio.ensure_future(work())
        entering = asyncio.ensure_future(inside.wait())
        await asyncio.wait([working, entering], return_when=asyncio.FIRST_COMPLETED)
        entering.cancel()
        if cut is None:
            with suppress(_RollBack):
                await working
            usual = time.monotonic() - began
        else:
            await asyncio.wait([working], timeout=usual * cut / (_CUTS - 1))
            working.cancel()
            await asyncio.wait([working])
            if not working.cancelled():
                working.exception()  # of a driver that cannot roll back a connection on which it was cancelled
        how = "" if cut is None else ", by a cancellation"
        key, held = store.new_task(key=f"new {cut}"), Want(worker="worker-a", limit=1, tasks=(waiting.held,))
        calls: dict[str, Callable[[], Awaitable[Any]]] = {
            "an enqueue of a key": partial(_is_new, b, key),
            "a claim of a task": partial(b.claim, held, now=at(2)),
            "a write of a record": partial(b.write_records, [record]),
            "a lock": partial(b.lock, f"lock {cut}", "a", _TTL, now=at(2)),
        }
        for what, call in calls.items():
            await _soon(store, check, f"{what} after a rollback{how}", call)


@guarantee("TXN-10")
async def test_a_rollback_undoes_every_write(store: Store, check: Check) -> None:
    if not _can(store, check, "TXN-10"):
        return
    b = await store.actor()
    scene = await _Scene.of(store, b)
    before, records = await pictures(b), await b.read_records("")
    with suppress(_RollBack):
        async with cast("Transacts", store.target).transaction(store.config) as session:
            with check.works("TXN-10", "a write in a transaction"):
                await scene.write(store, await _bound(store, session), check, "TXN-10")
            raise _RollBack
    check.equal("TXN-10", await pictures(b), before, "what is stored after the rollback")
    check.equal("TXN-10", await b.read_records(""), records, "the named records after the rollback")
    claimed = await claim_one(b, scene.waiting, now=at(5))
    await commit(b, claimed, Complete(RESULT), at(6))
    await commit(b, scene.owned, Complete(RESULT), at(6))
    check.equal("TXN-10", len(await everything(b)), 3, "how many tasks there are")
