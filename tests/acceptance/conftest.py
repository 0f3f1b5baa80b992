from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from litestar_queues import QueueService

if sys.platform == "win32":
    collect_ignore_glob = ["test_*.py"]  # no SIGSTOP, no SIGTERM to catch, no Unix sockets

from acceptance.database import DRIVERS
from acceptance.processes import Workers, producer
from acceptance.stage import Journal, Stage, open_stage


@pytest.fixture
def driver() -> str:
    """The SQLSpec adapter; `both_drivers` runs a test on each."""
    return DRIVERS[0]


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    async with open_stage() as stage:
        yield stage


@pytest.fixture
async def workers(tmp_path: Path, driver: str, stage: Stage) -> AsyncIterator[Workers]:
    workers = Workers(tmp_path, driver, stage.address)
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
