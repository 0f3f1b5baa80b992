"""CLK: whose clock counts."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import ClassVar

from litestar_queues.backends.memory import MemoryBackend
from litestar_queues.clock import Clock, SystemClock
from litestar_queues.records import Enqueued, Held, NewTask, TaskRecord, Want
from litestar_queues_conformance.saboteurs.base import Benign, InProcessTarget, Saboteur
from litestar_queues_conformance.target import Capabilities

_BEGAN = datetime.now(UTC) - timedelta(seconds=time.monotonic())


class _OwnClock:
    """A clock that no client can set."""

    def now(self) -> datetime:
        return _BEGAN + timedelta(seconds=time.monotonic())


class _LocalClock:
    """A client's local time, which it takes for UTC."""

    def now(self) -> datetime:
        return datetime.now().replace(tzinfo=UTC)  # noqa: DTZ005  # the defect


class _ClockTarget(InProcessTarget):
    capabilities = Capabilities(
        multi_process=False,
        durable=False,
        server_clock=True,
        notifications=False,
        transactional=False,
        columns=False,
        dispatch=True,
    )


class _HasAClock(MemoryBackend):
    """A store with a clock of its own, as declared."""

    target_type: ClassVar[type[InProcessTarget]] = _ClockTarget

    def __init__(self, clock: Clock | None = None) -> None:
        super().__init__(clock or _OwnClock())


class HasItsOwnClock(_HasAClock, Benign):
    """Has a clock of its own, as its target declares."""


class TakesTheClientsClock(Saboteur):
    """Its target declares a clock of the store's, and every call takes the client's."""

    guarantee = "CLK-01"
    target_type: ClassVar[type[InProcessTarget]] = _ClockTarget


class HasAClockAndSaysNo(Saboteur):
    """Has a clock of its own that its target declares absent."""

    guarantee = "CLK-01"

    def __init__(self, clock: Clock | None = None) -> None:
        super().__init__(clock or _OwnClock())


class EnqueuesByTheClientsClock(_HasAClock, Saboteur):
    """A new task is stamped by the client's clock."""

    guarantee = "CLK-02"

    async def enqueue_many(self, tasks: Sequence[NewTask], *, now: datetime | None = None) -> list[Enqueued]:
        return await super().enqueue_many(tasks, now=now or SystemClock().now())


class ClaimsByTheClientsClock(_HasAClock, Saboteur):
    """A claim takes the client's clock."""

    guarantee = "CLK-02"

    async def claim(self, want: Want, *, now: datetime | None = None) -> list[TaskRecord]:
        return await super().claim(want, now=now or SystemClock().now())


class BeatsByTheClientsClock(_HasAClock, Saboteur):
    """A heartbeat is stamped by the client's clock."""

    guarantee = "CLK-02"

    async def touch_heartbeats(self, held: Sequence[Held], *, now: datetime | None = None) -> set[str]:
        return await super().touch_heartbeats(held, now=now or SystemClock().now())


class LocksByTheClientsClock(_HasAClock, Saboteur):
    """A lock lasts by the client's clock."""

    guarantee = "CLK-02"

    async def lock(self, name: str, owner: str, ttl: timedelta, *, now: datetime | None = None) -> bool:
        return await super().lock(name, owner, ttl, now=now or SystemClock().now())


class TakesLocalTimeForUTC(Saboteur):
    """Its clock is the client's local time, which it takes for UTC."""

    guarantee = "CLK-03"

    def __init__(self, clock: Clock | None = None) -> None:
        super().__init__(clock or _LocalClock())


class NeverGoesBack(Saboteur):
    """A claim takes what came due at the latest time that any claim was made at."""

    guarantee = "CLK-04"
    latest = datetime.min.replace(tzinfo=UTC)

    async def claim(self, want: Want, *, now: datetime | None = None) -> list[TaskRecord]:
        self.latest = max(self.latest, now := now or self.clock.now())
        # Else it would be noticed by the tasks that it takes for overdue.
        expires = any(record.expires_at is not None for record in self.tasks.values())
        return await super().claim(want, now=now if expires else self.latest)
