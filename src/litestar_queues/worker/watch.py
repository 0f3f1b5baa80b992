"""An event loop that stands still, seen from another thread."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import sysconfig
import threading
import time
import traceback
from collections.abc import Callable, Iterable

from litestar_queues.execution.exits import starter_of
from litestar_queues.worker.holding import Holding, Phase

__all__ = ("LoopWatch",)

_log = logging.getLogger("litestar_queues.worker")
_LINES = 12
"""The most frames of a stack in the log: the innermost ones."""
_INSTALLED = (
    *{sysconfig.get_path(name) + os.sep for name in ("stdlib", "platstdlib", "purelib", "platlib")},
    "<frozen ",
)
"""Where Python's and other libraries are: the innermost frame outside is the one to change."""


class LoopWatch:
    """Watches the event loop in which it is made.

    Args:
        held: Everything the worker holds at the moment of the call.
        on_blocked: Called in the loop, once it moves again, with the task that kept it, if it was one.
        blocked_after: Seconds after which a loop that does not move is reported.
        stale_after: Seconds for which an owner may be silent.
    """

    def __init__(
        self,
        held: Callable[[], Iterable[Holding]],
        on_blocked: Callable[[Holding | None], None],
        *,
        blocked_after: float,
        stale_after: float,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._held = held
        self._on_blocked = on_blocked
        self._blocked_after = blocked_after
        self._stale_after = stale_after
        self._step = min(0.5, blocked_after / 4)
        self._moved_at = time.monotonic()
        self._reported: tuple[float, Holding | None] | None = None

    async def move(self) -> None:
        """Show that the loop moves, until cancelled. Runs in the loop that is watched."""
        while True:
            self._moved_at = time.monotonic()
            if self._reported is not None:
                since, holding = self._reported
                self._reported = None
                _log.warning("the event loop moves again, after %.1f s", self._moved_at - since)
                self._on_blocked(holding)
            await asyncio.sleep(self._step)

    async def run(self) -> None:
        """Look until cancelled. Runs in the loop of another thread."""
        while True:
            asked = time.monotonic()
            await asyncio.sleep(self._step)
            late = time.monotonic() - asked - self._step
            if late > self._blocked_after:
                self._report_silence(late)
            # The loop is not to blame for the time in which this thread did not run either.
            if self._reported is None and self.blocked_for - max(0.0, late) > self._blocked_after:
                self._report()

    @property
    def blocked_for(self) -> float:
        """For how many seconds the loop has stood still; none while it moves."""
        return max(0.0, time.monotonic() - self._moved_at - self._step)

    def keeps(self, holding: Holding) -> bool:
        """Whether a task is to be kept alive.

        One whose attempt is beyond its own timeout by a whole window, in a loop that stands still, is not: nothing else
        would ever end it.
        """
        timeout = holding.record.timeout
        if timeout is None or holding.phase is not Phase.RUNNING or self.blocked_for <= self._blocked_after:
            return True
        return time.monotonic() - holding.held_since < timeout + self._stale_after

    def _report(self) -> None:
        """Name the code that keeps the loop."""
        since = self._moved_at
        task = asyncio.current_task(self._loop)
        starter = None if task is None else starter_of(task)
        holding = next(
            (one for one in self._held() if task is not None and (one.execution is task or one.context is starter)),
            None,
        )
        # The documented way to another thread's stack.
        frame = sys._current_frames().get(self._thread)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
        stack = traceback.extract_stack(frame)
        at = next(
            (one for one in reversed(stack) if not one.filename.startswith(_INSTALLED)), stack[-1] if stack else None
        )
        where = "an unknown place" if at is None else f"{at.filename}:{at.lineno}"
        whose = "the application" if holding is None else f"task {holding.record.id} ({holding.record.name})"
        self._reported = since, holding
        _log.warning(
            "%s has kept the event loop for %.1f s, at %s: nothing else of this process runs meanwhile. Await something, "
            "make the function sync, which runs it in a thread, or give it a process of its own\n%s",
            whose,
            self.blocked_for,
            where,
            "".join(traceback.format_list(stack[-_LINES:])),
        )

    def _report_silence(self, seconds: float) -> None:
        """This very thread did not run: what keeps it cannot be seen, only what ran meanwhile."""
        running = [f"{one.record.id} ({one.record.name})" for one in self._held() if one.phase is Phase.RUNNING]
        _log.warning(
            "no thread of this process ran for %.1f s, so that no heartbeat was sent%s. Native code held Python's lock, or "
            "the process was stopped. Run such a task in a process of its own. Running meanwhile: %s",
            seconds,
            ": others may have taken its tasks over" if seconds > self._stale_after else "",
            ", ".join(running[:10]) or "nothing",
        )
