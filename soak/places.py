"""Where a soak runs: the targets of the matrix, as configurations of a queue."""

from __future__ import annotations

from typing import Any

from sqlspec.adapters.aiosqlite import AiosqliteConfig
from sqlspec.adapters.sqlite import SqliteConfig

from litestar_queues.backends.sqlspec import SQLSpecBackendConfig
from litestar_queues_matrix import sqlite, sqlserver
from litestar_queues_matrix.servers import ask

__all__ = ("backend_config", "connections", "target_of")

_COUNTS = {
    "postgresql": "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()",
    "mysql": "SELECT count(*) FROM information_schema.processlist WHERE db = DATABASE() AND id <> CONNECTION_ID()",
}


def target_of(name: str) -> Any:
    """The target that `--on` names: `aiosqlite`, `sqlite`, `asyncpg`, `asyncpg@postgresql15`.

    Raises:
        LookupError: There is none of that name.
    """
    adapter, _, server = name.partition("@")
    if adapter in ("aiosqlite", "sqlite"):
        return getattr(sqlite, adapter)
    found = sqlserver.TARGETS[adapter]
    return found.on(server) if server else found


def backend_config(name: str, config: dict[str, Any]) -> SQLSpecBackendConfig:
    """The backend's configuration for a store that the target named."""
    if "url" in config:
        return SQLSpecBackendConfig(config=target_of(name).adapter.config(config["url"]), table_name=config["table"])
    kinds: dict[str, Any] = {"aiosqlite": AiosqliteConfig, "sqlite": SqliteConfig}
    return SQLSpecBackendConfig(config=kinds[name](connection_config={"database": config["database"]}))


def connections(config: dict[str, Any]) -> int | None:
    """How many connections to its database the server counts; None for a file."""
    url = str(config.get("url", ""))
    counting = _COUNTS.get(url.partition(":")[0])
    if counting is None:
        return None
    with ask.connected(url) as cursor:
        cursor.execute(counting)
        return int(cursor.fetchone()[0])
