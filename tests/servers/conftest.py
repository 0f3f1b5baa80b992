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

from litestar_queues import QueueService
from litestar_queues_matrix import redis
from litestar_queues_matrix.alchemy import ALCHEMY
from litestar_queues_matrix.hosted import Hosted
from litestar_queues_matrix.servers import Server, ServerUnavailable, ask, find_first, launch
from litestar_queues_matrix.sqlserver import TARGETS as SQL
from litestar_queues_matrix.sqlserver import SqlServerTarget

TARGETS: dict[str, Hosted] = {**SQL, **ALCHEMY, **redis.TARGETS}
DEFAULT = (
    "asyncpg@postgresql", "psycopg-sync@postgresql", "pymysql@mariadb", "asyncmy@mysql",
    "alchemy-asyncpg@postgresql", "alchemy-asyncmy@mariadb", "redis@redis", "valkey@valkey",
)  # fmt: skip
"""Where the tests run unless `--on` says it: a row more is a run more."""

_found = pytest.StashKey[dict[str, Hosted]]()
_missing = pytest.StashKey[dict[str, str]]()
_numbers = count(1)


def pytest_configure(config: pytest.Config) -> None:
    named: list[str] = config.getoption("--on")
    found: dict[str, Hosted] = {}
    missing: dict[str, str] = {}
    for name in named or DEFAULT:
        try:
            found[name] = _target(name)
        except ServerUnavailable as error:
            missing[name] = str(error)
    config.stash[_found], config.stash[_missing] = found, missing
    if missing and (named or not found):
        raise pytest.UsageError("\n".join(f"{name}: {reason}" for name, reason in missing.items()))


def _target(name: str) -> Hosted:
    """An adapter, on the server that is named or the best that there is, which has to be one that can be killed."""
    adapter, _, server = name.partition("@")
    if adapter not in TARGETS:
        raise ServerUnavailable(f"unknown adapter {adapter!r}. Known: {', '.join(TARGETS)}")
    target = TARGETS[adapter].on(server) if server else TARGETS[adapter]
    environment = {key: value for key, value in os.environ.items() if not key.endswith("_URL")}
    if (reason := target.unavailable(environment)) is not None:
        raise ServerUnavailable(reason)
    return target


def pytest_report_header(config: pytest.Config) -> list[str]:
    return [f"servers: {', '.join(config.stash[_found])}", *_absent(config)]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for line in _absent(config):
        terminalreporter.write_line(line, yellow=True)


def _absent(config: pytest.Config) -> list[str]:
    return [f"not run on {name}: {reason}" for name, reason in config.stash[_missing].items()]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "target" in metafunc.fixturenames:
        named = metafunc.definition.get_closest_marker("named_databases") is not None
        found = metafunc.config.stash[_found].values()
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
