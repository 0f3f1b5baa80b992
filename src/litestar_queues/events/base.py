"""One small value per transition."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from enum import StrEnum

import msgspec

from litestar_queues.lifecycle import EventName, State
from litestar_queues.records import TaskRecord
from litestar_queues.schedules.marks import fire_of, schedule_of

__all__ = ("EventSink", "TaskEvent", "TaskEventKind", "late_by", "task_event")


class TaskEventKind(StrEnum):
    """What happened: a transition of the lifecycle, or something around it."""

    ENQUEUE = "enqueue"
    CLAIM = EventName.CLAIM.value
    RESERVE = EventName.RESERVE.value
    DISPATCH = EventName.DISPATCH.value
    DIVERT = EventName.DIVERT.value
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
    FIRE = "fire"
    """A schedule enqueued the task. `late` says how long after the moment of the fire."""
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
    execution_backend: str | None = None
    execution_profile: str | None = None
    execution_ref: str | None = None
    schedule: str | None = None
    """The schedule that enqueued the task."""
    late: float | None = None
    """Of a fire: how many seconds after its moment the task was enqueued."""


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
        execution_backend=record.execution_backend,
        execution_profile=record.execution_profile,
        execution_ref=record.execution_ref,
        schedule=schedule_of(record),
        late=late_by(record) if kind is TaskEventKind.FIRE else None,
    )


def late_by(record: TaskRecord) -> float | None:
    """How many seconds after the moment of its fire the task was enqueued; None where no schedule did that."""
    fire = fire_of(record)
    return None if fire is None else max(0.0, (record.created_at - fire).total_seconds())
