"""Hints between processes, by SQLSpec's events.

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
from collections.abc import Awaitable, Callable, Collection, Coroutine
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar
from uuid import uuid4
from weakref import WeakKeyDictionary

from sqlspec.exceptions import EventChannelError
from sqlspec.extensions.events import encode_notify_payload

from litestar_queues.backends.sqlspec.channel import Channel
from litestar_queues.backends.sqlspec.failures import Failures
from litestar_queues.backends.sqlspec.transports import cancellations, heed_cancellation, to_the_end
from litestar_queues.errors import BackendUnavailableError

__all__ = ("SQLSpecWakeups", "encode_hint")

T = TypeVar("T")

_log = logging.getLogger("litestar_queues")

_TOGETHER = 0.01
"""Seconds for which hints are collected after one was sent. The first one never waits."""
_LINGER = 5.0
"""Seconds for which a listener outlives the last one who waited."""
_LONGEST_SEND = 5.0
_LONGEST_RELEASE = 5.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 10.0
"""Seconds before a listener that failed is built anew: doubling from the first to the second."""
_MOST_QUEUES = 100
"""More queues than this are not named in a hint, which then is for all."""


def encode_hint(hint: dict[str, Any]) -> str:
    """The payload of a `NOTIFY`, as SQLSpec's listeners read it; too large a hint is for all queues."""
    try:
        return encode_notify_payload(uuid4().hex, hint, None)
    except EventChannelError:
        return encode_notify_payload(uuid4().hex, {**hint, "queues": None}, None)


class _Deaf(Exception):
    """A listener does not hear what it says itself."""


class SQLSpecWakeups:
    """Hints over a channel of SQLSpec's events.

    Args:
        channel: How they travel.
        config: The user's configuration, of which only copies are used.
        failures: Keeps passwords out of what is logged.
        execute: Sends a payload to the listeners of a channel, on the backend's own pool; for a channel that broadcasts.
        silence: Seconds without a sound after which a listener asks itself whether it still hears.
        patience: Seconds for which it waits for the answer.
    """

    def __init__(
        self,
        channel: Channel,
        config: Any,
        failures: Failures,
        execute: Callable[[str, str], Awaitable[None]],
        *,
        silence: float = 5.0,
        patience: float = 3.0,
    ) -> None:
        self._channel = channel
        self._config = config
        self._failures = failures
        self._execute = execute
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
        self._outlet: tuple[Any, Any] | None = None
        self._complained = False

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
            raise BackendUnavailableError(f"{self._failures.database}: the backend is not open: call open() first")
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
                await asyncio.wait({task}, timeout=2 * _LONGEST_RELEASE)
        if self._outlet is not None:
            outlet, self._outlet = self._outlet, None
            await _release(*outlet)

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
            if self._channel.broadcasts:
                await self._execute(self._channel.name, encode_hint(hint))
                return
            if self._outlet is None:
                config = self._channel.derive(self._config)
                self._outlet = (self._channel.open(config), config)
            outlet, config = self._outlet
            if config.is_async:
                await _whole(outlet.publish(self._channel.name, hint))
            else:
                await asyncio.to_thread(outlet.publish, self._channel.name, hint)

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
            ear = asyncio.create_task(self._ear())
            try:
                await self._attend(ear)
            except Exception as error:  # noqa: BLE001  # all that can be done is to build it anew
                self._complain("the listener for hints is lost, and built anew", error)
            finally:
                ear.cancel()
                await to_the_end(_ended(ear))
            if time.monotonic() - opened > self._silence:
                pause = _FIRST_PAUSE
            await asyncio.sleep(random.uniform(pause / 2, pause))  # noqa: S311  # no secret
            pause = min(pause * 2, _LONGEST_PAUSE)

    async def _attend(self, ear: asyncio.Task[None]) -> None:
        """Return never, and raise where the ear fails, or hears nothing."""
        if not self._channel.broadcasts:  # it asks the database again and again, which fails or answers
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

    async def _ear(self) -> None:
        """Take every event of the channel, until this is cancelled or something fails."""
        config = self._channel.derive(self._config)
        events = self._channel.open(config)
        try:
            await (self._hear if config.is_async else self._hear_in_thread)(events, self._channel.interval(config))
        finally:
            await to_the_end(_release(events, config))

    async def _hear(self, events: Any, interval: float) -> None:
        if self._channel.broadcasts:  # waits on a queue of asyncio's, where it may be cancelled
            while True:
                try:
                    told = cancellations()
                    event = await events.dequeue(self._channel.name, interval)
                    heed_cancellation(told)
                except ValueError:  # no event of SQLSpec's: psqlpy's listeners tell themselves that they are ready
                    continue
                if event is not None:
                    self._take(event.payload)
        looks = self._channel.transport == "poll_queue"

        async def take() -> bool:
            event = await events.dequeue(self._channel.name, 0 if looks else interval)
            if event is not None:
                await events.ack(event.event_id)
                self._take(event.payload)
            return event is not None

        clock = asyncio.get_running_loop().time
        while True:
            began = clock()
            # A queue of Oracle's waits by itself, but where it fails, SQLSpec says at once that there was nothing.
            if not await _whole(take()) and (left := began + interval - clock()) > 0:
                await asyncio.sleep(left)

    async def _hear_in_thread(self, events: Any, interval: float) -> None:
        loop = asyncio.get_running_loop()

        def take(event: Any) -> None:
            loop.call_soon_threadsafe(self._take, event.payload)

        await asyncio.to_thread(events.listen, self._channel.name, take, event_poll_interval=interval)
        await asyncio.Event().wait()

    def _take(self, hint: dict[str, Any]) -> None:
        self._heard.set()
        # What one client alone hears is for all in its process, whoever said it.
        if self._channel.broadcasts and hint.get("from") == self._me:
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
        text = self._failures.scrub(f"{type(error).__name__}: {error}")
        level = logging.DEBUG if self._complained else logging.WARNING
        self._complained = True
        _log.log(level, "%s: %s; workers poll meanwhile: %s", self._failures.database, what, text)


async def _whole(work: Coroutine[Any, Any, T]) -> T:
    """Await what must not be cancelled in the middle: whoever is cancelled leaves when it has ended.

    Where a coroutine of SQLSpec's compiled 0.69 is cancelled inside a statement, the process can crash later.
    """
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await to_the_end(_ended(task))
        raise


async def _ended(task: asyncio.Task[Any]) -> None:
    await asyncio.wait({task})
    if not task.cancelled():
        task.exception()  # was raised before, or comes from a release


async def _release(channel: Any, config: Any) -> None:
    """Give up a channel, and the pool of its own configuration; a server that is gone does not keep us."""
    steps: tuple[Callable[[], Coroutine[Any, Any, Any]], ...]
    if config.is_async:
        steps = (channel.shutdown, config.close_pool)
    else:
        steps = (partial(asyncio.to_thread, channel.shutdown), partial(asyncio.to_thread, config.close_pool))
    for step in steps:
        with suppress(Exception):
            async with asyncio.timeout(_LONGEST_RELEASE):
                await step()
