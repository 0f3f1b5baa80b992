"""How a SQLSpec backend is configured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

from sqlspec import SQLSpec

from litestar_queues.backends.base import QueueBackend
from litestar_queues.backends.sql.families import TABLE, statements_of
from litestar_queues.backends.sql.retry import PATIENCE
from litestar_queues.backends.sqlspec.arrow import is_installed
from litestar_queues.backends.sqlspec.backend import SQLSpecBackend
from litestar_queues.backends.sqlspec.store import QueueStore
from litestar_queues.backends.sqlspec.stores import store_of
from litestar_queues.errors import MissingDependencyError, QueueConfigurationError

__all__ = ("SQLSpecBackendConfig",)

BulkInsert = Literal["auto", "arrow", "statement"]


@dataclass(frozen=True, kw_only=True)
class SQLSpecBackendConfig:
    """`QueueConfig(queue_backend=SQLSpecBackendConfig(config=AiosqliteConfig(...)))`.

    What survives a loss of power is up to the database's configuration. SQLite under SQLSpec runs with WAL and
    `synchronous=NORMAL`: whatever a call acknowledged survives the death of any process, but the last moments before a
    loss of power may be gone (never damaged). Where that must not be, give the configuration
    `driver_features={"pragmas": {"synchronous": "FULL"}}`, at the price of one fsync for each transaction.

    Attributes:
        config: The database, as a configuration of one of SQLSpec's adapters.
        sqlspec: The application's own registry, to share its pool for `config`; the application closes it. Without one,
            the backend opens a pool, and closes it.
        create_schema: Create what is missing of the tables when the backend opens.
        table_name: The table of the tasks; that of the locks is called the same with `_lock` after it.
        bulk_insert: How many tasks without keys are stored at once: by an Arrow load ("arrow", which needs pyarrow), by
            the one statement that stores everything else ("statement"), or by whichever was measured to be faster for
            the adapter and the number of tasks ("auto"). The choice is made when the backend opens.
        lock_timeout: Seconds for which a transaction that meets a conflict is tried again, before the database counts as
            unavailable. An attempt waits for a lock as long as the database's own setting says (SQLite under SQLSpec:
            5 seconds), and is not cut short.
    """

    config: Any
    sqlspec: SQLSpec | None = None
    create_schema: bool = True
    table_name: str = TABLE
    lock_timeout: float = PATIENCE
    bulk_insert: BulkInsert = "auto"

    def create_backend(self) -> QueueBackend:
        """A backend that is not open yet.

        Raises:
            QueueConfigurationError: The adapter is not supported, or the database or the table's name cannot work.
        """
        store = store_of(self.config)
        if self.lock_timeout <= 0:
            raise QueueConfigurationError(f"lock_timeout must be a positive number of seconds, not {self.lock_timeout}")
        if self.bulk_insert not in get_args(BulkInsert):
            raise QueueConfigurationError(
                f"bulk_insert is one of {', '.join(map(repr, get_args(BulkInsert)))}, not {self.bulk_insert!r}"
            )
        return SQLSpecBackend(
            store,
            self.config,
            statements_of(store.family, self.table_name),
            sqlspec=self.sqlspec,
            create_schema=self.create_schema,
            table_name=self.table_name,
            patience=self.lock_timeout,
            arrow_from=self._arrow_from(store),
        )

    def _arrow_from(self, store: QueueStore) -> int | None:
        """The number of tasks from which on they are loaded by Arrow; None for never."""
        if self.bulk_insert == "statement":
            return None
        if self.bulk_insert == "auto":
            return store.arrow_from if store.arrow_from and is_installed() else None
        if store.arrow_from is None:
            raise QueueConfigurationError(
                f"bulk_insert='arrow' cannot be: the adapter {store.adapter} loads no JSON by Arrow; leave it 'auto'"
            )
        if not is_installed():
            raise MissingDependencyError("pyarrow", "arrow")
        return 1
