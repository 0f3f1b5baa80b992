"""How a program reaches a database: statement by statement on an async driver, or as a whole in a thread.

Each transport makes one attempt at a program, in one transaction, and leaves the connection clean whatever happens:
committed where the program came to its end, else rolled back. Every statement goes out as `SQL(...)` with the
configuration's own `statement_config`, between explicit `begin` and `commit`: other forms corrupt memory on the error
paths of SQLSpec's compiled 0.69.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, AbstractContextManager, suppress
from dataclasses import dataclass
from inspect import isawaitable
from typing import Any, Protocol, TypeVar

import anyio
from sqlspec import SQLSpec
from sqlspec.core import SQL

from litestar_queues.backends.sql.program import Call, Done, Load, Program, Rows, Steps, advance
from litestar_queues.backends.sqlspec.arrow import arrow_table
from litestar_queues.backends.sqlspec.failures import Failures
from litestar_queues.backends.sqlspec.store import QueueStore

__all__ = (
    "AsyncTransport",
    "BlockingTransport",
    "ThreadTransport",
    "Transport",
    "ask_async",
    "rows_of",
    "statement_of",
    "to_the_end",
)

T = TypeVar("T")


class Transport(Protocol):
    """Makes attempts at programs."""

    def __init__(self, spec: SQLSpec, config: Any, store: QueueStore, failures: Failures) -> None: ...

    async def attempt(self, program: Program[T]) -> T:
        """Run the program in a transaction, and commit it.

        Raises:
            ConflictError: Another transaction got in the way; nothing was stored.
            BackendUnavailableError: The database cannot be reached; what was stored is unknown.
            BackendError: It refused a statement; nothing was stored.
        """
        ...

    async def ask(self, question: Callable[[Any], Any]) -> Any:
        """What a driver answers to a question that changes nothing; an answer of an async driver is awaited."""
        ...

    async def close(self) -> None:
        """Release what the transport itself made; the pool is its owner's."""
        ...


def statement_of(call: Call, config: Any) -> SQL:
    """The statement in the one form in which SQLSpec can be relied on."""
    return SQL(call.statement.text, dict(call.parameters), statement_config=config.statement_config)


def rows_of(result: Any) -> Rows:
    """What a driver brought, by position."""
    data = result.data or ()
    if data and isinstance(data[0], dict):
        data = [tuple(row.values()) for row in data]
    return Rows(data, result.rows_affected)


async def to_the_end(cleaning: Coroutine[Any, Any, Any]) -> None:
    """Await what gives a connection back, which goes on by itself where the caller is cancelled, even repeatedly."""
    task = asyncio.ensure_future(cleaning)
    with anyio.CancelScope(shield=True):
        await asyncio.shield(task)


@dataclass(slots=True, eq=False)
class _Session:
    """A driver on a connection of the pool, and the way back there."""

    driver: Any
    context: AbstractAsyncContextManager[Any]
    used_at: float = 0.0


async def ask_async(session: AbstractAsyncContextManager[Any], question: Callable[[Any], Any]) -> Any:
    """The answer of an async driver."""
    async with session as driver:
        answer = question(driver)
        return await answer if isawaitable(answer) else answer


class AsyncTransport:
    """Awaits each statement of an async driver.

    A connection is kept for a moment after its use. asyncpg's pool resets one that comes back, which is a round trip of
    its own: with it, single enqueues reached 0.26 of what the bare driver does, and without 0.61.
    """

    kept_for = 0.02
    """Seconds. Others who share the pool may have to wait for it so long, and once more."""

    def __init__(self, spec: SQLSpec, config: Any, store: QueueStore, failures: Failures) -> None:
        self._spec: Any = spec
        self._config = config
        self._store = store
        self._failures = failures
        self._kept: list[_Session] = []
        self._sweeping: asyncio.TimerHandle | None = None
        self._leaving: set[asyncio.Task[None]] = set()

    async def attempt(self, program: Program[T]) -> T:
        steps = program.start()
        first = advance(steps)
        if isinstance(first, Done):  # needs no statement, and therefore no connection
            return first.answer
        session = await self._take()
        try:
            answer = await self._transact(session.driver, program, steps, first)
        except BaseException as error:
            steps.close()
            await to_the_end(self._abandon(session))
            if isinstance(error, Exception):
                raise self._failures.of_statement(error, program.name) from error
            raise
        self._keep(session)
        return answer

    async def _take(self) -> _Session:
        if self._kept:
            return self._kept.pop()
        context: AbstractAsyncContextManager[Any] = self._spec.provide_session(self._config)
        try:
            return _Session(await context.__aenter__(), context)
        except Exception as error:
            raise self._failures.of_connection(error) from error

    def _keep(self, session: _Session) -> None:
        loop = asyncio.get_running_loop()
        session.used_at = loop.time()
        self._kept.append(session)
        if self._sweeping is None:
            self._sweeping = loop.call_later(self.kept_for, self._sweep)

    def _sweep(self) -> None:
        """Let those go that were not used since the last time."""
        loop = asyncio.get_running_loop()
        last = loop.time() - self.kept_for
        for session in [session for session in self._kept if session.used_at <= last]:
            self._leave(session)
        self._sweeping = loop.call_later(self.kept_for, self._sweep) if self._kept else None

    def _leave(self, session: _Session) -> None:
        self._kept.remove(session)
        leaving = asyncio.get_running_loop().create_task(self._give_back(session))
        self._leaving.add(leaving)
        leaving.add_done_callback(self._leaving.discard)

    async def _give_back(self, session: _Session) -> None:
        with suppress(Exception):  # a connection that broke meanwhile is the pool's to replace
            await session.context.__aexit__(None, None, None)

    async def _transact(self, driver: Any, program: Program[T], steps: Steps[T], first: Call | Load) -> T:
        begin = self._store.family.begin.get(program.kind)
        call: Call | Load | Done[T] = first
        if begin is not None:
            if self._store.family.before_begin is not None:
                await driver.execute(
                    SQL(self._store.family.before_begin, statement_config=self._config.statement_config)
                )
            await driver.begin(*begin)
        while not isinstance(call, Done):
            if isinstance(call, Load):
                await driver.load_from_arrow(call.table, arrow_table(call))
                call = advance(steps, Rows())
            else:
                call = advance(steps, rows_of(await driver.execute(statement_of(call, self._config))))
        if begin is not None or not self._store.autocommit:
            await driver.commit()
        return call.answer

    async def _abandon(self, session: _Session) -> None:
        with suppress(Exception):
            await session.driver.rollback()
        await session.context.__aexit__(None, None, None)

    async def ask(self, question: Callable[[Any], Any]) -> Any:
        return await ask_async(self._spec.provide_session(self._config), question)

    async def close(self) -> None:
        if self._sweeping is not None:
            self._sweeping.cancel()
        for session in list(self._kept):
            self._leave(session)
        await asyncio.gather(*self._leaving)


class BlockingTransport:
    """What transports have in common that run a whole program in one thread."""

    def __init__(self, spec: SQLSpec, config: Any, store: QueueStore, failures: Failures) -> None:
        self._spec: Any = spec
        self._config = config
        self._store = store
        self._failures = failures

    def transact(self, driver: Any, program: Program[T], steps: Steps[T], first: Call | Load) -> T:
        """Run the program on a sync driver, in the thread that calls."""
        begin = self._store.family.begin.get(program.kind)
        call: Call | Load | Done[T] = first
        try:
            if begin is not None:
                if self._store.family.before_begin is not None:
                    driver.execute(SQL(self._store.family.before_begin, statement_config=self._config.statement_config))
                driver.begin(*begin)
            while not isinstance(call, Done):
                if isinstance(call, Load):
                    self.load(driver, call)
                    call = advance(steps, Rows())
                else:
                    call = advance(steps, rows_of(driver.execute(statement_of(call, self._config))))
            if begin is not None or not self._store.autocommit:
                driver.commit()
        except BaseException as error:
            steps.close()
            with suppress(Exception):
                driver.rollback()
            if isinstance(error, Exception):
                raise self._failures.of_statement(error, program.name) from error
            raise
        return call.answer

    def load(self, driver: Any, load: Load) -> None:
        """Load rows in bulk, by the names of the columns."""
        driver.load_from_arrow(load.table, arrow_table(load))


class ThreadTransport(BlockingTransport):
    """Runs a whole program in a thread, for sync drivers.

    The threads are the transport's own and stay, because a driver may keep a connection for each thread that it saw.
    """

    threads = 4

    def __init__(self, spec: SQLSpec, config: Any, store: QueueStore, failures: Failures) -> None:
        super().__init__(spec, config, store, failures)
        self._executor = ThreadPoolExecutor(self.threads_for(config), thread_name_prefix="litestar-queues-sql")

    def threads_for(self, _config: Any) -> int:
        """How many threads reach the database of a configuration."""
        return self.threads

    async def attempt(self, program: Program[T]) -> T:
        steps = program.start()
        first = advance(steps)
        if isinstance(first, Done):
            return first.answer
        # A caller that is cancelled meanwhile leaves at once; the thread brings the transaction to its end.
        return await asyncio.get_running_loop().run_in_executor(self._executor, self._run, program, steps, first)

    def _run(self, program: Program[T], steps: Steps[T], first: Call | Load) -> T:
        session: AbstractContextManager[Any] = self._spec.provide_session(self._config)
        try:
            driver = session.__enter__()
        except Exception as error:
            raise self._failures.of_connection(error) from error
        try:
            return self.transact(driver, program, steps, first)
        finally:
            session.__exit__(None, None, None)

    async def ask(self, question: Callable[[Any], Any]) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._executor, self._ask, question)

    def _ask(self, question: Callable[[Any], Any]) -> Any:
        session: AbstractContextManager[Any] = self._spec.provide_session(self._config)
        with session as driver:
            return question(driver)

    async def close(self) -> None:
        await asyncio.to_thread(self._executor.shutdown)
