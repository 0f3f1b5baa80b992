"""TXN and BLK: tasks in transactions of the application's, and many at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Collection, Sequence
from contextlib import asynccontextmanager
from copy import deepcopy
from datetime import datetime
from typing import Any, ClassVar, cast

from litestar_queues.backends.base import QueueBackend
from litestar_queues.backends.memory import MemoryBackend
from litestar_queues.records import Enqueued, NewTask, TaskRecord
from litestar_queues_conformance.saboteurs.base import Benign, InProcessTarget, Saboteur
from litestar_queues_conformance.target import Capabilities

_LARGE = 700


class _Session:
    """A transaction: what it wrote is in a copy of the store, and is done again in the store itself at its end."""

    def __init__(self, store: MemoryBackend) -> None:
        self.store = store
        self.copy = deepcopy(store)
        self.wrote: list[tuple[Sequence[NewTask], datetime]] = []

    async def commit(self) -> None:
        for tasks, now in self.wrote:
            await self.store.enqueue_many(tasks, now=now)


class _Bound:
    """The port in a session, as far as a transaction can need it."""

    def __init__(self, session: _Session) -> None:
        self.session = session

    async def enqueue_many(self, tasks: Sequence[NewTask], *, now: datetime | None = None) -> list[Enqueued]:
        now = now or await self.session.store.now()
        self.session.wrote.append((tasks, now))
        return await self.session.copy.enqueue_many(tasks, now=now)

    async def get(self, ids: Collection[str]) -> dict[str, TaskRecord]:
        return await self.session.copy.get(ids)

    async def close(self) -> None: ...


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
        session = _Session(store)
        try:
            yield session
        except Exception:
            if isinstance(store, CommitsWhatIsRolledBack):
                await session.commit()
            raise
        await session.commit()


class Transacts(Benign):
    """Takes sessions, though it is memory."""

    target_type: ClassVar[type[InProcessTarget]] = _TransactingTarget

    def bind(self, session: _Session) -> QueueBackend:
        return cast("QueueBackend", _Bound(session))


class _Transacting(Saboteur):
    target_type: ClassVar[type[InProcessTarget]] = _TransactingTarget

    def bind(self, session: _Session) -> QueueBackend:
        return cast("QueueBackend", _Bound(session))


class EnqueuesBesideTheTransaction(_Transacting):
    """What is enqueued in a transaction is stored at once."""

    guarantee = "TXN-01"

    def bind(self, session: _Session) -> QueueBackend:
        return self


class CommitsWhatIsRolledBack(_Transacting):
    """A transaction that rolls back leaves its tasks behind."""

    guarantee = "TXN-02"


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

    def bind(self, session: _Session) -> QueueBackend:
        return cast("QueueBackend", _EndsTheSession(session))


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
