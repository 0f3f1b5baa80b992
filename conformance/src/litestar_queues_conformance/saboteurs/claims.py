"""CLM and EXP: who is given what, and when."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import asynccontextmanager, closing
from datetime import datetime, timedelta
from heapq import nsmallest
from itertools import islice
from typing import Any, ClassVar, cast

import msgspec

from litestar_queues.backends.memory import MemoryBackend
from litestar_queues.lifecycle import WAITING, Claim, Expire, IllegalTransition, State, step
from litestar_queues.records import Overdue, Query, TaskRecord, Want
from litestar_queues_conformance.saboteurs.base import Benign, InProcessTarget, Saboteur

_MICROSECOND = timedelta(microseconds=1)


class KeepsTheFirstStart(Saboteur):
    """A later claim keeps the started_at of the first."""

    guarantee = "CLM-01"

    def put(self, record: TaskRecord) -> TaskRecord:
        before = self.tasks.get(record.id)
        if before is not None and record.state is State.RUNNING and before.started_at is not None:
            record = record.evolve(started_at=before.started_at)
        return super().put(record)


class ChoosesThenWrites(Saboteur):
    """A claim chooses, lets others in, and writes what it chose."""

    guarantee = "CLM-02"

    async def claim(self, want: Want, *, now: datetime | None = None) -> list[TaskRecord]:
        moment = now or self.clock.now()
        chosen: list[TaskRecord] = []
        with closing(self.candidates(want, moment)) as candidates:
            for record in candidates:
                if len(chosen) >= want.limit:
                    break
                try:
                    chosen.append(step(record, Claim(want.worker), moment))
                except IllegalTransition:
                    continue
        await asyncio.sleep(0)
        return [self.put(record) for record in chosen]


class TakesHugePrioritiesForEqual(Saboteur):
    """Priorities beyond a thousand million are one priority."""

    guarantee = "CLM-03"

    def candidates(self, want: Want, now: datetime) -> Generator[TaskRecord, None, None]:
        def order(record: TaskRecord) -> tuple[int, datetime, str]:
            return (-max(-(10**9), min(record.priority, 10**9)), record.due_at, record.id)

        yield from sorted(super().candidates(want, now), key=order)


class ClaimsQueueByQueue(Saboteur):
    """Everything in one queue comes before anything in the next."""

    guarantee = "CLM-03"

    def candidates(self, want: Want, now: datetime) -> Generator[TaskRecord, None, None]:
        yield from sorted(super().candidates(want, now), key=lambda record: record.queue)


class ClaimsAMicrosecondEarly(Saboteur):
    """A task can be claimed a microsecond before it is due."""

    guarantee = "CLM-04"

    async def claim(self, want: Want, *, now: datetime | None = None) -> list[TaskRecord]:
        moment = now or self.clock.now()
        soon = [r for r in self.tasks.values() if r.state is State.SCHEDULED and r.due_at == moment + _MICROSECOND]
        for record in soon:
            self.put(record.evolve(due_at=moment))
        claimed = await super().claim(want, now=moment)
        for record in soon:
            if self.tasks[record.id].fence == record.fence:
                self.put(record)
        return claimed


class PromotesFiveHundred(Saboteur):
    """Of what came due, five hundred tasks take part in a claim."""

    guarantee = "CLM-05"

    def promote(self, queues: tuple[str, ...] | None, now: datetime) -> None:
        due = (r for r in self.tasks.values() if r.state is State.SCHEDULED and r.due_at <= now)
        wanted = (record for record in due if queues is None or record.queue in queues)
        for record in nsmallest(500, wanted, key=lambda record: (record.due_at, record.id)):
            self.put(record.evolve(state=State.PENDING))


class ZeroMeansOne(Saboteur):
    """A claim of none takes one."""

    guarantee = "CLM-06"

    async def claim(self, want: Want, *, now: datetime | None = None) -> list[TaskRecord]:
        return await super().claim(msgspec.structs.replace(want, limit=max(want.limit, 1)), now=now)


class NoQueueMeansAny(Saboteur):
    """A claim from no queue takes from all."""

    guarantee = "CLM-07"

    async def claim(self, want: Want, *, now: datetime | None = None) -> list[TaskRecord]:
        return await super().claim(msgspec.structs.replace(want, queues=want.queues or None), now=now)


class LooksAtTwoThousand(Saboteur):
    """A filtered claim looks at the first two thousand tasks, and takes those that match."""

    guarantee = "CLM-08"

    def candidates(self, want: Want, now: datetime) -> Generator[TaskRecord, None, None]:
        if want.tasks is not None:
            yield from super().candidates(want, now)
            return
        everything = msgspec.structs.replace(want, queues=None, execution_backends=None)
        looked_at = list(islice(super().candidates(everything, now), None if want.queues is None else 2000))
        for record in looked_at:
            queue = want.queues is None or record.queue in want.queues
            if queue and (want.execution_backends is None or record.execution_backend in want.execution_backends):
                yield record


class ClaimsByIdAlone(Saboteur):
    """A claim by id does not look at the fence."""

    guarantee = "CLM-09"

    async def claim(self, want: Want, *, now: datetime | None = None) -> list[TaskRecord]:
        if want.tasks is not None:
            named = dict.fromkeys(one.id for one in want.tasks if one.id in self.tasks)
            want = msgspec.structs.replace(want, tasks=tuple(self.tasks[id_].held for id_ in named))
        return await super().claim(want, now=now)


class FenceWrapsAround(Saboteur):
    """The fence begins again at 0 after 13."""

    guarantee = "CLM-10"

    def put(self, record: TaskRecord) -> TaskRecord:
        return super().put(record.evolve(fence=record.fence % 14))


class _ClaimsOthersToo(Saboteur):
    """Some tasks that do not wait are claimed without ids, once nothing else is left."""

    guarantee = "CLM-11"

    def _takes(self, record: TaskRecord) -> bool:
        raise NotImplementedError

    async def claim(self, want: Want, *, now: datetime | None = None) -> list[TaskRecord]:
        moment = now or self.clock.now()
        claimed = await super().claim(want, now=moment)
        for record in list(self.tasks.values()):
            fits = want.tasks is None and (want.queues is None or record.queue in want.queues)
            if fits and record.due_at <= moment and len(claimed) < want.limit and self._takes(record):
                claimed.append(self.put(step(record.evolve(state=State.PENDING), want.event, moment)))
        return claimed


class ClaimsTheNulled(_ClaimsOthersToo):
    """A claim takes running tasks whose owner has nulled the heartbeat."""

    guarantee = "CLM-11"

    def _takes(self, record: TaskRecord) -> bool:
        return record.state is State.RUNNING and record.heartbeat_at is None


class ClaimsTheCancelled(_ClaimsOthersToo):
    """A claim takes tasks that were cancelled before they were ever claimed."""

    guarantee = "CAN-30"

    def _takes(self, record: TaskRecord) -> bool:
        return record.state is State.CANCELLED and record.fence == 1


class ClaimExpiresTheOverdue(Saboteur):
    """A claim expires the overdue tasks that it passes over."""

    guarantee = "CLM-30"

    async def claim(self, want: Want, *, now: datetime | None = None) -> list[TaskRecord]:
        moment = now or self.clock.now()
        for record in await self.find(Overdue(moment), len(self.tasks)):
            self.put(step(record, Expire(), moment))
        return await super().claim(want, now=now)


class _HoldingTarget(InProcessTarget):
    @asynccontextmanager
    async def holding(self, config: dict[str, Any], ids: Sequence[str]) -> AsyncGenerator[bool]:
        """Have these tasks held by a claim that goes on."""
        store = cast("_Holding", self.stores[config["store"]])
        store.held, store.let_go = frozenset(ids), asyncio.Event()
        try:
            yield True
        finally:
            store.held = frozenset()
            store.let_go.set()


class _Holding(MemoryBackend):
    target_type: ClassVar[type[InProcessTarget]] = _HoldingTarget
    held: frozenset[str] = frozenset()
    let_go: asyncio.Event

    def candidates(self, want: Want, now: datetime) -> Generator[TaskRecord, None, None]:
        yield from (record for record in super().candidates(want, now) if record.id not in self.held)


class PassesOverTheHeld(_Holding, Benign):
    """Tasks can be held by a claim that goes on, and are passed over by others."""


class WaitsForTheHeld(_Holding, Saboteur):
    """While a task is held by a claim that goes on, others wait."""

    guarantee = "CLM-12"

    async def claim(self, want: Want, *, now: datetime | None = None) -> list[TaskRecord]:
        if self.held:
            await self.let_go.wait()
        return await super().claim(want, now=now)


class _StartsTheOverdue(Saboteur):
    """Some overdue tasks are claimed, once nothing else is left."""

    guarantee = "EXP-01"

    def _starts(self, record: TaskRecord, now: datetime) -> bool:
        return record.expires_at == now and not record.fence

    async def claim(self, want: Want, *, now: datetime | None = None) -> list[TaskRecord]:
        moment = now or self.clock.now()
        claimed = await super().claim(want, now=moment)
        for record in await self.find(Overdue(moment), len(self.tasks)):
            wanted = record.state in WAITING and want.tasks is None
            wanted = wanted and (want.queues is None or record.queue in want.queues) and record.due_at <= moment
            if wanted and len(claimed) < want.limit and self._starts(record, moment):
                running = step(record.evolve(expires_at=None), Claim(want.worker), moment)
                claimed.append(self.put(running.evolve(expires_at=record.expires_at)))
        return claimed


class StartsInTheLastMicrosecond(_StartsTheOverdue):
    """A task is still claimed in the microsecond in which it expires."""

    guarantee = "EXP-01"


class GivesUpBehindTheOverdue(Saboteur):
    """A claim that has met a thousand overdue tasks takes nothing of what comes after them."""

    guarantee = "EXP-30"

    def candidates(self, want: Want, now: datetime) -> Generator[TaskRecord, None, None]:
        met = 0
        for record in super().candidates(want, now):
            met += record.expires_at is not None and record.expires_at <= now
            if met > 1000:
                return
            yield record


class StartedOnceNeverExpires(_StartsTheOverdue):
    """A task that ran before is claimed again, whether it has expired or not."""

    guarantee = "EXP-02"

    def _starts(self, record: TaskRecord, now: datetime) -> bool:
        return record.fence > 0


class OverdueAMicrosecondLate(Saboteur):
    """A task is found as overdue only after its time."""

    guarantee = "EXP-03"

    async def find(self, query: Query, limit: int) -> list[TaskRecord]:
        return await super().find(Overdue(query.at - _MICROSECOND) if isinstance(query, Overdue) else query, limit)
