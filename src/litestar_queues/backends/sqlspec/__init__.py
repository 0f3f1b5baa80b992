"""Tasks in a database that SQLSpec speaks to."""

from __future__ import annotations

from litestar_queues.errors import MissingDependencyError

try:
    import sqlspec  # noqa: F401  # pyright: ignore[reportUnusedImport]  # to see whether it is there
except ImportError as error:
    raise MissingDependencyError("sqlspec", "sqlspec") from error

from litestar_queues.backends.sqlspec.config import SQLSpecBackendConfig
from litestar_queues.backends.sqlspec.store import Location, QueueStore
from litestar_queues.backends.sqlspec.stores import register_queue_store

__all__ = ("Location", "QueueStore", "SQLSpecBackendConfig", "register_queue_store")
