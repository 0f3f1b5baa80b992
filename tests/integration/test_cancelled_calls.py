"""A cancelled call never harms the process: on the databases that need no server."""

from __future__ import annotations

import os
from typing import Any

import pytest
from cancel_lab import cancel_everywhere

from litestar_queues_matrix.alchemy import alchemy_aiosqlite
from litestar_queues_matrix.duckdb import duckdb
from litestar_queues_matrix.sqlite import aiosqlite, sqlite

pytestmark = pytest.mark.anyio

TARGETS: dict[str, Any] = {
    "aiosqlite": aiosqlite,
    "sqlite": sqlite,
    "duckdb": duckdb,
    "alchemy-aiosqlite": alchemy_aiosqlite,
}


@pytest.mark.parametrize("name", list(TARGETS))
async def test_a_process_is_well_after_a_call_was_cancelled_anywhere(name: str) -> None:
    target = TARGETS[name]
    config = target.config(os.environ)
    await cancel_everywhere(name, config)
    await target.reset(config)
