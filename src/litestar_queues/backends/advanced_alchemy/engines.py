"""Whose a configuration's engine is, and where its database is."""

from __future__ import annotations

from copy import copy
from dataclasses import replace
from weakref import WeakKeyDictionary

from advanced_alchemy.config.asyncio import SQLAlchemyAsyncConfig
from sqlalchemy import URL, StaticPool, make_url
from sqlalchemy.ext.asyncio import AsyncEngine

from litestar_queues.errors import QueueConfigurationError

__all__ = ("EngineShare", "check_config", "check_pool", "config_apart", "is_in_memory", "place_of", "url_of")

_users: WeakKeyDictionary[AsyncEngine, int] = WeakKeyDictionary()
"""How many open backends use each of the engines that backends made: the last one disposes of it."""


def check_config(config: object) -> SQLAlchemyAsyncConfig:
    """The configuration, which has to be an async one.

    Raises:
        QueueConfigurationError: It is something else.
    """
    if isinstance(config, SQLAlchemyAsyncConfig):
        return config
    advice = "; a sync engine would block the event loop" if "Sync" in type(config).__name__ else ""
    raise QueueConfigurationError(
        f"sqlalchemy_config takes Advanced Alchemy's SQLAlchemyAsyncConfig, not {type(config).__qualname__}{advice}"
    )


def url_of(config: SQLAlchemyAsyncConfig) -> URL:
    """Where the database of a configuration is.

    Raises:
        QueueConfigurationError: It does not say.
    """
    if config.engine_instance is not None:
        return config.engine_instance.url
    if config.connection_string is None:
        raise QueueConfigurationError("sqlalchemy_config needs a connection_string or an engine_instance")
    return make_url(config.connection_string)


def place_of(url: URL) -> str:
    """What to call a database in messages: without user and password."""
    if url.get_backend_name() == "sqlite":
        return "SQLite in memory" if is_in_memory(url) else f"SQLite database {url.database!r}"
    host = url.host or url.query.get("host") or "its default host"
    port = f":{url.port}" if url.port else ""
    return f"{url.drivername} database {host}{port}/{url.database or ''}"


def is_in_memory(url: URL) -> bool:
    """Whether no other process can see the database."""
    if url.get_backend_name() != "sqlite":
        return False
    return not url.database or ":memory:" in url.database or "mode=memory" in str(url)


def check_pool(engine: AsyncEngine, place: str) -> None:
    """Refuse an engine that has one connection for all.

    Raises:
        QueueConfigurationError: Transactions of the application and of the queue would be one.
    """
    if isinstance(engine.pool, StaticPool):
        raise QueueConfigurationError(
            f"{place}: this engine gives one connection to everybody at once (StaticPool, SQLAlchemy's default for SQLite "
            f"in memory), so that a rollback of the application's would undo what the queue has stored: use a file, or "
            f"queue_backend='memory'"
        )


def config_apart(config: SQLAlchemyAsyncConfig) -> SQLAlchemyAsyncConfig | None:
    """A copy of a configuration that makes an engine of its own, with at most two connections.

    None where the configuration holds a live engine and does not say how it was made.
    """
    if config.connection_string is None:
        return None
    made = copy(config)
    made.engine_instance = made.session_maker = None
    options = config.engine_config
    if "poolclass" not in config.engine_config_dict and "pool" not in config.engine_config_dict:
        options = replace(options, pool_size=1, max_overflow=1)
    made.engine_config = options
    return made


class EngineShare:
    """One backend's share in the engine of a configuration."""

    def __init__(self, config: SQLAlchemyAsyncConfig) -> None:
        self._config = config
        self._ours: AsyncEngine | None = None

    def take(self) -> AsyncEngine:
        """The engine, which is ours to dispose of where nobody else made it before."""
        is_new = self._config.engine_instance is None
        engine = self._config.get_engine()
        if is_new:
            _users[engine] = 0
        if engine in _users:
            _users[engine] += 1
            self._ours = engine
        return engine

    async def leave(self) -> None:
        """Close the connections if the engine is ours, and no other backend uses it. Harmless when repeated."""
        engine, self._ours = self._ours, None
        if engine is None:
            return
        _users[engine] -= 1
        if not _users[engine]:
            await engine.dispose()
