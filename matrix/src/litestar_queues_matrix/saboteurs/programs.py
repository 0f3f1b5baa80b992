"""Defects in what is made of the rows, for every family."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TypeVar

import msgspec

from litestar_queues.backends.sql.engine import Engine
from litestar_queues.backends.sql.family import Statement, bare_name
from litestar_queues.backends.sql.locking import LockStepWrite
from litestar_queues.backends.sql.program import Call, ConflictError, Done, Load, Steps, advance
from litestar_queues.errors import BackendError
from litestar_queues.records import Enqueued, Held, NewTask, Stale, TaskRecord

__all__ = (
    "AnswersWithAllTasks",
    "AnswersWithAllTasksOfRecoveries",
    "AnswersWithAllWhereAnyWasStored",
    "BeatsUnderAnyFence",
    "CommitsUnderAnyFence",
    "DeletesUnderAnyFence",
    "EndsAtOnceWithoutAHolder",
    "LoadsByPlace",
    "SwapsColumnsInBulk",
)

T = TypeVar("T")


class AnswersWithAllTasks(Engine):
    """Answers a commit with the ids that it was given."""

    def _commit(self, parts: list[list[TaskRecord]], stale: Stale | None) -> Steps[set[str]]:
        yield from super()._commit(parts, stale)
        return {task.id for part in parts for task in part}


class AnswersWithAllTasksOfRecoveries(Engine):
    """Answers a commit that has `stale` with the ids that it was given."""

    def _commit(self, parts: list[list[TaskRecord]], stale: Stale | None) -> Steps[set[str]]:
        stored = yield from super()._commit(parts, stale)
        return stored if stale is None else {task.id for part in parts for task in part}


class AnswersWithAllWhereAnyWasStored(Engine):
    """Answers a commit with the ids that it was given where it stored one of them."""

    def _commit(self, parts: list[list[TaskRecord]], stale: Stale | None) -> Steps[set[str]]:
        stored = yield from super()._commit(parts, stale)
        return {task.id for part in parts for task in part} if stored and stale is None else stored


class EndsAtOnceWithoutAHolder(Engine):
    """Does not look for the holder of a key again, where there is none and never will be: all else takes seconds longer."""

    def _enqueue_many(self, tasks: Sequence[NewTask], now: datetime | None, *, bounded: bool) -> Steps[list[Enqueued]]:
        try:
            return (yield from super()._enqueue_many(tasks, now, bounded=bounded))
        except ConflictError as error:
            raise BackendError(str(error)) from error


class SwapsColumnsInBulk(Engine):
    """Loads the values of two columns the wrong way round."""

    def _load_many(self, tasks: Sequence[NewTask], now: datetime | None) -> Steps[list[Enqueued]]:
        return (yield from _renamed(super()._load_many(tasks, now), {"kwargs": "metadata", "metadata": "kwargs"}))


_ALIKE = ("args", "kwargs", "metadata")


class LoadsByPlace(Engine):
    """Tells columns that are alike apart by the order in which the table has them."""

    def _load_many(self, tasks: Sequence[NewTask], now: datetime | None) -> Steps[list[Enqueued]]:
        columns = (
            "SELECT column_name FROM information_schema.columns WHERE table_name = :name ORDER BY ordinal_position"
        )
        found = yield Call(Statement("columns", columns), {"name": bare_name(self.family, self._table_name)})
        there = [str(row[0]) for row in found.rows if str(row[0]) in _ALIKE]
        return (yield from _renamed(super()._load_many(tasks, now), dict(zip(_ALIKE, there, strict=True))))


def _renamed(steps: Steps[T], names: Mapping[str, str]) -> Steps[T]:
    """The same steps with other names for the columns of a bulk load."""
    asked = advance(steps)
    while not isinstance(asked, Done):
        if isinstance(asked, Load):
            columns = {names.get(name, name): values for name, values in asked.columns.items()}
            asked = Load(asked.table, columns)
        asked = advance(steps, (yield asked))
    return asked.answer


class _TakesTheFenceThatIsStored(LockStepWrite):
    """What several of them share."""

    def _as_stored(self, held: Sequence[Held]) -> Steps[list[Held]]:
        found = yield self._call("lock_tasks", {"ids": self._list(sorted({one.id for one in held}))})
        fences = {record.id: record.fence for record in self._records(found)}
        return [msgspec.structs.replace(one, fence=fences.get(one.id, one.fence)) for one in held]


class CommitsUnderAnyFence(_TakesTheFenceThatIsStored):
    """Commits over whatever is stored; for families that lock and write."""

    def _commit_part(self, tasks: Sequence[TaskRecord], stale: Stale | None) -> Steps[set[str]]:
        stored = yield from self._as_stored([Held(task.id, task.fence - 1) for task in tasks])
        after = [task.evolve(fence=one.fence + 1) for task, one in zip(tasks, stored, strict=True)]
        return (yield from super()._commit_part(after, stale))


class BeatsUnderAnyFence(_TakesTheFenceThatIsStored):
    """Takes heartbeats from whoever ran the task; for families that lock and write."""

    def _touch(self, held: Sequence[Held], now: datetime | None) -> Steps[set[str]]:
        stored = yield from self._as_stored(held)
        return (yield from super()._touch(stored, now))


class DeletesUnderAnyFence(_TakesTheFenceThatIsStored):
    """Deletes whatever is terminal; for families that lock and write."""

    def _delete(self, held: Sequence[Held]) -> Steps[set[str]]:
        stored = yield from self._as_stored(held)
        return (yield from super()._delete(stored))
