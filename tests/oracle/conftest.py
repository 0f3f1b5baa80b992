"""Oracle's adapters in front of a PostgreSQL, which `pip` brings; what cannot be run is listed, with the reason."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest
from oracle_lab.report import examine

from litestar_queues.backends.sql.families import ORACLE, statements_of
from litestar_queues_matrix.oracle_standin import oracle_standin, oracle_standin_sync
from litestar_queues_matrix.oracle_standin.client import Sent

REPORT = cache(examine)
"""What the parsers say: each is asked once."""


def pytest_terminal_summary(terminalreporter: Any) -> None:
    terminalreporter.section("Oracle's statements")
    for line in REPORT().lines():
        terminalreporter.write_line(line)


@dataclass(slots=True)
class Store:
    """An open backend, and what it sent."""

    backend: Any
    config: dict[str, Any]

    @property
    def log(self) -> list[Sent | str]:
        return self.backend._config.log

    def names(self, since: int = 0) -> list[str]:
        """What was sent, by the names in the family's file; and where transactions ended."""
        known = {one.text: name for name, one in statements_of(ORACLE, self.config["table"]).items()}
        return [one if isinstance(one, str) else known[one.text] for one in self.log[since:]]

    def last(self, name: str) -> Sent:
        text = statements_of(ORACLE, self.config["table"])[name].text
        return next(one for one in reversed(self.log) if isinstance(one, Sent) and one.text == text)


@pytest.fixture(params=[oracle_standin, oracle_standin_sync], ids=lambda target: target.name)
def target(request: pytest.FixtureRequest) -> Any:
    if (missing := request.param.unavailable(os.environ)) is not None:
        pytest.fail(f"{request.param.name} cannot be run here: {missing}")
    return request.param


@pytest.fixture
async def store(target: Any) -> AsyncIterator[Store]:
    config = target.config(os.environ)
    backend = await target.open(config)
    try:
        yield Store(backend, config)
    finally:
        await backend.close()
        await target.reset(config)
