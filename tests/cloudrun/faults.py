"""What goes wrong with a call of RunJob, and with the execution that it starts."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ("NONE", "Fault", "Plan")


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One call's fate.

    Attributes:
        refuse: The name of a status, such as "RESOURCE_EXHAUSTED": nothing is started, and the reply is this.
        reply: "sent"; or, with the execution started: "held" (until `CloudRun.replies` is set), "lost" (none comes),
            "unavailable" (a 503 comes), "nameless" (the operation does not name the execution).
        start: "now"; "never"; "held" (when the test says `release(name, "start")`).
        delay: Seconds before the container starts.
        kill_at: The point at which the container is killed without warning, of those that it reports by `cloudrun_hooks.reach`.
        hold_at: The point at which the container waits for `release(name, point)`.
        says: What the API says of the execution, whatever is true: "succeeded", "failed", "cancelled", "missing".
    """

    refuse: str | None = None
    reply: str = "sent"
    start: str = "now"
    delay: float = 0.0
    kill_at: str | None = None
    hold_at: str | None = None
    says: str | None = None


NONE = Fault()


class Plan:
    """Faults of the next calls, in order; after them, of all others."""

    def __init__(self) -> None:
        self._next: deque[Fault] = deque()
        self.rest = NONE

    def then(self, *faults: Fault, times: int = 1) -> None:
        """Plan the fate of the next calls that have none yet."""
        self._next.extend(fault for fault in faults for _ in range(times))

    def take(self) -> Fault:
        """The fate of this call."""
        return self._next.popleft() if self._next else self.rest

    def clear(self) -> None:
        """Let everything go well from now on."""
        self._next.clear()
        self.rest = NONE

    @property
    def left(self) -> Iterable[Fault]:
        """What is planned and has not happened yet."""
        return tuple(self._next)
