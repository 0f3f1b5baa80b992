"""What `docs/how-to/transactions.md` says of PostgreSQL's adapters, through SQLSpec's own Litestar plugin."""

from __future__ import annotations

from typing import Any

import pytest
from litestar.testing import TestClient
from postgres_lab import dsn, server
from session_lab import MODES, application, outcome
from sqlspec.adapters.asyncpg import AsyncpgConfig
from sqlspec.adapters.psqlpy import PsqlpyConfig
from sqlspec.adapters.psycopg import PsycopgAsyncConfig, PsycopgSyncConfig

__all__ = ("dsn", "server")

pytestmark = pytest.mark.anyio

ADAPTERS: dict[str, tuple[type[Any], dict[str, Any]]] = {
    "asyncpg": (AsyncpgConfig, {"min_size": 1, "max_size": 4}),
    "psycopg": (PsycopgAsyncConfig, {"min_size": 1, "max_size": 4}),
    "psycopg-sync": (PsycopgSyncConfig, {"min_size": 1, "max_size": 4}),
    "psqlpy": (PsqlpyConfig, {"max_db_pool_size": 4}),
}


def config(name: str, dsn: str, mode: str) -> Any:
    adapter, pool = ADAPTERS[name]
    address = "conninfo" if name.startswith("psycopg") else "dsn"
    return adapter(connection_config={address: dsn, **pool}, extension_config={"litestar": {"commit_mode": mode}})


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ADAPTERS)
async def test_in_every_commit_mode_a_block_stores_both_or_neither(name: str, mode: str, dsn: str) -> None:
    app, plugin = application(config(name, dsn, mode))
    with TestClient(app) as client:
        assert outcome(client, plugin, "block", 201) == (201, 1, 1)
        assert outcome(client, plugin, "block", 303) == (303, 1, 1)
        assert outcome(client, plugin, "block", 500) == (500, 0, 0)
        assert outcome(client, plugin, "begin", 201) == (201, 1, 1)
        assert outcome(client, plugin, "nothing", 201) == (500, 0, 0)


@pytest.mark.parametrize(("name", "orders"), [("asyncpg", 1), ("psqlpy", 1)])
async def test_where_a_statement_opens_no_transaction_the_task_is_refused(name: str, orders: int, dsn: str) -> None:
    """The application's own row is stored at once: what the page's table says of asyncpg."""
    app, plugin = application(config(name, dsn, "autocommit"))
    with TestClient(app) as client:
        assert outcome(client, plugin, "statement", 201) == (500, orders, 0)


@pytest.mark.parametrize("name", ["psycopg", "psycopg-sync"])
@pytest.mark.parametrize("status", [201, 500])
async def test_psycopg_s_pool_commits_what_a_handler_leaves_open(name: str, status: int, dsn: str) -> None:
    app, plugin = application(config(name, dsn, "autocommit"))
    with TestClient(app) as client:
        assert outcome(client, plugin, "statement", status) == (status, 1, 1)
