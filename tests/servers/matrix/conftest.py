"""Tests that want a `row` run once for each server that can be had here; what cannot is listed at the end."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from litestar_queues_matrix.servers import SERVERS, Server, ServerRow, ServerUnavailable, find, launch
from litestar_queues_matrix.sqlserver import TARGETS


def reasons() -> dict[str, str]:
    """Why each server, and each backend, that cannot be had here cannot."""
    found: dict[str, str] = {}
    for row in SERVERS:
        try:
            find(row, os.environ, given=False)
        except ServerUnavailable as error:
            found[row.name] = str(error)
    for name, target in TARGETS.items():
        if reason := target.unavailable(os.environ):
            found[name] = reason
    return found


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    absent = reasons()
    if "row" in metafunc.fixturenames:
        rows = [row for row in SERVERS if row.name not in absent]
        metafunc.parametrize("row", rows, ids=[row.name for row in rows], scope="module")
    if "target_name" in metafunc.fixturenames:
        metafunc.parametrize("target_name", [name for name in TARGETS if name not in absent])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if absent := reasons():
        terminalreporter.section("servers and backends that were not tried")
        for name, reason in absent.items():
            terminalreporter.write_line(f"not run: {name}: {reason}")


@pytest.fixture(scope="module")
def running(row: ServerRow) -> Iterator[Server]:
    """The server, with fsync on, for tests that leave it running."""
    with launch(find(row, os.environ, given=False), os.environ, durable=True) as server:
        yield server
