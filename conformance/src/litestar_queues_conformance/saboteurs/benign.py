"""Odd, but legal: backends that the suite has to pass."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Collection, Sequence
from datetime import datetime, timedelta
from typing import Any, cast

from litestar_queues.backends.base import QueueBackend
from litestar_queues.backends.memory import MemoryBackend
from litestar_queues.lifecycle import State
from litestar_queues.records import Count, Enqueued, Held, NewTask, TaskRecord, Want
from litestar_queues_conformance.saboteurs.base import Benign, InProcessTarget

_METHODS = (
    *("enqueue_many", "claim", "touch_heartbeats", "commit", "get", "find", "count", "next_due", "delete"),
    *("lock", "unlock", "read_records", "write_records", "open", "close", "create_schema", "now"),
)


class Slow(Benign):
    """Lets others in several times before every operation, and after it."""


def _slowly(method: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    async def slow(*args: Any, **kwargs: Any) -> Any:
        for _ in range(3):
            await asyncio.sleep(0)
        answer = await method(*args, **kwargs)
        for _ in range(3):
            await asyncio.sleep(0)
        return answer

    return slow


for _name in _METHODS:
    setattr(Slow, _name, _slowly(getattr(MemoryBackend, _name)))


class WaitsItsTurn(Benign):
    """One operation at a time, each in several steps between which others may ask."""


def _in_turn(method: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    async def turn(self: WaitsItsTurn, *args: Any, **kwargs: Any) -> Any:
        waiting: asyncio.Lock = self.__dict__.setdefault("_turn", asyncio.Lock())
        async with waiting:
            await asyncio.sleep(0)
            answer = await method(self, *args, **kwargs)
            await asyncio.sleep(0)
            return answer

    return turn


for _name in _METHODS:
    setattr(WaitsItsTurn, _name, _in_turn(getattr(MemoryBackend, _name)))


class RewritesJson(Benign):
    """Stores JSON values in other characters than it was given, as databases with a type for JSON do."""

    def put(self, record: TaskRecord) -> TaskRecord:
        return super().put(_rewritten(record))

    async def touch_heartbeats(self, held: Sequence[Held], *, now: datetime | None = None) -> set[str]:
        kept = await super().touch_heartbeats(held, now=now)
        for id_ in kept:
            self.tasks[id_] = _rewritten(self.tasks[id_])
        return kept


def _rewritten(record: TaskRecord) -> TaskRecord:
    changes: dict[str, str] = {}
    for field in ("args", "kwargs", "metadata", "progress", "result", "error"):
        text: str | None = getattr(record, field)
        if text is not None:
            changes[field] = json.dumps(json.loads(text), separators=(" ,  ", " :  "), sort_keys=True)
    return record.evolve(**changes)


class PromotesAtOnce(Benign):
    """Stores a scheduled task as pending at the first operation after its time, whatever that is for."""

    def _promote_all(self, now: datetime | None) -> None:
        self.promote(None, now or self.clock.now())

    async def enqueue_many(self, tasks: Sequence[NewTask], *, now: datetime | None = None) -> list[Enqueued]:
        self._promote_all(now)
        return await super().enqueue_many(tasks, now=now)

    async def claim(self, want: Want, *, now: datetime | None = None) -> list[TaskRecord]:
        self._promote_all(now)
        return await super().claim(want, now=now)

    async def touch_heartbeats(self, held: Sequence[Held], *, now: datetime | None = None) -> set[str]:
        self._promote_all(now)
        return await super().touch_heartbeats(held, now=now)

    async def lock(self, name: str, owner: str, ttl: timedelta, *, now: datetime | None = None) -> bool:
        self._promote_all(now)
        return await super().lock(name, owner, ttl, now=now)


class NeverPromotes(Benign):
    """A scheduled task stays scheduled until it is claimed."""

    async def claim(self, want: Want, *, now: datetime | None = None) -> list[TaskRecord]:
        scheduled = [record.id for record in self.tasks.values() if record.state is State.SCHEDULED]
        claimed = await super().claim(want, now=now)
        for id_ in scheduled:
            if self.tasks[id_].state is State.PENDING:
                self.put(self.tasks[id_].evolve(state=State.SCHEDULED))
        return claimed


class AnswersInOtherOrders(Benign):
    """What has no order comes in another: the counts, and the records of `get`; counts of none are among them."""

    async def count(self, queues: tuple[str, ...] | None = None) -> list[Count]:
        counts = {(one.queue, one.state): one for one in await super().count(queues)}
        named = {queue for queue, _ in counts} | set(queues or ())
        return [counts.get((queue, state), Count(queue, state, 0)) for queue in named for state in reversed(State)]

    async def get(self, ids: Collection[str]) -> dict[str, TaskRecord]:
        return dict(reversed((await super().get(ids)).items()))


class _Client:
    """A client of its own, which passes everything on to the store."""

    def __init__(self, store: MemoryBackend) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


class _ClientTarget(InProcessTarget):
    def client(self, store: MemoryBackend) -> QueueBackend:
        return cast("QueueBackend", _Client(store))


class ClientsOfTheirOwn(Benign):
    """Gives every client an object of its own."""


ClientsOfTheirOwn.target = _ClientTarget(ClientsOfTheirOwn)
