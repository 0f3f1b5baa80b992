"""RET, STA, LCK and SCM: deletion, reading, locks and stores."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from litestar_queues.clock import Clock
from litestar_queues.lifecycle import State
from litestar_queues.records import Count, Enqueued, Finished, Held, Matching, NewTask, Query, TaskRecord
from litestar_queues_conformance.saboteurs.base import Saboteur

_MICROSECOND = timedelta(microseconds=1)


class DeletesUnderAnyFence(Saboteur):
    """A deletion does not look at the fence."""

    guarantee = "RET-01"

    async def delete(self, held: Sequence[Held]) -> set[str]:
        return await super().delete([self.tasks[one.id].held for one in held if one.id in self.tasks])


class DeletesPending(Saboteur):
    """A deletion takes pending tasks too."""

    guarantee = "RET-02"

    async def delete(self, held: Sequence[Held]) -> set[str]:
        named = [(self.tasks.get(one.id), one.fence) for one in held]
        pending = [r for r, fence in named if r is not None and r.fence == fence and r.state is State.PENDING]
        for record in pending:
            self.forget(record)
        return {record.id for record in pending} | await super().delete(held)


class FinishedAMicrosecondEarly(Saboteur):
    """What finished at the very time counts as finished before it."""

    guarantee = "RET-03"

    async def find(self, query: Query, limit: int) -> list[TaskRecord]:
        if isinstance(query, Finished):
            query = Finished(query.before + _MICROSECOND, query.since)
        return await super().find(query, limit)


class FinishedSinceAMicrosecondLater(Saboteur):
    """What finished at the very first time that was asked for is left out."""

    guarantee = "RET-03"

    async def find(self, query: Query, limit: int) -> list[TaskRecord]:
        if isinstance(query, Finished) and query.since is not None:
            query = Finished(query.before, query.since + _MICROSECOND)
        return await super().find(query, limit)


class CountsTheDeleted(Saboteur):
    """Deleted tasks stay in the counts."""

    guarantee = "RET-04"

    def __init__(self, clock: Clock | None = None) -> None:
        super().__init__(clock)
        self._gone = Counter[tuple[str, State]]()

    async def delete(self, held: Sequence[Held]) -> set[str]:
        there = dict(self.tasks)
        deleted = await super().delete(held)
        self._gone.update((there[id_].queue, there[id_].state) for id_ in deleted)
        return deleted

    async def count(self, queues: tuple[str, ...] | None = None) -> list[Count]:
        counts = Counter({pair: n for pair, n in self._gone.items() if queues is None or pair[0] in queues})
        counts.update({(one.queue, one.state): one.tasks for one in await super().count(queues)})
        return [Count(queue, state, n) for (queue, state), n in counts.items()]


class CountsExpiredAsCancelled(Saboteur):
    """Expired tasks are counted as cancelled ones."""

    guarantee = "STA-01"

    async def count(self, queues: tuple[str, ...] | None = None) -> list[Count]:
        counts = {(one.queue, one.state): one.tasks for one in await super().count(queues)}
        for queue, state in list(counts):
            if state is State.EXPIRED:
                moved = counts.pop((queue, state))
                counts[queue, State.CANCELLED] = counts.get((queue, State.CANCELLED), 0) + moved
        return [Count(queue, state, tasks) for (queue, state), tasks in counts.items()]


class OldestFirst(Saboteur):
    """Matching tasks are found oldest first."""

    guarantee = "STA-02"

    async def find(self, query: Query, limit: int) -> list[TaskRecord]:
        if not isinstance(query, Matching):
            return await super().find(query, limit)
        found = await super().find(query, len(self.tasks))
        return sorted(found, key=lambda record: record.created_at)[: max(limit, 0)]


class NextDueOfAllQueues(Saboteur):
    """`next_due` does not look at the queues."""

    guarantee = "STA-03"

    async def next_due(self, queues: tuple[str, ...] | None = None) -> datetime | None:
        return await super().next_due(None)


class LocksIgnoreCase(Saboteur):
    """Locks whose names differ by case are one lock."""

    guarantee = "LCK-01"

    async def lock(self, name: str, owner: str, ttl: timedelta, *, now: datetime | None = None) -> bool:
        return await super().lock(name.lower(), owner, ttl, now=now)

    async def unlock(self, name: str, owner: str) -> bool:
        return await super().unlock(name.lower(), owner)


class LooksThenLocks(Saboteur):
    """A lock is looked at, others come in, and it is taken."""

    guarantee = "LCK-01"

    async def lock(self, name: str, owner: str, ttl: timedelta, *, now: datetime | None = None) -> bool:
        moment = now or self.clock.now()
        holder = self.locks.get(name)
        await asyncio.sleep(0)
        if holder is not None and holder[0] != owner and holder[1] > moment:
            return False
        self.locks[name] = (owner, moment + ttl)
        return True


class LockRunsOutLate(Saboteur):
    """A lock is still held at the moment of its end."""

    guarantee = "LCK-02"

    async def lock(self, name: str, owner: str, ttl: timedelta, *, now: datetime | None = None) -> bool:
        holder = self.locks.get(name)
        if holder is not None and holder[0] != owner and holder[1] == now:
            return False
        return await super().lock(name, owner, ttl, now=now)


class DoesNotProlong(Saboteur):
    """Prolonging a lock is answered with yes, and does nothing."""

    guarantee = "LCK-03"

    async def lock(self, name: str, owner: str, ttl: timedelta, *, now: datetime | None = None) -> bool:
        holder = self.locks.get(name)
        if holder is not None and holder[0] == owner and holder[1] > (now or self.clock.now()):
            return True
        return await super().lock(name, owner, ttl, now=now)


class AnybodyUnlocks(Saboteur):
    """A lock is freed by whoever asks."""

    guarantee = "LCK-04"

    async def unlock(self, name: str, owner: str) -> bool:
        return self.locks.pop(name, None) is not None


class SchemaFreesLocks(Saboteur):
    """Creating the schema again frees every lock."""

    guarantee = "SCM-01"

    async def create_schema(self) -> None:
        self.locks.clear()


class CreatesTheSchemaTwice(Saboteur):
    """Of two clients that find no schema, the second empties what the first has begun."""

    guarantee = "SCM-02"
    _created = False

    async def open(self) -> None:
        missing = not self._created
        await asyncio.sleep(0)
        if missing:
            self.__init__(self.clock)  # type: ignore[misc]  # empties it
        self._created = True


class OneLockForAllStores(Saboteur):
    """A lock that is held in one store is held in all."""

    guarantee = "SCM-03"

    async def lock(self, name: str, owner: str, ttl: timedelta, *, now: datetime | None = None) -> bool:
        others = [
            one for one in self.target.stores.values() if isinstance(one, OneLockForAllStores) and one is not self
        ]
        return not any(one.holds(name) for one in others) and await super().lock(name, owner, ttl, now=now)

    def holds(self, name: str) -> bool:
        return name in self.locks


class ClosingEmptiesTheStore(Saboteur):
    """The first client to close takes the tasks with it."""

    guarantee = "SCM-30"

    async def close(self) -> None:
        for record in list(self.tasks.values()):
            self.forget(record)


class WaitsForWhatEndsTooLate(Saboteur):
    """Closing waits for the calls under way, and overlooks that one has ended since."""

    guarantee = "SCM-04"

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._under_way = 0
        self._closing = False

    async def enqueue_many(self, tasks: Sequence[NewTask], *, now: datetime | None = None) -> list[Enqueued]:
        self._under_way += 1
        try:
            await asyncio.sleep(0)
            return await super().enqueue_many(tasks, now=now)
        finally:
            if not self._closing:
                self._under_way -= 1

    async def close(self) -> None:
        closed, self._closing = self._closing, True
        if self._under_way and not closed:
            await asyncio.Event().wait()


class SaysItIsShared(Saboteur):
    """`process_local` is false, and no other process sees a task."""

    guarantee = "SCM-05"
    process_local = False
