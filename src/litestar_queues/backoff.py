"""How long to wait before the next attempt."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from litestar_queues.errors import QueueConfigurationError

__all__ = ("Backoff", "ExponentialBackoff", "FixedBackoff")

Random = Callable[[], float]
"""A number from 0 (inclusive) to 1 (exclusive)."""


class Backoff(Protocol):
    """Decides how long a failed task waits."""

    def delay(self, attempt: int, *, rand: Random = random.random) -> float:
        """Seconds to wait after the failure of this attempt, the first being 1."""
        ...


@dataclass(frozen=True, slots=True)
class FixedBackoff:
    """The same wait after every failure.

    Args:
        seconds: The wait.
        jitter: The share of the wait that is chosen at random: 0.1 makes 10 s into 9 to 11 s. From 0 to 1.
    """

    seconds: float
    jitter: float = 0.0

    def __post_init__(self) -> None:
        _check("seconds", self.seconds, 0, float("inf"))
        _check("jitter", self.jitter, 0, 1)

    def delay(self, attempt: int, *, rand: Random = random.random) -> float:
        return _jittered(self.seconds, self.jitter, rand)


@dataclass(frozen=True, slots=True)
class ExponentialBackoff:
    """A wait that grows by a factor with every failure, up to a limit.

    Args:
        first: Seconds after the first failure.
        factor: What each wait is multiplied by for the next; at least 1.
        longest: The longest wait, in seconds, before jitter.
        jitter: The share of the wait that is chosen at random, so that what failed together does not return together.
    """

    first: float = 1.0
    factor: float = 2.0
    longest: float = 3600.0
    jitter: float = 0.1

    def __post_init__(self) -> None:
        _check("first", self.first, 0, float("inf"))
        _check("factor", self.factor, 1, float("inf"))
        _check("longest", self.longest, 0, float("inf"))
        _check("jitter", self.jitter, 0, 1)

    def delay(self, attempt: int, *, rand: Random = random.random) -> float:
        try:
            wait = self.first * self.factor ** (attempt - 1)
        except OverflowError:
            wait = self.longest
        return _jittered(min(wait, self.longest), self.jitter, rand)


def _jittered(wait: float, jitter: float, rand: Random) -> float:
    return wait * (1 + jitter * (2 * rand() - 1))


def _check(what: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most or value == float("inf"):
        raise QueueConfigurationError(f"the backoff's {what} must lie between {least} and {most}, not {value!r}")
