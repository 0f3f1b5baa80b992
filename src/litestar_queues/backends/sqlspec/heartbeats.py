"""A second pool, for heartbeats alone: they stay on time while every connection of the first is busy."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from sqlspec import SQLSpec

from litestar_queues.backends.sqlspec.failures import SQLSpecFailures
from litestar_queues.backends.sqlspec.pools import Pool, register
from litestar_queues.backends.sqlspec.store import QueueStore, Transport
from litestar_queues.errors import QueueConfigurationError, QueueError

__all__ = ("HeartbeatPool",)

_log = logging.getLogger("litestar_queues")


class HeartbeatPool:
    """The pool of `SQLSpecBackendConfig.heartbeat_pool_config`.

    Args:
        store: The main configuration's.
        config: The second configuration.
        main: The main configuration.

    Raises:
        QueueConfigurationError: Both are the same, or the database cannot hold a queue.
    """

    def __init__(self, store: QueueStore, config: Any, main: Any) -> None:
        if config is main:
            raise QueueConfigurationError(
                "heartbeat_pool_config is the same object as config, and would be the same pool: make a second "
                "configuration for the same database"
            )
        self.transport: Transport | None = None
        self._store = store
        self.config = config
        self._main = main
        self._pool = Pool(config)
        self._failures = SQLSpecFailures(store.family, store.locate(config).database, config.connection_config)

    async def open(
        self,
        spec: SQLSpec,
        *,
        shared: bool,
        check: Callable[[Transport, SQLSpecFailures], Awaitable[object]],
        limit: float | None = None,
    ) -> None:
        """Open the pool and make sure that the table can be seen through it; else warn, and leave `transport` None."""
        try:
            self._name_it_apart()
            self._pool.take()
            register(spec, self.config, shared=shared)
            if self._store.probe is not None:
                await asyncio.to_thread(self._store.probe, self.config)
            self.transport = self._store.transport(spec, self.config, self._store, self._failures, limit=limit)
            await check(self.transport, self._failures)
        except Exception as error:  # noqa: BLE001  # whatever it was, the main pool works
            reason = str(error) if isinstance(error, QueueError) else f"{type(error).__name__}: {error}"
            await self.close()
            _log.warning(
                "%s: the heartbeat pool cannot be used, so that heartbeats share the main pool: %s",
                self._failures.database,
                self._failures.scrub(reason),
            )
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        transport, self.transport = self.transport, None
        try:
            if transport is not None:
                await transport.close()
        finally:
            await self._pool.leave()

    def _name_it_apart(self) -> None:
        """Keep the counters of the two pools from being reported under one name."""
        if self.config.bind_key == self._main.bind_key:
            self.config.bind_key = f"{self._main.bind_key or 'queue'}_heartbeat"
            self.config.get_observability_runtime().bind_key = self.config.bind_key
