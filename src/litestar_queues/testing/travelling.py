"""Time moves for one service: its store is given the time, instead of asking its own clock."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from litestar_queues.backends.base import QueueBackend, TransactionalBackend
from litestar_queues.backends.delegating import DelegatingBackend
from litestar_queues.clock import StoreClock
from litestar_queues.errors import InvalidTaskError
from litestar_queues.options import after, check_duration
from litestar_queues.records import (
    Enqueued,
    Held,
    NewTask,
    TaskRecord,
    Want,
    check_aware,
    seconds,
)
from litestar_queues.service import QueueService

__all__ = ("move", "set_offset")

_ROOM = timedelta(days=366)
"""What the calendar must have left after a journey, for the times that are counted from there."""


class _TravellingBackend(DelegatingBackend):
    """A backend whose time is a clock's. `now` goes on telling the store's own time, from which the clock counts."""

    def __init__(self, inner: QueueBackend, clock: StoreClock) -> None:
        super().__init__(inner)
        self._clock = clock

    async def enqueue_many(self, tasks: Sequence[NewTask], *, now: datetime | None = None) -> list[Enqueued]:
        return await self.inner.enqueue_many(tasks, now=now or self._clock.now())

    async def claim(self, want: Want, *, now: datetime | None = None) -> list[TaskRecord]:
        return await self.inner.claim(want, now=now or self._clock.now())

    async def touch_heartbeats(self, held: Sequence[Held], *, now: datetime | None = None) -> set[str]:
        return await self.inner.touch_heartbeats(held, now=now or self._clock.now())

    async def lock(self, name: str, owner: str, ttl: timedelta, *, now: datetime | None = None) -> bool:
        return await self.inner.lock(name, owner, ttl, now=now or self._clock.now())


class _TravellingTransactionalBackend(_TravellingBackend):
    """The same for a backend that works in the caller's transactions, too."""

    inner: Any

    def bind(self, session: Any) -> QueueBackend:
        """The port in the transaction of `session`, with the same time."""
        return _TravellingBackend(self.inner.bind(session), self._clock)


def set_offset(service: QueueService, offset: timedelta) -> None:
    """Let the time of a service be so far ahead of its store's; none means the store's own clock again.

    Raises:
        QueueError: The service is not open. Its clock is set all the same.
    """
    service.clock.offset = offset  # also of a service that was closed meanwhile: it may be opened again
    operations = service.operations
    backend = operations.backend
    if isinstance(backend, _TravellingBackend):
        if not offset:
            operations.backend = backend.inner
    elif offset:
        kind = _TravellingTransactionalBackend if isinstance(backend, TransactionalBackend) else _TravellingBackend
        operations.backend = kind(backend, service.clock)


def move(service: QueueService, to: datetime | timedelta | float) -> None:
    """Move the time of an open service by a duration, or to a time.

    Raises:
        InvalidTaskError: A duration is negative, a time has no zone, or the journey ends beyond the year 9998.
        QueueError: The service is not open.
    """
    _ = service.operations
    now = service.clock.now()
    if isinstance(to, datetime):
        check_aware("the time to travel to", to)
        ahead = to - now
    elif to is None:  # pyright: ignore[reportUnnecessaryComparison]  # callers without a type checker
        raise InvalidTaskError("travel takes a duration or a time, not None")
    else:
        check_duration("the time to travel by", to)
        ahead = seconds(to)
    after(now, ahead + _ROOM, "the journey")
    set_offset(service, service.clock.offset + ahead)
