"""Hints between an enqueue and a worker in the same process."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

__all__ = ("LocalWakeups",)


class LocalWakeups:
    """Wakes those who wait in this event loop. Costs nothing where nobody waits."""

    def __init__(self) -> None:
        self._listeners: set[LocalListener] = set()

    def notify(self, queues: Collection[str]) -> None:
        """Wake the listeners of these queues."""
        for listener in self._listeners:
            if listener.queues is None or not listener.queues.isdisjoint(queues):
                listener.event.set()

    def listen(self, queues: Collection[str] | None) -> LocalListener:
        """Hear of hints for these queues (None: any) from now on, until `close`."""
        listener = LocalListener(self, None if queues is None else frozenset(queues))
        self._listeners.add(listener)
        return listener

    def forget(self, listener: LocalListener) -> None:
        """No longer wake it."""
        self._listeners.discard(listener)


class LocalListener:
    """One who waits."""

    def __init__(self, wakeups: LocalWakeups, queues: frozenset[str] | None) -> None:
        self._wakeups = wakeups
        self.queues = queues
        self.event = asyncio.Event()

    def close(self) -> None:
        """Hear no more."""
        self._wakeups.forget(self)
