"""The newest tables, as the database's catalogue shows them: the same for new ones and for those that were upgraded."""

from __future__ import annotations

from typing import Any

import pytest
from catalogue import catalogue, file_of
from golden import load
from processes import Processes
from upgrading import CREATES, WAYS, before, opened

pytestmark = [pytest.mark.anyio, pytest.mark.only_through("aiosqlite", "duckdb", "alchemy", "async")]

CHANGED = "the schema changed: where that is meant, write it anew by `python tests/upgrade/make.py schema`"


async def test_new_tables_are_those_of_the_kept_schema(place: dict[str, Any]) -> None:
    async with opened(place, **CREATES):
        pass
    assert catalogue(place) == file_of(place["through"]).read_text(encoding="utf-8").splitlines(), CHANGED


async def test_upgraded_tables_are_those_of_the_kept_schema(
    place: dict[str, Any], way: str, processes: Processes
) -> None:
    load(place)
    await before(way, place, processes)
    async with opened(place, **WAYS[way]):
        pass
    assert catalogue(place) == file_of(place["through"]).read_text(encoding="utf-8").splitlines()
