"""How a backend on Redis is configured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from litestar_queues.backends.base import QueueBackend
from litestar_queues.backends.redis.backend import RedisBackend
from litestar_queues.backends.redis.clients import REDIS, ClientLibrary, check_client
from litestar_queues.backends.redis.keys import Namespace
from litestar_queues.backends.retry import PATIENCE
from litestar_queues.errors import QueueConfigurationError

__all__ = ("RedisBackendConfig",)


@dataclass(frozen=True, kw_only=True)
class RedisBackendConfig:
    """`QueueConfig(queue_backend=RedisBackendConfig(url="redis://localhost:6379/0"))`.

    What survives a loss of the server is up to the server: with `appendonly yes` and `appendfsync always`, everything that was
    acknowledged does; with `everysec` the last second may be gone; with snapshots alone, the last minutes; without either,
    everything. `litestar queues status` says which it is.

    Attributes:
        url: The server: `redis://`, `rediss://`, `valkey://`, `valkeys://` or `unix://`, with user, password and number of the
            database.
        key_prefix: What all keys begin with, in braces, which keep them together in one slot of a cluster. Queues under two
            prefixes do not see each other.
        notifications: Whether workers in other processes are told of new tasks, and those who wait for a task of its end,
            instead of polling alone.
        client: An asyncio client of the application's, instead of `url`: of one server, of sentinels or of a cluster. The
            application closes it.
        cluster: Whether `url` names one of the servers of a cluster.
        max_connections: The most connections to a server. Who finds them all taken waits.
        retry_timeout: Seconds for which a call is made again while the server starts, is busy, or moves slots, before it counts
            as unavailable.
        answer_timeout: Seconds for which the server may be silent before the connection is given up and the call raises
            `BackendUnavailableError`. None bounds nothing.
    """

    url: str = "redis://localhost:6379/0"
    key_prefix: str = "litestar_queues"
    notifications: bool = True
    client: Any = None
    cluster: bool = False
    max_connections: int = 20
    retry_timeout: float = PATIENCE
    answer_timeout: float | None = 60.0

    library: ClassVar[ClientLibrary] = REDIS

    def create_backend(self) -> QueueBackend:
        """A backend that is not open yet.

        Raises:
            QueueConfigurationError: The URL, the prefix, the client or a number cannot work.
            MissingDependencyError: The library is not installed; names the extra.
        """
        namespace = Namespace(self.key_prefix)
        if self.client is None:
            self.library.check_url(self.url)
        else:
            check_client(self.client)
        if not isinstance(self.max_connections, int) or self.max_connections < 2:  # pyright: ignore[reportUnnecessaryIsInstance]  # callers without a type checker
            raise QueueConfigurationError(f"max_connections must be 2 or more, not {self.max_connections!r}")
        for name, value in (("retry_timeout", self.retry_timeout), ("answer_timeout", self.answer_timeout)):
            if value is not None and value <= 0:
                raise QueueConfigurationError(f"{name} must be a positive number of seconds, not {value!r}")
        if self.client is None:
            self.library.load()
        return RedisBackend(
            self.library,
            namespace,
            url=self.url,
            client=self.client,
            cluster=self.cluster,
            connections=self.max_connections,
            patience=self.retry_timeout,
            limit=self.answer_timeout,
            notifications=self.notifications,
        )
