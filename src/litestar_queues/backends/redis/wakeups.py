"""Hints between processes, by pub/sub: of new tasks to workers, and of the ends of tasks to those who wait for them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any

import msgspec

from litestar_queues.backends.cancelling import to_the_end
from litestar_queues.backends.hints import Hints
from litestar_queues.backends.listener import RELEASE_SECONDS, Listener
from litestar_queues.backends.redis.clients import Subscribe
from litestar_queues.backends.redis.failures import RedisFailures
from litestar_queues.backends.redis.keys import Namespace

__all__ = ("RedisWakeups",)

_LOOK = 1.0
"""Seconds for which a subscription waits in one call."""


class RedisWakeups(Hints):
    """Hints over two channels of a server.

    Args:
        client: The backend's own.
        subscribe: Makes a subscription, and what ends it.
        namespace: Names the channels.
        failures: Names the server.
        silence: Seconds without a sound after which a listener asks itself whether it still hears.
        patience: Seconds for which it waits for the answer.
    """

    def __init__(
        self,
        client: Any,
        subscribe: Subscribe,
        namespace: Namespace,
        failures: RedisFailures,
        *,
        silence: float = 5.0,
        patience: float = 3.0,
    ) -> None:
        super().__init__(failures.database, silence=silence, patience=patience)
        self._client = client
        self._subscribe = subscribe
        self._namespace = namespace
        self._failures = failures
        self._awaited: dict[str, set[Callable[[], None]]] = {}
        self._ends = Listener(
            self._hear_ends,
            self._echo_end,
            renewed=self._all_may_have_ended,
            complain=self._deaf,
            silence=silence,
            patience=patience,
        )

    @property
    def hears_ends(self) -> bool:
        return self._ends.proven

    @contextmanager
    def listening_for_end(self, task_id: str, hear: Callable[[], None]) -> Generator[None]:
        waiting = self._awaited.setdefault(task_id, set())
        waiting.add(hear)
        try:
            with self._ends.wanted():
                yield
        finally:
            waiting.discard(hear)
            if not waiting:
                self._awaited.pop(task_id, None)

    async def close(self) -> None:
        await super().close()
        await self._ends.close()

    def _scrub(self, text: str) -> str:
        return self._failures.scrub(text)

    async def _publish(self, hint: dict[str, Any]) -> None:
        await self._say(self._namespace.hints, msgspec.json.encode(hint))

    async def _ear(self) -> None:
        await self._hear(self._namespace.hints, lambda said: self._take(msgspec.json.decode(said)))

    async def _echo_end(self) -> None:
        await self._say(self._namespace.ends, b"")

    async def _hear_ends(self) -> None:
        await self._hear(self._namespace.ends, self._take_ends)

    def _take_ends(self, said: bytes | str) -> None:
        self._ends.heard()
        # A client of the application's may decode what it reads.
        text = said if isinstance(said, str) else said.decode()
        for id_ in text.split("\0"):
            for hear in self._awaited.get(id_, ()):
                hear()

    def _all_may_have_ended(self) -> None:
        for waiting in self._awaited.values():
            for hear in waiting:
                hear()

    async def _say(self, channel: str, what: bytes) -> None:
        await self._client.execute_command("PUBLISH", channel, what)

    async def _hear(self, channel: str, take: Callable[[Any], None]) -> None:
        """Take what is said on a channel, until this is cancelled or something fails."""
        async with self._subscription() as subscription:
            await subscription.subscribe(channel)
            while True:
                # Without an end to each call, the `socket_timeout` of a client of the application's would end it.
                message = await subscription.get_message(ignore_subscribe_messages=True, timeout=_LOOK)
                if message is not None and message["type"] == "message":
                    take(message["data"])

    @asynccontextmanager
    async def _subscription(self) -> AsyncGenerator[Any]:
        subscription, release = await self._subscribe()
        try:
            yield subscription
        finally:
            await to_the_end(_released(subscription.aclose, release))


async def _released(*steps: Callable[[], Awaitable[object]]) -> None:
    for step in steps:
        with suppress(Exception):
            async with asyncio.timeout(RELEASE_SECONDS):
                await step()
