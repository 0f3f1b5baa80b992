"""OWN, HBT, REC and CAN: whose task it is."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec

from litestar_queues.lifecycle import TERMINAL, State
from litestar_queues.records import Held, NamedRecord, Query, Stale, TaskRecord, Want
from litestar_queues_conformance.saboteurs.base import Saboteur


class _WritesByState(Saboteur):
    """Some commits ask only whether the task runs."""

    guarantee = "OWN-01"
    states = frozenset({State.COMPLETED, State.FAILED})

    def commit_one(self, task: TaskRecord, stale: Stale | None) -> bool:
        stored = self.tasks.get(task.id)
        if stored is not None and stored.state is State.RUNNING and stored.fence >= task.fence and stale is None:
            if task.state not in self.states:
                return False
            self.put(task.evolve(fence=stored.fence + 1))
            return True
        return super().commit_one(task, stale)


class SettlesByState(_WritesByState):
    """A task that runs can be settled by whoever ran it before."""

    guarantee = "OWN-01"


class CancelsByState(_WritesByState):
    """A task that runs can be cancelled by whoever read it before."""

    guarantee = "OWN-02"
    states = frozenset({State.CANCELLED})


class RefusedCommitLeavesProgress(Saboteur):
    """A refused commit leaves its progress behind."""

    guarantee = "OWN-03"

    def commit_one(self, task: TaskRecord, stale: Stale | None) -> bool:
        if super().commit_one(task, stale):
            return True
        if task.id in self.tasks and task.progress is not None:
            self.tasks[task.id] = self.tasks[task.id].evolve(progress=task.progress)
        return False


class CountsParametersNotRows(Saboteur):
    """Of more than ten tasks, a commit that stored any answers with all."""

    guarantee = "OWN-04"

    async def commit(self, tasks: Sequence[TaskRecord], *, stale: Stale | None = None) -> set[str]:
        stored = await super().commit(tasks, stale=stale)
        return {task.id for task in tasks} if stored and len(tasks) > 10 and stale is None else stored


class RepetitionCountsAsStored(Saboteur):
    """A commit that is repeated word for word is answered as stored again."""

    guarantee = "OWN-05"

    def commit_one(self, task: TaskRecord, stale: Stale | None) -> bool:
        return self.tasks.get(task.id) == task or super().commit_one(task, stale)


class ComparesThenWrites(Saboteur):
    """A commit compares the fences, lets others in, and writes."""

    guarantee = "OWN-05"

    async def commit(self, tasks: Sequence[TaskRecord], *, stale: Stale | None = None) -> set[str]:
        passed = {task.id for task in tasks if self.owned(task) is not None}
        await asyncio.sleep(0)
        stored: set[str] = set()
        for task in tasks:
            if task.id in passed and self.owned(task) is None and stale is None:
                self.put(task)
                stored.add(task.id)
            elif self.commit_one(task, stale):
                stored.add(task.id)
        return stored


class TakesAnyLaterFence(Saboteur):
    """A commit is stored wherever its fence is higher."""

    guarantee = "OWN-06"

    def commit_one(self, task: TaskRecord, stale: Stale | None) -> bool:
        stored = self.tasks.get(task.id)
        if stored is not None and stored.fence < task.fence - 1:
            self.put(task)
            return True
        return super().commit_one(task, stale)


class PromotionRaisesTheFence(Saboteur):
    """A scheduled task that comes due gets another fence."""

    guarantee = "OWN-07"

    def put(self, record: TaskRecord) -> TaskRecord:
        before = self.tasks.get(record.id)
        if before is not None and before.state is State.SCHEDULED and record.state is State.PENDING:
            record = record.evolve(fence=record.fence + 1)
        return super().put(record)


class BeatClearsProgress(Saboteur):
    """A heartbeat without progress clears it."""

    guarantee = "HBT-01"

    async def touch_heartbeats(self, held: Sequence[Held], *, now: datetime | None = None) -> set[str]:
        kept = await super().touch_heartbeats(held, now=now)
        for one in held:
            if one.id in kept and one.progress is None:
                self.tasks[one.id] = self.tasks[one.id].evolve(progress=None)
        return kept


class KeepsWholeBatches(Saboteur):
    """Of more than ten heartbeats, all are answered if any was kept."""

    guarantee = "HBT-02"

    async def touch_heartbeats(self, held: Sequence[Held], *, now: datetime | None = None) -> set[str]:
        kept = await super().touch_heartbeats(held, now=now)
        return {one.id for one in held} if kept and len(held) > 10 else kept


class LateBeatIsWritten(Saboteur):
    """A lost owner's heartbeat is answered as lost, and written all the same."""

    guarantee = "HBT-03"

    async def touch_heartbeats(self, held: Sequence[Held], *, now: datetime | None = None) -> set[str]:
        for one in held:
            record = self.tasks.get(one.id)
            if record is not None and record.heartbeat_at is not None and one.fence < record.fence:
                self.tasks[one.id] = record.evolve(heartbeat_at=now or self.clock.now())
        return await super().touch_heartbeats(held, now=now)


class NulledIsStaleLater(Saboteur):
    """A task whose heartbeat was nulled is found as stale when its window since its start is over."""

    guarantee = "HBT-04"

    async def find(self, query: Query, limit: int) -> list[TaskRecord]:
        if not isinstance(query, Stale):
            return await super().find(query, limit)
        found = await super().find(query, len(self.tasks))
        window = timedelta(seconds=query.window)
        return [
            one
            for one in found
            if one.heartbeat_at is not None or one.started_at is None or one.started_at + window < query.at
        ][:limit]


class TakesBackWhatItNulled(Saboteur):
    """An owner that nulled a heartbeat is told that the task is still its own."""

    guarantee = "HBT-30"

    async def touch_heartbeats(self, held: Sequence[Held], *, now: datetime | None = None) -> set[str]:
        nulled = {r.id for r in self.tasks.values() if r.state is State.RUNNING and r.heartbeat_at is None}
        back = {one.id for one in held if one.id in nulled and self.tasks[one.id].fence == one.fence + 1}
        return back | await super().touch_heartbeats(held, now=now)


class StaleAMicrosecondEarly(Saboteur):
    """A heartbeat at the very time counts as stale."""

    guarantee = "REC-01"

    async def find(self, query: Query, limit: int) -> list[TaskRecord]:
        if isinstance(query, Stale):
            query = msgspec.structs.replace(query, at=query.at + timedelta(microseconds=1))
        return await super().find(query, limit)


class NeverBeatenComesLast(Saboteur):
    """Tasks without any heartbeat come after the others."""

    guarantee = "REC-02"

    async def find(self, query: Query, limit: int) -> list[TaskRecord]:
        if not isinstance(query, Stale):
            return await super().find(query, limit)
        found = await super().find(query, len(self.tasks))
        return sorted(found, key=lambda record: record.heartbeat_at is None)[:limit]


class RecoversTheSaved(Saboteur):
    """A recovery does not look at the heartbeat again."""

    guarantee = "REC-03"

    def commit_one(self, task: TaskRecord, stale: Stale | None) -> bool:
        return super().commit_one(task, None)


class ReportsCandidates(Saboteur):
    """A recovery of several tasks answers also with those that another recovery has moved meanwhile."""

    guarantee = "REC-04"

    async def commit(self, tasks: Sequence[TaskRecord], *, stale: Stale | None = None) -> set[str]:
        stored = await super().commit(tasks, stale=stale)
        if stale is None or len(tasks) == 1:
            return stored
        there = await self.get([task.id for task in tasks])
        return stored | {
            task.id
            for task in tasks
            if task.id in there and (there[task.id].fence, there[task.id].state) == (task.fence, task.state)
        }


class ReportsWhatOvertookIt(Saboteur):
    """A recovery that another one overtook while it was under way is answered as stored."""

    guarantee = "REC-30"

    async def commit(self, tasks: Sequence[TaskRecord], *, stale: Stale | None = None) -> set[str]:
        if stale is None:
            return await super().commit(tasks)
        begun = {task.id for task in tasks if self.owned(task) is not None}
        await asyncio.sleep(0)
        stored = await super().commit(tasks, stale=stale)
        return stored | {task.id for task in tasks if task.id in begun and self.tasks.get(task.id) == task}


class RecoversWithoutEnd(Saboteur):
    """A recovery lets a task wait again when its recoveries are spent."""

    guarantee = "REC-05"

    def commit_one(self, task: TaskRecord, stale: Stale | None) -> bool:
        if stale is not None and task.state is State.FAILED:
            task = task.evolve(state=State.PENDING, finished_at=None)
        return super().commit_one(task, stale)


class ResurrectsTheEnded(Saboteur):
    """A recovery takes what has ended meanwhile for stale, whatever its fence."""

    guarantee = "REC-06"

    def commit_one(self, task: TaskRecord, stale: Stale | None) -> bool:
        stored = self.tasks.get(task.id)
        if stored is not None and stale is not None and stored.state in TERMINAL:
            self.put(task.evolve(fence=stored.fence + 1))
            return True
        return super().commit_one(task, stale)


class RecoversByItsOwnWindow(Saboteur):
    """A task is stale by the window of whoever looks for stale ones."""

    guarantee = "REC-07"

    async def find(self, query: Query, limit: int) -> list[TaskRecord]:
        if isinstance(query, Stale):
            query = msgspec.structs.replace(query, own_windows=False)
        return await super().find(query, limit)


class GuardsByItsOwnWindow(Saboteur):
    """A recovery of a task whose owner has a longer window by now is stored."""

    guarantee = "REC-07"

    def commit_one(self, task: TaskRecord, stale: Stale | None) -> bool:
        if stale is not None:
            stale = msgspec.structs.replace(stale, own_windows=False)
        return super().commit_one(task, stale)


class ForgetsTheWindowOfAClaim(Saboteur):
    """A claim stores no window."""

    guarantee = "REC-07"

    async def claim(self, want: Want, *, now: datetime | None = None) -> list[TaskRecord]:
        claimed = await super().claim(want, now=now)
        for record in claimed:
            self.tasks[record.id] = self.tasks[record.id].evolve(stale_after=None)
        return claimed


class BeatsClearTheWindow(Saboteur):
    """A heartbeat without a window clears it."""

    guarantee = "REC-07"

    async def touch_heartbeats(self, held: Sequence[Held], *, now: datetime | None = None) -> set[str]:
        kept = await super().touch_heartbeats(held, now=now)
        for one in held:
            if one.id in kept and one.stale_after is None and one.progress is None:
                self.tasks[one.id] = self.tasks[one.id].evolve(stale_after=None)
        return kept


class GivesNoGrace(Saboteur):
    """Stale tasks are found however long their window is."""

    guarantee = "REC-08"

    async def find(self, query: Query, limit: int) -> list[TaskRecord]:
        if isinstance(query, Stale):
            query = msgspec.structs.replace(query, longest=None)
        return await super().find(query, limit)


class OverwritesNamedRecords(Saboteur):
    """A named record is written over an older version."""

    guarantee = "RCD-01"

    async def write_records(self, records: Sequence[NamedRecord]) -> set[str]:
        for one in records:
            before = self.records.get(one.name)
            if before is not None and one.version > before.version + 1:
                self.records[one.name] = NamedRecord(one.name, one.version - 1, before.value)
        return await super().write_records(records)


class TellsEveryWriterThatItWon(Saboteur):
    """Whoever writes a version that is stored already is told that it was stored."""

    guarantee = "RCD-02"

    async def write_records(self, records: Sequence[NamedRecord]) -> set[str]:
        stored = await super().write_records(records)
        late = {one.name for one in records if len(records) == 1 and one.version > 3 and self._has(one)}
        return stored | late

    def _has(self, record: NamedRecord) -> bool:
        return record.name in self.records and self.records[record.name].version == record.version


class ReadsNamesWithoutTheirCase(Saboteur):
    """Named records are found whether their names are in capitals or not."""

    guarantee = "RCD-03"

    async def read_records(self, prefix: str) -> dict[str, NamedRecord]:
        return {name: one for name, one in self.records.items() if name.lower().startswith(prefix.lower())}


class CannotCancelScheduled(Saboteur):
    """The cancellation of a scheduled task is answered as stored, and is not."""

    guarantee = "CAN-01"

    def commit_one(self, task: TaskRecord, stale: Stale | None) -> bool:
        stored = self.owned(task)
        if stored is not None and stored.state is State.SCHEDULED and task.state is State.CANCELLED:
            return True
        return super().commit_one(task, stale)


class OwnerOfCancelledBeatsOn(Saboteur):
    """The owner of a cancelled task is told that it still owns it."""

    guarantee = "CAN-02"

    async def touch_heartbeats(self, held: Sequence[Held], *, now: datetime | None = None) -> set[str]:
        cancelled = {r.id for r in self.tasks.values() if r.state is State.CANCELLED}
        on = {one.id for one in held if one.id in cancelled and self.tasks[one.id].fence == one.fence + 1}
        return on | await super().touch_heartbeats(held, now=now)
