"""What a migration creates is frozen: databases that it made are there already."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import SimpleNamespace

import pytest

GOLDEN = Path(__file__).parents[1] / "golden" / "v1"
ADAPTERS = {
    "sqlite": "aiosqlite",
    "postgres": "asyncpg",
    "cockroach": "cockroach_asyncpg",
    "mariadb": "asyncmy",
    "duckdb": "duckdb",
    "oracle": "oracledb",
}
"""An adapter for each family, which is called as its folder of statements is."""


@pytest.mark.parametrize("folder", ADAPTERS)
def test_the_first_migration_creates_what_it_always_did(folder: str) -> None:
    migration = importlib.import_module("litestar_queues.backends.sqlspec.migrations.0001_create_queue_tables")
    # A configuration of SQLSpec needs its driver, and only the module of its class counts here.
    config = type("Config", (), {"__module__": f"sqlspec.adapters.{ADAPTERS[folder]}", "is_async": True})()
    statements: list[str] = migration.up(SimpleNamespace(config=config, extension_config={}))
    frozen = (GOLDEN / folder / "create.sql").read_text(encoding="utf-8")
    assert "".join(f"{statement};\n\n" for statement in statements) == frozen
