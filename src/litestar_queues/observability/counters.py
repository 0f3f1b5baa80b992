"""The counters of a queue, as they follow from what happens to tasks."""

from __future__ import annotations

from collections.abc import Sequence

from litestar_queues.events.base import TaskEventKind, late_by
from litestar_queues.lifecycle import State
from litestar_queues.records import TaskRecord

__all__ = ("COUNTERS", "NOTIFY", "SKIPPED", "counted")

NOTIFY = "queue.notify"
SKIPPED = "queue.fire_skipped"

COUNTERS = {
    "queue.enqueue": "Tasks that were stored as new; one whose key an active task holds is not.",
    "queue.claim": "Tasks that were taken to be run.",
    "queue.complete": "Tasks that ran to their end.",
    "queue.fail": "Tasks that failed for good: no attempt was left or wanted, or they were interrupted and must not run a second time.",
    "queue.retry": "Tasks that wait for another attempt after one that failed, or after an operator's retry.",
    "queue.stale_recovered": "Running tasks that were taken from an owner whose heartbeat had stopped.",
    NOTIFY: "Hints that were sent to workers in other processes.",
    "queue.claim_lost": "Outcomes that were refused, because the task had another owner, or none, by then.",
    "queue.fire": "Occurrences that schedules enqueued.",
    "queue.fire_late_ms": "How late they were enqueued, after the moments of their fires, in milliseconds altogether.",
    SKIPPED: "Fires of schedules without an occurrence of their own: missed, or skipped because the last one was active.",
    "queue.stale_failed": "Those of the recovered tasks whose budget of recoveries was spent, and which failed.",
}
"""What each counter counts. Each is of this process alone: their sum over all processes is the whole."""

_ALWAYS = {
    TaskEventKind.ENQUEUE: "queue.enqueue",
    TaskEventKind.CLAIM: "queue.claim",
    TaskEventKind.COMPLETE: "queue.complete",
    TaskEventKind.REVIVE: "queue.retry",
    TaskEventKind.LOSE_HEARTBEAT: "queue.stale_recovered",
    TaskEventKind.FIRE: "queue.fire",
}


def counted(kind: TaskEventKind, records: Sequence[TaskRecord]) -> dict[str, int]:
    """How much to add to which counter, for an event of these tasks, as they are after it."""
    counts = {_ALWAYS[kind]: len(records)} if kind in _ALWAYS else dict[str, int]()
    if kind is TaskEventKind.FAIL:
        counts["queue.fail"] = _in_state(records, State.FAILED)
        counts["queue.retry"] = len(records) - counts["queue.fail"]
    elif kind is TaskEventKind.REQUEUE:
        counts["queue.fail"] = _in_state(records, State.FAILED)
    elif kind is TaskEventKind.LOSE_HEARTBEAT:
        counts["queue.stale_failed"] = _in_state(records, State.FAILED)
    elif kind is TaskEventKind.FIRE:
        counts["queue.fire_late_ms"] = round(sum(1000 * (late_by(record) or 0) for record in records))
    elif kind is TaskEventKind.FENCE_LOSS:  # of one that would be running no outcome was refused, but a heartbeat
        counts["queue.claim_lost"] = len(records) - _in_state(records, State.RUNNING)
    return {name: number for name, number in counts.items() if number}


def _in_state(records: Sequence[TaskRecord], state: State) -> int:
    return sum(record.state is state for record in records)
