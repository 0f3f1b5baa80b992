"""Since when the store has been in service: an outage of the store is not the death of the workers."""

from __future__ import annotations

from datetime import datetime, timedelta
from uuid import uuid4

import msgspec

from litestar_queues.backends.base import QueueBackend
from litestar_queues.clock import Clock
from litestar_queues.errors import StoreReplacedError
from litestar_queues.records import NamedRecord

__all__ = ("Uptime",)

_NAME = "maintenance"


class _Looks(msgspec.Struct, frozen=True):
    """What the reapers of all workers have recorded."""

    store: str
    """Names this store: another one, or one that was emptied, has another name or none."""
    since: datetime
    """When the last outage was over."""
    next_by: dict[str, datetime] = {}
    """When the next look is due at the latest, by the reapers' pace in seconds."""


class Uptime:
    """Notes each look of a reaper in the store, and infers outages from looks that did not happen.

    Every reaper notes its looks, also one that leaves the maintenance to another one. Each promises its next look. A
    promise that was not kept means that the store was away for everybody, or that all reapers of that pace have ended. In
    both cases, the owners of running tasks get the time to send a heartbeat.

    Args:
        backend: The store.
        clock: The store's time.
        window: How long the owner of a task may be silent. An outage that is shorter than half of it takes no task from
            an owner that beats three times in it, and is not noticed.
        interval: The time between two looks.
    """

    def __init__(self, backend: QueueBackend, clock: Clock, *, window: timedelta, interval: timedelta) -> None:
        self._backend = backend
        self._clock = clock
        self._pace = max(2 * interval, window / 2)
        self._store: str | None = None

    async def note(self) -> datetime:
        """Note a look.

        Returns:
            The time since which the store has been in service.

        Raises:
            StoreReplacedError: The store is not the one of the last look, or was emptied since. The next call takes it as
                it is.
        """
        now = self._clock.now()
        found = (await self._backend.read_records(_NAME)).get(_NAME)
        before = None if found is None else _read(found.value)
        known, self._store = self._store, None
        if known is not None and (found is None or (before is not None and before.store != known)):
            raise StoreReplacedError(
                f"{self._backend.name}: the store was emptied, or another one is in its place: the tasks that this worker "
                "holds are not in it, and what is stored there now was not written by the same queue"
            )
        kept = {} if before is None else {pace: by for pace, by in before.next_by.items() if by >= now}
        in_service = before is not None and len(kept) == len(before.next_by) and before.since <= now
        since = before.since if before is not None and in_service else now
        store = known or (uuid4().hex if before is None else before.store)
        looks = _Looks(store, since, {**kept, f"{self._pace.total_seconds():g}": now + self._pace})
        version = 1 if found is None else found.version + 1
        # If another reaper was faster, it has noted a look of this moment, and all that was to be noted.
        if await self._backend.write_records([NamedRecord(_NAME, version, msgspec.json.encode(looks).decode())]):
            self._store = store
        else:
            self._store = known
        return since


def _read(text: str) -> _Looks | None:
    """A value that somebody edited counts as none."""
    try:
        return msgspec.json.decode(text, type=_Looks)
    except msgspec.MsgspecError:
        return None
