"""SCH: schedules. Most of these keep the core's promises in everything that the core's cases ask, and none to a scheduler."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar
from zoneinfo import ZoneInfo

from litestar_queues.lifecycle import TERMINAL, State
from litestar_queues.records import Enqueued, Finished, NamedRecord, NewTask, Query, Stale, TaskRecord, admit
from litestar_queues.schedules.marks import NAME
from litestar_queues.schedules.model import PREFIX
from litestar_queues.schedules.syncing import CODE
from litestar_queues_conformance.saboteurs.base import Saboteur

_BERLIN = ZoneInfo("Europe/Berlin")


class StoresARacedIdAgain(Saboteur):
    """An enqueue looks for its ids, lets others in, and stores an id that came meanwhile under another id."""

    guarantee = "SCH-01"

    async def enqueue_many(self, tasks: Sequence[NewTask], *, now: datetime | None = None) -> list[Enqueued]:
        known = {new.id for new in tasks if new.id in self.tasks}
        await asyncio.sleep(0)
        moment = now or self.clock.now()
        answers: list[Enqueued] = []
        for new in tasks:
            if new.id in self.tasks and new.id not in known:
                self.put(admit(new, moment).evolve(id=f"{new.id[:-4]}{len(self.tasks):04}"))
            answers.append(self.enqueue_one(new, moment))
        return answers


class DeletesThenInsertsRecords(Saboteur):
    """A named record is deleted, and inserted a moment later: a client that ends in between leaves none."""

    guarantee = "SCH-02"

    async def write_records(self, records: Sequence[NamedRecord]) -> set[str]:
        fitting = [one for one in records if self._version(one.name) == one.version - 1]
        for one in fitting:
            self.records.pop(one.name, None)
        if fitting:
            await asyncio.sleep(0)
        self.records |= {one.name: one for one in fitting}
        return {one.name for one in fitting}

    def _version(self, name: str) -> int:
        found = self.records.get(name)
        return 0 if found is None else found.version


class EnqueuesOverWhatHasEnded(Saboteur):
    """An id whose task has ended is stored again, in the place of the ended task."""

    guarantee = "SCH-03"

    def enqueue_one(self, new: NewTask, now: datetime) -> Enqueued:
        stored = self.tasks.get(new.id)
        if stored is not None and stored.state in TERMINAL:
            self.forget(stored)
        return super().enqueue_one(new, now)


class WritesRecordsOverNewerOnes(Saboteur):
    """A named record is stored whatever version is stored already."""

    guarantee = "SCH-04"

    async def write_records(self, records: Sequence[NamedRecord]) -> set[str]:
        self.records |= {one.name: one for one in records}
        return {one.name for one in records}


class _ChangesValues(Saboteur):
    """What is written as a named record of a schedule is stored otherwise."""

    guarantee = "SCH-27"
    prefix: ClassVar[str] = PREFIX

    def change(self, value: dict[str, Any], before: dict[str, Any]) -> None:
        """Change the value, in the place of which `before` stands now."""
        raise NotImplementedError

    async def write_records(self, records: Sequence[NamedRecord]) -> set[str]:
        changed: list[NamedRecord] = []
        for one in records:
            if one.name.startswith(self.prefix):
                stored, value = self.records.get(one.name), json.loads(one.value)
                self.change(value, {} if stored is None else json.loads(stored.value))
                changed.append(NamedRecord(one.name, one.version, json.dumps(value)))
            else:
                changed.append(one)
        return await super().write_records(changed)


class ForgetsToSkip(_ChangesValues):
    """What a schedule does about missed fires is not stored where it is to skip them."""

    guarantee = "SCH-05"

    def change(self, value: dict[str, Any], before: dict[str, Any]) -> None:
        if value["definition"].get("catch_up") == "skip":
            del value["definition"]["catch_up"]


class CreatedWhenItWasToRun(Saboteur):
    """A task with a time to run counts as created then, and not when it was enqueued."""

    guarantee = "SCH-06"

    def enqueue_one(self, new: NewTask, now: datetime) -> Enqueued:
        answer = super().enqueue_one(new, now)
        if new.run_at is None or answer.record.id != new.id or answer.record.created_at != now:
            return answer
        return Enqueued(self.put(answer.record.evolve(created_at=new.run_at)), answer.is_new)


class StoresEightOfABatch(Saboteur):
    """Of the occurrences in a batch only the last eight are stored."""

    guarantee = "SCH-07"

    async def enqueue_many(self, tasks: Sequence[NewTask], *, now: datetime | None = None) -> list[Enqueued]:
        moment = now or self.clock.now()
        left_out = {new.id for new in [one for one in tasks if one.name == "conformance.scheduled"][:-8]}
        return [
            Enqueued(admit(new, moment), True) if new.id in left_out else self.enqueue_one(new, moment) for new in tasks
        ]


class DoesNotGetTheRunning(Saboteur):
    """A task that runs is not found by its id."""

    guarantee = "SCH-08"

    async def get(self, ids: Collection[str]) -> dict[str, TaskRecord]:
        return {id_: one for id_, one in (await super().get(ids)).items() if one.state is not State.RUNNING}


class OneRunsAtATime(Saboteur):
    """An occurrence is answered, and not stored, while another one of its schedule runs."""

    guarantee = "SCH-09"

    def enqueue_one(self, new: NewTask, now: datetime) -> Enqueued:
        schedule = _schedule_of(new)
        running = [one for one in self.tasks.values() if one.state is State.RUNNING and one.id != new.id]
        if schedule is not None and any(_schedule_of(one) == schedule for one in running):
            return Enqueued(admit(new, now), True)
        return super().enqueue_one(new, now)


def _schedule_of(task: NewTask | TaskRecord) -> str | None:
    found: str | None = json.loads(task.metadata).get(NAME)
    return found


class TurnsArraysRound(_ChangesValues):
    """Arrays in named records are stored in the other order."""

    guarantee = "SCH-10"

    def change(self, value: dict[str, Any], before: dict[str, Any]) -> None:
        for name, member in value.items():
            if isinstance(member, list):
                value[name] = member[::-1]  # pyright: ignore[reportUnknownArgumentType]  # any JSON


class ForgetsPauses(_ChangesValues):
    """That a schedule is paused is not stored."""

    guarantee = "SCH-11"

    def change(self, value: dict[str, Any], before: dict[str, Any]) -> None:
        value.pop("paused_at", None)


class LooksThenWritesRecords(Saboteur):
    """The versions of named records are looked at, others come in, and the records are written."""

    guarantee = "SCH-12"

    async def write_records(self, records: Sequence[NamedRecord]) -> set[str]:
        fitting = [one for one in records if self._follows(one)]
        await asyncio.sleep(0)
        self.records |= {one.name: one for one in fitting}
        return {one.name for one in fitting}

    def _follows(self, record: NamedRecord) -> bool:
        before = self.records.get(record.name)
        return record.version == (1 if before is None else before.version + 1)


class _ConvertsTimes(Saboteur):
    """The times at which tasks are due are stored as Berlin's wall clock shows them, and converted wrongly."""

    guarantee = "SCH-13"

    def converted(self, moment: datetime) -> datetime:
        """What comes back."""
        raise NotImplementedError

    def put(self, record: TaskRecord) -> TaskRecord:
        return super().put(record.evolve(due_at=self.converted(record.due_at)))


class IsLateWhenTheClockChanges(_ConvertsTimes):
    """The very moment at which the clock of Berlin changes comes back an hour later."""

    guarantee = "SCH-13"

    def converted(self, moment: datetime) -> datetime:
        local, before = moment.astimezone(_BERLIN), (moment - timedelta(seconds=1)).astimezone(_BERLIN)
        return moment if local.utcoffset() == before.utcoffset() else moment + timedelta(hours=1)


class ForgetsTheFold(_ConvertsTimes):
    """A time in the second pass of an hour that the clock of Berlin repeats comes back as that of the first pass."""

    guarantee = "SCH-14"

    def converted(self, moment: datetime) -> datetime:
        return moment.astimezone(_BERLIN).replace(fold=0).astimezone(UTC)


class GetsTheFailedAsRunning(Saboteur):
    """A failed task is found by its id as if it still ran."""

    guarantee = "SCH-15"

    async def get(self, ids: Collection[str]) -> dict[str, TaskRecord]:
        found = await super().get(ids)
        return {
            id_: one.evolve(state=State.RUNNING) if one.state is State.FAILED else one for id_, one in found.items()
        }


class TellsThatAHeldKeyIsNew(Saboteur):
    """A task whose key is held is answered as if it were stored."""

    guarantee = "SCH-16"

    def enqueue_one(self, new: NewTask, now: datetime) -> Enqueued:
        answer = super().enqueue_one(new, now)
        return answer if answer.record.id == new.id else Enqueued(admit(new, now), True)


class KeepsTheFirstSpec(_ChangesValues):
    """When a schedule fires is stored once, and not changed afterwards."""

    guarantee = "SCH-17"

    def change(self, value: dict[str, Any], before: dict[str, Any]) -> None:
        if before:
            value["definition"]["spec"] = before["definition"]["spec"]


class ForgetsRemovals(_ChangesValues):
    """That a schedule was removed is not stored."""

    guarantee = "SCH-18"

    def change(self, value: dict[str, Any], before: dict[str, Any]) -> None:
        value.pop("removed_at", None)


class KnowsTheLatestCodeOnly(_ChangesValues):
    """Of the versions of the code only the latest one is remembered."""

    guarantee = "SCH-19"
    prefix = CODE

    def change(self, value: dict[str, Any], before: dict[str, Any]) -> None:
        value["numbers"] = dict(list(value["numbers"].items())[-1:])


class LooksThenWritesTheCode(LooksThenWritesRecords):
    """The version of the record of the code is looked at, others come in, and the record is written."""

    guarantee = "SCH-20"

    async def write_records(self, records: Sequence[NamedRecord]) -> set[str]:
        if all(one.name == CODE for one in records):
            return await super().write_records(records)
        return await Saboteur.write_records(self, records)


class TakesDotsForPaths(Saboteur):
    """Members of the metadata with a dot in their names are stored as objects in one another."""

    guarantee = "SCH-21"

    def put(self, record: TaskRecord) -> TaskRecord:
        metadata: dict[str, Any] = {}
        for name, value in json.loads(record.metadata).items():
            first, dot, second = name.partition(".")
            if dot and isinstance(value, str):
                metadata.setdefault(first, {})[second] = value
            else:
                metadata[name] = value
        return super().put(record.evolve(metadata=json.dumps(metadata)))


class FinishedHoursEarly(Saboteur):
    """The time at which a task ended is stored in another zone than it is read in: twelve hours early."""

    guarantee = "SCH-22"

    def commit_one(self, task: TaskRecord, stale: Stale | None) -> bool:
        if task.finished_at is not None:
            task = task.evolve(finished_at=task.finished_at - timedelta(hours=12))
        return super().commit_one(task, stale)


class FindsTheFinishedOnce(Saboteur):
    """The query for finished tasks from a time on finds none."""

    guarantee = "SCH-23"

    async def find(self, query: Query, limit: int) -> list[TaskRecord]:
        return [] if isinstance(query, Finished) and query.since is not None else await super().find(query, limit)


class _SeesOtherStores(Saboteur):
    """One thing is shared by all stores."""

    guarantee = "SCH-24"

    def others(self) -> list[_SeesOtherStores]:
        """The other stores."""
        stores = self.target.stores.values()
        return [one for one in stores if isinstance(one, _SeesOtherStores) and one is not self]


class OneSetOfIds(_SeesOtherStores):
    """An id that is stored in another store counts as stored, and is answered with the task there."""

    guarantee = "SCH-24"

    def enqueue_one(self, new: NewTask, now: datetime) -> Enqueued:
        for other in self.others():
            if new.id in other.tasks:
                return Enqueued(other.tasks[new.id], True)
        return super().enqueue_one(new, now)


class OneSetOfRecords(_SeesOtherStores):
    """Named records are read from all stores."""

    guarantee = "SCH-24"

    async def read_records(self, prefix: str) -> dict[str, NamedRecord]:
        found: dict[str, NamedRecord] = {}
        for store in (*self.others(), self):
            found |= {name: record for name, record in store.records.items() if name.startswith(prefix)}
        return found


class LocksUntilFreed(Saboteur):
    """A lock never runs out: only its owner frees it."""

    guarantee = "SCH-25"

    async def lock(self, name: str, owner: str, ttl: timedelta, *, now: datetime | None = None) -> bool:
        holder = self.locks.get(name)
        return (holder is None or holder[0] == owner) and await super().lock(name, owner, ttl, now=now)


class ReadsAPageOfRecords(Saboteur):
    """No more than a hundred named records are read."""

    guarantee = "SCH-26"

    async def read_records(self, prefix: str) -> dict[str, NamedRecord]:
        return dict(sorted((await super().read_records(prefix)).items())[:100])


class RecordsIgnoreCase(Saboteur):
    """Named records whose names differ by case or accents are one record."""

    guarantee = "SCH-26"

    async def write_records(self, records: Sequence[NamedRecord]) -> set[str]:
        seen = {name.casefold() for name in self.records}
        new = [one for one in records if one.version > 1 or one.name.casefold() not in seen]
        return await super().write_records(list({one.name.casefold(): one for one in reversed(new)}.values()))


class CutsLongValues(Saboteur):
    """The value of a named record is cut after 65,535 bytes."""

    guarantee = "SCH-27"

    async def write_records(self, records: Sequence[NamedRecord]) -> set[str]:
        return await super().write_records(
            [NamedRecord(one.name, one.version, one.value.encode()[:65_535].decode(errors="ignore")) for one in records]
        )


class RunsAtWholeSeconds(Saboteur):
    """The time of an occurrence with jitter is cut to whole seconds."""

    guarantee = "SCH-28"

    def enqueue_one(self, new: NewTask, now: datetime) -> Enqueued:
        is_new, answer = new.id not in self.tasks, super().enqueue_one(new, now)
        record = answer.record
        if not is_new or record.state is not State.SCHEDULED:
            return answer
        return Enqueued(self.put(record.evolve(due_at=record.due_at.replace(microsecond=0))), answer.is_new)
