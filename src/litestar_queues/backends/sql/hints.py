"""Hints between processes: when they are sent, who waits for them, and a listener that is known to hear.

Sending costs an enqueue nothing: hints are collected, and go out a moment after the tasks can be seen, as transactions
of their own. `NOTIFY` inside the transaction of the enqueue would save that statement, but PostgreSQL holds one lock for
the whole server from such a commit's beginning until its log is on the disk: with 16 clients that enqueue, 1,400 tasks a
second against 6,400 without.

Listening is proven, not assumed: after a silence a listener sends itself an echo, and where that does not come back, or
anything is raised, it is taken down and built anew. (A driver can lose its connection without a word.)
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import Any
from uuid import uuid4
from weakref import WeakKeyDictionary

from litestar_queues.backends.sql.cancelling import ended, to_the_end
from litestar_queues.errors import BackendUnavailableError

__all__ = ("LONGEST_RELEASE", "Hints")

_log = logging.getLogger("litestar_queues")

_TOGETHER = 0.01
"""Seconds for which hints are collected after one was sent. The first one never waits."""
_LINGER = 5.0
"""Seconds for which a listener outlives the last one who waited."""
_LONGEST_SEND = 5.0
LONGEST_RELEASE = 5.0
"""Seconds that a connection of a listener's gets to end properly."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 10.0
"""Seconds before a listener that failed is built anew: doubling from the first to the second."""
_MOST_QUEUES = 100
"""More queues than this are not named in a hint, which then is for all."""


class _Deaf(Exception):
    """A listener does not hear what it says itself."""


class Hints:
    """The port of wakeups, over a channel that inherits from it: `say`, `hear` and `release`.

    Args:
        database: What to call the database in messages.
        scrub: Keeps passwords out of what is logged.
        broadcasts: Whether every listener hears everything, and nothing is kept for later; else one of them takes each.
        silence: Seconds without a sound after which a listener asks itself whether it still hears.
        patience: Seconds for which it waits for the answer.
    """

    def __init__(
        self,
        database: str,
        scrub: Callable[[str], str],
        *,
        broadcasts: bool,
        silence: float = 5.0,
        patience: float = 3.0,
    ) -> None:
        self._database = database
        self._scrub = scrub
        self._broadcasts = broadcasts
        self._silence = silence
        self._patience = patience
        self._me = uuid4().hex
        self._closed = asyncio.Event()
        # Of each task that waits, what it waits for; an event is set from a hint until the next wait.
        self._marks: WeakKeyDictionary[asyncio.Task[Any], dict[tuple[str, ...] | None, asyncio.Event]] = (
            WeakKeyDictionary()
        )
        self._waiting = 0
        self._waited_at = 0.0
        self._resting: asyncio.TimerHandle | None = None
        self._listening: asyncio.Task[None] | None = None
        self._heard = asyncio.Event()
        self._pending: set[str] = set()
        self._sending: asyncio.Task[None] | None = None
        self._complained = False

    # The channel

    async def say(self, hint: dict[str, Any]) -> None:
        """Send a hint, whatever is raised."""
        raise NotImplementedError

    async def hear(self) -> None:
        """Give every hint that arrives to `take`, until this is cancelled or something fails."""
        raise NotImplementedError

    async def release(self) -> None:
        """Give up what `say` made."""

    # The port

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
            raise BackendUnavailableError(f"{self._database}: the backend is not open: call open() first")
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  # whoever awaits is one
        mark = self._marks.setdefault(task, {}).setdefault(queues, asyncio.Event())
        if self._listening is None:
            self._listening = asyncio.create_task(self._listen())
        self._waiting += 1
        try:
            if not mark.is_set():
                with suppress(TimeoutError):
                    async with asyncio.timeout(seconds):
                        await mark.wait()
        finally:
            self._waiting -= 1
            self._waited_at = time.monotonic()
            if self._resting is None and not self._closed.is_set():
                self._resting = asyncio.get_running_loop().call_later(_LINGER, self._rest)
        woken = mark.is_set() and not self._closed.is_set()
        mark.clear()
        return woken

    async def close(self) -> None:
        """Send what is still to be sent, let go of those who wait, and release every connection."""
        if self._closed.is_set():
            return
        self._closed.set()
        self._wake(None)
        if self._resting is not None:
            self._resting.cancel()
        if self._sending is not None:
            await asyncio.wait({self._sending}, timeout=_LONGEST_SEND)
        for task in (self._sending, self._listening):
            if task is not None:
                task.cancel()
                await asyncio.wait({task}, timeout=2 * LONGEST_RELEASE)
        await self.release()

    # Sending

    async def _send_pending(self) -> None:
        try:
            while self._pending:
                queues, self._pending = sorted(self._pending), set[str]()
                hint = {"queues": queues if len(queues) <= _MOST_QUEUES else None, "from": self._me}
                try:
                    await self._send(hint)
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
            await self.say(hint)

    # Listening

    def _rest(self) -> None:
        """Listen no longer, where nobody waits, or has waited for a while."""
        self._resting = None
        if self._closed.is_set() or self._listening is None:
            return
        left = _LINGER - (time.monotonic() - self._waited_at)
        if self._waiting or left > 0:
            self._resting = asyncio.get_running_loop().call_later(max(left, _LINGER / 5), self._rest)
            return
        self._listening.cancel()
        self._listening = None

    async def _listen(self) -> None:
        """Keep an ear open, whatever happens to the connection."""
        pause = _FIRST_PAUSE
        while True:
            opened = time.monotonic()
            ear = asyncio.create_task(self.hear())
            try:
                await self._attend(ear)
            except Exception as error:  # noqa: BLE001  # all that can be done is to build it anew
                self._complain("the listener for hints is lost, and built anew", error)
            finally:
                ear.cancel()
                await to_the_end(ended(ear))
            if time.monotonic() - opened > self._silence:
                pause = _FIRST_PAUSE
            await asyncio.sleep(random.uniform(pause / 2, pause))  # noqa: S311  # no secret
            pause = min(pause * 2, _LONGEST_PAUSE)

    async def _attend(self, ear: asyncio.Task[None]) -> None:
        """Return never, and raise where the ear fails, or hears nothing."""
        if not self._broadcasts:  # it asks the database again and again, which fails or answers
            await ear
            return
        proven = False
        while True:
            self._heard.clear()
            if not await self._hears(ear):
                raise _Deaf(f"nothing was heard for {self._patience:g} s, not even its own echo")
            if not proven:
                proven, self._complained = True, False
                self._wake(None)  # for what was said before it listened
            while await self._sounds(ear, self._silence):
                self._heard.clear()

    async def _hears(self, ear: asyncio.Task[None]) -> bool:
        """Whether the ear hears anything, its own echo at least. The first echoes may come before it listens at all."""
        until = time.monotonic() + self._patience
        pause = 0.05
        while (left := until - time.monotonic()) > 0:
            await self._send({"queues": [], "from": self._me})
            if await self._sounds(ear, min(pause, left)):
                return True
            pause *= 2
        return False

    async def _sounds(self, ear: asyncio.Task[None], seconds: float) -> bool:
        """Whether anything is heard in this time; raises what ended the ear."""
        heard = asyncio.create_task(self._heard.wait())
        try:
            await asyncio.wait({heard, ear}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            heard.cancel()
        if ear.done():
            ear.result()
            raise _Deaf("it ended")
        return self._heard.is_set()

    def take(self, hint: dict[str, Any]) -> None:
        self._heard.set()
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

    def _complain(self, what: str, error: Exception) -> None:
        """Warn once, until all is well again."""
        text = self._scrub(f"{type(error).__name__}: {error}")
        level = logging.DEBUG if self._complained else logging.WARNING
        self._complained = True
        _log.log(level, "%s: %s; workers poll meanwhile: %s", self._database, what, text)
