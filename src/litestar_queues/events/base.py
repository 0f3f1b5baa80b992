"""One small value per transition."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from enum import StrEnum

import msgspec

from litestar_queues.lifecycle import EventName, State
from litestar_queues.records import TaskRecord

__all__ = ("EventSink", "TaskEvent", "TaskEventKind", "task_event")


class TaskEventKind(StrEnum):
    """What happened: a transition of the lifecycle, or something around it."""

    ENQUEUE = "enqueue"
    CLAIM = EventName.CLAIM.value
    COMPLETE = EventName.COMPLETE.value
    FAIL = EventName.FAIL.value
    REQUEUE = EventName.REQUEUE.value
    RELEASE = EventName.RELEASE.value
    SNOOZE = EventName.SNOOZE.value
    LOSE_HEARTBEAT = EventName.LOSE_HEARTBEAT.value
    NULL_HEARTBEAT = EventName.NULL_HEARTBEAT.value
    CANCEL = EventName.CANCEL.value
    EXPIRE = EventName.EXPIRE.value
    REVIVE = EventName.REVIVE.value
    ABANDON = "abandon"
    """The call of a sync task that timed out, was cancelled or was lost has gone on for a second, and keeps its thread."""
    FENCE_LOSS = "fence_loss"
    """A write of an owner that owned the task no more was refused; `state` and `fence` are what it wanted to write."""
    LOOP_BLOCKED = "loop_blocked"
    """The task kept its worker's event loop from moving, for longer than `worker_blocked_after`. It is told when the loop
    moves again."""


class TaskEvent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Something happened to a task, and is stored. Carries no arguments, results or errors: read the task for those."""

    kind: TaskEventKind
    at: datetime
    task_id: str
    task: str
    queue: str
    state: State
    state_before: State | None = None
    attempt: int
    fence: int
    key: str | None = None
    worker: str | None = None


EventSink = Callable[[TaskEvent], Awaitable[None] | None]
"""Takes an event; may be async. Called after the write, in order; what it raises is logged and goes no further."""


def task_event(
    kind: TaskEventKind | EventName, record: TaskRecord, *, at: datetime, before: State | None = None
) -> TaskEvent:
    """The event that tells of a record as it is after what happened."""
    return TaskEvent(
        kind=TaskEventKind(kind.value),
        at=at,
        task_id=record.id,
        task=record.name,
        queue=record.queue,
        state=record.state,
        state_before=before,
        attempt=record.attempt,
        fence=record.fence,
        key=record.key,
        worker=record.worker,
    )
