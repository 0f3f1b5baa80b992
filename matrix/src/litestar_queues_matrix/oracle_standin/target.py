"""The targets `oracle-standin` and `oracle-standin-sync`, named for what they are: no Oracle runs there."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from litestar_queues.backends.sql.families import ORACLE, quoted_name, statements_of
from litestar_queues.backends.sql.schema import schema_of
from litestar_queues_matrix.adapters import POOL, Adapter
from litestar_queues_matrix.oracle_standin.words import translated
from litestar_queues_matrix.servers import Product, ServerRow, ask
from litestar_queues_matrix.sqlserver import SqlServerTarget
from litestar_queues_matrix.tables import reshaped_ddl

__all__ = ("LEAST", "OracleStandInTarget", "StandInAdapter", "oracle_standin", "oracle_standin_sync")

LEAST = 17
"""PostgreSQL's first version with JSON_TABLE."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StandInAdapter(Adapter):
    """A configuration of SQLSpec's Oracle adapter, with the client in front of a PostgreSQL for its pool."""

    is_async: bool

    def config(self, url: str) -> Any:
        from litestar_queues_matrix.oracle_standin.configs import AsyncConfig, SyncConfig  # noqa: PLC0415  # the drivers

        made = AsyncConfig if self.is_async else SyncConfig
        return made(connection_config=self.connection(url))


@dataclass(frozen=True, slots=True)
class OracleStandInTarget(SqlServerTarget):
    """A store as that of any server; what PostgreSQL is told by the target itself is put into its words."""

    @property
    def rows(self) -> tuple[ServerRow, ...]:
        rows = SqlServerTarget.rows.__get__(self)
        return tuple(row for row in rows if int(row.version) >= LEAST)

    def unavailable(self, env: Mapping[str, str]) -> str | None:
        missing = [name for name in ("oracledb", "psycopg") if find_spec(name) is None]
        if missing:
            return f"its drivers are not installed: pip install {self.adapter.install}"
        return SqlServerTarget.unavailable(self, env)

    def table(self, config: dict[str, Any]) -> str:
        return quoted_name(ORACLE, config["table"])

    async def reset(self, config: dict[str, Any]) -> None:
        drops = (
            one.replace("DROP TABLE", "DROP TABLE IF EXISTS") for one in schema_of(ORACLE, config["table"]).drops()
        )
        await asyncio.to_thread(ask.execute, config["url"], "SET lock_timeout = '20s'", *drops)

    async def reshape(self, config: dict[str, Any], how: str) -> None:
        statement = statements_of(ORACLE, config["table"])["create_task_table"].text
        await asyncio.to_thread(ask.execute, config["url"], translated(reshaped_ddl(statement, how)))

    def made(self, config: dict[str, Any]) -> dict[str, str]:
        return {ORACLE.fold(part): holds for part, holds in SqlServerTarget.made(self, config).items()}

    async def server_version(self, config: dict[str, Any]) -> str:
        return f"{config['server']}, in the place of Oracle"


def _settings(url: str) -> dict[str, Any]:
    return {"user": "queues", "password": "none is needed", "dsn": url, "min": 1, "max": POOL}


def _target(name: str, *, is_async: bool) -> OracleStandInTarget:
    return OracleStandInTarget(
        adapter=StandInAdapter(
            name=name,
            config_class=f"oracledb:Oracle{'Async' if is_async else 'Sync'}Config",
            driver="oracledb",
            install="oracledb psycopg[binary]",
            products=(Product.POSTGRESQL,),
            connection=_settings,
            loads_arrow=False,
            is_async=is_async,
        )
    )


oracle_standin = _target("oracle-standin", is_async=True)
oracle_standin_sync = _target("oracle-standin-sync", is_async=False)
