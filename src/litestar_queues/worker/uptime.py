"""Since when the store has been in service, and whether it is still the same one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar
from uuid import uuid4

import msgspec

from litestar_queues.backends.base import QueueBackend
from litestar_queues.clock import Clock
from litestar_queues.errors import StoreReplacedError
from litestar_queues.records import NamedRecord

__all__ = ("KnownStore", "Uptime")

T = TypeVar("T", bound=msgspec.Struct)

_NAME = "maintenance"
_MARK = "maintenance.store"
"""Names the store a second time: whoever deletes or edits one of the two records has not replaced the store."""


class _Mark(msgspec.Struct, frozen=True):
    """The value of the second record."""

    store: str


class _Looks(msgspec.Struct, frozen=True):
    """What the reapers of all workers have recorded."""

    store: str
    """Names this store: another one, or one that was emptied, has another name or none."""
    since: datetime
    """When the last outage was over."""
    next_by: dict[str, datetime] = {}
    """When the next look is due at the latest, by the reapers' pace in seconds."""


@dataclass(slots=True)
class KnownStore:
    """Which store a worker works with.

    Attributes:
        name: The name that the records of the store carry; None before the first look.
    """

    name: str | None = None


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
        known: Which store it is, where several look through different clients.
    """

    def __init__(
        self,
        backend: QueueBackend,
        clock: Clock,
        *,
        window: timedelta,
        interval: timedelta,
        known: KnownStore | None = None,
    ) -> None:
        self._backend = backend
        self._clock = clock
        self._pace = max(2 * interval, window / 2)
        self._known = known or KnownStore()

    async def note(self) -> datetime:
        """Note a look.

        Returns:
            The time since which the store has been in service.

        Raises:
            StoreReplacedError: The store is not the one of the first look, or was emptied since. Nothing was written.
        """
        now = self._clock.now()
        found = await self._backend.read_records(_NAME)
        before, mark = _read(found, _NAME, _Looks), _read(found, _MARK, _Mark)
        names = {one.store for one in (before, mark) if one is not None}
        known = self._known.name
        if known is not None and known not in names and (names or not found.keys() & {_NAME, _MARK}):
            raise StoreReplacedError(
                f"{self._backend.name}: the store was emptied, or another one is in its place, and nothing is written: what "
                "this worker holds is not stored there. Start the process again to work with the store as it is now, or "
                "bring the old one back before that"
            )
        kept = {} if before is None else {pace: by for pace, by in before.next_by.items() if by >= now}
        in_service = before is not None and len(kept) == len(before.next_by) and before.since <= now
        since = before.since if before is not None and in_service else now
        store = known or (mark or before or _Mark(uuid4().hex)).store
        looks = _Looks(store, since, {**kept, f"{self._pace.total_seconds():g}": now + self._pace})
        records = [_next(found, _NAME, looks)]
        if mark is None or mark.store != store:
            records.append(_next(found, _MARK, _Mark(store)))
        # If another reaper was faster, it has noted a look of this moment, and all that was to be noted.
        if _NAME in await self._backend.write_records(records):
            self._known.name = store
        return since


def _read(found: Mapping[str, NamedRecord], name: str, kind: type[T]) -> T | None:
    """A value that somebody edited counts as none."""
    try:
        return msgspec.json.decode(found[name].value, type=kind) if name in found else None
    except msgspec.MsgspecError:
        return None


def _next(found: Mapping[str, NamedRecord], name: str, value: msgspec.Struct) -> NamedRecord:
    version = found[name].version + 1 if name in found else 1
    return NamedRecord(name, version, msgspec.json.encode(value).decode())
