"""TXN and BLK: tasks in transactions of the application's, and many at once."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, Collection, Sequence
from contextlib import asynccontextmanager
from copy import deepcopy
from datetime import datetime, timedelta
from typing import Any, ClassVar, cast

import msgspec

from litestar_queues.backends.base import QueueBackend
from litestar_queues.backends.memory import MemoryBackend
from litestar_queues.errors import BackendError, QueueConfigurationError
from litestar_queues.records import Count, Enqueued, Held, NamedRecord, NewTask, Query, Stale, TaskRecord, Want
from litestar_queues_conformance.saboteurs.base import Benign, InProcessTarget, Saboteur
from litestar_queues_conformance.target import Capabilities

_LARGE = 700
_REFUSED = QueueConfigurationError("not in a transaction of the application's")


class _Session:
    """A transaction: what it wrote is in a copy of the store, and is done again in the store itself at its end."""

    def __init__(self, store: MemoryBackend) -> None:
        self.store = store
        self.copy = deepcopy(store)
        self.wrote: list[tuple[str, tuple[Any, ...], dict[str, Any], Any]] = []

    async def write(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """Call the method in the copy, and remember it."""
        answer = await getattr(self.copy, method)(*args, **kwargs)
        self.wrote.append((method, args, kwargs, answer))
        return answer

    async def commit(self) -> None:
        if not await self.repeat(deepcopy(self.store)):
            raise BackendError("another transaction got in the way")
        await self.repeat(self.store)

    async def rollback(self) -> None:
        """Forget the copy."""

    async def repeat(self, store: MemoryBackend) -> bool:
        """Write all of it there; whether every answer is as before."""
        same = True
        for method, args, kwargs, answer in self.wrote:
            same &= await getattr(store, method)(*args, **kwargs) == answer
        return same


class _Bound:
    """The port in a session."""

    def __init__(self, session: _Session) -> None:
        self.session = session

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def now(self) -> datetime:
        return await self.session.store.now()

    async def enqueue_many(self, tasks: Sequence[NewTask], *, now: datetime | None = None) -> list[Enqueued]:
        answers: list[Enqueued] = await self.session.write("enqueue_many", tasks, now=now or await self.now())
        return answers

    async def commit(self, tasks: Sequence[TaskRecord], *, stale: Stale | None = None) -> set[str]:
        stored: set[str] = await self.session.write("commit", tasks, stale=stale)
        return stored

    async def delete(self, held: Sequence[Held]) -> set[str]:
        deleted: set[str] = await self.session.write("delete", held)
        return deleted

    async def write_records(self, records: Sequence[NamedRecord]) -> set[str]:
        stored: set[str] = await self.session.write("write_records", records)
        return stored

    async def get(self, ids: Collection[str]) -> dict[str, TaskRecord]:
        return await self.session.copy.get(ids)

    async def find(self, query: Query, limit: int) -> list[TaskRecord]:
        return await self.session.copy.find(query, limit)

    async def count(self, queues: tuple[str, ...] | None = None) -> list[Count]:
        return await self.session.copy.count(queues)

    async def next_due(self, queues: tuple[str, ...] | None = None) -> datetime | None:
        return await self.session.copy.next_due(queues)

    async def read_records(self, prefix: str) -> dict[str, NamedRecord]:
        return await self.session.copy.read_records(prefix)

    async def claim(self, want: Want, *, now: datetime | None = None) -> list[TaskRecord]:
        raise _REFUSED

    async def touch_heartbeats(self, held: Sequence[Held], *, now: datetime | None = None) -> set[str]:
        raise _REFUSED

    async def lock(self, name: str, owner: str, ttl: timedelta, *, now: datetime | None = None) -> bool:
        raise _REFUSED

    async def unlock(self, name: str, owner: str) -> bool:
        raise _REFUSED

    async def create_schema(self) -> None:
        raise _REFUSED


class _TransactingTarget(InProcessTarget):
    capabilities = Capabilities(
        multi_process=False,
        durable=False,
        server_clock=False,
        notifications=False,
        transactional=True,
        columns=False,
        dispatch=True,
    )

    @asynccontextmanager
    async def transaction(self, config: dict[str, Any]) -> AsyncGenerator[_Session]:
        """A session whose end is the block's."""
        store = self.stores[config["store"]]
        session = getattr(store, "session_type", _Session)(store)
        try:
            yield session
        except BaseException:
            await session.rollback()
            raise
        await session.commit()


class Transacts(Benign):
    """Takes sessions, though it is memory."""

    target_type: ClassVar[type[InProcessTarget]] = _TransactingTarget

    def bind(self, session: _Session) -> QueueBackend:
        return cast("QueueBackend", _Bound(session))


class _Transacting(Saboteur):
    target_type: ClassVar[type[InProcessTarget]] = _TransactingTarget
    session_type: ClassVar[type[_Session]] = _Session
    bound_type: ClassVar[type[_Bound]] = _Bound

    def bind(self, session: _Session) -> QueueBackend:
        return cast("QueueBackend", self.bound_type(session))


class EnqueuesBesideTheTransaction(_Transacting):
    """What is enqueued in a transaction is stored at once."""

    guarantee = "TXN-01"

    def bind(self, session: _Session) -> QueueBackend:
        return self


class _ForgetsMetadata(_Session):
    async def commit(self) -> None:
        for method, args, kwargs, _ in self.wrote:
            news = (
                [[msgspec.structs.replace(new, metadata="{}") for new in args[0]]] if method == "enqueue_many" else args
            )
            await getattr(self.store, method)(*news, **kwargs)


class ForgetsMetadataInTransactions(_Transacting):
    """What a transaction enqueued is stored without its metadata."""

    guarantee = "TXN-30"
    session_type: ClassVar[type[_Session]] = _ForgetsMetadata


class _CommitsAnyway(_Session):
    async def rollback(self) -> None:
        await self.repeat(self.store)


class CommitsWhatIsRolledBack(_Transacting):
    """A transaction that rolls back leaves its tasks behind."""

    guarantee = "TXN-02"
    session_type: ClassVar[type[_Session]] = _CommitsAnyway


class KnowsNoKeysInTransactions(_Transacting):
    """In a transaction every key counts as free."""

    guarantee = "TXN-03"

    def bind(self, session: _Session) -> QueueBackend:
        session.copy = MemoryBackend()
        return super().bind(session)


class _EndsTheSession(_Bound):
    async def close(self) -> None:
        self.session.wrote.clear()


class RollsBackWhenClosed(_Transacting):
    """Closing what was bound to the session undoes what it enqueued."""

    guarantee = "TXN-04"
    bound_type: ClassVar[type[_Bound]] = _EndsTheSession


class _LosesWhatWasTaken(_Session):
    async def commit(self) -> None:
        await self.repeat(self.store)


class LosesWhatAnotherTook(_Transacting):
    """A transaction whose key another client took meanwhile commits without its task, and without an error."""

    guarantee = "TXN-06"
    session_type: ClassVar[type[_Session]] = _LosesWhatWasTaken


class _CommitsOutcomesAtOnce(_Bound):
    async def commit(self, tasks: Sequence[TaskRecord], *, stale: Stale | None = None) -> set[str]:
        await self.session.copy.commit(tasks, stale=stale)
        return await self.session.store.commit(tasks, stale=stale)


class CommitsOutcomesBesideTheTransaction(_Transacting):
    """An outcome that is committed in a transaction is stored at once."""

    guarantee = "TXN-07"
    bound_type: ClassVar[type[_Bound]] = _CommitsOutcomesAtOnce


class _ForgetsRecords(_Bound):
    async def write_records(self, records: Sequence[NamedRecord]) -> set[str]:
        return await self.session.copy.write_records(records)


class ForgetsRecordsInTransactions(_Transacting):
    """Named records that are written in a transaction are gone when it commits."""

    guarantee = "TXN-07"
    bound_type: ClassVar[type[_Bound]] = _ForgetsRecords


class _RefusesDeletions(_Bound):
    async def delete(self, held: Sequence[Held]) -> set[str]:
        raise _REFUSED


class RefusesDeletionsInTransactions(_Transacting):
    """A transaction can delete nothing."""

    guarantee = "TXN-07"
    bound_type: ClassVar[type[_Bound]] = _RefusesDeletions


class _Claims(_Bound):
    async def claim(self, want: Want, *, now: datetime | None = None) -> list[TaskRecord]:
        claimed: list[TaskRecord] = await self.session.write("claim", want, now=now or await self.now())
        return claimed


class ClaimsInTransactions(_Transacting):
    """A claim in a transaction is one that other clients see when it commits."""

    guarantee = "TXN-08"
    bound_type: ClassVar[type[_Bound]] = _Claims


class _RefusesLate(_Bound):
    async def lock(self, name: str, owner: str, ttl: timedelta, *, now: datetime | None = None) -> bool:
        await self.session.store.lock(name, owner, ttl, now=now)
        raise _REFUSED


class RefusesLocksThatItTook(_Transacting):
    """A lock is refused in a transaction, and taken nevertheless."""

    guarantee = "TXN-08"
    bound_type: ClassVar[type[_Bound]] = _RefusesLate


class _LocksKeys(_Session):
    """Keys that it wrote are locked until it ends."""

    async def write(self, method: str, *args: Any, **kwargs: Any) -> Any:
        if method == "enqueue_many":
            locked = self.locked
            locked.update({new.key: locked.get(new.key) or asyncio.Event() for new in args[0] if new.key is not None})
        return await super().write(method, *args, **kwargs)

    @property
    def locked(self) -> dict[str, asyncio.Event]:
        found: dict[str, asyncio.Event] = self.store.__dict__.setdefault("locked", {})
        return found

    async def commit(self) -> None:
        self.free()
        await super().commit()

    async def rollback(self) -> None:
        self.free()

    def free(self) -> None:
        for event in self.locked.values():
            event.set()
        self.locked.clear()

    async def repeat(self, store: MemoryBackend) -> bool:
        store.__dict__["locked"] = {}
        return await super().repeat(store)


class _KeepsLocks(_LocksKeys):
    async def rollback(self) -> None:
        # Others would wait for ever in every case with a rollback, which takes each of them to its deadline.
        if all(method == "enqueue_many" for method, *_ in self.wrote):
            self.free()


class _KeepsLocksWhereCancelled(_LocksKeys):
    async def rollback(self) -> None:
        if not isinstance(sys.exc_info()[1], asyncio.CancelledError):
            self.free()


async def _unlocked(store: MemoryBackend, tasks: Sequence[NewTask]) -> None:
    """Wait until no transaction has locked a key of these tasks."""
    locked: dict[str, asyncio.Event] = store.__dict__.get("locked", {})
    for new in tasks:
        if new.key in locked:
            await locked[new.key].wait()


class KeepsLocksAfterARollback(_Transacting):
    """A transaction that was rolled back keeps its locks on keys, where it wrote more than new tasks."""

    guarantee = "TXN-09"
    session_type: ClassVar[type[_Session]] = _KeepsLocks

    async def enqueue_many(self, tasks: Sequence[NewTask], *, now: datetime | None = None) -> list[Enqueued]:
        await _unlocked(self, tasks)
        return await super().enqueue_many(tasks, now=now)


class KeepsLocksWhereItWasCancelled(_Transacting):
    """A transaction that was left by a cancellation keeps its locks on keys."""

    guarantee = "TXN-09"
    session_type: ClassVar[type[_Session]] = _KeepsLocksWhereCancelled

    async def enqueue_many(self, tasks: Sequence[NewTask], *, now: datetime | None = None) -> list[Enqueued]:
        await _unlocked(self, tasks)
        return await super().enqueue_many(tasks, now=now)


class LocksKeysInTransactions(Transacts):
    """Whoever enqueues a key that an open transaction has enqueued waits for the end of that."""

    session_type: ClassVar[type[_Session]] = _LocksKeys

    async def enqueue_many(self, tasks: Sequence[NewTask], *, now: datetime | None = None) -> list[Enqueued]:
        await _unlocked(self, tasks)
        return await super().enqueue_many(tasks, now=now)


class _DeletesForGood(_Session):
    async def rollback(self) -> None:
        for method, args, _, _ in self.wrote:
            if method == "delete":
                await self.store.delete(*args)


class DeletesWhatIsRolledBack(_Transacting):
    """A deletion stands though its transaction was rolled back."""

    guarantee = "TXN-10"
    session_type: ClassVar[type[_Session]] = _DeletesForGood


class ForgetsDescriptionsInBulk(Saboteur):
    """Large batches are stored without their descriptions."""

    guarantee = "BLK-01"

    async def enqueue_many(self, tasks: Sequence[NewTask], *, now: datetime | None = None) -> list[Enqueued]:
        answers = await super().enqueue_many(tasks, now=now)
        if len(tasks) > _LARGE:
            for answer in answers:
                if answer.is_new:
                    self.tasks[answer.record.id] = self.tasks[answer.record.id].evolve(description=None)
        return answers


class DisownsWhatWasStoredInBulk(Saboteur):
    """A large batch that is repeated is answered as if its tasks were somebody else's."""

    guarantee = "BLK-02"

    async def enqueue_many(self, tasks: Sequence[NewTask], *, now: datetime | None = None) -> list[Enqueued]:
        there = {new.id for new in tasks if new.id in self.tasks} if len(tasks) > _LARGE else set[str]()
        answers = await super().enqueue_many(tasks, now=now)
        return [Enqueued(one.record, one.is_new and one.record.id not in there) for one in answers]


class StoresLargeBatchesInPieces(Saboteur):
    """Others can look while a large batch is half stored."""

    guarantee = "BLK-03"

    async def enqueue_many(self, tasks: Sequence[NewTask], *, now: datetime | None = None) -> list[Enqueued]:
        now = now or await self.now()
        answers: list[Enqueued] = []
        for start in range(0, len(tasks), _LARGE):
            answers += await super().enqueue_many(tasks[start : start + _LARGE], now=now)
            for _ in range(3):
                await asyncio.sleep(0)
        return answers
