from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from litestar_queues import QueueService

if sys.platform == "win32":
    collect_ignore_glob = ["test_*.py"]  # no SIGSTOP, no SIGTERM to catch, no Unix sockets

from acceptance.database import DRIVERS, Database, SqliteFile
from acceptance.processes import Workers, producer
from acceptance.stage import Journal, Stage, open_stage


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run what is marked so with each driver, and the rest with the first."""
    if "driver" in metafunc.fixturenames:
        each = metafunc.definition.get_closest_marker("every_database") is not None
        metafunc.parametrize("driver", DRIVERS if each else DRIVERS[:1])


@pytest.fixture
def database(tmp_path: Path, driver: str) -> Database:
    return SqliteFile(driver, tmp_path / "queues.db")


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    async with open_stage() as stage:
        yield stage


@pytest.fixture
async def workers(tmp_path: Path, database: Database, stage: Stage) -> AsyncIterator[Workers]:
    workers = Workers(tmp_path, database, stage.address)
    try:
        yield workers
    finally:
        await workers.kill_all()


@pytest.fixture
async def service(workers: Workers) -> AsyncIterator[QueueService]:
    """A producer in the test's own process, on the workers' database."""
    async with producer(workers) as service:
        yield service


@pytest.fixture
def journal(workers: Workers) -> Journal:
    return Journal(workers.journal)
