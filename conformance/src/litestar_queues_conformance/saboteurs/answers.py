"""Answers of other types than the port names; some of them are legal."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from litestar_queues.records import Count, Enqueued, Held, NamedRecord, NewTask, Query, Stale, TaskRecord, Want
from litestar_queues_conformance.saboteurs.base import Benign, Saboteur


class AnswersHeartbeatsWithAList(Saboteur):
    """The ids of `touch_heartbeats` are a list."""

    guarantee = "LIF-21"

    async def touch_heartbeats(self, held: Sequence[Held], *, now: datetime | None = None) -> Any:
        return sorted(await super().touch_heartbeats(held, now=now))


class AnswersClaimsWithATuple(Saboteur):
    """The tasks of a claim are a tuple."""

    guarantee = "LIF-21"

    async def claim(self, want: Want, *, now: datetime | None = None) -> Any:
        return tuple(await super().claim(want, now=now))


class ForgetsTheTimeZone(Saboteur):
    """What `get` and `find` read has naive times."""

    guarantee = "LIF-21"

    async def get(self, ids: Collection[str]) -> dict[str, TaskRecord]:
        return {id_: _naive(record) for id_, record in (await super().get(ids)).items()}

    async def find(self, query: Query, limit: int) -> list[TaskRecord]:
        return [_naive(record) for record in await super().find(query, limit)]


class AnswersNumbersAsTexts(Saboteur):
    """The fence and the attempt of a claimed task are texts."""

    guarantee = "LIF-21"

    async def claim(self, want: Want, *, now: datetime | None = None) -> Any:
        claimed = await super().claim(want, now=now)
        return [one.evolve(fence=str(one.fence), attempt=str(one.attempt)) for one in claimed]


class AnswersStatesAsTexts(Saboteur):
    """The states of what is found, and of counts, are plain texts."""

    guarantee = "LIF-21"

    async def find(self, query: Query, limit: int) -> list[TaskRecord]:
        return [one.evolve(state=one.state.value) for one in await super().find(query, limit)]

    async def count(self, queues: tuple[str, ...] | None = None) -> Any:
        return [Count(one.queue, one.state.value, one.tasks) for one in await super().count(queues)]  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  # it is what is wrong with it


class AnswersCommitsWithNone(Saboteur):
    """A commit answers None."""

    guarantee = "LIF-21"

    async def commit(self, tasks: Sequence[TaskRecord], *, stale: Stale | None = None) -> Any:
        await super().commit(tasks, stale=stale)


def _naive(record: TaskRecord) -> TaskRecord:
    return record.evolve(created_at=record.created_at.replace(tzinfo=None), due_at=record.due_at.replace(tzinfo=None))


class _Set(set[Any]):
    """A set."""


class _List(list[Any]):
    """A list."""


class _Dict(dict[Any, Any]):
    """A dictionary."""


class _Time(datetime):
    """A time."""


class _Record(TaskRecord, frozen=True):
    """A record."""


class _Count(Count, frozen=True):
    """A count."""


class AnswersWithSubclasses(Benign):
    """Every collection, record and count in an answer is of a subclass of what the port names, and every time alone."""

    async def now(self) -> datetime:
        return _time(await super().now())

    async def enqueue_many(self, tasks: Sequence[NewTask], *, now: datetime | None = None) -> list[Enqueued]:
        answers = await super().enqueue_many(tasks, now=now)
        return _List(Enqueued(_record(one.record), one.is_new) for one in answers)

    async def claim(self, want: Want, *, now: datetime | None = None) -> list[TaskRecord]:
        return _List(map(_record, await super().claim(want, now=now)))

    async def touch_heartbeats(self, held: Sequence[Held], *, now: datetime | None = None) -> set[str]:
        return _Set(await super().touch_heartbeats(held, now=now))

    async def commit(self, tasks: Sequence[TaskRecord], *, stale: Stale | None = None) -> set[str]:
        return _Set(await super().commit(tasks, stale=stale))

    async def get(self, ids: Collection[str]) -> dict[str, TaskRecord]:
        return _Dict((id_, _record(one)) for id_, one in (await super().get(ids)).items())

    async def find(self, query: Query, limit: int) -> list[TaskRecord]:
        return _List(map(_record, await super().find(query, limit)))

    async def count(self, queues: tuple[str, ...] | None = None) -> list[Count]:
        return _List(_Count(one.queue, one.state, one.tasks) for one in await super().count(queues))

    async def next_due(self, queues: tuple[str, ...] | None = None) -> datetime | None:
        first = await super().next_due(queues)
        return None if first is None else _time(first)

    async def delete(self, held: Sequence[Held]) -> set[str]:
        return _Set(await super().delete(held))

    async def read_records(self, prefix: str) -> dict[str, NamedRecord]:
        return _Dict(await super().read_records(prefix))

    async def write_records(self, records: Sequence[NamedRecord]) -> set[str]:
        return _Set(await super().write_records(records))


def _record(record: TaskRecord) -> TaskRecord:
    values: Any = [getattr(record, name) for name in record.__struct_fields__]
    return _Record(*values)


def _time(value: datetime) -> datetime:
    return _Time.fromisoformat(value.isoformat())
