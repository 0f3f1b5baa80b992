"""The SQLite file: as the queues reach it, and as an independent reader sees it."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import Any

from litestar_queues.backends.sqlspec import SQLSpecBackendConfig

DRIVERS = ("aiosqlite", "sqlite")
_HOLD_LOCK = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=30)
connection.execute("BEGIN " + sys.argv[2])
print("locked", flush=True)
sys.stdin.read()
connection.execute("ROLLBACK")
print("unlocked", flush=True)
"""


def queue_backend(driver: str, database: str, *, busy_timeout: int = 5000, **store: Any) -> SQLSpecBackendConfig:
    """The backend's config for a file; `busy_timeout` in milliseconds, as SQLite counts it."""
    settings: dict[str, Any] = {
        "connection_config": {"database": database},
        "driver_features": {"pragmas": {"busy_timeout": busy_timeout}},
    }
    if driver == "aiosqlite":
        from sqlspec.adapters.aiosqlite import AiosqliteConfig

        return SQLSpecBackendConfig(config=AiosqliteConfig(**settings), **store)
    from sqlspec.adapters.sqlite import SqliteConfig

    return SQLSpecBackendConfig(config=SqliteConfig(**settings), **store)


@contextmanager
def reader(database: Path) -> Iterator[sqlite3.Connection]:
    """A connection of the standard library's, which knows nothing of the queues."""
    with closing(sqlite3.connect(database, isolation_level=None, timeout=30)) as connection:
        connection.row_factory = sqlite3.Row
        yield connection


def rows(database: Path, *ids: str) -> dict[str, dict[str, Any]]:
    """The stored rows of these tasks, or of all, by id."""
    with reader(database) as connection:
        found = connection.execute(
            "SELECT * FROM litestar_queue_task WHERE ?1 = '[]' OR id IN (SELECT value FROM json_each(?1))",
            [json.dumps(ids)],
        )
        return {row["id"]: dict(row) for row in found}


def is_locked(database: Path) -> bool:
    """Whether somebody is in the middle of a write, and stays there for a moment."""
    with closing(sqlite3.connect(database, isolation_level=None, timeout=0.5)) as connection:
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return True
        connection.execute("ROLLBACK")
        return False


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
