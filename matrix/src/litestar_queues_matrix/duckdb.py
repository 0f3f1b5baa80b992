"""DuckDB through SQLSpec."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from litestar_queues.backends.base import QueueBackend
from litestar_queues.backends.sqlspec import SQLSpecBackendConfig
from litestar_queues_conformance.target import Capabilities

__all__ = ("DuckDBTarget", "duckdb")


class DuckDBTarget:
    """A store is a database file in a temporary folder of its own, which one process can have open."""

    distribution = "litestar-queues"
    capabilities = Capabilities(multi_process=False, durable=True, server_clock=False)

    def unavailable(self, env: Mapping[str, str]) -> str | None:
        """Why it cannot run here, or None if it can."""
        return None if find_spec("duckdb") else "its driver is not installed: pip install duckdb"

    def config(self, env: Mapping[str, str]) -> dict[str, Any]:
        folder = tempfile.mkdtemp(prefix="litestar-queues-", dir=env.get("LITESTAR_QUEUES_MATRIX_TMP"))
        return {"database": str(Path(folder) / "queues.duckdb")}

    async def open(self, config: dict[str, Any]) -> QueueBackend:
        from sqlspec.adapters.duckdb import DuckDBConfig  # noqa: PLC0415  # needs the driver

        made = SQLSpecBackendConfig(config=DuckDBConfig(connection_config={"database": config["database"]}))
        backend = made.create_backend()
        await backend.open()
        return backend

    async def reset(self, config: dict[str, Any]) -> None:
        shutil.rmtree(Path(config["database"]).parent, ignore_errors=True)

    async def server_version(self, config: dict[str, Any]) -> str:
        return f"DuckDB {version('duckdb')}"


duckdb = DuckDBTarget()
