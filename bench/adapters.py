"""Services on a server, by the name of SQLSpec's adapter, or of the client."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any
from urllib.parse import urlsplit

from litestar_queues import QueueConfig, QueueService
from litestar_queues.backends.redis import RedisBackendConfig
from litestar_queues.backends.sqlspec import SQLSpecBackendConfig
from litestar_queues.backends.valkey import ValkeyBackendConfig

__all__ = ("adapters_of", "service_on")


def _configuration(module: str, name: str, settings: Mapping[str, Any]) -> Any:
    return getattr(import_module(f"sqlspec.adapters.{module}"), name)(connection_config=dict(settings))


_POSTGRESQL: dict[str, Callable[[str], Any]] = {
    "asyncpg": lambda url: _configuration("asyncpg", "AsyncpgConfig", {"dsn": url, "min_size": 1, "max_size": 10}),
    "psycopg": lambda url: _configuration(
        "psycopg", "PsycopgAsyncConfig", {"conninfo": url, "min_size": 1, "max_size": 10}
    ),
    "psycopg_sync": lambda url: _configuration(
        "psycopg", "PsycopgSyncConfig", {"conninfo": url, "min_size": 1, "max_size": 10}
    ),
    "psqlpy": lambda url: _configuration("psqlpy", "PsqlpyConfig", {"dsn": url, "max_db_pool_size": 10}),
}
_ADAPTERS: Mapping[str, Mapping[str, Callable[[str], Any]]] = {"postgresql": _POSTGRESQL}
"""By the scheme of the server's URL; the first of each is what is measured unless others are named."""
_CLIENTS = {"redis": RedisBackendConfig, "valkey": ValkeyBackendConfig}


def adapters_of(url: str) -> list[str]:
    """The adapters that reach a server."""
    scheme = urlsplit(url).scheme
    if scheme in _CLIENTS:
        return sorted(_CLIENTS, key=lambda client: client != scheme)
    return list(_ADAPTERS.get(scheme, {}))


def service_on(url: str, adapter: str, table: str) -> QueueService:
    """A service on a table of a server, not open yet."""
    scheme = urlsplit(url).scheme
    if scheme in _CLIENTS:
        return QueueService(QueueConfig(queue_backend=_CLIENTS[adapter](url=url, key_prefix=table)))
    config = _ADAPTERS[scheme][adapter](url)
    return QueueService(QueueConfig(queue_backend=SQLSpecBackendConfig(config=config, table_name=table)))
