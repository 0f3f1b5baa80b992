"""Where a queue is, as plain data that processes of both versions read.

The first version's code imports this module, too. It may use only what both versions have: the public configurations.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import unquote, urlsplit

from litestar_queues.backends.base import BackendConfig

__all__ = ("backend_config",)


def backend_config(place: dict[str, Any], **options: Any) -> BackendConfig:
    """The configuration of a backend.

    Args:
        place: `through`, the name of a driver as the matrix has it; `at`, a path or a URL; `prefix`, for Redis and
            Valkey.
        **options: More of the backend's own options.
    """
    return _WAYS[place["through"]](place, options)


def _aiosqlite(place: dict[str, Any], options: dict[str, Any]) -> BackendConfig:
    from sqlspec.adapters.aiosqlite import AiosqliteConfig

    return _sqlspec(AiosqliteConfig(connection_config={"database": place["at"]}), options)


def _duckdb(place: dict[str, Any], options: dict[str, Any]) -> BackendConfig:
    from sqlspec.adapters.duckdb import DuckDBConfig

    return _sqlspec(DuckDBConfig(connection_config={"database": place["at"]}), options)


def _asyncpg(place: dict[str, Any], options: dict[str, Any]) -> BackendConfig:
    from sqlspec.adapters.asyncpg import AsyncpgConfig

    return _sqlspec(AsyncpgConfig(connection_config={"dsn": place["at"], "min_size": 1, "max_size": 4}), options)


def _asyncmy(place: dict[str, Any], options: dict[str, Any]) -> BackendConfig:
    from sqlspec.adapters.asyncmy import AsyncmyConfig

    url = urlsplit(place["at"])
    settings: dict[str, Any] = {
        "host": url.hostname,
        "port": url.port,
        "user": unquote(url.username or ""),
        "password": unquote(url.password or ""),
        "database": url.path.strip("/"),
    }
    return _sqlspec(AsyncmyConfig(connection_config={**settings, "minsize": 1, "maxsize": 4}), options)


def _sqlspec(config: Any, options: dict[str, Any]) -> BackendConfig:
    from litestar_queues.backends.sqlspec import SQLSpecBackendConfig

    return SQLSpecBackendConfig(config=config, **options)


def _redis(place: dict[str, Any], options: dict[str, Any]) -> BackendConfig:
    from litestar_queues.backends.redis import RedisBackendConfig

    return RedisBackendConfig(url=place["at"], key_prefix=place["prefix"], **options)


def _valkey(place: dict[str, Any], options: dict[str, Any]) -> BackendConfig:
    from litestar_queues.backends.valkey import ValkeyBackendConfig

    return ValkeyBackendConfig(url=place["at"], key_prefix=place["prefix"], **options)


def _alchemy(scheme: str) -> Callable[[dict[str, Any], dict[str, Any]], BackendConfig]:
    def made(place: dict[str, Any], options: dict[str, Any]) -> BackendConfig:
        from advanced_alchemy.config import SQLAlchemyAsyncConfig

        from litestar_queues.backends.advanced_alchemy import AdvancedAlchemyBackendConfig

        config = SQLAlchemyAsyncConfig(
            connection_string=f"{scheme}://{place['at'].partition('://')[2] or '/' + place['at']}"
        )
        return AdvancedAlchemyBackendConfig(sqlalchemy_config=config, **options)

    return made


_WAYS = {
    "aiosqlite": _aiosqlite,
    "duckdb": _duckdb,
    "asyncpg": _asyncpg,
    "asyncmy": _asyncmy,
    "redis": _redis,
    "valkey": _valkey,
    "alchemy-aiosqlite": _alchemy("sqlite+aiosqlite"),
    "alchemy-asyncpg": _alchemy("postgresql+asyncpg"),
    "alchemy-asyncmy": _alchemy("mysql+asyncmy"),
}
