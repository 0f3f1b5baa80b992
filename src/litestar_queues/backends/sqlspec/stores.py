"""Which of SQLSpec's adapters can hold a queue: one row each."""

from __future__ import annotations

from litestar_queues.backends.sql.families import COCKROACH, DUCKDB, MYSQL, ORACLE, POSTGRES, SQLITE
from litestar_queues.backends.sql.limit import close, shut_socket, terminate
from litestar_queues.backends.sqlspec import duckdb, mysql, oracle, psycopg
from litestar_queues.backends.sqlspec.servers import locate_server
from litestar_queues.backends.sqlspec.sqlite import AiosqliteTransport, locate, locate_in_threads, probe
from litestar_queues.backends.sqlspec.store import QueueStore
from litestar_queues.backends.sqlspec.transports import AsyncTransport, ThreadTransport
from litestar_queues.errors import QueueConfigurationError

__all__ = ("QueueStore", "register_queue_store", "store_of")

_ADAPTERS = "sqlspec.adapters."


_STORES: dict[str, tuple[QueueStore, ...]] = {}


def register_queue_store(store: QueueStore) -> None:
    """Make an adapter usable, or replace how it is used: of the rows that match a configuration, the last one counts."""
    _STORES[store.adapter] = (*_STORES.get(store.adapter, ()), store)


def store_of(config: object) -> QueueStore:
    """The store for a configuration, or for the class that it inherits from.

    Raises:
        QueueConfigurationError: There is none for its adapter; lists those that there are.
    """
    cls = type(config)
    for base in cls.__mro__:
        module = base.__module__
        adapter = module.removeprefix(_ADAPTERS).split(".")[0] if module.startswith(_ADAPTERS) else module
        for store in reversed(_STORES.get(adapter, ())):
            if store.matches(config):
                return store
    raise QueueConfigurationError(
        f"there is no queue store for {cls.__module__}.{cls.__qualname__}: SQLSpecBackendConfig(config=...) takes a "
        f"configuration of one of these SQLSpec adapters: {', '.join(sorted(_STORES))}"
    )


register_queue_store(QueueStore("aiosqlite", SQLITE, AiosqliteTransport, locate, probe))
register_queue_store(QueueStore("sqlite", SQLITE, ThreadTransport, locate_in_threads, probe))


def _is_async(config: object) -> bool:
    return bool(getattr(config, "is_async", False))


def _is_sync(config: object) -> bool:
    return not _is_async(config)


register_queue_store(QueueStore("asyncpg", POSTGRES, AsyncTransport, locate_server, cut=terminate))
register_queue_store(QueueStore("psqlpy", POSTGRES, AsyncTransport, locate_server, arrow_from=None))
register_queue_store(
    QueueStore(
        "psycopg",
        POSTGRES,
        AsyncTransport,
        locate_server,
        psycopg.probe,
        autocommit=False,
        cut=shut_socket,
        matches=_is_async,
    )
)
register_queue_store(
    QueueStore(
        "psycopg",
        POSTGRES,
        ThreadTransport,
        locate_server,
        psycopg.probe,
        autocommit=False,
        cut=shut_socket,
        matches=_is_sync,
    )
)
register_queue_store(QueueStore("cockroach_asyncpg", COCKROACH, AsyncTransport, locate_server, cut=terminate))
register_queue_store(
    QueueStore(
        "cockroach_psycopg",
        COCKROACH,
        AsyncTransport,
        locate_server,
        psycopg.probe,
        autocommit=False,
        cut=shut_socket,
        matches=_is_async,
    )
)
register_queue_store(
    QueueStore(
        "cockroach_psycopg",
        COCKROACH,
        ThreadTransport,
        locate_server,
        psycopg.probe,
        autocommit=False,
        cut=shut_socket,
        matches=_is_sync,
    )
)

register_queue_store(QueueStore("asyncmy", MYSQL, AsyncTransport, mysql.locate, autocommit=False, cut=close))
register_queue_store(QueueStore("aiomysql", MYSQL, mysql.AiomysqlTransport, mysql.locate, autocommit=False, cut=close))
register_queue_store(
    QueueStore("pymysql", MYSQL, ThreadTransport, mysql.locate, autocommit=False, cut=mysql.cut_pymysql)
)
register_queue_store(
    QueueStore(
        "mysqlconnector",
        MYSQL,
        mysql.MysqlConnectorTransport,
        mysql.locate,
        autocommit=False,
        cut=mysql.cut_async_connector,
        matches=_is_async,
    )
)
register_queue_store(
    QueueStore(
        "mysqlconnector",
        MYSQL,
        mysql.MysqlConnectorThreadTransport,
        mysql.locate,
        autocommit=False,
        cut=mysql.cut_connector,
        matches=_is_sync,
    )
)

register_queue_store(
    QueueStore("duckdb", DUCKDB, duckdb.DuckDBTransport, duckdb.locate, arrow_from=1, sender=duckdb.fetching)
)

# SQLSpec's Arrow load is Oracle's direct path: it locks the table against every claim, and commits by itself.
register_queue_store(
    QueueStore(
        "oracledb",
        ORACLE,
        AsyncTransport,
        locate_server,
        autocommit=False,
        arrow_from=None,
        cut=oracle.cut,
        matches=_is_async,
    )
)
register_queue_store(
    QueueStore(
        "oracledb",
        ORACLE,
        ThreadTransport,
        locate_server,
        autocommit=False,
        arrow_from=None,
        cut=oracle.cut,
        matches=_is_sync,
    )
)
