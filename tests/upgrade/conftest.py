"""Databases as the first version left them, and processes of both versions on them."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from golden import FOLDERS, unpack
from processes import Processes
from target_lab import Places
from upgrading import ways_of

from litestar_queues_matrix import redis
from litestar_queues_matrix.alchemy import ALCHEMY
from litestar_queues_matrix.hosted import Hosted
from litestar_queues_matrix.servers import ask
from litestar_queues_matrix.sqlserver import TARGETS as SQL

KNOWN: dict[str, Hosted | None] = {name: {**SQL, **ALCHEMY, **redis.TARGETS}.get(name) for name in FOLDERS}
DEFAULT = (
    "aiosqlite", "duckdb", "alchemy-aiosqlite", "asyncpg@postgresql", "alchemy-asyncpg@postgresql", "asyncmy@mariadb",
    "alchemy-asyncmy@mariadb", "redis@redis", "valkey@valkey",
)  # fmt: skip
"""Where the tests run unless `--on` says it."""

_places = pytest.StashKey[Places]()
_numbers = count(1)


def pytest_configure(config: pytest.Config) -> None:
    # SQLSpec fetches so from DuckDB while it migrates.
    config.addinivalue_line("filterwarnings", "ignore:Arrow output on a DB-API result")
    config.addinivalue_line("markers", "only_through(*names): runs where the driver's name begins with one of these")
    config.stash[_places] = Places(config, KNOWN, DEFAULT)


def pytest_report_header(config: pytest.Config) -> list[str]:
    return config.stash[_places].header


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for line in config.stash[_places].absent:
        terminalreporter.write_line(line, yellow=True)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test on each place that was found, and by each way to the newest tables that there is for its driver."""
    if "target" not in metafunc.fixturenames:
        return
    limit = metafunc.definition.get_closest_marker("only_through")
    names = metafunc.config.stash[_places].found
    targets = [name for name in names if limit is None or name.startswith(limit.args)]
    if "way" in metafunc.fixturenames:
        pairs = [(target, way) for target in targets for way in ways_of(target.partition("@")[0])]
        metafunc.parametrize(("target", "way"), pairs)
    else:
        metafunc.parametrize("target", targets)


@pytest.fixture(scope="session")
def old_code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first version's code, to be found before the new one."""
    return unpack(tmp_path_factory.mktemp("first-version"))


@pytest.fixture
def hosted(target: str, request: pytest.FixtureRequest) -> Hosted | None:
    """The target on a server; None without one."""
    return request.config.stash[_places].found[target]


@pytest.fixture
def place(target: str, hosted: Hosted | None, tmp_path: Path) -> Iterator[dict[str, Any]]:
    """An empty database, for this test."""
    through = target.partition("@")[0]
    name = f"upgrade_{next(_numbers)}"
    if hosted is None:
        yield {"through": through, "at": str(tmp_path / "queues.db")}
        return
    url = hosted.place(os.environ)["url"]
    if FOLDERS[through] == "redis":
        yield {"through": through, "at": url, "prefix": name}
        return
    ask.execute(url, f"CREATE DATABASE {name}")
    yield {"through": through, "at": f"{url.rpartition('/')[0]}/{name}"}
    ask.execute(url, f"DROP DATABASE {name}{' WITH (FORCE)' if url.startswith('postgresql') else ''}")


@pytest.fixture
async def processes(tmp_path: Path, old_code: Path) -> AsyncIterator[Processes]:
    started = Processes(tmp_path, old_code)
    try:
        yield started
    finally:
        await started.kill_all()
