"""Targets of the conformance suite whose stores begin as tables of the first version: `--backend=upgraded:asyncpg`.

The tables are empty, and several clients that open a store at the same moment bring them up to date. Cases that make a
table in another shape (ARW) cannot run: there is one already.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from golden import create

from litestar_queues_matrix.alchemy import ALCHEMY, AlchemyServerTarget, AlchemySqliteTarget
from litestar_queues_matrix.duckdb import DuckDBTarget
from litestar_queues_matrix.sqlite import SqliteTarget, aiosqlite
from litestar_queues_matrix.sqlserver import TARGETS, SqlServerTarget


class _Upgraded:
    """Makes the tables of the first version when it names a store."""

    __slots__ = ()

    def config(self, env: Mapping[str, str]) -> dict[str, Any]:
        target: Any = super()
        config: dict[str, Any] = target.config(env)
        create({"through": self._through, "at": config.get("url") or config["database"]}, config.get("table"))
        return config

    @property
    def _through(self) -> str:
        """The driver, as `golden.FOLDERS` has it."""
        return str(self.plain_name)  # type: ignore[attr-defined]  # of a target on a server


class _Sqlite(_Upgraded, SqliteTarget):
    _through = "aiosqlite"


class _DuckDB(_Upgraded, DuckDBTarget):
    _through = "duckdb"


class _AlchemySqlite(_Upgraded, AlchemySqliteTarget):
    _through = "alchemy-aiosqlite"


class _Server(_Upgraded, SqlServerTarget):
    __slots__ = ()


class _AlchemyServer(_Upgraded, AlchemyServerTarget):
    __slots__ = ()


_MADE: dict[str, Callable[[], Any]] = {
    "aiosqlite": lambda: _Sqlite(aiosqlite._driver),
    "duckdb": _DuckDB,
    "alchemy-aiosqlite": _AlchemySqlite,
    "asyncpg": lambda: _Server(adapter=TARGETS["asyncpg"].adapter),
    "asyncmy": lambda: _Server(adapter=TARGETS["asyncmy"].adapter),
    "alchemy-asyncpg": lambda: _AlchemyServer(adapter=ALCHEMY["alchemy-asyncpg"].adapter),
    "alchemy-asyncmy": lambda: _AlchemyServer(adapter=ALCHEMY["alchemy-asyncmy"].adapter),
}


def __getattr__(name: str) -> Any:
    """A target under its name with `_` for `-`."""
    try:
        return _MADE[name.replace("_", "-")]()
    except KeyError:
        raise AttributeError(name) from None
