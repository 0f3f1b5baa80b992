"""Databases: as the queues reach them, and as an independent reader sees them. Here that of SQLite, which needs no server."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from litestar_queues.backends.base import BackendConfig
from litestar_queues.backends.sqlspec import SQLSpecBackendConfig

DRIVERS = ("aiosqlite", "sqlite", "alchemy-aiosqlite")
TABLES_MADE = ("litestar_queue_task", "litestar_queue_task_lock", "litestar_queue_task_record")
_HOLD_LOCK = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=30)
connection.execute("BEGIN " + sys.argv[2])
print("locked", flush=True)
sys.stdin.read()
connection.execute("ROLLBACK")
print("unlocked", flush=True)
"""


def queue_backend(driver: str, database: str, *, busy_timeout: int = 5000, **store: Any) -> BackendConfig:
    """The backend's config for a file; `busy_timeout` in milliseconds, as SQLite counts it."""
    settings: dict[str, Any] = {
        "connection_config": {"database": database},
        "driver_features": {"pragmas": {"busy_timeout": busy_timeout}},
    }
    if driver == "alchemy-aiosqlite":
        from advanced_alchemy.config import EngineConfig, SQLAlchemyAsyncConfig

        from litestar_queues.backends.advanced_alchemy import AdvancedAlchemyBackendConfig

        engine = EngineConfig(connect_args={"timeout": busy_timeout / 1000})
        config = SQLAlchemyAsyncConfig(connection_string=f"sqlite+aiosqlite:///{database}", engine_config=engine)
        return AdvancedAlchemyBackendConfig(sqlalchemy_config=config, **{"create_schema": True, **store})
    if driver == "aiosqlite":
        from sqlspec.adapters.aiosqlite import AiosqliteConfig

        return SQLSpecBackendConfig(config=AiosqliteConfig(**settings), **store)
    from sqlspec.adapters.sqlite import SqliteConfig

    return SQLSpecBackendConfig(config=SqliteConfig(**settings), **store)


class Database(Protocol):
    """A database that several processes share, of which each can be told in plain data."""

    @property
    def place(self) -> dict[str, Any]:
        """What `database_at` makes the same one of in another process."""
        ...

    @property
    def tables_made(self) -> tuple[str, ...]:
        """The names of the tables that a queue makes."""
        ...

    def backend(self, **store: Any) -> BackendConfig:
        """The queues' way to it."""
        ...

    def rows(self, *ids: str) -> dict[str, dict[str, Any]]:
        """The stored rows of these tasks, or of all, by id, as a driver has them that knows nothing of the queues."""
        ...

    def tables(self) -> list[str]:
        """The names of the tables in it; none where it does not exist yet."""
        ...

    def is_busy(self) -> bool:
        """Whether somebody is in the middle of a write, and stays there for a moment."""
        ...


class ServedDatabase(Database, Protocol):
    """One on a server, which can be watched and disturbed."""

    @property
    def url(self) -> str:
        """Where it is."""
        ...

    @property
    def resolves_claims(self) -> bool:
        """Whether a claim whose answer was lost is answered when it is repeated."""
        ...

    def through(self, port: int) -> ServedDatabase:
        """The same by way of a proxy on a port of this machine."""
        ...

    def count(self, *states: str) -> int:
        """How many tasks are in one of these states."""
        ...

    def connections(self) -> int:
        """How many connections there are to it."""
        ...

    def cut_connections(self) -> int:
        """Let the server end all connections of the queues; how many those were."""
        ...


@dataclass(frozen=True, slots=True)
class SqliteFile:
    """A file, through one of SQLSpec's adapters, or through Advanced Alchemy."""

    driver: str
    path: Path

    tables_made = TABLES_MADE

    @property
    def place(self) -> dict[str, Any]:
        return {"driver": self.driver, "path": str(self.path)}

    def backend(self, **store: Any) -> BackendConfig:
        return queue_backend(self.driver, str(self.path), **store)

    def rows(self, *ids: str) -> dict[str, dict[str, Any]]:
        id_ = "task_id" if self.driver == "alchemy-aiosqlite" else "id"
        with self._reader() as connection:
            found = connection.execute(
                f"SELECT * FROM litestar_queue_task WHERE ?1 = '[]' OR {id_} IN (SELECT value FROM json_each(?1))",
                [json.dumps(ids)],
            )
            return {row[id_]: dict(row) for row in found}

    def tables(self) -> list[str]:
        if not self.path.exists():
            return []
        with self._reader() as connection:
            found = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")
            return [row["name"] for row in found]

    def is_busy(self) -> bool:
        with closing(sqlite3.connect(self.path, isolation_level=None, timeout=0.5)) as connection:
            try:
                connection.execute("BEGIN EXCLUSIVE")  # outside of WAL, a reader keeps writers waiting, too
            except sqlite3.OperationalError:
                return True
            connection.execute("ROLLBACK")
            return False

    @contextmanager
    def _reader(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self.path, isolation_level=None, timeout=30)) as connection:
            connection.row_factory = sqlite3.Row
            yield connection


def database_at(place: dict[str, Any]) -> Database:
    """The database of another process's `place`."""
    if "driver" in place:
        return SqliteFile(place["driver"], Path(place["path"]))
    if "client" in place:
        from acceptance.redis_database import RedisDatabase

        return RedisDatabase(**place)
    from acceptance.server_database import server_database

    return server_database(**place)


@asynccontextmanager
async def locked_by_another_process(database: Path, mode: str = "EXCLUSIVE") -> AsyncIterator[None]:
    """Hold SQLite's write lock from a process of its own."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _HOLD_LOCK, str(database), mode,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        assert await process.stdout.readline() == b"locked\n"
        yield
        process.stdin.close()
        assert await process.stdout.readline() == b"unlocked\n"
    finally:
        if process.returncode is None:
            process.stdin.close()
            await process.wait()
