"""Fires schedules. One worker at a time leads; whoever else does it at the same moment does the same, and nothing twice."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import datetime, timedelta

import msgspec

from litestar_queues.backends.base import QueueBackend
from litestar_queues.clock import Clock, since_boot
from litestar_queues.errors import BackendUnavailableError, QueueError
from litestar_queues.operations import QueueOperations
from litestar_queues.pauses import Backoffs
from litestar_queues.records import NamedRecord
from litestar_queues.schedules.firing import fire_due
from litestar_queues.schedules.leader import LEADER, Leader
from litestar_queues.schedules.model import PREFIX, Schedule, read_schedule
from litestar_queues.worker.hold import Hold

__all__ = ("Scheduler",)

_log = logging.getLogger("litestar_queues.worker")
_LOCK = "schedules"
_AGAIN = 60.0
"""Seconds after which the schedules of the code are brought a second time: an older version may have done so just then."""
_NOTED = 10.0
"""Seconds between two notes of who leads."""
_SHORTEST, _OVERLAPS = 0.001, 0.5
"""Seconds to the next look: at least; and while a fire waits for the end of an occurrence."""
_BACKOFFS = Backoffs(first=0.2, longest=5.0)


class Scheduler:
    """Looks for fires that are due, while this worker leads.

    Leading only saves work. A fire has the same id for everybody and is stored once, and how far a schedule has come is
    written only over what was read.

    Args:
        clock: The store's time.
        owner: The worker's name.
        interval: How often it looks whether schedules were made or changed elsewhere, and whether it can lead.
        hold: While it is held, nothing is fired.
        sync: Brings the schedules of the code into the store; called before the first look, and a minute later.
        is_over: Whether nothing may be written to the store any more.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        owner: str,
        interval: timedelta,
        hold: Hold | None = None,
        sync: Callable[[], Awaitable[object]] | None = None,
        is_over: Callable[[], bool] = lambda: False,
    ) -> None:
        self._clock = clock
        self._owner = owner
        self._interval = interval.total_seconds()
        self._lease = 3 * interval
        self._hold = hold or Hold()
        self._sync = sync
        self._is_over = is_over
        self._synced = 0.0
        self._since: datetime | None = None
        self._noted = 0.0
        self._unreadable: dict[str, int] = {}
        self._next: dict[str, tuple[int, datetime | None]] = {}
        """The next fires by the names of the schedules, each with the version that was read."""

    async def run(self, look: Callable[[], Awaitable[float]], unlock: Callable[[], Awaitable[object]]) -> None:
        """Look whenever a fire comes due, until cancelled; a store that is away is looked at again later.

        Args:
            look: Calls `look` with the operations to use.
            unlock: Calls `leave` with them.
        """
        backoffs = iter(_BACKOFFS)
        try:
            while not self._is_over():
                try:
                    pause = self._interval if self._hold() else await look()
                    backoffs = iter(_BACKOFFS)
                except QueueError as error:
                    self._since = None
                    pause = next(backoffs).seconds
                    _log.warning("schedules could not be looked at, the next try is in %.1f s: %s", pause, error)
                except Exception:  # noqa: BLE001  # whatever a stored schedule leads to, the worker's tasks go on
                    self._since = None
                    pause = next(backoffs).seconds
                    _log.exception("schedules could not be looked at, the next try is in %.1f s", pause)
                await asyncio.sleep(pause)
        finally:
            if self._since is not None and not self._is_over():
                await unlock()

    async def look(self, operations: QueueOperations) -> float:
        """Fire what is due, if no other worker leads.

        Returns:
            Seconds until the next look.
        """
        if self._sync is not None and (not self._synced or since_boot() - self._synced > _AGAIN):
            await self._bring(self._sync)
            self._sync = None if self._synced else self._sync
            self._synced = since_boot()
        backend = operations.backend
        if not await backend.lock(_LOCK, self._owner, self._lease):
            if self._since is not None:
                _log.info("worker %s does not fire schedules any more: another one does", self._owner)
            self._since = None
            return self._interval
        if self._since is None:
            self._since, self._noted = self._clock.now(), 0.0
            _log.info("worker %s fires schedules", self._owner)
        schedules, now = await self._fire(operations)
        await self._note(backend, now)
        return self._pause(schedules)

    @staticmethod
    async def _bring(sync: Callable[[], Awaitable[object]]) -> None:
        """Bring the schedules of the code into the store. What is wrong with them keeps no other one from firing."""
        try:
            await sync()
        except BackendUnavailableError:
            raise
        except QueueError as error:
            _log.error("the schedules of the code are not brought into the store, which keeps those it has: %s", error)

    async def _fire(self, operations: QueueOperations) -> tuple[list[Schedule], datetime]:
        # Everything is judged by the time before the read: what somebody changed since then is seen by the next look.
        read_at, now = since_boot(), self._clock.now()
        schedules = self._readable(await operations.backend.read_records(PREFIX))
        ready = [one for one in schedules if one.waiting or ((at := self._next_of(one)) is not None and at <= now)]
        # Where there is not time for all of them, each has its turn.
        ready.sort(key=lambda one: self._next_of(one) or now)
        changed = await fire_due(operations, ready, now, lambda: since_boot() - read_at < self._lease.total_seconds())
        later = {one.name: one for one in changed}
        return [later.get(one.name, one) for one in schedules], now

    def _next_of(self, schedule: Schedule) -> datetime | None:
        version, at = self._next.get(schedule.name, (0, None))
        if version != schedule.version:
            fire = schedule.next_fire
            at = None if fire is None else fire.at
            self._next[schedule.name] = schedule.version, at
        return at

    def _readable(self, records: dict[str, NamedRecord]) -> list[Schedule]:
        found: list[Schedule] = []
        for record in records.values():
            schedule = read_schedule(record)
            if schedule is not None:
                found.append(schedule)
            elif self._unreadable.get(record.name) != record.version:
                self._unreadable[record.name] = record.version
                _log.error(
                    "the record %r cannot be read, and this schedule does not fire: somebody edited it, or a later version of "
                    "litestar-queues wrote it",
                    record.name,
                )
        return found

    def _pause(self, schedules: list[Schedule]) -> float:
        pause, now = self._interval, self._clock.now()
        for one in schedules:
            if one.waiting:
                pause = min(pause, _OVERLAPS)
            if (at := self._next_of(one)) is not None:
                pause = min(pause, (at - now).total_seconds())
        return max(pause, _SHORTEST)

    async def _note(self, backend: QueueBackend, now: datetime) -> None:
        if self._since is None or (self._noted and since_boot() - self._noted < _NOTED):
            return
        record = (await backend.read_records(LEADER)).get(LEADER)
        value = msgspec.json.encode(Leader(self._owner, self._since, now)).decode()
        await backend.write_records([NamedRecord(LEADER, 1 if record is None else record.version + 1, value)])
        self._noted = since_boot()

    async def leave(self, backend: QueueBackend) -> None:
        """Let another worker lead at once."""
        with suppress(QueueError, TimeoutError):
            async with asyncio.timeout(1):
                await backend.unlock(_LOCK, self._owner)
