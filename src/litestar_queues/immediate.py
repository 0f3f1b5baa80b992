"""Heartbeats of the tasks that run inside an enqueue."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import contextmanager

from litestar_queues.apart import Aside, open_apart
from litestar_queues.config import QueueConfig
from litestar_queues.context import TaskContext
from litestar_queues.operations import QueueOperations
from litestar_queues.records import Held, seconds

__all__ = ("ImmediateHeart",)

_log = logging.getLogger("litestar_queues")

Touch = Callable[[Sequence[Held]], Awaitable[set[str]]]


class ImmediateHeart:
    """Beats for the tasks that run inside calls of one service, so that no worker takes them for stale.

    A thread does it where the backend has a second client. It opens that for the first task that has run for a whole
    interval, so that short tasks cost no connection.

    Args:
        operations: Those of the service, whose event loop runs.
        config: The service's.
    """

    def __init__(self, operations: QueueOperations, config: QueueConfig) -> None:
        self._operations = operations
        self._interval = seconds(config.worker_heartbeat_interval).total_seconds()
        self._stale_after = seconds(config.worker_stale_after).total_seconds()
        self._held: dict[int, tuple[TaskContext, float]] = {}
        self._beating: asyncio.Task[None] | None = None
        client = open_apart(operations.backend, quiet=True) if config.worker_heartbeat_thread else None
        self._aside = None if client is None else Aside(operations, client)
        if self._aside is not None:
            self._aside.start(self._run_aside)

    @contextmanager
    def keeping(self, context: TaskContext) -> Generator[None, None, None]:
        """Beat for this task, for as long as the block lasts."""
        self._held[id(context)] = context, time.monotonic()
        if self._aside is None and self._beating is None:
            self._beating = asyncio.get_running_loop().create_task(self._run(self._operations.touch_heartbeats))
        try:
            yield
        finally:
            del self._held[id(context)]
            if not self._held and self._beating is not None:
                self._beating.cancel()
                self._beating = None

    def leave(self) -> None:
        """End the thread, soon."""
        if self._aside is not None:
            self._aside.leave()

    async def stop(self) -> None:
        """End the thread, and close what it opened, for a bounded time."""
        if self._aside is not None:
            await self._aside.stop()

    async def _run_aside(self) -> None:
        assert self._aside is not None  # noqa: S101  # it calls this
        while not self._due():  # noqa: ASYNC110  # the tasks come and go in another thread
            await asyncio.sleep(self._interval)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._aside.open())
            group.create_task(self._run(self._aside.touch))

    async def _run(self, touch: Touch) -> None:
        while True:
            if due := self._due():
                beats = [Held(one.id, one.record.fence, one.latest_progress, self._stale_after) for one in due]
                try:
                    async with asyncio.timeout(self._stale_after / 3):
                        await touch(beats)
                except Exception as error:  # noqa: BLE001  # the next beat is soon
                    _log.warning("a heartbeat for %d immediate tasks was not stored: %s", len(beats), error)
            await asyncio.sleep(self._interval)

    def _due(self) -> list[TaskContext]:
        """The tasks that have run for an interval, but those beyond their own timeout by a whole window: they are lost."""
        now = time.monotonic()
        return [
            context
            for context, since in list(self._held.values())
            if now - since >= self._interval
            and (context.record.timeout is None or now - since < context.record.timeout + self._stale_after)
        ]
