"""KEY: at most one active task per key."""

from __future__ import annotations

import asyncio
import unicodedata
from collections.abc import Sequence
from datetime import datetime

from litestar_queues.clock import Clock
from litestar_queues.lifecycle import TERMINAL, WAITING, State
from litestar_queues.records import Enqueued, Held, NewTask, Stale, TaskRecord, admit
from litestar_queues_conformance.saboteurs.base import Saboteur


class KeyPerQueue(Saboteur):
    """A key that is held in one queue is free in the others."""

    guarantee = "KEY-01"

    def enqueue_one(self, new: NewTask, now: datetime) -> Enqueued:
        holder = None if new.key is None else self.keys.get(new.key)
        if holder is not None and self.tasks[holder].queue != new.queue:
            return Enqueued(self.put(admit(new, now)), True)
        return super().enqueue_one(new, now)


class LooksUpKeysFirst(Saboteur):
    """Whether keys are free is looked up before the write, and others come in between."""

    guarantee = "KEY-01"

    async def enqueue_many(self, tasks: Sequence[NewTask], *, now: datetime | None = None) -> list[Enqueued]:
        free = {new.key for new in tasks if new.key is not None and new.key not in self.keys}
        await asyncio.sleep(0)
        for key in free:
            self.keys.pop(key, None)
        return await super().enqueue_many(tasks, now=now)


class LastOfBatchCounts(Saboteur):
    """Of several tasks with one key in a batch the last is stored."""

    guarantee = "KEY-02"

    async def enqueue_many(self, tasks: Sequence[NewTask], *, now: datetime | None = None) -> list[Enqueued]:
        return (await super().enqueue_many(tasks[::-1], now=now))[::-1]


class RaisesTheHoldersPriority(Saboteur):
    """Enqueueing a held key with a higher priority gives it to the holder."""

    guarantee = "KEY-03"

    def enqueue_one(self, new: NewTask, now: datetime) -> Enqueued:
        answer = super().enqueue_one(new, now)
        if not answer.is_new and answer.record.created_at < now and new.priority > answer.record.priority:
            return Enqueued(self.put(answer.record.evolve(priority=new.priority)), False)
        return answer


class ExpiredKeepsItsKey(Saboteur):
    """An expired task goes on holding its key."""

    guarantee = "KEY-04"

    def enqueue_one(self, new: NewTask, now: datetime) -> Enqueued:
        if new.key is not None:
            for record in self.tasks.values():
                if record.state is State.EXPIRED and record.key == new.key:
                    return Enqueued(record, False)
        return super().enqueue_one(new, now)


class TakesTheKeyFromTheRecord(Saboteur):
    """A terminal task loses the key from its record when a new task takes it."""

    guarantee = "KEY-05"

    def enqueue_one(self, new: NewTask, now: datetime) -> Enqueued:
        answer = super().enqueue_one(new, now)
        if answer.is_new and new.key is not None:
            for record in list(self.tasks.values()):
                if record.state in TERMINAL and record.key == new.key and record.id != new.id:
                    self.put(record.evolve(key=None))
        return answer


class StoresAndAnswersTheHolder(Saboteur):
    """A holder that ends during an enqueue is answered, and the new task is stored all the same."""

    guarantee = "KEY-06"

    async def enqueue_many(self, tasks: Sequence[NewTask], *, now: datetime | None = None) -> list[Enqueued]:
        held = {new.id: self.keys[new.key] for new in tasks if new.key is not None and new.key in self.keys}
        holders = {id_: self.tasks[holder] for id_, holder in held.items() if holder != id_}
        await asyncio.sleep(0)
        answers = await super().enqueue_many(tasks, now=now)
        return [
            Enqueued(holders[new.id], False) if answer.is_new and new.id in holders else answer
            for new, answer in zip(tasks, answers, strict=True)
        ]


class _ComparesKeys(Saboteur):
    """Keys are compared by something less than all their characters."""

    guarantee = "KEY-07"

    @staticmethod
    def shape(key: str) -> str:
        return key

    def __init__(self, clock: Clock | None = None) -> None:
        super().__init__(clock)
        self._shapes: dict[str, str] = {}

    def enqueue_one(self, new: NewTask, now: datetime) -> Enqueued:
        if new.key is None or new.id in self.tasks:
            return super().enqueue_one(new, now)
        other = self._shapes.setdefault(self.shape(new.key), new.key)
        if other != new.key and other in self.keys:
            return Enqueued(self.tasks[self.keys[other]], False)
        self._shapes[self.shape(new.key)] = new.key
        return super().enqueue_one(new, now)


class IgnoresCase(_ComparesKeys):
    """Keys that differ by case are one key."""

    guarantee = "KEY-07"

    @staticmethod
    def shape(key: str) -> str:
        return key.casefold()


class IgnoresTrailingSpaces(_ComparesKeys):
    """Keys that differ by spaces at their end are one key."""

    guarantee = "KEY-07"

    @staticmethod
    def shape(key: str) -> str:
        return key.rstrip()


class ComposesAccents(_ComparesKeys):
    """Keys that differ by the composition of their accents are one key."""

    guarantee = "KEY-07"

    @staticmethod
    def shape(key: str) -> str:
        return unicodedata.normalize("NFC", key)


class NoKeyButEqualArguments(Saboteur):
    """Without keys, active tasks with the same arguments are taken for one another."""

    guarantee = "KEY-08"

    def __init__(self, clock: Clock | None = None) -> None:
        super().__init__(clock)
        self._twins: dict[tuple[str, str, str], str] = {}

    def enqueue_one(self, new: NewTask, now: datetime) -> Enqueued:
        if new.key is not None or new.args == "[]":
            return super().enqueue_one(new, now)
        twin = self._twins.setdefault((new.name, new.queue, new.args), new.id)
        if twin != new.id and twin in self.tasks and self.tasks[twin].finished_at is None:
            return Enqueued(self.tasks[twin], False)
        self._twins[new.name, new.queue, new.args] = new.id
        return super().enqueue_one(new, now)


class ReviveTakesTheKey(Saboteur):
    """A revived task takes its key from the task that holds it."""

    guarantee = "KEY-09"

    def commit_one(self, task: TaskRecord, stale: Stale | None) -> bool:
        if task.active_key is not None and self.owned(task) is not None:
            self.keys[task.active_key] = task.id
        return super().commit_one(task, stale)


class OneHeldKeyRefusesAll(Saboteur):
    """A commit of several tasks stores none of them if one would take a held key."""

    guarantee = "KEY-30"

    async def commit(self, tasks: Sequence[TaskRecord], *, stale: Stale | None = None) -> set[str]:
        wanted: dict[str, str] = {}
        for task in tasks:
            key = task.active_key
            if key is not None and task.id != self.keys.get(key, wanted.setdefault(key, task.id)):
                return set()
        return await super().commit(tasks, stale=stale)


class RetryFreesTheKey(Saboteur):
    """A task that waits for another attempt does not hold its key."""

    guarantee = "KEY-10"

    def put(self, record: TaskRecord) -> TaskRecord:
        super().put(record)
        if record.key is not None and record.state in WAITING and record.attempt and self.keys[record.key] == record.id:
            del self.keys[record.key]
        return record


class DeletionFreesTheKey(Saboteur):
    """Deleting a task frees its key, whoever holds it now."""

    guarantee = "KEY-11"

    async def delete(self, held: Sequence[Held]) -> set[str]:
        keys = {id_: record.key for id_, record in self.tasks.items()}
        deleted = await super().delete(held)
        for id_ in deleted:
            self.keys.pop(keys[id_] or "", None)
        return deleted
