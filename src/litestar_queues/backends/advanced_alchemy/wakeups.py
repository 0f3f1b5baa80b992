"""Hints between processes, by PostgreSQL's LISTEN and NOTIFY.

What listens has a connection of its own, from a pool of its own that is made like the engine's: the application's pool
keeps all its places.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import msgspec
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.util import greenlet_spawn

from litestar_queues.backends.advanced_alchemy.failures import AlchemyFailures
from litestar_queues.backends.cancelling import cancellations, heed_cancellation, to_the_end
from litestar_queues.backends.hints import Hints
from litestar_queues.backends.listener import RELEASE_SECONDS

__all__ = ("AlchemyWakeups", "hint_text")

_LONGEST = 7999
"""Bytes of a payload."""


def hint_text(hint: dict[str, Any]) -> str:
    """The payload of a `NOTIFY`; too large a hint is for all queues."""
    payload = msgspec.json.encode(hint)
    if len(payload) > _LONGEST:
        payload = msgspec.json.encode({**hint, "queues": None})
    return payload.decode()


class AlchemyWakeups(Hints):
    """Hints over a channel of PostgreSQL's.

    Args:
        engine: The application's.
        channel: The name.
        failures: Keeps passwords out of what is logged.
        execute: Notifies the channel, on the engine's own pool.
    """

    def __init__(
        self, engine: AsyncEngine, channel: str, failures: AlchemyFailures, execute: Callable[[str], Awaitable[None]]
    ) -> None:
        super().__init__(failures.database)
        self._failures = failures
        self._engine = engine
        self._channel = channel
        self._execute = execute

    def _scrub(self, text: str) -> str:
        return self._failures.scrub(text)

    async def _publish(self, hint: dict[str, Any]) -> None:
        await self._execute(hint_text(hint))

    async def _ear(self) -> None:
        pool = self._engine.pool.recreate()
        connected = await greenlet_spawn(pool.connect)
        try:
            driver: Any = connected.driver_connection
            await (self._hear_asyncpg if self._engine.dialect.driver == "asyncpg" else self._hear_psycopg)(driver)
        finally:
            await to_the_end(_release(connected))

    async def _hear_asyncpg(self, driver: Any) -> None:
        gone = asyncio.Event()

        def end(_connection: Any) -> None:
            gone.set()

        def hear(_connection: Any, _pid: int, _channel: str, payload: str) -> None:
            self._read(payload)

        driver.add_termination_listener(end)
        await driver.add_listener(self._channel, hear)
        await gone.wait()

    async def _hear_psycopg(self, driver: Any) -> None:
        await driver.set_autocommit(True)
        await driver.execute(f'LISTEN "{self._channel}"')
        told = cancellations()
        async for notice in driver.notifies():
            self._read(notice.payload)
            heed_cancellation(told)

    def _read(self, payload: str) -> None:
        try:
            hint = msgspec.json.decode(payload, type=dict[str, Any])
        except msgspec.DecodeError:  # of somebody else on the same channel
            hint = {"queues": None}
        self._take(hint)


async def _release(connected: Any) -> None:
    """End the connection; a server that is gone does not keep us."""
    with suppress(Exception):
        async with asyncio.timeout(RELEASE_SECONDS):
            await greenlet_spawn(connected.invalidate)
