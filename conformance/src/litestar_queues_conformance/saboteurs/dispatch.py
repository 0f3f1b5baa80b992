"""EXE: tasks that run elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import Generator, Sequence
from contextlib import closing
from datetime import datetime, timedelta
from typing import ClassVar

import msgspec

from litestar_queues.lifecycle import WAITING, IllegalTransition, State, step
from litestar_queues.records import (
    Count,
    Dispatched,
    Held,
    Overdue,
    Query,
    Stale,
    TaskRecord,
    Want,
    is_stale,
)
from litestar_queues_conformance.saboteurs.base import Benign, InProcessTarget, Saboteur
from litestar_queues_conformance.target import Capabilities

_MICROSECOND = timedelta(microseconds=1)


class _ChoosesThenWrites(Saboteur):
    """Some claims choose, let others in, and write what they chose."""

    guarantee = "EXE-01"

    def _lets_others_in(self, want: Want) -> bool:
        return want.reserve

    async def claim(self, want: Want, *, now: datetime | None = None) -> list[TaskRecord]:
        if not self._lets_others_in(want):
            return await super().claim(want, now=now)
        moment = now or self.clock.now()
        chosen: list[TaskRecord] = []
        with closing(self.candidates(want, moment)) as candidates:
            for record in candidates:
                if len(chosen) >= want.limit:
                    break
                try:
                    chosen.append(step(record, want.event, moment))
                except IllegalTransition:
                    continue
        await asyncio.sleep(0)
        return [self.put(record) for record in chosen]


class ReservesWhatItChose(_ChoosesThenWrites):
    """A reservation chooses, lets others in, and writes what it chose."""

    guarantee = "EXE-01"


class RunsTakeWhatTheyChose(_ChoosesThenWrites):
    """A run's claim looks at its task, lets others in, and takes the task."""

    guarantee = "EXE-08"

    def _lets_others_in(self, want: Want) -> bool:
        dispatched = [one for one in want.tasks or () if one.id in self.tasks and one.fence == self.tasks[one.id].fence]
        return bool(dispatched) and all(self.tasks[one.id].state is State.DISPATCHED for one in dispatched)


class _ChangesWhatIsReserved(Saboteur):
    """A reserved task is stored otherwise."""

    guarantee = "EXE-02"

    def _changed(self, before: TaskRecord, record: TaskRecord) -> TaskRecord:
        raise NotImplementedError

    def put(self, record: TaskRecord) -> TaskRecord:
        before = self.tasks.get(record.id)
        if before is not None and before.state in WAITING and record.state is State.DISPATCHED:
            record = self._changed(before, record)
        return super().put(record)


class ReservationCountsAnAttempt(_ChangesWhatIsReserved):
    """A reservation counts an attempt, as a claim does."""

    guarantee = "EXE-02"

    def _changed(self, before: TaskRecord, record: TaskRecord) -> TaskRecord:
        return record.evolve(attempt=record.attempt + 1)


class ReservationKeepsTheReference(_ChangesWhatIsReserved):
    """A reservation keeps the reference of an earlier run."""

    guarantee = "EXE-02"

    def _changed(self, before: TaskRecord, record: TaskRecord) -> TaskRecord:
        return record.evolve(execution_ref=before.execution_ref)


class ReservesOldestFirst(Saboteur):
    """A reservation does not look at the priority."""

    guarantee = "EXE-03"

    def candidates(self, want: Want, now: datetime) -> Generator[TaskRecord, None, None]:
        found = super().candidates(want, now)
        yield from sorted(found, key=lambda record: (record.due_at, record.id)) if want.reserve else found


class ReservesOfAnyExecutionBackend(Saboteur):
    """A reservation of more than one does not look at the execution backends."""

    guarantee = "EXE-03"

    async def claim(self, want: Want, *, now: datetime | None = None) -> list[TaskRecord]:
        if want.reserve and want.execution_backends == () and want.limit > 1:
            want = msgspec.structs.replace(want, execution_backends=None)
        return await super().claim(want, now=now)


class ReservesTheSilentAgain(Saboteur):
    """A reservation by id takes tasks whose reservation ran out, without a recovery."""

    guarantee = "EXE-04"

    def candidates(self, want: Want, now: datetime) -> Generator[TaskRecord, None, None]:
        yield from super().candidates(want, now)
        for one in want.tasks or () if want.reserve else ():
            record = self.tasks.get(one.id)
            if record is not None and record.fence == one.fence and record in self._silent(now):
                yield record.evolve(state=State.PENDING)

    def _silent(self, now: datetime) -> list[TaskRecord]:
        return [
            record
            for record in self.tasks.values()
            if record.state is State.DISPATCHED
            and record.heartbeat_at is not None
            and record.stale_after is not None
            and record.heartbeat_at + timedelta(seconds=record.stale_after) < now
        ]


class WorkersTakeTheSilent(Saboteur):
    """A claim of anything takes dispatched tasks, too, once their reservation ran out."""

    guarantee = "EXE-05"

    def candidates(self, want: Want, now: datetime) -> Generator[TaskRecord, None, None]:
        yield from super().candidates(want, now)
        if want.tasks is None and want.queues is None and want.execution_backends is None and not want.reserve:
            for record in list(self.tasks.values()):
                until = timedelta(seconds=record.stale_after or 0)
                if record.state is State.DISPATCHED and record.heartbeat_at and record.heartbeat_at + until < now:
                    yield record


class RunsWaitForTheReference(Saboteur):
    """A run's claim is refused until the reference is stored."""

    guarantee = "EXE-06"

    def candidates(self, want: Want, now: datetime) -> Generator[TaskRecord, None, None]:
        for record in super().candidates(want, now):
            if record.state is not State.DISPATCHED or record.execution_ref is not None:
                yield record


class RunsClaimUnderTheReservation(Saboteur):
    """A run's claim under the fence of the reservation takes the task once the reference is stored, too."""

    guarantee = "EXE-07"

    async def claim(self, want: Want, *, now: datetime | None = None) -> list[TaskRecord]:
        if want.tasks is not None and not want.reserve:
            want = msgspec.structs.replace(want, tasks=tuple(self._now(one) for one in want.tasks))
        return await super().claim(want, now=now)

    def _now(self, held: Held) -> Held:
        record = self.tasks.get(held.id)
        if record is None or record.state is not State.DISPATCHED or record.execution_ref is None:
            return held
        return record.held if record.fence == held.fence + 1 else held


class TheFirstReferenceStays(Saboteur):
    """A run's own reference is stored only where there is none."""

    guarantee = "EXE-09"

    def put(self, record: TaskRecord) -> TaskRecord:
        before = self.tasks.get(record.id)
        if record.state is State.RUNNING and before is not None and before.execution_ref is not None:
            record = record.evolve(execution_ref=before.execution_ref)
        return super().put(record)


class ClaimsClearTheReference(Saboteur):
    """A claim without a reference clears the one that is stored."""

    guarantee = "EXE-10"

    async def claim(self, want: Want, *, now: datetime | None = None) -> list[TaskRecord]:
        claimed = await super().claim(want, now=now)
        if want.reserve or want.execution_ref is not None:
            return claimed
        return [self.put(record.evolve(execution_ref=None)) for record in claimed]


class DiversionForgetsWhy(Saboteur):
    """A diversion is not remembered in the history."""

    guarantee = "EXE-11"

    def commit_one(self, task: TaskRecord, stale: Stale | None) -> bool:
        stored = self.tasks.get(task.id)
        if stored is not None and stored.execution_backend != task.execution_backend:
            task = task.evolve(history=stored.history)
        return super().commit_one(task, stale)


class LateReferenceRevives(Saboteur):
    """A late reference makes a cancelled task dispatched again."""

    guarantee = "EXE-12"

    def commit_one(self, task: TaskRecord, stale: Stale | None) -> bool:
        stored = self.tasks.get(task.id)
        if stored is not None and stored.state is State.CANCELLED and task.state is State.DISPATCHED:
            self.put(task.evolve(fence=stored.fence + 1))
            return True
        return super().commit_one(task, stale)


class ReferencesByIdAlone(Saboteur):
    """A late reference is stored on a task that another dispatcher has reserved."""

    guarantee = "EXE-12"

    def commit_one(self, task: TaskRecord, stale: Stale | None) -> bool:
        stored = self.tasks.get(task.id)
        if stored is not None and stored.state is task.state is State.DISPATCHED and stored.worker != task.worker:
            self.put(stored.evolve(execution_ref=task.execution_ref, fence=stored.fence + 1))
            return True
        return super().commit_one(task, stale)


class RefersWhatItCompared(Saboteur):
    """A commit of a reference compares the fences, lets others in, and writes."""

    guarantee = "EXE-13"

    async def commit(self, tasks: Sequence[TaskRecord], *, stale: Stale | None = None) -> set[str]:
        passed = {task.id for task in tasks if task.state is State.DISPATCHED and self.owned(task) is not None}
        await asyncio.sleep(0)
        stored: set[str] = set()
        for task in tasks:
            if task.id in passed and self.owned(task) is None:
                self.put(task)
                stored.add(task.id)
            elif self.commit_one(task, stale):
                stored.add(task.id)
        return stored


class ReservationFreesTheKey(Saboteur):
    """The key of a task is free until its run has claimed it."""

    guarantee = "EXE-14"

    def put(self, record: TaskRecord) -> TaskRecord:
        put = super().put(record)
        if put.state is State.DISPATCHED and put.key is not None and self.keys.get(put.key) == put.id:
            del self.keys[put.key]
        return put


class BeatsServeTheRunning(Saboteur):
    """Heartbeats of dispatched tasks are lost."""

    guarantee = "EXE-15"

    async def touch_heartbeats(self, held: Sequence[Held], *, now: datetime | None = None) -> set[str]:
        beats = [one for one in held if one.id in self.tasks and self.tasks[one.id].state is State.RUNNING]
        return await super().touch_heartbeats(beats, now=now)


class BeatsLeaveTheWindow(Saboteur):
    """A heartbeat of a dispatched task leaves its window as it was."""

    guarantee = "EXE-15"

    async def touch_heartbeats(self, held: Sequence[Held], *, now: datetime | None = None) -> set[str]:
        windows = {id_: one.stale_after for id_, one in self.tasks.items() if one.state is State.DISPATCHED}
        kept = await super().touch_heartbeats(held, now=now)
        for id_ in kept & windows.keys():
            self.tasks[id_] = self.tasks[id_].evolve(stale_after=windows[id_])
        return kept


class LateBeatsProlongReservations(Saboteur):
    """A former dispatcher's heartbeat is answered as lost, and prolongs the next dispatcher's reservation."""

    guarantee = "EXE-16"

    async def touch_heartbeats(self, held: Sequence[Held], *, now: datetime | None = None) -> set[str]:
        kept = await super().touch_heartbeats(held, now=now)
        for one in held:
            record = self.tasks.get(one.id)
            if record is not None and record.state is State.DISPATCHED and record.fence > one.fence:
                self.tasks[one.id] = record.evolve(heartbeat_at=now or self.clock.now())
        return kept


class _AsksOtherwise(Saboteur):
    """The reconciler's query is answered as if it were another."""

    guarantee = "EXE-17"

    def _other(self, query: Dispatched) -> Dispatched:
        return query

    def _keeps(self, record: TaskRecord) -> bool:
        return record.state is State.DISPATCHED

    async def find(self, query: Query, limit: int) -> list[TaskRecord]:
        if not isinstance(query, Dispatched):
            return await super().find(query, limit)
        found = await super().find(self._other(query), len(self.tasks))
        return [record for record in found if self._keeps(record)][:limit]


class SilentAMicrosecondEarly(_AsksOtherwise):
    """A task counts as silent at the very end of its window."""

    guarantee = "EXE-17"

    def _other(self, query: Dispatched) -> Dispatched:
        return msgspec.structs.replace(query, at=query.at + _MICROSECOND)


class ReservationsAreNeverSilent(_AsksOtherwise):
    """Tasks whose dispatcher died before it stored the reference are not found, if they have a window of an hour."""

    guarantee = "EXE-17"

    def _keeps(self, record: TaskRecord) -> bool:
        return record.execution_ref is not None or (record.stale_after or 0) < 3600


class TheMuteAreNotSilent(_AsksOtherwise):
    """Dispatched tasks without a heartbeat are not found."""

    guarantee = "EXE-17"

    def _keeps(self, record: TaskRecord) -> bool:
        return record.heartbeat_at is not None


class NoExecutionBackendMeansAny(_AsksOtherwise):
    """A query for the silent of no execution backend finds those of all."""

    guarantee = "EXE-18"

    def _other(self, query: Dispatched) -> Dispatched:
        return msgspec.structs.replace(query, execution_backends=query.execution_backends or None)


class ExecutionBackendsIgnoreCase(_AsksOtherwise):
    """A query for the silent of an execution backend compares names without regard to case."""

    guarantee = "EXE-18"

    async def find(self, query: Query, limit: int) -> list[TaskRecord]:
        if isinstance(query, Dispatched) and query.execution_backends is not None:
            named = {name.lower() for name in query.execution_backends}
            found = await super().find(Dispatched(at=query.at), len(self.tasks))
            return [record for record in found if record.execution_backend.lower() in named][:limit]
        return await super().find(query, limit)


class SilentByTheEndsOfWindows(Saboteur):
    """The silent are found in the order in which their windows ended."""

    guarantee = "EXE-19"

    async def find(self, query: Query, limit: int) -> list[TaskRecord]:
        if not isinstance(query, Dispatched):
            return await super().find(query, limit)
        found = await super().find(query, len(self.tasks))

        def ended(record: TaskRecord) -> tuple[bool, datetime, str]:
            until = (record.heartbeat_at or query.at) + timedelta(seconds=record.stale_after or 0)
            return record.heartbeat_at is not None, until if record.heartbeat_at else query.at, record.id

        return sorted(found, key=ended)[:limit]


class PutOffForTooLong(Saboteur):
    """A dispatched task that is snoozed comes due a second late."""

    guarantee = "EXE-20"

    async def claim(self, want: Want, *, now: datetime | None = None) -> list[TaskRecord]:
        moment = now or self.clock.now()
        second = timedelta(seconds=1)
        late = [
            record
            for record in self.tasks.values()
            if record.state is State.SCHEDULED and record.fence and record.started_at is None
            if record.due_at <= moment < record.due_at + second
        ]
        for record in late:
            self.put(record.evolve(due_at=moment + second))
        claimed = await super().claim(want, now=moment)
        for record in late:
            self.put(record)
        return claimed


class StaleFindsTheDispatched(Saboteur):
    """A query for stale tasks finds dispatched ones, too."""

    guarantee = "EXE-21"

    async def find(self, query: Query, limit: int) -> list[TaskRecord]:
        found = await super().find(query, limit)
        if isinstance(query, Stale):
            out = [record for record in self.tasks.values() if record.state is State.DISPATCHED]
            found += [record for record in out if is_stale(record.evolve(state=State.RUNNING), query)]
        return found[:limit]


class StaleMovesTheDispatched(Saboteur):
    """A recovery of stale tasks moves dispatched ones, too."""

    guarantee = "EXE-22"

    def commit_one(self, task: TaskRecord, stale: Stale | None) -> bool:
        stored = self.owned(task)
        if stale is not None and stored is not None and stored.state is State.DISPATCHED:
            stale = None if is_stale(stored.evolve(state=State.RUNNING), stale) else stale
        return super().commit_one(task, stale)


class RunsClaimTheCancelled(Saboteur):
    """A run claims its task although the task was cancelled while it was dispatched."""

    guarantee = "EXE-23"

    def candidates(self, want: Want, now: datetime) -> Generator[TaskRecord, None, None]:
        yield from super().candidates(want, now)
        for one in want.tasks or ():
            record = self.tasks.get(one.id)
            if (
                record is not None
                and record.fence == one.fence
                and record.state is State.CANCELLED
                and record.worker is not None
                and record.started_at is None
            ):
                yield record.evolve(state=State.DISPATCHED, finished_at=None)


class RunsClaimInTheLastMicrosecond(Saboteur):
    """A run still claims its task in the microsecond in which the task expires."""

    guarantee = "EXE-24"

    def candidates(self, want: Want, now: datetime) -> Generator[TaskRecord, None, None]:
        for record in super().candidates(want, now):
            is_last = record.state is State.DISPATCHED and record.expires_at == now
            yield record.evolve(expires_at=now + _MICROSECOND) if is_last else record


class DispatchedIsNeverOverdue(Saboteur):
    """A dispatched task is not found as overdue."""

    guarantee = "EXE-25"

    async def find(self, query: Query, limit: int) -> list[TaskRecord]:
        if not isinstance(query, Overdue):
            return await super().find(query, limit)
        found = await super().find(query, len(self.tasks))
        return [record for record in found if record.state is not State.DISPATCHED][:limit]


class DeletesTheReserved(Saboteur):
    """A deletion forgets reserved tasks, too."""

    guarantee = "EXE-26"

    async def delete(self, held: Sequence[Held]) -> set[str]:
        deleted = await super().delete(held)
        for one in held:
            record = self.tasks.get(one.id)
            if record is not None and record.fence == one.fence and record.state is State.DISPATCHED:
                self.forget(record)
                deleted.add(one.id)
        return deleted


class CountsTheReservedAsWaiting(Saboteur):
    """Dispatched tasks are counted as pending."""

    guarantee = "EXE-27"

    async def count(self, queues: tuple[str, ...] | None = None) -> list[Count]:
        counts: dict[tuple[str, State], int] = {}
        for one in await super().count(queues):
            of = one.queue, State.PENDING if one.state is State.DISPATCHED else one.state
            counts[of] = counts.get(of, 0) + one.tasks
        return [Count(queue, state, tasks) for (queue, state), tasks in counts.items()]


class _RemembersDiversions(Saboteur):
    """What a claim by execution backend makes of a task that was diverted."""

    guarantee = "EXE-28"

    def __init__(self) -> None:
        super().__init__()
        self.former: dict[str, str] = {}
        """The execution backend that a task was diverted from, by the task's id."""

    def put(self, record: TaskRecord) -> TaskRecord:
        before = self.tasks.get(record.id)
        if before is not None and before.execution_backend != record.execution_backend:
            self.former[record.id] = before.execution_backend
        return super().put(record)


class DivertedIsNotFound(_RemembersDiversions):
    """A claim or reservation from a queue does not find tasks that were diverted to its execution backend."""

    guarantee = "EXE-28"

    def candidates(self, want: Want, now: datetime) -> Generator[TaskRecord, None, None]:
        for record in super().candidates(want, now):
            if want.tasks is not None or want.execution_backends is None or record.id not in self.former:
                yield record


class DivertedIsFoundTwice(_RemembersDiversions):
    """A diverted task is found for its former execution backend, too."""

    guarantee = "EXE-29"

    def candidates(self, want: Want, now: datetime) -> Generator[TaskRecord, None, None]:
        yield from super().candidates(want, now)
        for id_, former in self.former.items():
            record = self.tasks[id_]
            if want.tasks is None and former in (want.execution_backends or ()) and record.state is State.PENDING:
                yield record


class ReservesByItsOwnClock(Saboteur):
    """Without a time given, a reservation goes by a clock that is two hours fast."""

    guarantee = "EXE-30"

    async def claim(self, want: Want, *, now: datetime | None = None) -> list[TaskRecord]:
        if want.reserve and now is None:
            now = self.clock.now() + timedelta(hours=2)
        return await super().claim(want, now=now)


class RunsByItsOwnClock(Saboteur):
    """Without a time given, a run's claim goes by a clock that is two hours slow."""

    guarantee = "EXE-30"

    async def claim(self, want: Want, *, now: datetime | None = None) -> list[TaskRecord]:
        if want.execution_ref is not None and now is None:
            now = self.clock.now() - timedelta(hours=2)
        return await super().claim(want, now=now)


class _UndispatchingTarget(InProcessTarget):
    capabilities = Capabilities(
        multi_process=False,
        durable=False,
        server_clock=False,
        notifications=False,
        transactional=False,
        columns=False,
        dispatch=False,
    )


class DispatchesUndeclared(Saboteur):
    """It keeps dispatched tasks, and its target declares that it does not."""

    guarantee = "EXE-31"
    target_type: ClassVar[type[InProcessTarget]] = _UndispatchingTarget


class RunsKeepTheReservationsWindow(Saboteur):
    """A run's claim keeps the window of the reservation."""

    guarantee = "EXE-32"

    def put(self, record: TaskRecord) -> TaskRecord:
        before = self.tasks.get(record.id)
        if record.state is State.RUNNING and before is not None and before.state is State.DISPATCHED:
            record = record.evolve(stale_after=before.stale_after)
        return super().put(record)


class DeclaredAndDenied(Saboteur):
    """Its target declares that it keeps dispatched tasks, and it does not."""

    guarantee = "EXE-31"
    dispatches = False


class KeepsNoDispatchedTasks(Benign):
    """Keeps no dispatched tasks, as its target declares."""

    target_type: ClassVar[type[InProcessTarget]] = _UndispatchingTarget
    dispatches = False
