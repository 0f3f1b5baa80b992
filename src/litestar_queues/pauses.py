"""Pauses between tries, which grow, and differ so that what failed together does not return together."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

from litestar_queues.backoff import ExponentialBackoff

__all__ = ("Backoffs", "Pause")


@dataclass(frozen=True, slots=True)
class Pause:
    """How long to wait before the next try."""

    seconds: float

    async def wait(self) -> None:
        """Wait it out."""
        await asyncio.sleep(self.seconds)


class Backoffs:
    """Pauses without end: from `first` seconds, doubling to `longest`, each chosen between half and all of it."""

    def __init__(self, first: float = 0.1, longest: float = 5.0) -> None:
        self._backoff = ExponentialBackoff(first=0.75 * first, longest=0.75 * longest, jitter=1 / 3)

    def after(self, tries: int) -> Pause:
        """The pause after so many tries."""
        return Pause(self._backoff.delay(tries))

    def __iter__(self) -> Iterator[Pause]:
        return map(self.after, count(1))
