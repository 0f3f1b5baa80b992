"""SQLite through SQLSpec, by both of its drivers."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, closing
from pathlib import Path
from typing import Any

from sqlspec.adapters.aiosqlite import AiosqliteConfig
from sqlspec.adapters.sqlite import SqliteConfig

from litestar_queues.backends.base import QueueBackend
from litestar_queues.backends.sql.families import SQLITE
from litestar_queues.backends.sqlspec import SQLSpecBackendConfig
from litestar_queues_conformance.target import Capabilities, NobodyWaits
from litestar_queues_matrix.tables import reshaped_schema
from litestar_queues_matrix.transactions import transaction

__all__ = ("SqliteTarget", "aiosqlite", "sqlite")


class SqliteTarget(NobodyWaits):
    """A store is a database file in a temporary folder of its own."""

    distribution = "litestar-queues"
    ways: tuple[str, ...] = ("statement", "arrow")
    capabilities = Capabilities(
        multi_process=True,
        durable=True,
        server_clock=False,
        notifications=False,
        transactional=True,
        columns=True,
        dispatch=True,
    )

    def __init__(self, driver: Callable[[str], Any]) -> None:
        self._driver = driver

    def config(self, env: Mapping[str, str]) -> dict[str, Any]:
        folder = tempfile.mkdtemp(prefix="litestar-queues-", dir=env.get("LITESTAR_QUEUES_MATRIX_TMP"))
        return {"database": str(Path(folder) / "queues.db")}

    async def open(self, config: dict[str, Any]) -> QueueBackend:
        made = SQLSpecBackendConfig(config=self._driver(config["database"]), bulk_insert=config.get("way", "auto"))
        backend = made.create_backend()
        await backend.open()
        return backend

    async def reset(self, config: dict[str, Any]) -> None:
        shutil.rmtree(Path(config["database"]).parent, ignore_errors=True)

    def transaction(self, config: dict[str, Any]) -> AbstractAsyncContextManager[Any]:
        return transaction(self._driver(config["database"]))

    async def reshape(self, config: dict[str, Any], how: str) -> None:
        with closing(sqlite3.connect(config["database"])) as connection:
            connection.executescript(";\n".join(reshaped_schema(SQLITE, how)))

    async def server_version(self, config: dict[str, Any]) -> str:
        return f"SQLite {sqlite3.sqlite_version}"


aiosqlite = SqliteTarget(lambda database: AiosqliteConfig(connection_config={"database": database}))
sqlite = SqliteTarget(lambda database: SqliteConfig(connection_config={"database": database}))
