"""Maintenance: stale tasks are recovered, overdue ones expire, old ones are deleted. One worker at a time does it."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial

from litestar_queues.backoff import FixedBackoff
from litestar_queues.clock import StoreClock
from litestar_queues.errors import BackendUnavailableError, QueueError, StoreReplacedError
from litestar_queues.operations import QueueOperations
from litestar_queues.records import Held
from litestar_queues.worker.hold import Hold
from litestar_queues.worker.troubles import Trouble, TroubleNotes
from litestar_queues.worker.uptime import KnownStore, Uptime

__all__ = ("Reaper",)

_log = logging.getLogger("litestar_queues.worker")
_LOCK = "maintenance"
_NOBODY = Held("00000000-0000-0000-0000-000000000000", 0)
_GRACE = 1.0
"""Seconds between finding stale tasks and recovering them. The owner of one that was locked tries it more often than that."""
_STEP = 500
"""Tasks per write, so that no statement holds its locks for long."""


class Reaper:
    """Looks after tasks that nobody else looks after.

    The lock only saves work: were two reapers to run, the fence decides, and each task is moved once.

    Args:
        operations: What it works through.
        clock: The store's clock, which it keeps in step.
        owner: The name to hold the lock under.
        interval: How often it looks.
        stale_after: The window of this worker, which also counts for a task whose owner stored none.
        retention: How long terminal tasks are kept; None keeps them.
        hold: While it is held, `run` does nothing.
        is_silent: Whether the worker's own heartbeats are not stored now. It takes nobody's tasks over then, and notes no
            look, so that others have a grace when the store takes heartbeats again.
        trouble: What is wrong with the worker now; each look notes it in the store.
        on_replaced: Called by `run` where the store was emptied, or another one is in its place. `run` then ends, and writes
            nothing more.
        known: Which store it is, where several reapers of one worker take turns.
    """

    def __init__(
        self,
        operations: QueueOperations,
        clock: StoreClock,
        *,
        owner: str,
        interval: timedelta,
        stale_after: timedelta,
        retention: timedelta | None,
        hold: Hold | None = None,
        on_replaced: Callable[[StoreReplacedError], None] = lambda _: None,
        is_silent: Callable[[], bool] = lambda: False,
        trouble: Callable[[], Trouble] = Trouble,
        known: KnownStore | None = None,
    ) -> None:
        self._operations = operations
        self._clock = clock
        self._owner = owner
        self._interval = interval
        self._stale_after = stale_after
        self._retention = retention
        self._grace = min(_GRACE, stale_after.total_seconds() / 3)
        self._hold = hold or Hold()
        self._on_replaced = on_replaced
        self._is_silent = is_silent
        self._troubles = TroubleNotes(
            operations.backend, clock, worker=owner, look=trouble, lasts=3 * min(interval, stale_after / 4)
        )
        # An outage of half a window has to be noticed, however seldom there is maintenance.
        self._step = min(interval, stale_after / 4)
        self._uptime = Uptime(operations.backend, clock, window=stale_after, interval=self._step, known=known)
        self._maintain_at = -math.inf

    async def run(self, look: Callable[[], Awaitable[None]] | None = None) -> None:
        """Look every interval, until cancelled; a store that is away is looked at again later.

        Args:
            look: Called instead of `look`.
        """
        pauses = FixedBackoff(self._step.total_seconds(), jitter=0.2)
        is_replaced = False
        try:
            while True:
                try:
                    if not self._hold():
                        await (look or self.look)()
                except StoreReplacedError as error:
                    is_replaced = True
                    self._on_replaced(error)
                    break
                except QueueError as error:
                    _log.warning("maintenance could not be done: %s", error)
                await asyncio.sleep(pauses.delay(1))
        finally:
            if not is_replaced:
                await self._unlock()

    async def look(self) -> None:
        """Note that the store is there; and do what is to be done, in bounded steps, if no other worker is at it."""
        backend = self._operations.backend
        await self._clock.sync(backend)
        await self._troubles.note()
        if self._is_silent():
            raise BackendUnavailableError(
                "the store does not take the heartbeats of this worker, so that it takes no tasks over"
            )
        # A store that would take no heartbeat is not in service, whatever else it takes.
        await backend.touch_heartbeats([_NOBODY])
        since = await self._uptime.note()
        if self._step < self._interval:
            if time.monotonic() < self._maintain_at:
                return
            self._maintain_at = time.monotonic() + 0.9 * self._interval.total_seconds()
        if not await backend.lock(_LOCK, self._owner, 3 * self._interval):
            return
        recover = partial(self._operations.recover_stale, self._stale_after, grace=self._grace, limit=_STEP)
        while (recovery := await recover(since=since)).ids:
            for record in recovery.requeued:
                _log.warning(
                    "task %s (%s) was stale, and is requeued (recovery %d of %d)",
                    record.id, record.name, record.recoveries, record.max_recoveries,
                )  # fmt: skip
            for record in recovery.failed:
                _log.error(
                    "task %s (%s) was stale, and has failed: its budget of %d recoveries is spent",
                    record.id, record.name, record.max_recoveries,
                )  # fmt: skip
        while expired := await self._operations.expire_overdue(limit=_STEP):
            _log.info("%d tasks expired before they started", len(expired))
        if self._retention is not None:
            while deleted := await self._operations.delete_finished(self._retention, limit=_STEP):
                _log.info("%d old tasks were deleted", len(deleted))

    async def _unlock(self) -> None:
        try:
            async with asyncio.timeout(1):
                await self._operations.backend.unlock(_LOCK, self._owner)
        except (QueueError, TimeoutError):
            _log.debug("the maintenance lock was not given back; it runs out by itself")
