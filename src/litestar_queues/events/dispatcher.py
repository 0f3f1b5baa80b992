"""From the one place where events arise to the sinks that users gave."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections import deque
from collections.abc import Iterable, Sequence

from litestar_queues.events.base import EventSink, TaskEvent

__all__ = ("EventDispatcher",)

_log = logging.getLogger("litestar_queues.events")
_WAITING_MAX = 10_000


class EventDispatcher:
    """Hands events to sinks, in order, without holding up what caused them.

    A sink that is slower than the tasks loses the oldest events beyond 10,000 and learns of it by a log line: events are
    news, the store is the truth.
    """

    def __init__(self, sinks: Sequence[EventSink] = ()) -> None:
        self._sinks = tuple(sinks)
        self._waiting: deque[TaskEvent] = deque()
        self._dropped = 0
        self._pump: asyncio.Task[None] | None = None

    @property
    def active(self) -> bool:
        """Whether anybody listens."""
        return bool(self._sinks)

    def emit(self, events: Iterable[TaskEvent]) -> None:
        """Pass events on, soon."""
        if not self._sinks:
            return
        self._waiting.extend(events)
        while len(self._waiting) > _WAITING_MAX:
            self._waiting.popleft()
            self._dropped += 1
        if self._waiting and (self._pump is None or self._pump.done()):
            self._pump = asyncio.get_running_loop().create_task(self._run(), name="litestar-queues-events")

    async def flush(self, longest: float = 5.0) -> None:
        """Wait until every event so far was handed on, for at most so many seconds; what is left then is dropped."""
        end = asyncio.get_running_loop().time() + longest
        while self._pump is not None and not self._pump.done():
            left = end - asyncio.get_running_loop().time()
            if left <= 0:
                _log.warning("%d events were dropped: a sink did not take them in %g s", len(self._waiting), longest)
                self._waiting.clear()
                self._pump.cancel()
                return
            await asyncio.wait({self._pump}, timeout=left)

    async def _run(self) -> None:
        while self._waiting:
            event = self._waiting.popleft()
            for sink in self._sinks:
                try:
                    pending = sink(event)
                    if inspect.isawaitable(pending):
                        await pending
                except Exception:  # noqa: BLE001  # a sink must not stop what it listens to
                    _log.exception("an event sink failed on %s of task %s", event.kind, event.task_id)
            if self._dropped:
                _log.warning("%d events were dropped: a sink is slower than the tasks", self._dropped)
                self._dropped = 0
