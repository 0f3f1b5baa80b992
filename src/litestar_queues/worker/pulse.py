"""Heartbeats of a process that runs one task: a heart, a watch over the event loop, and no maintenance."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from functools import partial
from typing import Any

from litestar_queues.apart import Aside, open_apart
from litestar_queues.events.base import TaskEventKind
from litestar_queues.records import seconds
from litestar_queues.service import QueueService
from litestar_queues.worker.heart import Heart, Touch
from litestar_queues.worker.holding import Holding
from litestar_queues.worker.watch import LoopWatch

__all__ = ("Pulse",)


class Pulse:
    """Keeps what a process holds alive: in a thread of its own where the backend has a second client, else in the event loop.

    The thread opens its client half an interval after the start, so that a short task costs one connection.

    Args:
        service: Open.
        held: Everything the process holds at the moment of the call. Called from the thread.
        lose: Called in the event loop of the service with what the store no longer confirms.
        kept: Called after a heartbeat that the store took, perhaps in the thread.
    """

    def __init__(
        self,
        service: QueueService,
        held: Callable[[], Iterable[Holding]],
        lose: Callable[[list[Holding]], None],
        kept: Callable[[], None],
    ) -> None:
        self._operations = service.operations
        config = service.config
        self._interval = seconds(config.worker_heartbeat_interval).total_seconds()
        self._stale_after = seconds(config.worker_stale_after).total_seconds()
        self._blocked_after = seconds(config.worker_blocked_after).total_seconds()
        self._threaded = config.worker_heartbeat_thread
        self._held, self._lose, self._kept = held, lose, kept
        self._aside: Aside | None = None

    def start(self) -> list[Coroutine[Any, Any, None]]:
        """Start the thread, if there is to be one; returns what is to run in the event loop of the service."""
        client = open_apart(self._operations.backend) if self._threaded else None
        if client is None:
            return [self._heart(self._operations.touch_heartbeats, self._lose).run()]
        aside = self._aside = Aside(self._operations, client)
        watch = LoopWatch(self._held, self._blocked, blocked_after=self._blocked_after, stale_after=self._stale_after)

        def lose(lost: list[Holding]) -> None:
            aside.call_at_home(partial(self._lose, lost))

        async def open_later() -> None:
            await asyncio.sleep(self._interval / 2)
            await aside.open()

        aside.start(open_later, self._heart(aside.touch, lose, watch.keeps).run, watch.run)
        return [watch.move()]

    async def stop(self, longest: float) -> None:
        """End the thread, and wait for that for so many seconds at most."""
        if self._aside is not None:
            await self._aside.stop(longest)

    def _heart(
        self,
        touch: Touch,
        lose: Callable[[list[Holding]], None],
        keeps: Callable[[Holding], bool] = lambda _: True,
    ) -> Heart:
        return Heart(
            touch,
            self._held,
            lose,
            interval=self._interval,
            stale_after=self._stale_after,
            on_kept=self._kept,
            beats_for=keeps,
        )

    def _blocked(self, holding: Holding | None) -> None:
        """The event loop stood still, because of this task if it was one."""
        if holding is None:
            self._operations.counters[TaskEventKind.LOOP_BLOCKED.value] += 1
        else:
            self._operations.tell(TaskEventKind.LOOP_BLOCKED, [(holding.record, None)])
