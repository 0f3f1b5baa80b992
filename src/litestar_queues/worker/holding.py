"""What one worker holds."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from enum import Enum, auto

from litestar_queues.context import TaskContext
from litestar_queues.lifecycle import Event
from litestar_queues.records import Held, TaskRecord

__all__ = ("Holding", "Phase")


class Phase(Enum):
    """How far the holder is with a task."""

    RUNNING = auto()
    GIVING_BACK = auto()
    """To be interrupted and requeued: the worker is leaving."""
    SETTLING = auto()
    """It has an outcome, which is not stored yet."""
    LOST = auto()
    """It is somebody else's by now."""


@dataclass(slots=True, eq=False)
class Holding:
    """One claimed task in this worker, from its claim until its outcome is stored."""

    context: TaskContext
    confirmed_at: float = field(default_factory=time.monotonic)
    """When it was last known to be ours, by this machine's monotonic clock."""
    held_since: float = field(default_factory=time.monotonic)
    """When the claim was answered, by this machine's monotonic clock."""
    phase: Phase = Phase.RUNNING
    execution: asyncio.Task[Event] | None = None
    stored: TaskRecord | None = None
    """The task with its outcome, as this holder has stored it."""

    @property
    def record(self) -> TaskRecord:
        return self.context.record

    def beat(self, stale_after: float) -> Held:
        """The next heartbeat of an owner that may be silent for so many seconds."""
        return Held(self.record.id, self.record.fence, self.context.latest_progress, stale_after)

    def interrupt(self, phase: Phase) -> None:
        """Stop the task's function: an async one at its next await, a sync one when it looks."""
        self.phase = phase
        self.context.stop()
        if self.execution is not None:
            self.execution.cancel()
