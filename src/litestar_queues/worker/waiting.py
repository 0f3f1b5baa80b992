"""Outcomes that the store does not take: how many wait, since when, and what the log says of them."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

__all__ = ("Waiting", "WaitingLog")

_log = logging.getLogger("litestar_queues.worker")
_AGAIN = 60.0
"""Seconds after which the log repeats that outcomes wait; twice as many after each time."""
_NAMED = 3


@dataclass(frozen=True, slots=True)
class Waiting:
    """Outcomes of tasks that have ended, which are not stored yet.

    Attributes:
        outcomes: How many have waited for longer than a second.
        since: When the task of the first of them ended; None where none waits.
    """

    outcomes: int
    since: datetime | None


class WaitingLog:
    """Logs that outcomes wait: at once, then after growing times, and once when they are stored."""

    def __init__(self) -> None:
        self._since: float | None = None
        self._due = 0.0
        self._pause = _AGAIN

    def refused(self, ids: Sequence[str], error: BaseException) -> None:
        """Take notice that the store refuses outcomes of these tasks."""
        now = time.monotonic()
        if self._since is None:
            self._since, self._pause, self._due = now, _AGAIN, now + _AGAIN
            _log.warning("%s for the store: %s", _named(ids), error)
        elif now >= self._due:
            self._pause *= 2
            self._due = now + self._pause
            _log.warning("%s for the store, for %.0f s by now: %s", _named(ids), now - self._since, error)

    def stored(self) -> None:
        """Take notice that no outcome is refused any more."""
        if self._since is not None:
            _log.warning(
                "the outcomes that waited for the store are stored, after %.1f s", time.monotonic() - self._since
            )
            self._since = None


def _named(ids: Sequence[str]) -> str:
    first = ", ".join(ids[:_NAMED])
    more = f" and {len(ids) - _NAMED} more" if len(ids) > _NAMED else ""
    return f"1 outcome waits (task {first})" if len(ids) == 1 else f"{len(ids)} outcomes wait (tasks {first}{more})"
