"""Plain statements to a server by its URL, through a synchronous driver and nothing of ours."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from contextlib import ExitStack, closing, contextmanager
from importlib import import_module
from typing import Any
from urllib.parse import unquote, urlsplit

from litestar_queues_matrix.servers import resp
from litestar_queues_matrix.servers.errors import NotAnswering, ServerUnavailable

__all__ = ("Held", "NotAnswering", "connected", "cut", "drop_tables", "execute", "version")

_SECONDS = 5
_DRIVERS = {
    "postgresql": ("psycopg", "psycopg[binary]"),
    "mysql": ("pymysql", "PyMySQL cryptography"),
    "oracle": ("oracledb", "oracledb"),
}
_VERSION = {
    "postgresql": "SELECT version()",
    "mysql": "SELECT version()",
    "oracle": "SELECT 'Oracle ' || version_full FROM product_component_version FETCH FIRST 1 ROWS ONLY",
}
_PATIENCE = {
    "postgresql": "SET lock_timeout = '{seconds}s'",
    "mysql": "SET lock_wait_timeout = {seconds}",
    "oracle": "ALTER SESSION SET ddl_lock_timeout = {seconds}",
}
# IF EXISTS is new in 23.
_DROP = {
    "oracle": "BEGIN EXECUTE IMMEDIATE 'DROP TABLE {table} PURGE'; "
    "EXCEPTION WHEN OTHERS THEN IF SQLCODE <> -942 THEN RAISE; END IF; END;"
}


def version(url: str) -> str:
    """The server's product and version, as it says itself: `PostgreSQL 15.20`.

    Raises:
        NotAnswering: It did not say.
    """
    if urlsplit(url).scheme in resp.SCHEMES:
        return resp.version(url)
    with connected(url) as cursor:
        cursor.execute(_VERSION[urlsplit(url).scheme])
        answer = str(cursor.fetchone()[0])
    if urlsplit(url).scheme == "mysql":
        return f"{'MariaDB' if 'MariaDB' in answer else 'MySQL'} {answer.split('-', maxsplit=1)[0]}"
    return answer.split(" on ", maxsplit=1)[0].split(" (", maxsplit=1)[0]


def execute(url: str, *statements: str) -> None:
    """Run statements, each in a transaction of its own where the server has such.

    Raises:
        NotAnswering: The server did not take them.
    """
    with connected(url) as cursor:
        for statement in statements:
            cursor.execute(statement)


def drop_tables(url: str, *tables: str, seconds: int = 20) -> None:
    """Remove those of the tables that are there.

    Args:
        url: The server.
        *tables: Their names.
        seconds: How long to wait for a transaction that somebody left open.

    Raises:
        NotAnswering: The server did not take it, or somebody's transaction was in the way.
    """
    patience = _PATIENCE[urlsplit(url).scheme].format(seconds=seconds)
    drop = _DROP.get(urlsplit(url).scheme, "DROP TABLE IF EXISTS {table}")
    execute(url, patience, *(drop.format(table=table) for table in tables))


def cut(url: str, name: str) -> int | None:
    """End every connection to a PostgreSQL whose `application_name` this is.

    Returns:
        How many there were; None on another server.
    """
    if not url.startswith("postgresql"):
        return None
    with connected(url) as cursor:
        cursor.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = %s", (name,))
        return len([ended for (ended,) in cursor.fetchall() if ended])


class Held:
    """Rows that stay locked until they are let go, as by a transaction that has not come to its end.

    Args:
        url: The server.
        table: Their table.
        ids: What they are known by.
        column: The column that has it, which is unique.

    Raises:
        NotAnswering: The server did not take it.
        LookupError: One of the rows is not there.
    """

    def __init__(self, url: str, table: str, ids: Iterable[str], column: str = "id") -> None:
        self._running = ExitStack()
        cursor = self._running.enter_context(connected(url))
        try:
            cursor.execute("BEGIN")
            for id_ in ids:  # one by one: by a unique index, and no row beside
                cursor.execute(f"SELECT 1 FROM {table} WHERE {column} = %s FOR UPDATE", (id_,))  # noqa: S608  # our names
                if cursor.fetchone() is None:
                    raise LookupError(f"{table} has no row whose {column} is {id_!r}")  # noqa: TRY301  # let go of below
        except BaseException:
            self._running.close()
            raise
        self._cursor = cursor

    def let_go(self) -> None:
        """End the transaction, which changed nothing."""
        with self._running:
            self._cursor.execute("ROLLBACK")


@contextmanager
def connected(url: str) -> Generator[Any]:
    """A cursor of an autocommitting connection.

    Raises:
        NotAnswering: The server cannot be reached, or the connection broke, or a statement failed.
    """
    parts = urlsplit(url)
    try:
        module, distribution = _DRIVERS[parts.scheme]
    except KeyError:
        schemes = ", ".join(f"{scheme}://" for scheme in _DRIVERS)
        raise ServerUnavailable(f"no server is reached by {parts.scheme}://, only by {schemes}") from None
    try:
        driver: Any = import_module(module)
    except ImportError:
        raise ServerUnavailable(f"{parts.scheme} servers need a driver: pip install {distribution}") from None
    try:
        with closing(_connect(driver, url)) as connection, closing(connection.cursor()) as cursor:
            yield cursor
    except (driver.Error, OSError) as error:
        raise NotAnswering(f"{parts.hostname}:{parts.port}: {error}".strip()) from error


def _connect(driver: Any, url: str) -> Any:
    if driver.__name__ == "psycopg":
        # On a server whose transactions are serializable, one that only looks would be in the way of those that it looks at.
        committed = "-c default_transaction_isolation=read\\ committed"
        return driver.connect(url, connect_timeout=_SECONDS, autocommit=True, options=committed)
    parts = urlsplit(url)
    user, password, database = unquote(parts.username or ""), unquote(parts.password or ""), parts.path.strip("/")
    if driver.__name__ == "pymysql":
        return driver.connect(
            host=parts.hostname,
            port=parts.port or 3306,
            user=user,
            password=password,
            database=database or None,
            connect_timeout=_SECONDS,
            autocommit=True,
        )
    return driver.connect(user=user, password=password, dsn=f"{parts.hostname}:{parts.port or 1521}/{database}")
