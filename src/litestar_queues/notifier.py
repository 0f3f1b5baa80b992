"""Hints between an enqueue and a worker in the same process."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

__all__ = ("LocalNotifier",)


class LocalNotifier:
    """Wakes the subscribers of this event loop. Costs nothing without one."""

    def __init__(self) -> None:
        self._listeners: set[LocalListener] = set()

    def notify(self, queues: Collection[str]) -> None:
        """Wake the listeners of these queues."""
        for listener in self._listeners:
            if listener.queues is None or not listener.queues.isdisjoint(queues):
                listener.event.set()

    def listen(self, queues: Collection[str] | None) -> LocalListener:
        """Subscribe to hints for these queues (None: any), until `close`."""
        listener = LocalListener(self, None if queues is None else frozenset(queues))
        self._listeners.add(listener)
        return listener

    def forget(self, listener: LocalListener) -> None:
        """No longer wake it."""
        self._listeners.discard(listener)


class LocalListener:
    """A subscriber."""

    def __init__(self, notifier: LocalNotifier, queues: frozenset[str] | None) -> None:
        self._notifier = notifier
        self.queues = queues
        self.event = asyncio.Event()

    def close(self) -> None:
        """End the subscription."""
        self._notifier.forget(self)
