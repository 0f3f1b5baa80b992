"""Hints between processes: who waits for them, and when they are sent; how they travel is up to a subclass.

Sending costs an enqueue nothing: hints are collected, and go out a moment after the tasks can be seen, as calls of their own.
"""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Collection
from contextlib import suppress
from typing import Any
from uuid import uuid4
from weakref import WeakKeyDictionary

from litestar_queues.backends.listener import RELEASE_SECONDS, Listener
from litestar_queues.errors import BackendUnavailableError

__all__ = ("Hints",)

_log = logging.getLogger("litestar_queues")

_TOGETHER = 0.01
"""Seconds for which hints are collected after one was sent. The first one never waits."""
_LONGEST_SEND = 5.0
_MOST_QUEUES = 100
"""More queues than this are not named in a hint, which then is for all."""


class Hints(ABC):
    """Wakeups over a channel on which clients hear each other.

    Args:
        place: What to call the store in messages.
        broadcasts: Whether every listener hears everything, its own echo included; else one of them takes each hint.
        silence: Seconds without a sound after which a listener asks itself whether it still hears.
        patience: Seconds for which it waits for the answer.
    """

    def __init__(self, place: str, *, broadcasts: bool = True, silence: float = 5.0, patience: float = 3.0) -> None:
        self._place = place
        self._broadcasts = broadcasts
        self._me = uuid4().hex
        self._closed = asyncio.Event()
        # Of each task that waits, what it waits for; an event is set from a hint until the next wait.
        self._marks: WeakKeyDictionary[asyncio.Task[Any], dict[tuple[str, ...] | None, asyncio.Event]] = (
            WeakKeyDictionary()
        )
        self._listener = Listener(
            self._ear,
            self._echo if broadcasts else None,
            renewed=self._renewed,
            complain=self._deaf,
            silence=silence,
            patience=patience,
        )
        self._pending: set[str] = set()
        self._sending: asyncio.Task[None] | None = None
        self._complained = False

    @abstractmethod
    async def _publish(self, hint: dict[str, Any]) -> None:
        """Send a hint to every listener."""

    @abstractmethod
    async def _ear(self) -> None:
        """Hand every hint to `_take`, until this is cancelled or something fails."""

    def _scrub(self, text: str) -> str:
        """The text without credentials."""
        return text

    async def notify(self, queues: Collection[str]) -> None:
        """Hint to other clients; those who wait through this one are woken by whoever stored the tasks."""
        if self._closed.is_set() or not queues:
            return
        self._pending.update(queues)
        if self._sending is None:
            self._sending = asyncio.create_task(self._send_pending())

    async def wait(self, queues: tuple[str, ...] | None, seconds: float) -> bool:
        """Wait for a hint from another client.

        Raises:
            BackendUnavailableError: The backend was closed before.
        """
        if self._closed.is_set():
            raise BackendUnavailableError(f"{self._place}: the backend is not open: call open() first")
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  # whoever awaits is one
        mark = self._marks.setdefault(task, {}).setdefault(queues, asyncio.Event())
        with self._listener.wanted():
            if not mark.is_set():
                with suppress(TimeoutError):
                    async with asyncio.timeout(seconds):
                        await mark.wait()
        woken = mark.is_set() and not self._closed.is_set()
        mark.clear()
        return woken

    async def close(self) -> None:
        """Send what is still to be sent, let go of those who wait, and listen no more."""
        if self._closed.is_set():
            return
        self._closed.set()
        self._wake(None)
        if self._sending is not None:
            await asyncio.wait({self._sending}, timeout=_LONGEST_SEND)
        if self._sending is not None:
            self._sending.cancel()
            await asyncio.wait({self._sending}, timeout=2 * RELEASE_SECONDS)
        await self._listener.close()

    async def _send_pending(self) -> None:
        try:
            while self._pending:
                queues, self._pending = sorted(self._pending), set[str]()
                try:
                    await self._send({"queues": queues if len(queues) <= _MOST_QUEUES else None, "from": self._me})
                    self._complained = False
                except Exception as error:  # noqa: BLE001  # whatever it is: the task is stored, and polling finds it
                    self._complain("a hint is lost", error)
                with suppress(TimeoutError):
                    async with asyncio.timeout(_TOGETHER):
                        await self._closed.wait()
        finally:
            self._sending = None

    async def _send(self, hint: dict[str, Any]) -> None:
        async with asyncio.timeout(_LONGEST_SEND):
            await self._publish(hint)

    async def _echo(self) -> None:
        await self._send({"queues": [], "from": self._me})

    def _renewed(self) -> None:
        self._complained = False
        self._wake(None)  # for what was said before it listened

    def _take(self, hint: dict[str, Any]) -> None:
        """A hint was heard."""
        self._listener.heard()
        # What one client alone hears is for all in its process, whoever said it.
        if self._broadcasts and hint.get("from") == self._me:
            return
        queues = hint.get("queues")
        self._wake(queues if isinstance(queues, list) else None)  # pyright: ignore[reportUnknownArgumentType]  # JSON

    def _wake(self, queues: Collection[str] | None) -> None:
        """Wake those who wait for one of the queues; None wakes all."""
        for marks in self._marks.values():
            for wanted, mark in marks.items():
                if queues is None or (bool(queues) if wanted is None else not set(wanted).isdisjoint(queues)):
                    mark.set()

    def _deaf(self, error: Exception) -> None:
        self._complain("the listener for hints is lost, and built anew", error)

    def _complain(self, what: str, error: Exception) -> None:
        """Warn once, until all is well again."""
        text = self._scrub(f"{type(error).__name__}: {error}")
        level = logging.DEBUG if self._complained else logging.WARNING
        self._complained = True
        _log.log(level, "%s: %s; workers poll meanwhile: %s", self._place, what, text)
