"""What each statement leaves in memory: SQLSpec 0.69 keeps two objects of every statement that it compiles."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from leak_lab import CALLS, STATEMENTS, cycle, left_by, refused
from sqlspec import SQLSpec
from sqlspec.adapters.aiosqlite import AiosqliteConfig
from sqlspec.adapters.duckdb import DuckDBConfig
from sqlspec.adapters.sqlite import SqliteConfig

from litestar_queues.backends.sql.program import Program, statements
from litestar_queues.backends.sqlspec import SQLSpecBackendConfig
from litestar_queues.backends.sqlspec.backend import SQLSpecBackend
from litestar_queues.records import NewTask

pytestmark = pytest.mark.anyio

ADAPTERS = pytest.mark.parametrize("adapter", [AiosqliteConfig, SqliteConfig, DuckDBConfig])
WRONG: Program[None] = statements("wrong", ["SELECT nothing FROM nowhere"])


def backend_for(adapter: Any, folder: Path, **options: Any) -> SQLSpecBackend:
    config = adapter(connection_config={"database": str(folder / "queue.db")})
    backend = SQLSpecBackendConfig(config=config, **options).create_backend()
    assert isinstance(backend, SQLSpecBackend)
    return backend


@ADAPTERS
async def test_a_statement_leaves_nothing_behind(adapter: Any, tmp_path: Path) -> None:
    backend = backend_for(adapter, tmp_path)
    await backend.open()
    assert await left_by(lambda: cycle(backend), STATEMENTS // CALLS) == {}
    await backend.close()


@ADAPTERS
async def test_a_statement_that_is_refused_leaves_nothing_behind(adapter: Any, tmp_path: Path) -> None:
    backend = backend_for(adapter, tmp_path)
    await backend.open()
    assert await left_by(lambda: refused(lambda: backend.port.run(WRONG)), 300) == {}
    await backend.close()


@ADAPTERS
async def test_a_bulk_load_leaves_nothing_behind(adapter: Any, tmp_path: Path) -> None:
    backend = backend_for(adapter, tmp_path, bulk_insert="arrow")
    await backend.open()

    async def load() -> None:
        await backend.enqueue_many([NewTask(id=uuid4().hex, name="app.task") for _ in range(2)])

    assert await left_by(load, 300) == {}
    await backend.close()


async def test_an_enqueue_in_a_session_leaves_nothing_behind(tmp_path: Path) -> None:
    spec = SQLSpec()
    config = AiosqliteConfig(connection_config={"database": str(tmp_path / "queue.db")})
    backend = SQLSpecBackendConfig(config=config, sqlspec=spec).create_backend()
    await backend.open()

    async def enqueue() -> None:
        async with spec.provide_session(config) as session:
            await session.begin()
            await backend.bind(session).enqueue_many([NewTask(id=uuid4().hex, name="app.task")])
            await session.commit()

    assert await left_by(enqueue, 300) == {}
    await backend.close()
    await config.close_pool()
