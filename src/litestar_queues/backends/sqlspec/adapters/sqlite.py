"""SQLite through the standard library."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from typing import Any

from litestar_queues.backends.sql.families import SQLITE
from litestar_queues.backends.sqlspec.sending import BY_CURSOR
from litestar_queues.backends.sqlspec.store import POLL, Location, QueueStore
from litestar_queues.backends.sqlspec.transports import ThreadTransport
from litestar_queues.errors import BackendUnavailableError, QueueConfigurationError, QueueError

__all__ = ("STORES", "locate", "probe")

_PATIENCE = 10.0
"""Seconds to wait until the file can be switched to WAL."""


def locate(config: Any) -> Location:
    """The file of a configuration, or its database in memory."""
    database = str(config.connection_config.get("database", ""))
    in_memory = ":memory:" in database or "mode=memory" in database
    path = None if in_memory else database
    return Location("SQLite in memory" if in_memory else f"SQLite database {database!r}", in_memory, path)


def _locate_in_threads(config: Any) -> Location:
    """The same, for an adapter with a connection for each thread.

    Raises:
        QueueConfigurationError: Each thread would have a database in memory of its own.
    """
    location = locate(config)
    if location.process_local and "cache=shared" not in str(config.connection_config.get("database", "")):
        raise QueueConfigurationError(
            "a SQLite database in memory belongs to one thread under the sqlite adapter, and the tasks would be lost: "
            "use a file, AiosqliteConfig, or queue_backend='memory'"
        )
    return location


def probe(config: Any) -> None:
    """Open the file as the adapter's pool will, so that its connections meet no surprise.

    Where aiosqlite's pool cannot open a connection, SQLSpec 0.69 waits for 30 s without a reason, or crashes the process.
    The switch to WAL, for which processes that start at the same moment compete, is made here, too.

    Raises:
        QueueConfigurationError: It is no SQLite database, or may not be written.
        BackendUnavailableError: It cannot be opened, or is locked by another process.
    """
    location = locate(config)
    if location.process_local:
        return
    settings = config.connection_config
    try:
        with closing(sqlite3.connect(settings["database"], uri=bool(settings.get("uri")), isolation_level=None)) as db:
            if settings.get("enable_optimizations") is not False:
                _switch_to_wal(db)
            _try_to_write(db)
    except sqlite3.Error as error:
        match _code(error):
            case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
                problem: type[QueueError] = BackendUnavailableError
                advice = "another process holds it"
            case sqlite3.SQLITE_NOTADB:
                problem, advice = QueueConfigurationError, "choose another file"
            case sqlite3.SQLITE_READONLY:
                problem = QueueConfigurationError
                advice = "a queue has to be written: check the permissions of the file and its directory"
            case _:
                problem, advice = BackendUnavailableError, "check that its directory exists and may be written"
        raise problem(f"{location.database}: {error}: {advice}") from error


def _switch_to_wal(db: sqlite3.Connection) -> None:
    """Switch to WAL, which needs the file alone for a moment, and does not wait for that on its own."""
    until = time.monotonic() + _PATIENCE
    while True:
        try:
            db.execute("PRAGMA journal_mode = WAL").fetchone()
        except sqlite3.OperationalError as error:
            if _code(error) != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
            time.sleep(0.01)
        else:
            return


def _try_to_write(db: sqlite3.Connection) -> None:
    """Write what is there already, since no other statement says that a file may only be read; and take it back."""
    (version,) = db.execute("PRAGMA user_version").fetchone()
    db.execute("PRAGMA busy_timeout = 0")
    try:
        db.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError as error:
        if _code(error) == sqlite3.SQLITE_BUSY:  # another writes it, and so shall we
            return
        raise
    db.execute(f"PRAGMA user_version = {version}")
    db.rollback()


def _code(error: sqlite3.Error) -> int:
    """The primary result code; 0 for an error of the Python module itself."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


STORES = (QueueStore("sqlite", SQLITE, ThreadTransport, _locate_in_threads, probe, events=POLL, way=BY_CURSOR),)
