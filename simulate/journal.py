"""What happened in a run: the trace for people, the executions that the tasks write down, and times of trouble."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass, field
from math import inf
from uuid import UUID

from litestar_queues import TaskRecord

__all__ = ("Execution", "Journal", "Spans", "short")


def short(task_id: str) -> str:
    """A task's id as the trace prints it; whatever else has a name keeps that."""
    try:
        return f"t{UUID(task_id).int}"
    except ValueError:
        return task_id


@dataclass(slots=True, eq=False)
class Execution:
    """One call of a task's function, as the function itself wrote it down."""

    id: str
    fence: int
    attempt: int
    process: str
    began: float
    ended: float = inf
    how: str = "runs"
    """`runs`, `ok`, `failed`, `timed out`, `snoozed` or `interrupted`."""


@dataclass(slots=True)
class Spans:
    """Stretches of time, from a beginning to an end that may be open."""

    _spans: list[list[float]] = field(default_factory=list[list[float]])

    def open(self, at: float) -> list[float]:
        """Begin a stretch; `close` takes what this returns."""
        self._spans.append(span := [at, inf])
        return span

    def add(self, begin: float, end: float) -> None:
        """Add a whole stretch."""
        self._spans.append([begin, end])

    def overlap(self, begin: float, end: float) -> float:
        """How many seconds of this time lie in a stretch."""
        return (end - begin) - sum(b - a for a, b in self._free(begin, end))

    def longest_free(self, begin: float, end: float) -> float:
        """The longest part of this time that touches no stretch."""
        return max((b - a for a, b in self._free(begin, end)), default=0.0)

    def _free(self, begin: float, end: float) -> list[tuple[float, float]]:
        free: list[tuple[float, float]] = []
        at = begin
        for a, b in sorted(self._spans):
            if b <= at:
                continue
            if a >= end:
                break
            if a > at:
                free.append((at, a))
            at = b
        if at < end:
            free.append((at, end))
        return free


class Journal:
    """Written during a run, read by the rules after it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._begin = loop.time()
        self.lines: list[str] = []
        self._digest = hashlib.sha256()
        self.executions: list[Execution] = []
        self.acknowledged: list[str] = []
        """The ids that an enqueue returned."""
        self.errors: list[str] = []
        """What must not happen in any run: a worker that raised, an error that nobody took."""
        self.closed = False
        """Whether the run is over; what is cleared up after it is not written down."""

    @property
    def now(self) -> float:
        """Seconds since the run began."""
        return self._loop.time() - self._begin

    def write(self, who: str, what: str) -> None:
        """Add a line to the trace."""
        if not self.closed:
            self.lines.append(line := f"{self.now:9.3f}  {who:<6} {what}")
            self._digest.update(line.encode())

    def remark(self, what: str) -> None:
        """Add a line to the trace that does not count for the digest."""
        if not self.closed:
            self.lines.append(f"{self.now:9.3f}  log    {what}")

    def begin(self, record: TaskRecord, process: str) -> Execution:
        """A function was called."""
        execution = Execution(record.id, record.fence, record.attempt, process, self.now)
        if not self.closed:
            self.executions.append(execution)
            self.write(process, f"begins {short(record.id)} fence {record.fence} attempt {record.attempt}")
        return execution

    def end(self, execution: Execution, how: str) -> None:
        """A function ended."""
        if not self.closed:
            execution.ended, execution.how = self.now, how
            self.write(execution.process, f"{how}: {short(execution.id)} fence {execution.fence}")

    def digest(self) -> str:
        """The same for two runs in which the same happened at the same times."""
        return self._digest.hexdigest()[:16]
