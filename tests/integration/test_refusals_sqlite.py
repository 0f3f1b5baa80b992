"""A file that SQLite cannot write for a while: finished tasks keep their outcomes, and none of them fails."""

from __future__ import annotations

import resource
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from acceptance.database import DRIVERS, SqliteFile, queue_backend
from refusal_lab import refused

from litestar_queues import BackendUnavailableError, QueueConfigurationError
from litestar_queues.backends.retry import RefusedForNowError
from litestar_queues.records import NewTask

pytestmark = pytest.mark.anyio

TABLE = "litestar_queue_task"


@pytest.fixture(params=DRIVERS)
def database(request: pytest.FixtureRequest, tmp_path: Path) -> SqliteFile:
    return SqliteFile(request.param, tmp_path / "queues.db")


@contextmanager
def full_disk() -> Iterator[None]:
    """No file of this process grows, as on a disk without room."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (512, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextmanager
def renamed(path: Path) -> Iterator[None]:
    """A table that somebody rebuilds."""
    _run(path, f"ALTER TABLE {TABLE} RENAME TO rebuilt")
    try:
        yield
    finally:
        _run(path, f"ALTER TABLE rebuilt RENAME TO {TABLE}")


def _run(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None, timeout=60)) as connection:
        connection.execute(statement)


async def test_outcomes_outlive_every_refusal_of_a_file(database: SqliteFile) -> None:
    backend = queue_backend(database.driver, str(database.path), busy_timeout=100)
    async with refused(backend) as lab:
        await lab.end_while(full_disk, size=10_000)
        await lab.end_while(lambda: renamed(database.path))


async def test_a_refused_enqueue_says_at_once_that_nothing_was_stored(database: SqliteFile) -> None:
    backend = database.backend().create_backend()
    await backend.open()
    try:
        with (
            renamed(database.path),
            pytest.raises(BackendUnavailableError, match=r"nothing was stored.*no such table") as raised,
        ):
            await backend.enqueue_many([NewTask(id="1", name="x")])
        assert isinstance(raised.value, RefusedForNowError)
        assert (await backend.enqueue_many([NewTask(id="1", name="x")]))[0].is_new
    finally:
        await backend.close()


async def test_a_table_that_is_missing_at_the_start_is_a_matter_of_configuration(database: SqliteFile) -> None:
    backend = database.backend(create_schema=False).create_backend()
    _run(database.path, "CREATE TABLE others (x)")
    with pytest.raises(QueueConfigurationError):
        await backend.open()
