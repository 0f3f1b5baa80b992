"""Time, as everything here is given it."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from litestar_queues.backends.base import QueueBackend

__all__ = ("Clock", "ManualClock", "StoreClock", "SystemClock", "since_boot")


_DRIFT = 0.0005
"""How far two clocks drift apart at most, in seconds for each second."""
_CLOSE_ENOUGH = 0.25
"""Seconds that a reading may be off in any case."""


def since_boot() -> float:
    """Seconds by a clock that also counts the time for which this process, or the whole machine, stood still.

    `time.monotonic` stands still with a machine that is suspended. Where the system has no such clock, the wall clock is one.
    """
    if _BOOT is not None:
        return time.clock_gettime(_BOOT)
    return time.time()


_BOOT: int | None = getattr(time, "CLOCK_BOOTTIME", None)


class Clock(Protocol):
    """Tells the time in UTC."""

    def now(self) -> datetime: ...


class SystemClock:
    """This machine's clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)


class ManualClock:
    """A clock that moves when it is told to, for tests."""

    def __init__(self, start: datetime = datetime(2030, 1, 1, tzinfo=UTC)) -> None:
        self._now = start

    def now(self) -> datetime:
        return self._now

    def advance(self, by: timedelta | float) -> datetime:
        """Move on by a duration, or a number of seconds."""
        self._now += by if isinstance(by, timedelta) else timedelta(seconds=by)
        return self._now


class StoreClock:
    """The store's clock, followed from here: one reading, then this machine's monotonic clock.

    A machine whose wall clock is wrong, or is set while it runs, is not noticed by any task. How far the two may drift
    apart is bounded by `sync`, which the worker calls regularly.
    """

    def __init__(self) -> None:
        self._reading: tuple[datetime, float] | None = None  # one value, because two threads read and set it
        self._off_by = 0.0
        self.offset = timedelta(0)
        """How far this clock goes ahead of the store's: nothing, unless a test has travelled."""

    async def sync(self, backend: QueueBackend) -> None:
        """Read the store's clock; half of the round trip is taken as its way back.

        A reading is off by half of its round trip at most. One that took long is left out where an earlier one tells more,
        also with all that the two clocks may have drifted apart since.
        """
        before = time.monotonic()
        store_now = await backend.now()
        after = time.monotonic()
        if self._reading is not None:
            read_at = self._reading[1]
            if (after - before) / 2 > self._off_by + _DRIFT * (after - read_at) + _CLOSE_ENOUGH:
                return
        self._off_by = (after - before) / 2
        self._reading = store_now, (before + after) / 2

    def now(self) -> datetime:
        if self._reading is None:
            raise RuntimeError("the store's clock was never read: call sync() first")
        store_now, read_at = self._reading
        return store_now + timedelta(seconds=time.monotonic() - read_at) + self.offset
