"""How a task shows that a schedule enqueued it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from litestar_queues.codec import decode
from litestar_queues.records import TaskRecord

__all__ = ("FIRE", "NAME", "fire_of", "is_occurrence", "schedule_of")

NAME, FIRE = "litestar_queues.schedule", "litestar_queues.fire"
"""What the metadata of an occurrence says of its schedule."""


def is_occurrence(record: TaskRecord) -> bool:
    """Whether a fire enqueued the task: the id says so. One that somebody let run at once is none."""
    return len(record.id) == 36 and record.id[14] == "8"


def schedule_of(record: TaskRecord) -> str | None:
    """The name of the schedule that enqueued the task; None where none did."""
    name = _said(record).get(NAME)
    return name if isinstance(name, str) else None


def fire_of(record: TaskRecord) -> datetime | None:
    """The moment of the fire that enqueued the task; None where none did."""
    try:
        return datetime.fromisoformat(_said(record).get(FIRE) or "")
    except (ValueError, TypeError):
        return None


def _said(record: TaskRecord) -> dict[str, Any]:
    if NAME not in record.metadata:
        return {}
    try:
        found: Any = decode(record.metadata)
    except (msgspec.MsgspecError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}  # pyright: ignore[reportUnknownVariableType]  # whatever JSON is stored
