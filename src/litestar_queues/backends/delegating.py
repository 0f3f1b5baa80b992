"""A backend that leaves every call to another one: what wrappers are made from."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta

from litestar_queues.backends.base import QueueBackend, Wakeups
from litestar_queues.records import Count, Enqueued, Held, NamedRecord, NewTask, Query, Stale, TaskRecord, Want

__all__ = ("DelegatingBackend",)


class DelegatingBackend:
    """Every method of the port, as the inner backend has it. A subclass changes those that it is there for.

    What the inner backend has beyond the port, such as `bind`, is not passed on.

    Args:
        inner: The backend that does the work.
    """

    def __init__(self, inner: QueueBackend) -> None:
        self.inner = inner

    @property
    def name(self) -> str:
        return self.inner.name

    @property
    def process_local(self) -> bool:
        return self.inner.process_local

    @property
    def wakeups(self) -> Wakeups | None:
        return self.inner.wakeups

    async def open(self) -> None:
        await self.inner.open()

    async def close(self) -> None:
        await self.inner.close()

    async def create_schema(self) -> None:
        await self.inner.create_schema()

    async def now(self) -> datetime:
        return await self.inner.now()

    async def enqueue_many(self, tasks: Sequence[NewTask], *, now: datetime | None = None) -> list[Enqueued]:
        return await self.inner.enqueue_many(tasks, now=now)

    async def claim(self, want: Want, *, now: datetime | None = None) -> list[TaskRecord]:
        return await self.inner.claim(want, now=now)

    async def touch_heartbeats(self, held: Sequence[Held], *, now: datetime | None = None) -> set[str]:
        return await self.inner.touch_heartbeats(held, now=now)

    async def commit(self, tasks: Sequence[TaskRecord], *, stale: Stale | None = None) -> set[str]:
        return await self.inner.commit(tasks, stale=stale)

    async def get(self, ids: Collection[str]) -> dict[str, TaskRecord]:
        return await self.inner.get(ids)

    async def find(self, query: Query, limit: int) -> list[TaskRecord]:
        return await self.inner.find(query, limit)

    async def count(self, queues: tuple[str, ...] | None = None) -> list[Count]:
        return await self.inner.count(queues)

    async def next_due(self, queues: tuple[str, ...] | None = None) -> datetime | None:
        return await self.inner.next_due(queues)

    async def delete(self, held: Sequence[Held]) -> set[str]:
        return await self.inner.delete(held)

    async def lock(self, name: str, owner: str, ttl: timedelta, *, now: datetime | None = None) -> bool:
        return await self.inner.lock(name, owner, ttl, now=now)

    async def unlock(self, name: str, owner: str) -> bool:
        return await self.inner.unlock(name, owner)

    async def read_records(self, prefix: str) -> dict[str, NamedRecord]:
        return await self.inner.read_records(prefix)

    async def write_records(self, records: Sequence[NamedRecord]) -> set[str]:
        return await self.inner.write_records(records)
