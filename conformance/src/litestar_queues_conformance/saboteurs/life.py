"""LIF: what is stored, and how it changes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta, timezone

import msgspec

from litestar_queues.clock import Clock
from litestar_queues.lifecycle import State
from litestar_queues.records import Enqueued, Held, NewTask, Stale, TaskRecord, Want
from litestar_queues_conformance.harness import T0
from litestar_queues_conformance.saboteurs.base import Saboteur


class TrimsDescriptions(Saboteur):
    """Spaces at either end of a description are lost."""

    guarantee = "LIF-01"

    def enqueue_one(self, new: NewTask, now: datetime) -> Enqueued:
        description = new.description and new.description.strip()
        return super().enqueue_one(msgspec.structs.replace(new, description=description), now)


class KnowsTheSuite(Saboteur):
    """The description is kept of tasks alone whose names are those of the suite's cases."""

    guarantee = "LIF-01"

    def enqueue_one(self, new: NewTask, now: datetime) -> Enqueued:
        description = new.description if new.name.startswith("conformance.") else None
        return super().enqueue_one(msgspec.structs.replace(new, description=description), now)


class KnowsTheDate(Saboteur):
    """The description is kept of tasks alone that are enqueued at the time of the suite's cases, or by the store's own."""

    guarantee = "LIF-01"

    def enqueue_one(self, new: NewTask, now: datetime) -> Enqueued:
        known = abs(now - T0) < timedelta(days=1) or abs(now - self.clock.now()) < timedelta(days=1)
        return super().enqueue_one(msgspec.structs.replace(new, description=new.description if known else None), now)


class RoundsLargeIntegers(Saboteur):
    """Integers in metadata are read as doubles."""

    guarantee = "LIF-02"

    def enqueue_one(self, new: NewTask, now: datetime) -> Enqueued:
        metadata = json.dumps(json.loads(new.metadata, parse_int=lambda digits: int(float(digits))))
        return super().enqueue_one(msgspec.structs.replace(new, metadata=metadata), now)


class KeepsExecutionRef(Saboteur):
    """A commit sets the execution_ref, but cannot clear it."""

    guarantee = "LIF-03"

    def commit_one(self, task: TaskRecord, stale: Stale | None) -> bool:
        stored = self.tasks.get(task.id)
        if stored is not None and task.execution_ref is None:
            task = task.evolve(execution_ref=stored.execution_ref)
        return super().commit_one(task, stale)


class CommitForgetsDescription(Saboteur):
    """A commit writes the row anew, and leaves out the description."""

    guarantee = "LIF-04"

    def commit_one(self, task: TaskRecord, stale: Stale | None) -> bool:
        stored = super().commit_one(task, stale)
        if stored:
            self.put(self.tasks[task.id].evolve(description=None))
        return stored


class CompletesExpired(Saboteur):
    """A completion is stored over an expired task, whatever its fence."""

    guarantee = "LIF-05"

    def commit_one(self, task: TaskRecord, stale: Stale | None) -> bool:
        stored = self.tasks.get(task.id)
        if stored is not None and stored.state is State.EXPIRED and task.state is State.COMPLETED:
            self.put(task)
            return True
        return super().commit_one(task, stale)


class ComesDueLate(Saboteur):
    """A task that waits again for its time is claimed two seconds after it."""

    guarantee = "LIF-06"

    async def claim(self, want: Want, *, now: datetime | None = None) -> list[TaskRecord]:
        moment = now or self.clock.now()
        late = [r for r in self.tasks.values() if r.state is State.SCHEDULED and r.fence and r.due_at <= moment]
        late = [record for record in late if record.due_at > moment - timedelta(seconds=2)]
        for record in late:
            self.put(record.evolve(due_at=moment + timedelta(seconds=1)))
        claimed = await super().claim(want, now=moment)
        for record in late:
            self.put(record)
        return claimed


class AnswersLargeBatchesById(Saboteur):
    """The answers to more than fifty tasks stand in the order of their ids."""

    guarantee = "LIF-07"

    async def enqueue_many(self, tasks: Sequence[NewTask], *, now: datetime | None = None) -> list[Enqueued]:
        answers = await super().enqueue_many(tasks, now=now)
        return sorted(answers, key=lambda one: one.record.id) if len(tasks) > 50 else answers


class RepeatedIsNotNew(Saboteur):
    """A repeated task is answered as if another held its key."""

    guarantee = "LIF-08"

    def enqueue_one(self, new: NewTask, now: datetime) -> Enqueued:
        answer = super().enqueue_one(new, now)
        return Enqueued(answer.record, False) if answer.record.created_at != now else answer


class StoresBatchesInPieces(Saboteur):
    """A batch is stored fifty tasks at a time, and others see the pieces."""

    guarantee = "LIF-09"

    async def enqueue_many(self, tasks: Sequence[NewTask], *, now: datetime | None = None) -> list[Enqueued]:
        answers: list[Enqueued] = []
        for start in range(0, len(tasks), 50):
            answers += await super().enqueue_many(tasks[start : start + 50], now=now)
            if start + 50 < len(tasks):
                await asyncio.sleep(0)
        return answers


class NoIdsMeansAll(Saboteur):
    """`get` without any id answers with every task."""

    guarantee = "LIF-10"

    async def get(self, ids: Collection[str]) -> dict[str, TaskRecord]:
        return await super().get(ids or list(self.tasks))


class GetsWhatWasJustDeleted(Saboteur):
    """The first `get` after a deletion still answers with the deleted tasks."""

    guarantee = "LIF-11"

    def __init__(self, clock: Clock | None = None) -> None:
        super().__init__(clock)
        self._gone: dict[str, TaskRecord] = {}

    async def delete(self, held: Sequence[Held]) -> set[str]:
        there = dict(self.tasks)
        deleted = await super().delete(held)
        self._gone = {id_: there[id_] for id_ in deleted}
        return deleted

    async def get(self, ids: Collection[str]) -> dict[str, TaskRecord]:
        gone, self._gone = self._gone, {}
        return {id_: gone[id_] for id_ in ids if id_ in gone} | await super().get(ids)


class GetsSomethingForEachId(Saboteur):
    """Of more than a hundred ids, one that is not stored is answered with the record of another task."""

    guarantee = "LIF-30"

    async def get(self, ids: Collection[str]) -> dict[str, TaskRecord]:
        found = await super().get(ids)
        if not found or len(ids) <= 100:
            return found
        another = next(iter(found.values()))
        return {id_: found.get(id_, another) for id_ in ids}


class ChangesWhatItHandedOut(Saboteur):
    """A heartbeat is written into the record that readers were given."""

    guarantee = "LIF-31"

    async def touch_heartbeats(self, held: Sequence[Held], *, now: datetime | None = None) -> set[str]:
        before = {one.id: self.tasks[one.id] for one in held if one.id in self.tasks}
        kept = await super().touch_heartbeats(held, now=now)
        for id_ in kept:
            msgspec.structs.force_setattr(before[id_], "progress", self.tasks[id_].progress)
        return kept


class TellsAnotherTime(Saboteur):
    """`now()` is an hour ahead of the clock that stamps what is written."""

    guarantee = "LIF-12"

    async def now(self) -> datetime:
        return await super().now() + timedelta(hours=1)


class TellsAnotherZone(Saboteur):
    """`now()` is right, and tells the time of a zone that is not UTC."""

    guarantee = "LIF-32"

    async def now(self) -> datetime:
        return (await super().now()).astimezone(timezone(timedelta(hours=1)))


class ForgetsPriorityOfLaterAttempts(Saboteur):
    """From the second attempt on, a claim resets the priority."""

    guarantee = "LIF-13"
    needs_machine = True

    def put(self, record: TaskRecord) -> TaskRecord:
        if record.state is State.RUNNING and record.attempt > 1:
            record = record.evolve(priority=0)
        return super().put(record)


class StoresWhatItIsGiven(Saboteur):
    """A commit writes fields that no transition can change, if the record that is committed has others in them."""

    guarantee = "LIF-13"
    needs_machine = True

    def commit_one(self, task: TaskRecord, stale: Stale | None) -> bool:
        stored = super().commit_one(task, stale)
        if stored:
            self.put(self.tasks[task.id].evolve(description=task.description))
        return stored
