"""Hints between processes, by SQLSpec's events.

`NOTIFY` inside the transaction of the enqueue would save the statement that a hint is, but PostgreSQL holds one lock for the
whole server from such a commit's beginning until its log is on the disk: with 16 clients that enqueue, 1,400 tasks a second
against 6,400 without.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from functools import partial
from typing import Any
from uuid import uuid4

from sqlspec.exceptions import EventChannelError
from sqlspec.extensions.events import encode_notify_payload

from litestar_queues.backends.cancelling import cancellations, heed_cancellation, to_the_end, whole
from litestar_queues.backends.hints import Hints
from litestar_queues.backends.listener import RELEASE_SECONDS
from litestar_queues.backends.sqlspec.channel import Channel
from litestar_queues.backends.sqlspec.failures import SQLSpecFailures

__all__ = ("SQLSpecWakeups", "encode_hint")


def encode_hint(hint: dict[str, Any]) -> str:
    """The payload of a `NOTIFY`, as SQLSpec's listeners read it; too large a hint is for all queues."""
    try:
        return encode_notify_payload(uuid4().hex, hint, None)
    except EventChannelError:
        return encode_notify_payload(uuid4().hex, {**hint, "queues": None}, None)


class SQLSpecWakeups(Hints):
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
        failures: SQLSpecFailures,
        execute: Callable[[str, str], Awaitable[None]],
        *,
        silence: float = 5.0,
        patience: float = 3.0,
    ) -> None:
        super().__init__(failures.database, broadcasts=channel.broadcasts, silence=silence, patience=patience)
        self._channel = channel
        self._config = config
        self._failures = failures
        self._execute = execute
        self._outlet: tuple[Any, Any] | None = None

    async def close(self) -> None:
        """Send what is still to be sent, let go of those who wait, and release every connection."""
        await super().close()
        if self._outlet is not None:
            outlet, self._outlet = self._outlet, None
            await _release(*outlet)

    def _scrub(self, text: str) -> str:
        return self._failures.scrub(text)

    async def _publish(self, hint: dict[str, Any]) -> None:
        if self._channel.broadcasts:
            await self._execute(self._channel.name, encode_hint(hint))
            return
        if self._outlet is None:
            config = self._channel.derive(self._config)
            self._outlet = (self._channel.open(config), config)
        outlet, config = self._outlet
        if config.is_async:
            await whole(outlet.publish(self._channel.name, hint))
        else:
            await asyncio.to_thread(outlet.publish, self._channel.name, hint)

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
            # Where a coroutine of SQLSpec's compiled 0.69 is cancelled inside a statement, the process can crash later.
            # A queue of the database's own waits by itself, but where it fails, SQLSpec says at once that nothing came.
            if not await whole(take()) and (left := began + interval - clock()) > 0:
                await asyncio.sleep(left)

    async def _hear_in_thread(self, events: Any, interval: float) -> None:
        loop = asyncio.get_running_loop()

        def take(event: Any) -> None:
            loop.call_soon_threadsafe(self._take, event.payload)

        await asyncio.to_thread(events.listen, self._channel.name, take, event_poll_interval=interval)
        await asyncio.Event().wait()


async def _release(channel: Any, config: Any) -> None:
    """Give up a channel, and the pool of its own configuration; a server that is gone does not keep us."""
    steps: tuple[Callable[[], Coroutine[Any, Any, Any]], ...]
    if config.is_async:
        steps = (channel.shutdown, config.close_pool)
    else:
        steps = (partial(asyncio.to_thread, channel.shutdown), partial(asyncio.to_thread, config.close_pool))
    for step in steps:
        with suppress(Exception):
            async with asyncio.timeout(RELEASE_SECONDS):
                await step()
