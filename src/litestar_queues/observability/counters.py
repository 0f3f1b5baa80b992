"""The counters of a queue, as they follow from what happens to tasks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from litestar_queues.events.base import TaskEventKind
from litestar_queues.lifecycle import State
from litestar_queues.records import TaskRecord

__all__ = ("COUNTERS", "NOTIFY", "counted")

NOTIFY = "queue.notify"

COUNTERS = {
    "queue.enqueue": "Tasks that were stored as new; one whose key an active task holds is not.",
    "queue.claim": "Tasks that were taken to be run.",
    "queue.complete": "Tasks that ran to their end.",
    "queue.fail": "Tasks that failed for good: no attempt was left, or none was wanted.",
    "queue.retry": "Tasks that wait for another attempt after one that failed, or after an operator's retry.",
    "queue.stale_recovered": "Running tasks that were taken from an owner whose heartbeat had stopped.",
    NOTIFY: "Hints that were sent to workers in other processes.",
    "queue.claim_lost": "Outcomes that were refused, because the task had another owner, or none, by then.",
    "queue.stale_failed": "Those of the recovered tasks that had no attempt left, and failed.",
}
"""What each counter counts. Each is of this process alone: their sum over all processes is the whole."""

_ALWAYS = {
    TaskEventKind.ENQUEUE: "queue.enqueue",
    TaskEventKind.CLAIM: "queue.claim",
    TaskEventKind.COMPLETE: "queue.complete",
    TaskEventKind.REVIVE: "queue.retry",
    TaskEventKind.LOSE_HEARTBEAT: "queue.stale_recovered",
}


def counted(kind: TaskEventKind, records: Iterable[TaskRecord]) -> Counter[str]:
    """How much to add to which counter, for an event of these tasks, as they are after it."""
    counts: Counter[str] = Counter()
    for record in records:
        if kind in _ALWAYS:
            counts[_ALWAYS[kind]] += 1
        if kind is TaskEventKind.FAIL:
            counts["queue.fail" if record.state is State.FAILED else "queue.retry"] += 1
        elif kind is TaskEventKind.LOSE_HEARTBEAT and record.state is State.FAILED:
            counts["queue.stale_failed"] += 1
        elif kind is TaskEventKind.FENCE_LOSS and record.state is not State.RUNNING:  # else no outcome, a heartbeat
            counts["queue.claim_lost"] += 1
    return counts
