"""What the two adapters of SQLite need besides their rows."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from typing import Any, TypeVar

from sqlspec import SQLSpec
from sqlspec.adapters.sqlite.driver import SqliteDriver

from litestar_queues.backends.cancelling import to_the_end
from litestar_queues.backends.sql.program import Call, Done, Load, Program, Steps, advance
from litestar_queues.backends.sqlspec.failures import Failures
from litestar_queues.backends.sqlspec.sessions import AsyncSession
from litestar_queues.backends.sqlspec.store import Location, QueueStore
from litestar_queues.backends.sqlspec.transports import BlockingTransport, ask_async
from litestar_queues.errors import BackendUnavailableError, QueueConfigurationError, QueueError

__all__ = ("AiosqliteTransport", "locate", "locate_in_threads", "probe")

T = TypeVar("T")

_PATIENCE = 10.0
"""Seconds to wait until the file can be switched to WAL."""


def locate(config: Any) -> Location:
    """The file of a configuration, or its database in memory."""
    database = str(config.connection_config.get("database", ""))
    in_memory = ":memory:" in database or "mode=memory" in database
    return Location("SQLite in memory" if in_memory else f"SQLite database {database!r}", process_local=in_memory)


def locate_in_threads(config: Any) -> Location:
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


class AiosqliteTransport(BlockingTransport):
    """Runs a whole program in the thread of aiosqlite's connection, on a sync driver over the same connection.

    SQLSpec's async driver crosses to that thread and back three times for a statement, and as often for `begin`. With it
    a single enqueue took 1,050 us, and a claim of 10 with its commit 3,150 us; so, 430 and 1,400 us.
    """

    def __init__(
        self, spec: SQLSpec, config: Any, store: QueueStore, failures: Failures, *, limit: float | None = None
    ) -> None:
        from sqlspec.adapters.aiosqlite.core import run_on_worker_thread  # noqa: PLC0415  # needs aiosqlite

        super().__init__(spec, config, store, failures, limit=limit)
        self._in_thread = run_on_worker_thread

    async def attempt(self, program: Program[T]) -> T:
        steps = program.start()
        first = advance(steps)
        if isinstance(first, Done):
            return first.answer
        session = AsyncSession(self._config)
        try:
            driver = await session.__aenter__()
        except Exception as error:
            raise self._failures.of_connection(error) from error
        try:
            # A caller that is cancelled meanwhile leaves at once; the thread brings the transaction to its end before
            # it does anything for the connection's next user.
            connection = driver.connection
            answer: T = await self._in_thread(connection, self._run, connection, program, steps, first)
        except BaseException:
            await to_the_end(session.__aexit__(None, None, None))
            raise
        await session.__aexit__(None, None, None)  # waits for nothing
        return answer

    def _run(self, connection: Any, program: Program[T], steps: Steps[T], first: Call | Load) -> T:
        driver = SqliteDriver(
            connection._conn,  # noqa: SLF001  # no other way
            statement_config=self._config.statement_config,
            driver_features={
                **self._config.driver_features,
                "storage_capabilities": self._config.storage_capabilities(),
            },
        )
        driver.attach_observability(self._config.get_observability_runtime())
        return self.transact(driver, program, steps, first)

    async def ask(self, question: Callable[[Any], Any]) -> Any:
        return await ask_async(AsyncSession(self._config), question)

    async def close(self) -> None: ...
