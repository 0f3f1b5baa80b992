"""Worker processes on real servers, which are the tests' own: they are killed, restarted and cut off."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from itertools import count
from pathlib import Path

import pytest
from acceptance.database import Database, ServedDatabase
from acceptance.processes import Workers, producer
from acceptance.redis_database import RedisDatabase
from acceptance.server_database import server_database
from acceptance.stage import Journal, Stage, open_stage
from target_lab import Places

from litestar_queues import QueueService
from litestar_queues_matrix import redis
from litestar_queues_matrix.alchemy import ALCHEMY
from litestar_queues_matrix.hosted import Hosted
from litestar_queues_matrix.servers import Server, ask, find_first, launch
from litestar_queues_matrix.sqlserver import TARGETS as SQL
from litestar_queues_matrix.sqlserver import SqlServerTarget

TARGETS: dict[str, Hosted] = {**SQL, **ALCHEMY, **redis.TARGETS}
DEFAULT = (
    "asyncpg@postgresql", "psycopg-sync@postgresql", "pymysql@mariadb", "asyncmy@mysql",
    "alchemy-asyncpg@postgresql", "alchemy-asyncmy@mariadb", "redis@redis", "valkey@valkey",
)  # fmt: skip
"""Where the tests run unless `--on` says it: a row more is a run more."""

_places = pytest.StashKey[Places]()
_numbers = count(1)


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_places] = Places(config, TARGETS, DEFAULT)


def pytest_report_header(config: pytest.Config) -> list[str]:
    return config.stash[_places].header


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for line in config.stash[_places].absent:
        terminalreporter.write_line(line, yellow=True)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "target" in metafunc.fixturenames:
        named = metafunc.definition.get_closest_marker("named_databases") is not None
        found = filter(None, metafunc.config.stash[_places].found.values())
        targets = [target for target in found if isinstance(target, SqlServerTarget) or not named]
        metafunc.parametrize("target", targets, ids=lambda target: target.name)


class Fleet:
    """The servers that were started, each once."""

    def __init__(self) -> None:
        self._started: dict[tuple[str, str], Server] = {}

    def server(self, target: Hosted) -> Server:
        """The target's, running."""
        source = find_first(target.rows, os.environ, given=False)
        key = (source.row.name, repr(target.settings))
        if key not in self._started:
            self._started[key] = launch(source, os.environ, durable=True, settings=target.settings)
        return self._started[key]

    def stop(self) -> None:
        for server in self._started.values():
            server.stop()


@pytest.fixture(scope="session")
def fleet() -> Iterator[Fleet]:
    fleet = Fleet()
    try:
        yield fleet
    finally:
        fleet.stop()


@pytest.fixture
def killable(fleet: Fleet, target: Hosted) -> Server:
    """The server; it writes to the disk before it acknowledges."""
    return fleet.server(target)


@pytest.fixture
def database(killable: Server, target: Hosted) -> Iterator[ServedDatabase]:
    """An empty one, for this test."""
    name = f"crash_{next(_numbers)}"
    if not isinstance(target, SqlServerTarget):
        prefix = RedisDatabase(target.plain_name, killable.url, name)
        yield prefix
        prefix.remove()
        return
    ask.execute(killable.url, f"CREATE DATABASE {name}")
    yield server_database(target.adapter.name, f"{killable.url.rpartition('/')[0]}/{name}")
    forced = " WITH (FORCE)" if killable.url.startswith("postgresql") else ""
    ask.execute(killable.url, f"DROP DATABASE {name}{forced}")


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
    async with producer(workers) as service:
        yield service


@pytest.fixture
def journal(workers: Workers) -> Journal:
    return Journal(workers.journal)
