"""SQLite through SQLSpec, by both of its drivers."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import tempfile
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing
from functools import partial
from pathlib import Path
from typing import Any

from sqlspec.adapters.aiosqlite import AiosqliteConfig
from sqlspec.adapters.sqlite import SqliteConfig

from litestar_queues.backends.base import QueueBackend
from litestar_queues.backends.sql.families import SQLITE, TABLE
from litestar_queues.backends.sqlspec import SQLSpecBackendConfig
from litestar_queues_conformance.target import Capabilities, NobodyWaits, NoConnections, Refusal
from litestar_queues_matrix.parts import Run, fenced, made_by, present, removal, spoilt
from litestar_queues_matrix.tables import reshaped_schema
from litestar_queues_matrix.transactions import transaction

__all__ = ("SqliteTarget", "aiosqlite", "sqlite")


_REBUILT = "rebuilt"


class SqliteTarget(NoConnections, NobodyWaits):
    """A store is a database file in a temporary folder of its own."""

    distribution = "litestar-queues"
    ways: tuple[str, ...] = ("statement", "arrow")
    id_column = "id"
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

    def made(self, config: dict[str, Any]) -> dict[str, str]:
        """The parts of a whole schema, and what each holds."""
        return made_by(SQLITE, TABLE)

    async def parts(self, config: dict[str, Any]) -> Mapping[str, str]:
        return present(_run(config), "sqlite", self.made(config))

    async def halve(self, config: dict[str, Any], part: str) -> None:
        _run(config)(removal("sqlite", part, self.made(config)))

    async def set_fence(self, config: dict[str, Any], id_: str, fence: int) -> None:
        with closing(sqlite3.connect(config["database"], isolation_level=None)) as connection:
            connection.execute(fenced(TABLE, id_, fence, column=self.id_column))

    async def spoil(self, config: dict[str, Any]) -> None:
        _run(config)(spoilt(TABLE))

    refusals: Sequence[Refusal] = ("away", "rebuilt")

    @asynccontextmanager
    async def refusable(self, config: dict[str, Any]) -> AsyncGenerator[dict[str, Any]]:
        yield config

    @asynccontextmanager
    async def refusing(self, config: dict[str, Any], how: Refusal) -> AsyncGenerator[None]:
        there = Path(config["database"])
        gone = there.with_suffix(".gone")
        changes: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
            "away": (partial(there.rename, gone), partial(gone.rename, there)),
            "rebuilt": (partial(_rename, there, TABLE, _REBUILT), partial(_rename, there, _REBUILT, TABLE)),
        }
        begin, end = changes[how]
        await asyncio.to_thread(begin)
        try:
            yield
        finally:
            await asyncio.to_thread(end)

    async def server_version(self, config: dict[str, Any]) -> str:
        return f"SQLite {sqlite3.sqlite_version}"


def _run(config: dict[str, Any]) -> Run:
    def run(statement: str) -> Sequence[Sequence[Any]]:
        with closing(sqlite3.connect(config["database"])) as connection:
            return connection.execute(statement).fetchall()

    return run


def _rename(path: Path, before: str, after: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None, timeout=60)) as connection:
        connection.execute(f"ALTER TABLE {before} RENAME TO {after}")


aiosqlite = SqliteTarget(lambda database: AiosqliteConfig(connection_config={"database": database}))
sqlite = SqliteTarget(lambda database: SqliteConfig(connection_config={"database": database}))
