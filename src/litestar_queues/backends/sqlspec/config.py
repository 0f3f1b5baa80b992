"""How a SQLSpec backend is configured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from sqlspec import SQLSpec

from litestar_queues.backends.base import QueueBackend
from litestar_queues.backends.retry import PATIENCE
from litestar_queues.backends.sql.families import TABLE, statements_of
from litestar_queues.backends.sql.options import check_timeouts
from litestar_queues.backends.sql.schema import MIGRATION_TIMEOUT
from litestar_queues.backends.sqlspec.arrow import is_installed
from litestar_queues.backends.sqlspec.backend import SQLSpecBackend
from litestar_queues.backends.sqlspec.channel import plan_channel
from litestar_queues.backends.sqlspec.heartbeats import HeartbeatPool
from litestar_queues.backends.sqlspec.migrating import register_migrations
from litestar_queues.backends.sqlspec.observer import RuntimeObserver
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
        run_migrations: Let SQLSpec apply the packaged migrations when the backend opens, and none of the application's;
            `create_schema` is then without effect. With both off, the tables have to be there.
        migration_timeout: Seconds for which a backend that may not change the tables waits where they are of an older
            version, until somebody else has migrated them; 0 waits for nobody.
        heartbeat_pool_config: A second configuration of the same adapter and the same database, whose pool is for
            heartbeats only, so that they stay on time while every connection of the first is busy. Where it cannot be
            opened, the backend warns once and does without. Under the `bind_key` of the first, it gets one of its own.
        queue_observability: Count what happens to tasks, and span the queue's operations, in the configuration's own
            `get_observability_runtime()`. SQLSpec's spans and observers of statements do not depend on it.
        table_name: The table of the tasks; that of the locks is called the same with `_lock` after it.
        bulk_insert: How many tasks without keys are stored at once: by an Arrow load ("arrow", which needs pyarrow), by
            the one statement that stores everything else ("statement"), or by whichever was measured to be faster for
            the adapter and the number of tasks ("auto"). The choice is made when the backend opens.
        lock_timeout: Seconds for which a transaction that meets a conflict is tried again, before the database counts as
            unavailable. An attempt waits for a lock as long as the database's own setting says (SQLite under SQLSpec:
            5 seconds), and is not cut short.
        answer_timeout: Seconds for which a transaction may go on before its connection is given up, and the call raises
            `BackendUnavailableError`: without an end, a network that swallows packets would hold a worker for ever. Those
            that define tables are not bounded, nor is a database without a server; None bounds nothing. psqlpy cannot
            give a connection up, whose place in the pool stays taken until the operating system finds it dead. PyMySQL
            cannot give up one that is being opened: its own `read_timeout` does.
        notifications: Whether workers in other processes are told of new tasks, instead of polling alone. None: by LISTEN
            and NOTIFY on the async drivers of PostgreSQL, where that needs nothing of the user; not on others. True needs
            a transport of SQLSpec's events, which on most adapters is a table (`poll_queue`).
        notification_channel: The channel; named after the table unless given, so that two queues do not wake each other.
        notify_transport: SQLSpec's name of the transport: `notify`, `notify_queue`, `poll_queue`, `aq` or `txeventq`;
            `listen_notify`, `listen_notify_durable` and `table_queue` are understood, too. What stands in the
            configuration's `extension_config["events"]` counts unless given, then the adapter's default.
        event_settings: Settings of SQLSpec's events for the queue alone, over those of the configuration.
    """

    config: Any
    sqlspec: SQLSpec | None = None
    create_schema: bool = True
    run_migrations: bool = False
    migration_timeout: float = MIGRATION_TIMEOUT
    heartbeat_pool_config: Any = None
    queue_observability: bool = True
    table_name: str = TABLE
    lock_timeout: float = PATIENCE
    answer_timeout: float | None = 60.0
    bulk_insert: BulkInsert = "auto"
    notifications: bool | None = None
    notification_channel: str | None = None
    notify_transport: str | None = None
    event_settings: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        if self.run_migrations:
            register_migrations(self.config, self.table_name)

    def create_backend(self) -> QueueBackend:
        """A backend that is not open yet.

        Raises:
            QueueConfigurationError: The adapter is not supported, or the database, the table's name or the notifications
                cannot work.
        """
        store = store_of(self.config)
        check_timeouts(self.lock_timeout, self.answer_timeout, self.migration_timeout)
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
            run_migrations=self.run_migrations,
            migration_timeout=self.migration_timeout,
            table_name=self.table_name,
            patience=self.lock_timeout,
            limit=self.answer_timeout,
            arrow_from=self._arrow_from(store),
            heartbeats=self._heartbeat_pool(store),
            observer=RuntimeObserver(self.config, table=self.table_name) if self.queue_observability else None,
            channel=plan_channel(
                store,
                self.config,
                self.table_name,
                notifications=self.notifications,
                channel=self.notification_channel,
                transport=self.notify_transport,
                settings=self.event_settings,
            ),
        )

    def _arrow_from(self, store: QueueStore) -> int | None:
        """The number of tasks from which on they are loaded by Arrow; None for never."""
        if self.bulk_insert == "statement":
            return None
        if self.bulk_insert == "auto":
            return store.arrow_from if store.arrow_from and is_installed() else None
        if store.arrow_from is None:
            raise QueueConfigurationError(
                f"bulk_insert='arrow' cannot be: the adapter {store.adapter} has no Arrow load that fits a queue; leave it "
                f"'auto'"
            )
        if not is_installed():
            raise MissingDependencyError("pyarrow", "arrow")
        return 1

    def _heartbeat_pool(self, store: QueueStore) -> HeartbeatPool | None:
        if self.heartbeat_pool_config is None:
            return None
        if store_of(self.heartbeat_pool_config) is not store:
            raise QueueConfigurationError(
                f"heartbeat_pool_config is a {type(self.heartbeat_pool_config).__qualname__}, and config a "
                f"{type(self.config).__qualname__}: both have to be configurations of one adapter, for one database"
            )
        return HeartbeatPool(store, self.heartbeat_pool_config, self.config)
