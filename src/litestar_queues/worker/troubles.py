"""What is wrong with workers, noted in the store, so that a status command in another process can show it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import msgspec

from litestar_queues.backends.base import QueueBackend
from litestar_queues.clock import Clock
from litestar_queues.records import NamedRecord

__all__ = ("Trouble", "TroubleNotes", "read_troubles")

_NAME = "troubles"
_MOST = 200
"""The most workers in the note: the latest ones."""


class Trouble(msgspec.Struct, frozen=True):
    """What is wrong with one worker.

    Attributes:
        outcomes_waiting: How many outcomes the store has not taken yet.
        waiting_since: When the first of these tasks ended.
        abandoned: How many threads are held by calls that do not end.
        until: When the note runs out, unless the worker repeats it.
    """

    outcomes_waiting: int = 0
    waiting_since: datetime | None = None
    abandoned: int = 0
    until: datetime | None = None

    @property
    def is_any(self) -> bool:
        """Whether anything is wrong."""
        return self.outcomes_waiting > 0 or self.abandoned > 0


class TroubleNotes:
    """Writes what is wrong with one worker, and takes it back. A worker with which all is well writes nothing.

    Args:
        backend: The store.
        clock: The store's time.
        worker: The worker's name.
        look: What is wrong now.
        lasts: How long a note counts.
    """

    def __init__(
        self, backend: QueueBackend, clock: Clock, *, worker: str, look: Callable[[], Trouble], lasts: timedelta
    ) -> None:
        self._backend = backend
        self._clock = clock
        self._worker = worker
        self._look = look
        self._lasts = lasts
        self._noted = False

    async def note(self) -> None:
        """Write what is wrong now, if anything is or was. Where another worker is faster, the next call does it."""
        trouble = self._look()
        if not trouble.is_any and not self._noted:
            return
        now = self._clock.now()
        found = (await self._backend.read_records(_NAME)).get(_NAME)
        others = {name: one for name, one in _current(found, now).items() if name != self._worker}
        own = {self._worker: msgspec.structs.replace(trouble, until=now + self._lasts)} if trouble.is_any else {}
        value = msgspec.json.encode(dict([*others.items(), *own.items()][-_MOST:])).decode()
        written = NamedRecord(_NAME, 1 if found is None else found.version + 1, value)
        if await self._backend.write_records([written]):
            self._noted = trouble.is_any


async def read_troubles(backend: QueueBackend, now: datetime) -> dict[str, Trouble]:
    """What is wrong with workers, by their names."""
    return _current((await backend.read_records(_NAME)).get(_NAME), now)


def _current(found: NamedRecord | None, now: datetime) -> dict[str, Trouble]:
    try:
        noted = {} if found is None else msgspec.json.decode(found.value, type=dict[str, Trouble])
    except msgspec.MsgspecError:  # somebody edited it
        return {}
    return {name: one for name, one in noted.items() if one.until is not None and one.until > now}
