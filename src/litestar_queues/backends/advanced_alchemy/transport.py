"""How a program reaches a database: in a session of its own, or in one of the application's.

A program runs inside one call of `run_sync`, so that there is one switch into SQLAlchemy's greenlet and not one for each
statement.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from sqlalchemy import Connection, Insert, insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from litestar_queues.backends.advanced_alchemy.dialects import CUTS, Dialect
from litestar_queues.backends.advanced_alchemy.failures import AlchemyFailures
from litestar_queues.backends.advanced_alchemy.leaving import LeavingInsert
from litestar_queues.backends.advanced_alchemy.statements import PREFIX, ModelStatement
from litestar_queues.backends.advanced_alchemy.table import QueueTable
from litestar_queues.backends.cancelling import cancellations, heed_cancellation, once_open, to_the_end, whole
from litestar_queues.backends.sql.families import Kind
from litestar_queues.backends.sql.limit import GRACE, Limit
from litestar_queues.backends.sql.program import Call, ConflictError, Done, Load, Program, Rows, Steps, advance
from litestar_queues.errors import BackendError, QueueConfigurationError

__all__ = ("BoundTransport", "Sender", "SessionTransport")

T = TypeVar("T")

_COUNTED = {"preserve_rowcount": True}
"""SQLAlchemy asks the cursor otherwise, which some drivers answer no more once it is closed."""


class Sender:
    """Sends what programs ask for over a connection."""

    def __init__(self, table: QueueTable, dialect: Dialect) -> None:
        self._table = table
        self._counts = dialect.counts
        self._inserts: dict[bool, Insert] = {True: LeavingInsert(table.tasks), False: insert(table.tasks)}

    def run(self, connection: Connection, steps: Steps[T], first: Call | Load | Done[T]) -> T:
        """Bring the program to its end."""
        call = first
        while not isinstance(call, Done):
            rows = self._load(connection, call) if isinstance(call, Load) else self._send(connection, call)
            call = advance(steps, rows)
        return call.answer

    def _send(self, connection: Connection, call: Call) -> Rows:
        statement = call.statement
        assert isinstance(statement, ModelStatement)  # noqa: S101  # the engine was given no others
        given = {f"{PREFIX}{name}": value for name, value in call.parameters.items()}
        result = connection.execute(statement.sent, given, execution_options=_COUNTED)
        return Rows(result.fetchall()) if result.returns_rows else Rows((), result.rowcount)

    def _load(self, connection: Connection, load: Load) -> Rows:
        rows = self._table.rows(load.columns)
        insertion = self._inserts[load.leaving]
        result = connection.execute(insertion, rows if len(rows) > 1 else rows[0], execution_options=_COUNTED)
        return Rows((), result.rowcount if self._counts else -1)


class SessionTransport:
    """Runs each program in a session of its own, and commits it.

    Args:
        maker: Makes the sessions.
        table: The model's tables.
        dialect: What the database is.
        driver: SQLAlchemy's name of the driver.
        failures: Translates errors.
        limit: Seconds that a program may take.
    """

    def __init__(
        self,
        maker: Callable[[], AsyncSession],
        table: QueueTable,
        dialect: Dialect,
        driver: str,
        failures: AlchemyFailures,
        *,
        limit: float | None = None,
    ) -> None:
        self._maker = maker
        self._sender = Sender(table, dialect)
        self._mapper: dict[str, Any] = {"mapper": table.model.__mapper__}
        self._dialect = dialect
        self._cut = CUTS.get(driver)
        self._failures = failures
        self._limit = limit

    async def attempt(self, program: Program[T]) -> T:
        steps = program.start()
        first = advance(steps)
        if isinstance(first, Done):  # needs no statement, and therefore no connection
            return first.answer
        limit = None if program.unhurried else self._limit
        try:
            return await self.within(
                program.kind, program.name, lambda connection: self._sender.run(connection, steps, first), limit=limit
            )
        finally:
            steps.close()

    async def within(self, kind: Kind, name: str, work: Callable[[Connection], T], *, limit: float | None = None) -> T:
        """Do something in a transaction of its own.

        Raises:
            ConflictError: Another transaction got in the way; nothing was stored.
            BackendUnavailableError: The database cannot be reached; what was stored is unknown.
            BackendError: It refused a statement; nothing was stored.
        """
        bound = Limit(limit, self._cut)
        last = asyncio.timeout(bound.at_last)
        session = self._maker()
        is_open = asyncio.Event()
        told = cancellations()
        try:
            with bound.running():
                async with last:
                    running = session.run_sync(self._transact, kind, work, bound, is_open)
                    if self._dialect.uninterrupted:
                        answer = await whole(running)
                    else:
                        answer = await once_open(running, is_open, patience=GRACE)
        except BaseException as error:
            await to_the_end(self._leave(session))
            if isinstance(error, Exception):
                if bound.expired or last.expired():
                    raise self._failures.of_silence(name, bound.seconds) from error
                failure = self._failures.of_statement(error, name)
                if failure is not error:
                    raise failure from error
            raise
        await to_the_end(self._leave(session))
        heed_cancellation(told)
        return answer

    def _transact(
        self, session: Session, kind: Kind, work: Callable[[Connection], T], limit: Limit, is_open: asyncio.Event
    ) -> T:
        isolation = self._dialect.isolation.get(kind)
        options: dict[str, Any] = {} if isolation is None else {"isolation_level": isolation}
        try:
            connection = session.connection(bind_arguments=self._mapper, execution_options=options)
        except Exception as error:
            raise self._failures.of_connection(error) from error
        limit.connection = connection.connection.driver_connection
        is_open.set()
        opening = self._dialect.opening.get(kind, ())
        if opening and self._dialect.closing and getattr(limit.connection, "in_transaction", False):
            connection.exec_driver_sql("ROLLBACK")  # a hook of the application's has begun one, in its own way
        for statement in opening:
            connection.exec_driver_sql(statement)
        try:
            answer = work(connection)
            if opening and self._dialect.closing is not None:
                connection.exec_driver_sql(self._dialect.closing)
        except Exception:
            if opening and self._dialect.closing is not None:
                with suppress(Exception):
                    connection.exec_driver_sql("ROLLBACK")
            raise
        session.commit()
        return answer

    async def _leave(self, session: AsyncSession) -> None:
        """Give the connection back, clean; what happens here is nobody's concern: what was done is decided by now."""
        limit = Limit(None if self._limit is None else GRACE, self._cut)
        with suppress(Exception), limit.running():
            async with asyncio.timeout(limit.seconds):
                await session.close()


class BoundTransport:
    """Sends a program's statements in a session of the caller's, who begins and ends the transaction.

    Args:
        session: The session.
        table: The model's tables.
        dialect: What the database is.
        failures: Translates errors.
    """

    def __init__(self, session: AsyncSession, table: QueueTable, dialect: Dialect, failures: AlchemyFailures) -> None:
        self._session = session
        self._sender = Sender(table, dialect)
        self._mapper: dict[str, Any] = {"mapper": table.model.__mapper__}
        self._failures = failures

    async def attempt(self, program: Program[T]) -> T:
        """Run the program. It takes effect when the caller commits.

        Raises:
            QueueConfigurationError: The program writes, and the session's engine has no transactions.
            BackendError: The database refused a statement.
        """
        steps = program.start()
        first = advance(steps)
        try:
            return await self._session.run_sync(self._transact, program, steps, first)
        except Exception as error:
            failure = self._failures.of_statement(error, program.name)
            if isinstance(failure, ConflictError):
                failure = BackendError(
                    f"{self._failures.database}: {program.name} met a conflict with another transaction ({failure}): roll "
                    "the session's transaction back, and try it again as a whole"
                )
            if failure is error:
                raise
            raise failure from error
        finally:
            steps.close()

    def _transact(self, session: Session, program: Program[T], steps: Steps[T], first: Call | Load | Done[T]) -> T:
        connection = session.connection(bind_arguments=self._mapper)
        if program.kind is not Kind.READ and _has_no_transaction(connection):
            raise QueueConfigurationError(
                f"{self._failures.database}: {program.name} got a session whose engine has isolation_level AUTOCOMMIT. Its "
                "rollback would not take the task back: use a session of an engine that has transactions; or leave "
                "session= out, which stores the task at once"
            )
        return self._sender.run(connection, steps, first)


def _has_no_transaction(connection: Connection) -> bool:
    # SQLAlchemy has no public question for this. On SQLite, an event of the application can begin a transaction all the same.
    inside: Any = connection
    if not inside._is_autocommit_isolation():  # noqa: SLF001
        return False
    return not getattr(connection.connection.driver_connection, "in_transaction", False)
