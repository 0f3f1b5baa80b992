"""A client of the store that translates the times of a case, in every call and in every answer; see `moments`."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, TypeVar

import msgspec

from litestar_queues.backends.base import QueueBackend
from litestar_queues.records import (
    Dispatched,
    Enqueued,
    Finished,
    Held,
    Matching,
    NewTask,
    Overdue,
    Query,
    Stale,
    TaskRecord,
    Want,
)
from litestar_queues_conformance.moments import Telling
from litestar_queues_conformance.wrapping import Wrapper, with_the_rest

__all__ = ("ToldClient", "told_to")

S = TypeVar("S", bound=msgspec.Struct)
_TIMES = ("created_at", "due_at", "expires_at", "started_at", "heartbeat_at", "finished_at")


async def told_to(client: QueueBackend, telling: Telling | None) -> QueueBackend:
    """The client as a case has it; the client itself where the times of the case are passed as they are."""
    if telling is None:
        return client
    await telling.begin(client)
    return _translated(client, telling)


class ToldClient(Wrapper):
    """A client of the store to which a case tells its times.

    Args:
        inner: The client. Whatever it has beyond the port, `told_to` has, too.
        telling: How times are translated.
    """

    def __init__(self, inner: QueueBackend, telling: Telling) -> None:
        super().__init__(inner)
        self.telling = telling

    def again(self, made: QueueBackend) -> QueueBackend:
        return _translated(made, self.telling)

    async def now(self) -> datetime:
        return self.telling.told(await self.inner.now())

    async def enqueue_many(self, tasks: Sequence[NewTask], *, now: datetime | None = None) -> list[Enqueued]:
        name = self.telling.alias.name
        given = [_changed(one, {**self._times(one, ("run_at", "expires_at")), "name": name(one.name)}) for one in tasks]
        answers = await self.inner.enqueue_many(given, now=self.telling.now(now))
        return [_changed(one, {"record": self._told(one.record)}) for one in answers]

    async def claim(self, want: Want, *, now: datetime | None = None) -> list[TaskRecord]:
        worker = self.telling.alias.worker(want.worker)
        given = _changed(want, {**self._window(now, want.stale_after), "worker": worker})
        return [self._told(one) for one in await self.inner.claim(given, now=self.telling.now(now))]

    async def touch_heartbeats(self, held: Sequence[Held], *, now: datetime | None = None) -> set[str]:
        given = [_changed(one, self._window(now, one.stale_after)) for one in held]
        return await self.inner.touch_heartbeats(given, now=self.telling.now(now))

    async def commit(self, tasks: Sequence[TaskRecord], *, stale: Stale | None = None) -> set[str]:
        given = [self._real(one) for one in tasks]
        return await self.inner.commit(given, stale=None if stale is None else self._stale(stale))

    async def get(self, ids: Collection[str]) -> dict[str, TaskRecord]:
        return {id_: self._told(one) for id_, one in (await self.inner.get(ids)).items()}

    async def find(self, query: Query, limit: int) -> list[TaskRecord]:
        return [self._told(one) for one in await self.inner.find(self._query(query), limit)]

    async def next_due(self, queues: tuple[str, ...] | None = None) -> datetime | None:
        answer = await self.inner.next_due(queues)
        return None if answer is None else self.telling.told(answer)

    async def lock(self, name: str, owner: str, ttl: timedelta, *, now: datetime | None = None) -> bool:
        lasts = timedelta(seconds=self.telling.lasts(now, ttl.total_seconds()))
        return await self.inner.lock(name, owner, lasts, now=self.telling.now(now))

    def _times(self, one: msgspec.Struct, fields: Iterable[str]) -> dict[str, Any]:
        times = {name: getattr(one, name) for name in fields}
        return {name: self.telling.real(value) for name, value in times.items() if value is not None}

    def _window(self, since: datetime | None, seconds: float | None) -> dict[str, Any]:
        return {} if seconds is None else {"stale_after": self.telling.lasts(since, seconds)}

    def _real(self, record: TaskRecord) -> TaskRecord:
        window = {} if record.heartbeat_at is None else self._window(record.heartbeat_at, record.stale_after)
        names = {"name": self.telling.alias.name(record.name)}
        if record.worker is not None:
            names["worker"] = self.telling.alias.worker(record.worker)
        return _changed(record, {**self._times(record, _TIMES), **window, **names})

    def _told(self, record: TaskRecord) -> TaskRecord:
        times = {name: getattr(record, name) for name in _TIMES}
        told: dict[str, Any] = {name: self.telling.told(value) for name, value in times.items() if value is not None}
        told["name"] = self.telling.alias.told_name(record.name)
        if record.worker is not None:
            told["worker"] = self.telling.alias.told_worker(record.worker)
        if record.stale_after is not None:
            told["stale_after"] = self.telling.told_window(record.stale_after)
        return _changed(record, told)

    def _query(self, query: Query) -> Query:
        match query:
            case Stale():
                return self._stale(query)
            case Dispatched() | Overdue():
                return _changed(query, self._times(query, ("at",)))
            case Finished():
                return _changed(query, self._times(query, ("before", "since")))
            case Matching():
                names = query.names
                return (
                    query if names is None else _changed(query, {"names": tuple(map(self.telling.alias.name, names))})
                )

    def _stale(self, query: Stale) -> Stale:
        at = self.telling.real(query.at)
        window = (at - self.telling.real(query.at - timedelta(seconds=query.window))).total_seconds()
        return _changed(query, {"at": at, "window": window})


def _translated(client: QueueBackend, telling: Telling) -> QueueBackend:
    return with_the_rest(ToldClient, client)(client, telling)


def _changed(one: S, changes: dict[str, Any]) -> S:
    return msgspec.structs.replace(one, **changes) if changes else one
