"""Which of SQLSpec's adapters can hold a queue."""

from __future__ import annotations

from litestar_queues.backends.sqlspec.adapters import (
    aiomysql,
    aiosqlite,
    asyncmy,
    asyncpg,
    duckdb,
    mysqlconnector,
    oracledb,
    psqlpy,
    psycopg,
    pymysql,
    sqlite,
)
from litestar_queues.backends.sqlspec.store import QueueStore
from litestar_queues.errors import QueueConfigurationError

__all__ = ("register_queue_store", "store_of")

_ADAPTERS = "sqlspec.adapters."
_STORES: dict[str, tuple[QueueStore, ...]] = {}


def register_queue_store(store: QueueStore) -> None:
    """Make an adapter usable, or replace how it is used: of the rows that match a configuration, the last one counts."""
    _STORES[store.adapter] = (*_STORES.get(store.adapter, ()), store)


def store_of(config: object) -> QueueStore:
    """The store for a configuration, or for the class that it inherits from.

    Raises:
        QueueConfigurationError: There is none for its adapter; lists those that there are.
    """
    cls = type(config)
    for base in cls.__mro__:
        module = base.__module__
        adapter = module.removeprefix(_ADAPTERS).split(".")[0] if module.startswith(_ADAPTERS) else module
        for store in reversed(_STORES.get(adapter, ())):
            if store.matches(config):
                return store
    raise QueueConfigurationError(
        f"there is no queue store for {cls.__module__}.{cls.__qualname__}: SQLSpecBackendConfig(config=...) takes a "
        f"configuration of one of these SQLSpec adapters: {', '.join(sorted(_STORES))}; register_queue_store(...) adds one"
    )


for _driver in (
    aiosqlite, sqlite, asyncpg, psqlpy, psycopg, asyncmy, aiomysql, pymysql, mysqlconnector, duckdb, oracledb,
):  # fmt: skip
    for _store in _driver.STORES:
        register_queue_store(_store)
