"""DuckDB through SQLSpec."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager, closing
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from litestar_queues.backends.base import QueueBackend
from litestar_queues.backends.sql.families import DUCKDB, TABLE
from litestar_queues.backends.sqlspec import SQLSpecBackendConfig
from litestar_queues_conformance.target import Capabilities, NobodyWaits, NoConnections
from litestar_queues_matrix.parts import Run, fenced, made_by, present, removal, spoilt
from litestar_queues_matrix.tables import reshaped_schema
from litestar_queues_matrix.transactions import transaction

__all__ = ("DuckDBTarget", "duckdb")


class DuckDBTarget(NoConnections, NobodyWaits):
    """A store is a database file in a temporary folder of its own, which one process can have open."""

    distribution = "litestar-queues"
    capabilities = Capabilities(
        multi_process=False,
        durable=True,
        server_clock=False,
        notifications=False,
        transactional=True,
        columns=True,
        dispatch=True,
    )

    def unavailable(self, env: Mapping[str, str]) -> str | None:
        """Why it cannot run here, or None if it can."""
        return None if find_spec("duckdb") else "its driver is not installed: pip install duckdb"

    def config(self, env: Mapping[str, str]) -> dict[str, Any]:
        folder = tempfile.mkdtemp(prefix="litestar-queues-", dir=env.get("LITESTAR_QUEUES_MATRIX_TMP"))
        return {"database": str(Path(folder) / "queues.duckdb")}

    async def open(self, config: dict[str, Any]) -> QueueBackend:
        backend = SQLSpecBackendConfig(config=_driver(config)).create_backend()
        await backend.open()
        return backend

    async def reset(self, config: dict[str, Any]) -> None:
        shutil.rmtree(Path(config["database"]).parent, ignore_errors=True)

    def transaction(self, config: dict[str, Any]) -> AbstractAsyncContextManager[Any]:
        return transaction(_driver(config))

    async def reshape(self, config: dict[str, Any], how: str) -> None:
        async with self.transaction(config) as driver:
            driver.execute_script(";\n".join(reshaped_schema(DUCKDB, how)))

    async def parts(self, config: dict[str, Any]) -> Mapping[str, str]:
        return present(_run(config), "duckdb", made_by(DUCKDB, TABLE))

    async def halve(self, config: dict[str, Any], part: str) -> None:
        _run(config)(removal("duckdb", part, made_by(DUCKDB, TABLE)))

    async def set_fence(self, config: dict[str, Any], id_: str, fence: int) -> None:
        _run(config)(fenced(TABLE, id_, fence))

    async def spoil(self, config: dict[str, Any]) -> None:
        _run(config)(spoilt(TABLE))

    async def server_version(self, config: dict[str, Any]) -> str:
        return f"DuckDB {version('duckdb')}"


def _run(config: dict[str, Any]) -> Run:
    import duckdb  # noqa: PLC0415  # the driver

    def run(statement: str) -> Sequence[Sequence[Any]]:
        with closing(duckdb.connect(config["database"])) as connection:
            return connection.execute(statement).fetchall()

    return run


def _driver(config: dict[str, Any]) -> Any:
    from sqlspec.adapters.duckdb import DuckDBConfig  # noqa: PLC0415  # needs the driver

    return DuckDBConfig(connection_config={"database": config["database"]})


duckdb = DuckDBTarget()
