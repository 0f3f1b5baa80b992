"""How long the demo waits: as long as anything moves, and then as long as the machine is slow."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable

__all__ = ("SLOW", "NotFoundOut", "Patience", "slowness")

SLOW = 2.0
"""How many times slower than usual a machine is that proves nothing by being late."""
_WORK = 300_000


class NotFoundOut(Exception):
    """The machine was too slow for the demo; the text says what did not happen, and how long that took."""


def slowness() -> float:
    """How many times longer than its own time on a core a piece of work takes now: 1 on a machine with nothing to do."""
    began, cpu_began = time.monotonic(), time.thread_time()
    hashlib.pbkdf2_hmac("sha256", b"a piece", b"of work", _WORK)
    return max((time.monotonic() - began) / max(time.thread_time() - cpu_began, 0.001), 1.0)


class Patience:
    """Waits as long as something moves; and where nothing does, so many seconds, or longer on a slow machine.

    Args:
        seconds: How long nothing may move on a machine that has nothing else to do.
        moves: What changes with every bit of progress.
    """

    def __init__(self, seconds: float, moves: Callable[[], object] = str) -> None:
        self._seconds, self._moves = seconds, moves
        self._last = moves()
        self._began = self._moved_at = time.monotonic()
        self.slowness = 1.0
        """What was last measured; only looked at when patience is about to end."""

    def is_over(self) -> bool:
        """Whether nothing has moved for too long."""
        if (now := self._moves()) != self._last:
            self._last, self._moved_at = now, time.monotonic()
        idle = time.monotonic() - self._moved_at
        if idle <= self._seconds * self.slowness:
            return False
        self.slowness = max(slowness(), self.slowness)
        return idle > self._seconds * self.slowness

    def __str__(self) -> str:
        slow = f"; the machine is {self.slowness:.0f} times slower than usual" if self.slowness >= SLOW else ""
        return f"{time.monotonic() - self._began:.0f} s{slow}"
