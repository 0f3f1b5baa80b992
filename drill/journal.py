"""What tasks and workers write down outside the store: lines in one file, each appended by one write."""

from __future__ import annotations

import json
import os
import time
from collections import defaultdict
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import Any

__all__ = ("PLACE", "Execution", "Left", "Written", "read", "write")

PLACE = "LITESTAR_QUEUES_DRILL_JOURNAL"
"""The variable with the journal's path, for worker processes."""
_ended = {"ok", "failed", "interrupted"}


def write(what: str, **more: Any) -> None:
    """Append one line; it is whole also where the process dies in the next moment."""
    line = json.dumps({"at": time.monotonic(), "pid": os.getpid(), "what": what, **more})
    file = os.open(os.environ[PLACE], os.O_APPEND | os.O_CREAT | os.O_WRONLY, 0o644)
    try:
        os.write(file, line.encode() + b"\n")
    finally:
        os.close(file)


@dataclass(slots=True)
class Execution:
    """One call of a task's function. Times are those of the machine's monotonic clock."""

    id: str
    fence: int
    pid: int
    kind: str
    began: float
    ended: float = inf
    how: str = "runs"
    attempt: int = 0
    ref: str | None = None
    """The run elsewhere, as the task's record names it."""


@dataclass(frozen=True, slots=True)
class Left:
    """How a worker that was told to leave ended."""

    at: float
    unsettled: tuple[str, ...]


@dataclass(slots=True)
class Written:
    """The journal, read."""

    executions: dict[str, list[Execution]] = field(default_factory=lambda: defaultdict(list))
    """By the id of the task, in the order of their beginning."""
    left: dict[int, Left] = field(default_factory=dict[int, Left])
    """By process."""
    opened: set[int] = field(default_factory=set[int])
    """The processes that have opened their store."""
    deaths: dict[int, str] = field(default_factory=dict[int, str])
    """The step at which a process killed itself."""


def read(path: Path) -> Written:
    """Everything that was written so far."""
    written = Written()
    open_: dict[tuple[str, int, int], Execution] = {}
    if not path.exists():
        return written
    for line in path.read_text(encoding="utf-8").splitlines():
        said: dict[str, Any] = json.loads(line)
        if said["what"] == "left":
            written.left[said["pid"]] = Left(said["at"], tuple(said["unsettled"]))
            continue
        if said["what"] == "opened":
            written.opened.add(said["pid"])
            continue
        if said["what"] == "dies":
            written.deaths[said["pid"]] = said["step"]
            continue
        if said["what"] != "begins" and said["what"] not in _ended:
            continue  # of another drill, which reads it itself
        key = (said["id"], said["fence"], said["pid"])
        if said["what"] == "begins":
            open_[key] = Execution(*key, said["kind"], said["at"], attempt=said.get("attempt", 0), ref=said.get("ref"))
            written.executions[said["id"]].append(open_[key])
        else:
            open_[key].ended, open_[key].how = said["at"], said["what"]
    return written
