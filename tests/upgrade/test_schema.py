"""The newest tables, as the database's catalogue shows them."""

from __future__ import annotations

from typing import Any

import pytest
from catalogue import catalogue, kept_catalogue
from upgrading import CREATES, opened

pytestmark = [pytest.mark.anyio, pytest.mark.only_through("aiosqlite", "duckdb", "alchemy", "async")]

CHANGED = "the schema changed: where that is meant, write it anew by `python tests/upgrade/make.py schema`"


async def test_new_tables_are_those_of_the_kept_schema(place: dict[str, Any]) -> None:
    async with opened(place, **CREATES):
        pass
    assert catalogue(place) == kept_catalogue(place), CHANGED
