"""Clients: the two libraries that speak to these servers, which differ in their names alone."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from litestar_queues.errors import MissingDependencyError, QueueConfigurationError

__all__ = ("REDIS", "VALKEY", "ClientLibrary", "Subscribe", "check_client", "place_of")

Subscribe = Callable[[], Awaitable[tuple[Any, Callable[[], Awaitable[object]]]]]
"""Makes a subscription on a connection that nothing else uses, and what releases that."""

_CONNECT_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class ClientLibrary:
    """A library with an asyncio client.

    Attributes:
        name: What the package, the extra and the backend are called, and the scheme of its URLs.
        client: Its class of clients.
        cluster: Its class of clients of a cluster.
    """

    name: str
    client: str
    cluster: str

    @property
    def _schemes(self) -> dict[str, str]:
        """Every scheme, and what this library calls it."""
        plain, secure = self.name, f"{self.name}s" if self.name == "valkey" else "rediss"
        return {"redis": plain, "valkey": plain, "rediss": secure, "valkeys": secure, "unix": "unix"}

    def check_url(self, url: str) -> str:
        """The URL as this library has it; whichever of both the scheme names.

        Raises:
            QueueConfigurationError: It is none of these.
        """
        unreadable = "the url cannot be read: write redis://user:password@host:6379/0"
        if not isinstance(url, str):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers without a type checker
            raise QueueConfigurationError(unreadable)
        try:
            parts = urlsplit(url)
            _ = parts.port
        except ValueError:
            raise QueueConfigurationError(unreadable) from None
        if parts.scheme not in self._schemes:
            raise QueueConfigurationError(
                f"the url begins with {parts.scheme + '://' if parts.scheme else 'no scheme'!r}, and has to with one of "
                f"{', '.join(f'{scheme}://' for scheme in self._schemes)}"
            )
        if parts.scheme != "unix":
            if not parts.netloc:
                raise QueueConfigurationError(unreadable)
            if not (parts.path.strip("/") or "0").isdecimal():
                raise QueueConfigurationError(
                    f"the url names the database {parts.path.strip('/')!r}: they have numbers"
                )
        return urlunsplit(parts._replace(scheme=self._schemes[parts.scheme]))

    def load(self) -> Any:
        """The library's asyncio module.

        Raises:
            MissingDependencyError: It is not installed.
        """
        try:
            return import_module(f"{self.name}.asyncio")
        except ImportError as error:
            raise MissingDependencyError(self.name, self.name) from error

    def open(self, url: str, *, connections: int, cluster: bool) -> Any:
        """A new client. It repeats nothing by itself: what may be repeated is known here, and not there.

        Raises:
            QueueConfigurationError: The library refuses the URL.
        """
        library = self.load()
        never = import_module(f"{self.name}.asyncio.retry").Retry(import_module(f"{self.name}.backoff").NoBackoff(), 0)
        options = {"socket_connect_timeout": _CONNECT_SECONDS, "socket_timeout": None, "max_connections": connections}
        try:
            if cluster:
                return getattr(import_module(f"{self.name}.asyncio.cluster"), self.cluster).from_url(
                    self.check_url(url), retry=never, **options
                )
            pool = library.BlockingConnectionPool.from_url(self.check_url(url), retry=never, **options)
        except (ValueError, TypeError) as error:
            raise QueueConfigurationError(f"{self.name} refuses the url: {error}") from None
        return getattr(library, self.client).from_pool(pool)

    def apart(self, client: Any) -> Any:
        """A client like this one, with connections of its own; None where its settings do not make one: a cluster's."""
        library = self.load()
        pool: Any = getattr(client, "connection_pool", None)
        if type(pool) not in (library.ConnectionPool, library.BlockingConnectionPool):
            return None
        own = library.BlockingConnectionPool(
            connection_class=pool.connection_class, max_connections=2, timeout=None, **pool.connection_kwargs
        )
        return getattr(library, self.client).from_pool(own)

    async def subscribe(self, client: Any) -> tuple[Any, Callable[[], Awaitable[object]]]:
        """A subscription through a client, and what releases it after it was closed."""
        if hasattr(client, "connection_pool"):
            return client.pubsub(), _nothing
        # A client of a cluster: messages of any of its servers reach all of them.
        await client.initialize()
        node = client.get_default_node()
        pool = self.load().ConnectionPool(
            connection_class=node.connection_class, max_connections=1, **node.connection_kwargs
        )
        alone = getattr(self.load(), self.client).from_pool(pool)
        return alone.pubsub(), alone.aclose


async def _nothing() -> None: ...


REDIS = ClientLibrary("redis", "Redis", "RedisCluster")
VALKEY = ClientLibrary("valkey", "Valkey", "ValkeyCluster")


def check_client(client: Any) -> None:
    """Refuse what is no asyncio client.

    Raises:
        QueueConfigurationError: It is none.
    """
    if isinstance(client, type) or not inspect.iscoroutinefunction(getattr(client, "execute_command", None)):
        kind = client.__qualname__ if isinstance(client, type) else type(client).__qualname__
        raise QueueConfigurationError(
            f"client has to be an asyncio client, redis.asyncio.Redis(...) or the like, and is {kind!r}"
        )


def place_of(client: Any, url: str) -> str:
    """Where a client goes, without credentials; the URL tells of a cluster's that was not given."""
    pool = getattr(client, "connection_pool", None)
    settings: dict[str, Any] = getattr(pool, "connection_kwargs", None) or {}
    if path := settings.get("path"):
        return f"unix://{path}"
    if host := settings.get("host"):
        user = f"{settings['username']}@" if settings.get("username") else ""
        return f"{user}{host}:{settings.get('port', 6379)}/{settings.get('db') or 0}"
    if pool is None and url:
        parts = urlsplit(url)
        return f"{parts.hostname or 'localhost'}:{parts.port or 6379} (a cluster)"
    return "a cluster" if pool is None else "a server"
