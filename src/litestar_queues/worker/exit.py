"""How a worker ended, and which tasks it did not bring to their end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from litestar_queues.errors import StoreReplacedError

__all__ = ("WorkerExit", "some_of")

_NAMED = 20
"""The most ids in one line."""


@dataclass(frozen=True, slots=True)
class WorkerExit:
    """How a worker ended.

    Attributes:
        given_back: Ids of tasks that were interrupted and requeued.
        unsettled: Ids of tasks whose outcome could not be stored; stale recovery will find them.
        hung: Ids of tasks whose calls hang in threads of the process, where the worker left for that reason.
        replaced: Set where the store was emptied, deleted, or another one is in its place. The worker then interrupted what
            ran, and wrote nothing: `unsettled` names what it held.
        failed: Ids of tasks that were interrupted and failed, because they must not run a second time
            (`requeue_on_stale=False`, `max_recoveries=0`).
    """

    given_back: list[str] = field(default_factory=list[str])
    unsettled: list[str] = field(default_factory=list[str])
    hung: list[str] = field(default_factory=list[str])
    replaced: StoreReplacedError | None = None
    failed: list[str] = field(default_factory=list[str])

    @property
    def drained(self) -> bool:
        """Whether every task ended by itself, and its outcome is stored."""
        return not (self.given_back or self.unsettled or self.hung or self.failed) and self.replaced is None


def some_of(ids: Sequence[str]) -> str:
    """Ids for a line that a person reads: not all of them where they are many."""
    return f"{', '.join(ids[:_NAMED])}{', ...' if len(ids) > _NAMED else ''}"
