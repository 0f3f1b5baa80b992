"""Pauses between tries against a store that is away."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from dataclasses import dataclass

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
        self._first, self._longest = first, longest

    def __iter__(self) -> Iterator[Pause]:
        longest = self._first
        while True:
            yield Pause(longest * random.uniform(0.5, 1))  # noqa: S311  # spread, not secrecy
            longest = min(longest * 2, self._longest)
