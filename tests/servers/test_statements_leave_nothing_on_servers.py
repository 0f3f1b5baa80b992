"""What each statement leaves in memory, through every adapter for a server."""

from __future__ import annotations

import os

import pytest
from leak_lab import CALLS, STATEMENTS, cycle, left_by

from litestar_queues_matrix.sqlserver import TARGETS, SqlServerTarget

pytestmark = pytest.mark.anyio

FOUND = [target for target in TARGETS.values() if target.unavailable(os.environ) is None]


@pytest.mark.parametrize("place", FOUND, ids=lambda place: place.name)
async def test_a_statement_leaves_nothing_behind(place: SqlServerTarget) -> None:
    config = place.config(os.environ)
    backend = await place.open(config)
    assert await left_by(lambda: cycle(backend), STATEMENTS // CALLS) == {}
    await backend.close()
    await place.reset(config)
