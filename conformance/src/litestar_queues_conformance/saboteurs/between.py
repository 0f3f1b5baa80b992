"""LIF, REC and BLK: what lies between calls. Writes in two steps, calls that are cancelled, and batches of thousands."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from litestar_queues.clock import Clock
from litestar_queues.records import Enqueued, Held, NewTask, Stale, TaskRecord, Want
from litestar_queues_conformance.saboteurs.base import Saboteur

_THOUSANDS = 2500
"""More tasks than any case of the other guarantees has in one batch."""
_PIECE = 500


class _WritesInTwoSteps(Saboteur):
    """A write leaves some fields for later, lets others in, and writes those."""

    guarantee = "LIF-14"

    async def later(self, ids: Sequence[str], **until_then: Any) -> None:
        """Have these tasks with other values until others were let in."""
        written = {id_: self.tasks[id_] for id_ in ids}
        torn = {id_: record.evolve(**until_then) for id_, record in written.items()}
        self.tasks.update(torn)
        try:
            await asyncio.sleep(0)
        finally:
            for id_, record in torn.items():
                if self.tasks.get(id_) is record:  # nobody has written it since
                    self.tasks[id_] = written[id_]


class EnqueuesInTwoSteps(_WritesInTwoSteps):
    """A new task can be read before its arguments are written."""

    guarantee = "LIF-14"

    async def enqueue_many(self, tasks: Sequence[NewTask], *, now: datetime | None = None) -> list[Enqueued]:
        there = set(self.tasks)
        answers = await super().enqueue_many(tasks, now=now)
        await self.later(list({one.record.id for one in answers} - there), args="[]")
        return answers


class ClaimsInTwoSteps(_WritesInTwoSteps):
    """A claimed task can be read before its start is written."""

    guarantee = "LIF-14"

    async def claim(self, want: Want, *, now: datetime | None = None) -> list[TaskRecord]:
        claimed = await super().claim(want, now=now)
        await self.later([one.id for one in claimed], started_at=None, heartbeat_at=None)
        return claimed


class CommitsInTwoSteps(_WritesInTwoSteps):
    """A completed task can be read before its result is written."""

    guarantee = "LIF-14"

    async def commit(self, tasks: Sequence[TaskRecord], *, stale: Stale | None = None) -> set[str]:
        stored = await super().commit(tasks, stale=stale)
        await self.later([task.id for task in tasks if task.id in stored and task.result is not None], result=None)
        return stored


class BeatsInTwoSteps(_WritesInTwoSteps):
    """A heartbeat can be read before the progress that came with it."""

    guarantee = "LIF-14"

    async def touch_heartbeats(self, held: Sequence[Held], *, now: datetime | None = None) -> set[str]:
        kept = await super().touch_heartbeats(held, now=now)
        await self.later([one.id for one in held if one.id in kept and one.progress is not None], progress=None)
        return kept


class LeavesHalfOfACancelledBatch(Saboteur):
    """An enqueue that is cancelled leaves the first half of its batch."""

    guarantee = "LIF-15"

    async def enqueue_many(self, tasks: Sequence[NewTask], *, now: datetime | None = None) -> list[Enqueued]:
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            await super().enqueue_many(tasks[: len(tasks) // 2], now=now)
            raise
        return await super().enqueue_many(tasks, now=now)


class BeatsForHalfOfACancelledBatch(Saboteur):
    """A batch of heartbeats that is cancelled reaches the first half of its tasks."""

    guarantee = "LIF-15"

    async def touch_heartbeats(self, held: Sequence[Held], *, now: datetime | None = None) -> set[str]:
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            await super().touch_heartbeats(held[: len(held) // 2], now=now)
            raise
        return await super().touch_heartbeats(held, now=now)


class KeepsTheTurnOfACancelledCall(Saboteur):
    """Calls of `lock` take turns, and one that is cancelled never gives its turn back."""

    guarantee = "LIF-15"

    def __init__(self, clock: Clock | None = None) -> None:
        super().__init__(clock)
        self._turn = asyncio.Semaphore()

    async def lock(self, name: str, owner: str, ttl: timedelta, *, now: datetime | None = None) -> bool:
        await self._turn.acquire()
        await asyncio.sleep(0)
        taken = await super().lock(name, owner, ttl, now=now)
        self._turn.release()
        return taken


class GuardsTheFirstHundred(Saboteur):
    """A recovery looks at the heartbeats of the first hundred tasks of its batch."""

    guarantee = "REC-09"

    async def commit(self, tasks: Sequence[TaskRecord], *, stale: Stale | None = None) -> set[str]:
        first = await super().commit(tasks[:100], stale=stale)
        return first | await super().commit(tasks[100:])


class KeyedBatchesGrow(Saboteur):
    """Others can look while thousands of tasks with keys are half stored."""

    guarantee = "BLK-04"

    async def enqueue_many(self, tasks: Sequence[NewTask], *, now: datetime | None = None) -> list[Enqueued]:
        if len(tasks) <= _THOUSANDS or all(task.key is None for task in tasks):
            return await super().enqueue_many(tasks, now=now)
        now = now or await self.now()
        answers: list[Enqueued] = []
        for start in range(0, len(tasks), _PIECE):
            answers += await super().enqueue_many(tasks[start : start + _PIECE], now=now)
            await asyncio.sleep(0)
        return answers


class CommitsThousandsInPieces(Saboteur):
    """Others can look while thousands of tasks are half committed."""

    guarantee = "BLK-05"

    async def commit(self, tasks: Sequence[TaskRecord], *, stale: Stale | None = None) -> set[str]:
        stored: set[str] = set()
        for start in range(0, len(tasks), _THOUSANDS):
            stored |= await super().commit(tasks[start : start + _THOUSANDS], stale=stale)
            await asyncio.sleep(0)
        return stored
