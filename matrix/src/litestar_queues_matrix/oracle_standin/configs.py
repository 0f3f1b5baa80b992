"""SQLSpec's configurations of Oracle, with the pool of the stand-in."""

from __future__ import annotations

from typing import Any

from sqlspec.adapters.oracledb import OracleAsyncConfig, OracleSyncConfig

from litestar_queues_matrix.oracle_standin.client import AsyncPool, Pool, Sent

__all__ = ("AsyncConfig", "SyncConfig")


class AsyncConfig(OracleAsyncConfig):
    """`connection_config["dsn"]` is the URL of the PostgreSQL."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.log: list[Sent | str] = []

    async def _create_pool(self) -> Any:
        settings: dict[str, Any] = self.connection_config
        return AsyncPool(settings["dsn"], settings["max"], self.log)


class SyncConfig(OracleSyncConfig):
    """The same for the sync adapter."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.log: list[Sent | str] = []

    def _create_pool(self) -> Any:
        settings: dict[str, Any] = self.connection_config
        return Pool(settings["dsn"], settings["max"], self.log)
