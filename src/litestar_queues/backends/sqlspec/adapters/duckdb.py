"""DuckDB."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from litestar_queues.backends.sql.families import DUCKDB, quoted_name
from litestar_queues.backends.sql.program import Load, Rows
from litestar_queues.backends.sqlspec.arrow import arrow_table
from litestar_queues.backends.sqlspec.sending import Prepared, Way, by_position
from litestar_queues.backends.sqlspec.store import POLL, Location, QueueStore
from litestar_queues.backends.sqlspec.transports import ThreadTransport, call_of
from litestar_queues.errors import BackendUnavailableError, QueueConfigurationError, QueueError

_MEMORY = ":memory:"
_LOADED = "litestar_queues_loaded"
"""What rows to be loaded are called on the connection."""
_ALONE = (
    "another process has it open, and a DuckDB file belongs to one process at a time: let the application's own process "
    "run its tasks, or take a database that several processes can share"
)
_ADVICE: tuple[tuple[str, type[QueueError], str], ...] = (
    ("Could not set lock", BackendUnavailableError, _ALONE),
    ("not a valid DuckDB database", QueueConfigurationError, "choose another file"),
    (
        "different configuration",
        QueueConfigurationError,
        "this process has it open with other settings: give every configuration of one file the same",
    ),
    ("", BackendUnavailableError, "check that its directory exists and may be written"),
)
"""Words of DuckDB's by which to tell why it cannot be opened, the error to raise, and what to do."""


def _locate(config: Any) -> Location:
    """The file of a configuration, or its database in memory. No other process can have the file open as well.

    Raises:
        QueueConfigurationError: It is to be opened for reading only.
    """
    settings: dict[str, Any] = config.connection_config
    more: dict[str, Any] = settings.get("config") or {}
    name = _name(config)
    database = f"DuckDB database {name!r}"
    if name.startswith(_MEMORY):
        database = "DuckDB in memory" if name == ":memory:shared_db" else f"DuckDB in memory, {name!r}"
    mode = settings.get("access_mode") or more.get("access_mode")
    if settings.get("read_only") or str(mode).upper() == "READ_ONLY":
        raise QueueConfigurationError(f"{database}: a queue has to be written: leave out read_only and access_mode")
    return Location(database, process_local=True)


def _name(config: Any) -> str:
    return str(config.connection_config["database"])


class _Thread:
    """The one thread of this process in which a database is used, and how many transports use it."""

    def __init__(self) -> None:
        self.executor = ThreadPoolExecutor(1, thread_name_prefix="litestar-queues-duckdb")
        self.users = 0


_threads: dict[str, _Thread] = {}
_lock = threading.Lock()


class DuckDBTransport(ThreadTransport):
    """Runs a whole program in the one thread in which this process uses the database.

    All backends on the database share the thread, whatever their configurations, tables and event loops: so no two of
    their transactions ever meet.
    """

    def start_threads(self, config: Any) -> ThreadPoolExecutor:
        with _lock:
            thread = _threads.setdefault(_key(config), _Thread())
            thread.users += 1
        return thread.executor

    def refused(self, error: Exception) -> Exception:
        refusal = self._failures.of_connection(error)
        raised, advice = next((kind, advice) for words, kind, advice in _ADVICE if words in str(error))
        return raised(f"{refusal}: {advice}")

    def load(self, driver: Any, load: Load) -> None:
        """Load rows in bulk, by the names of the columns, which SQLSpec's own load goes through by their position."""
        table = quoted_name(self._store.family, load.table)
        columns = ", ".join(load.columns)
        text = f"INSERT INTO {table} ({columns}) SELECT {columns} FROM {_LOADED}"  # noqa: S608  # our own names
        driver.connection.register(_LOADED, arrow_table(load))
        try:
            self.send(driver, call_of(text))
        finally:
            driver.connection.unregister(_LOADED)

    async def close(self) -> None:
        await asyncio.to_thread(self._leave)

    def _leave(self) -> None:
        key = _key(self._config)
        with _lock:  # until the thread is at its end, so that no other is started beside it
            thread = _threads[key]
            thread.users -= 1
            if not thread.users:
                del _threads[key]
                thread.executor.shutdown()


def _send(driver: Any, text: str, one: Prepared, values: Any) -> Rows:
    """Send a statement, and take its rows as DuckDB gives them.

    SQLSpec takes them through Arrow where it does not know how many come: that needs pyarrow, and costs a copy more, of
    which DuckDB 2.0 warns.
    """
    connection = driver.connection
    connection.execute(text, values or None)
    if one.returns_rows:
        rows = by_position(connection.fetchall())
        return Rows(rows, len(rows))
    # A write answers with one row, of the number of rows that it changed.
    counted = connection.fetchone()
    return Rows((), counted[0] if counted and len(counted) == 1 and isinstance(counted[0], int) else 0)


def _key(config: Any) -> str:
    name = _name(config)
    return name if name.startswith(_MEMORY) else str(Path(name).resolve())


STORES = (QueueStore("duckdb", DUCKDB, DuckDBTransport, _locate, arrow_from=1, way=Way(_send), events=POLL),)
