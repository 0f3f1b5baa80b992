"""Listening for what other clients say: kept up while somebody wants to hear, and proven, not assumed.

After a silence a listener sends itself an echo, and where that does not come back, or anything is raised, it is taken down
and built anew. (A driver can lose its connection without a word.)
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextlib import contextmanager
from typing import Any

from litestar_queues.backends.cancelling import ended, to_the_end
from litestar_queues.pauses import Backoffs

__all__ = ("RELEASE_SECONDS", "Listener")

RELEASE_SECONDS = 5.0
"""How long giving up a listener's connection may take."""
_LINGER = 5.0
"""Seconds for which a listener outlives the last one who waited."""
_BACKOFFS = Backoffs(0.1, 10.0)
"""Seconds before a listener that failed is built anew: doubling from the first to the second."""


class _Deaf(Exception):
    """A listener does not hear what it says itself."""


class Listener:
    """One ear, for all who wait in this client.

    Args:
        hear: Takes everything that is said, reports each sound by `heard`, and goes on until it is cancelled, or fails.
        echo: Says something that is to be heard; None for a `hear` that asks the store again and again, and fails where it
            is not answered.
        renewed: Called whenever it is proven that it hears from now on: something may have been said before.
        complain: Called with the error whenever it has to be built anew.
        silence: Seconds without a sound after which it asks itself whether it still hears.
        patience: Seconds for which it waits for the answer.
    """

    def __init__(
        self,
        hear: Callable[[], Coroutine[Any, Any, None]],
        echo: Callable[[], Awaitable[None]] | None,
        *,
        renewed: Callable[[], None],
        complain: Callable[[Exception], None],
        silence: float = 5.0,
        patience: float = 3.0,
    ) -> None:
        self._hear = hear
        self._echo = echo
        self._renewed = renewed
        self._complain = complain
        self._silence = silence
        self._patience = patience
        self._closed = False
        self._waiting = 0
        self._waited_at = 0.0
        self._resting: asyncio.TimerHandle | None = None
        self._listening: asyncio.Task[None] | None = None
        self._sound = asyncio.Event()
        self.proven = False
        """Whether it hears, as far as is known."""

    def heard(self) -> None:
        """A sound."""
        self._sound.set()

    @contextmanager
    def wanted(self) -> Generator[None]:
        """Listen, at least for as long as the block lasts."""
        if self._listening is None:
            self._listening = asyncio.create_task(self._listen())
        self._waiting += 1
        try:
            yield
        finally:
            self._waiting -= 1
            self._waited_at = time.monotonic()
            if self._resting is None and not self._closed:
                self._resting = asyncio.get_running_loop().call_later(_LINGER, self._rest)

    async def close(self) -> None:
        """Listen no more."""
        self._closed = True
        if self._resting is not None:
            self._resting.cancel()
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.wait({self._listening}, timeout=2 * RELEASE_SECONDS)

    def _rest(self) -> None:
        """Listen no longer, where nobody waits, or has waited for a while."""
        self._resting = None
        if self._closed or self._listening is None:
            return
        left = _LINGER - (time.monotonic() - self._waited_at)
        if self._waiting or left > 0:
            self._resting = asyncio.get_running_loop().call_later(max(left, _LINGER / 5), self._rest)
            return
        self._listening.cancel()
        self._listening = None

    async def _listen(self) -> None:
        """Keep an ear open, whatever happens to the connection."""
        pauses = iter(_BACKOFFS)
        while True:
            opened = time.monotonic()
            ear = asyncio.create_task(self._hear())
            try:
                await self._attend(ear)
            except Exception as error:  # noqa: BLE001  # all that can be done is to build it anew
                self._complain(error)
            finally:
                self.proven = False
                ear.cancel()
                await to_the_end(ended(ear))
            if time.monotonic() - opened > self._silence:
                pauses = iter(_BACKOFFS)
            await next(pauses).wait()

    async def _attend(self, ear: asyncio.Task[None]) -> None:
        """Return never, and raise where the ear fails, or hears nothing."""
        if self._echo is None:
            await ear
            return
        while True:
            self._sound.clear()
            if not await self._hears(ear, self._echo):
                raise _Deaf(f"nothing was heard for {self._patience:g} s, not even its own echo")
            if not self.proven:
                self.proven = True
                self._renewed()
            while await self._sounds(ear, self._silence):
                self._sound.clear()

    async def _hears(self, ear: asyncio.Task[None], echo: Callable[[], Awaitable[None]]) -> bool:
        """Whether the ear hears anything, its own echo at least. The first echoes may come before it listens at all."""
        until = time.monotonic() + self._patience
        pause = 0.05
        while (left := until - time.monotonic()) > 0:
            await echo()
            if await self._sounds(ear, min(pause, left)):
                return True
            pause *= 2
        return False

    async def _sounds(self, ear: asyncio.Task[None], seconds: float) -> bool:
        """Whether anything is heard in this time; raises what ended the ear."""
        sound = asyncio.create_task(self._sound.wait())
        try:
            await asyncio.wait({sound, ear}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            sound.cancel()
        if ear.done():
            ear.result()
            raise _Deaf("it ended")
        return self._sound.is_set()
