"""Tasks in a database that SQLSpec speaks to.

What is named here is public: the configuration, and what an adapter from outside needs for its `QueueStore`.
"""

from __future__ import annotations

from litestar_queues.errors import MissingDependencyError

try:
    import sqlspec  # noqa: F401  # pyright: ignore[reportUnusedImport]  # to see whether it is there
except ImportError as error:
    raise MissingDependencyError("sqlspec", "sqlspec") from error

from litestar_queues.backends.sql.families import COCKROACH, DUCKDB, MYSQL, ORACLE, POSTGRES, SQLITE, Family
from litestar_queues.backends.sqlspec.config import SQLSpecBackendConfig
from litestar_queues.backends.sqlspec.servers import ServerAddress
from litestar_queues.backends.sqlspec.store import EventTransport, Location, QueueStore, Transport
from litestar_queues.backends.sqlspec.stores import register_queue_store
from litestar_queues.backends.sqlspec.transports import AsyncTransport, ThreadTransport

__all__ = (
    "COCKROACH",
    "DUCKDB",
    "MYSQL",
    "ORACLE",
    "POSTGRES",
    "SQLITE",
    "AsyncTransport",
    "EventTransport",
    "Family",
    "Location",
    "QueueStore",
    "SQLSpecBackendConfig",
    "ServerAddress",
    "ThreadTransport",
    "Transport",
    "register_queue_store",
)
