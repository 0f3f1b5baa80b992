"""How a program reaches a database: statement by statement on an async driver, or as a whole in a thread.

Each transport makes one attempt at a program, in one transaction, and leaves the connection clean whatever happens:
committed where the program came to its end, else rolled back. Statements are sent as `sending` has them, between explicit
calls of the driver's `begin` and `commit`: SQLSpec's own blocks of a transaction lose a cancellation.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from inspect import isawaitable
from typing import Any, TypeVar

from sqlspec import SQLSpec

from litestar_queues.backends.cancelling import Background, cancellations, heed_cancellation, to_the_end, whole
from litestar_queues.backends.sql.family import Statement
from litestar_queues.backends.sql.limit import GRACE, Limit
from litestar_queues.backends.sql.program import Call, Done, Load, LostConnectionError, Program, Rows, Steps, advance
from litestar_queues.backends.sqlspec.arrow import arrow_table
from litestar_queues.backends.sqlspec.failures import SQLSpecFailures
from litestar_queues.backends.sqlspec.sending import send, send_async
from litestar_queues.backends.sqlspec.sessions import AsyncSession
from litestar_queues.backends.sqlspec.store import QueueStore

__all__ = (
    "AsyncTransport",
    "BlockingTransport",
    "Connected",
    "ThreadTransport",
    "ask_async",
    "call_of",
)

T = TypeVar("T")

_log = logging.getLogger("litestar_queues")


def call_of(text: str) -> Call:
    """The call of a statement without parameters, which stands in no family's file."""
    return Call(Statement("", text))


@dataclass(slots=True, eq=False)
class Connected:
    """A driver on a connection of the pool, and the way back there."""

    driver: Any
    session: AsyncSession
    until: float
    """When it has to go back to the pool, by the event loop's clock."""


async def ask_async(session: AsyncSession, question: Callable[[Any], Any]) -> Any:
    """The answer of an async driver."""

    async def ask() -> Any:
        async with session as driver:
            answer = question(driver)
            return await answer if isawaitable(answer) else answer

    return await whole(ask(), patience=GRACE)


class AsyncTransport:
    """Awaits each statement of an async driver.

    A connection is kept for a moment, and used again. asyncpg's pool resets one that comes back, which is a round trip
    of its own: with it, single enqueues reached 0.26 of what the bare driver does, and without 0.61. Busy or not, it goes
    back then: others wait for it, in this process's application too, and would wait for as long as the load lasts.
    """

    kept_for: float = 0.02
    """Seconds from when the pool gave it until it goes back, at the end of a program; 0 sends it back after each."""

    def __init__(
        self,
        spec: SQLSpec,
        config: Any,
        store: QueueStore,
        failures: SQLSpecFailures,
        *,
        limit: float | None = None,
        small: bool = False,
    ) -> None:
        self._spec: Any = spec
        self._config = config
        self._store = store
        self._failures = failures
        self._limit = limit
        self._small = small
        self._kept: list[Connected] = []
        self._line = asyncio.Lock()
        self._sweeping: asyncio.TimerHandle | None = None
        self._background = Background()

    async def attempt(self, program: Program[T]) -> T:
        steps = program.start()
        first = advance(steps)
        if isinstance(first, Done):  # needs no statement, and therefore no connection
            return first.answer
        limit = self._limit_for(program)
        told = cancellations()
        connected = await self._take(limit)
        limit.connection = connected.driver.connection
        last = asyncio.timeout(limit.at_last)
        try:
            with limit.running():
                async with last:
                    answer = await self._transact(connected.driver, program, steps, first)
        except BaseException as error:
            steps.close()
            await to_the_end(self.leave(connected, committed=False))
            if isinstance(error, Exception):
                if limit.expired or last.expired():
                    raise self._failures.of_silence(program.name, limit.seconds) from error
                raise self._failures.of_statement(error, program.name) from error
            raise
        if asyncio.get_running_loop().time() < connected.until:
            self._keep(connected)
        else:
            await to_the_end(self.leave(connected, committed=True))
        heed_cancellation(told)  # psycopg forgets it at any statement
        return answer

    def _limit_for(self, program: Program[Any]) -> Limit:
        return Limit(None if program.unhurried else self._limit, self._store.cut)

    async def _take(self, limit: Limit) -> Connected:
        if self._kept:
            return self._kept.pop()
        session = AsyncSession(self._config)
        opening = asyncio.timeout(limit.seconds)
        try:
            # One at a time asks the pool, in the order in which they came: some pools give a connection to whoever asks
            # next, so that those who ask again and again leave nothing to one who waits.
            async with opening, self._line:
                if self._kept:
                    return self._kept.pop()
                return await self._background.opened(self._connected(session), self._let_go, patience=GRACE)
        except Exception as error:
            raise self._failures.of_connection(error, limit.seconds if opening.expired() else None) from error

    async def _connected(self, session: AsyncSession) -> Connected:
        driver = await self.connect(session)
        return Connected(driver, session, asyncio.get_running_loop().time() + self.kept_for)

    async def _let_go(self, connected: Connected) -> None:
        await self.leave(connected, committed=True)

    async def connect(self, session: AsyncSession) -> Any:
        """A driver on a connection of the pool, or the pool's own error."""
        return await session.__aenter__()

    def _keep(self, connected: Connected) -> None:
        self._kept.append(connected)
        if self._sweeping is None:
            self._sweeping = asyncio.get_running_loop().call_at(connected.until, self._sweep)

    def _sweep(self) -> None:
        """Let those go whose time is over."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        for connected in [one for one in self._kept if one.until <= now]:
            self._give_back(connected)
        first = min((one.until for one in self._kept), default=None)
        self._sweeping = None if first is None else loop.call_at(first, self._sweep)

    def _give_back(self, connected: Connected) -> None:
        self._kept.remove(connected)
        self._background.start(self._let_go(connected))

    async def _transact(self, driver: Any, program: Program[T], steps: Steps[T], first: Call | Load) -> T:
        begin = self._store.family.begin.get(program.kind)
        call: Call | Load | Done[T] = first
        if begin is not None:
            if self._store.family.before_begin is not None:
                await self.send(driver, call_of(self._store.family.before_begin))
            await whole(driver.begin(*begin), patience=GRACE)
        while not isinstance(call, Done):
            if isinstance(call, Load):
                await whole(driver.load_from_arrow(call.table, arrow_table(call)), patience=GRACE)
                call = advance(steps, Rows())
            else:
                call = advance(steps, await self.send(driver, call))
        if begin is not None or not self._store.autocommit:
            await whole(driver.commit(), patience=GRACE)
        return call.answer

    async def send(self, driver: Any, call: Call) -> Rows:
        """Send a statement."""
        return await send_async(driver, call, self._config, self._store.way)

    async def leave(self, connected: Connected, *, committed: bool) -> None:
        """Give the connection back, clean; one that cannot be cleaned is cut off, and its pool throws it away.

        Nothing that happens here is anybody's concern: what the program did is decided by now.
        """
        limit = Limit(None if self._limit is None else GRACE, self._store.cut)
        limit.connection = connected.driver.connection
        with limit.running():
            if not committed:
                with suppress(Exception):
                    async with asyncio.timeout(limit.at_last):
                        await connected.driver.rollback()
            try:
                async with asyncio.timeout(limit.at_last):
                    await connected.session.__aexit__(None, None, None)
            except Exception as error:  # noqa: BLE001  # the pool has thrown it away
                _log.debug("%s: a connection was lost: %s", self._failures.database, self._failures.text(error))

    async def ask(self, question: Callable[[Any], Any]) -> Any:
        return await ask_async(AsyncSession(self._config), question)

    async def close(self) -> None:
        if self._sweeping is not None:
            self._sweeping.cancel()
        for connected in list(self._kept):
            self._give_back(connected)
        await self._background.ended()


class BlockingTransport:
    """What transports have in common that run a whole program in one thread."""

    def __init__(
        self,
        spec: SQLSpec,
        config: Any,
        store: QueueStore,
        failures: SQLSpecFailures,
        *,
        limit: float | None = None,
        small: bool = False,
    ) -> None:
        self._spec: Any = spec
        self._config = config
        self._store = store
        self._failures = failures
        self._limit = limit
        self._small = small

    def transact(self, driver: Any, program: Program[T], steps: Steps[T], first: Call | Load) -> T:
        """Run the program on a sync driver, in the thread that calls."""
        begin = self._store.family.begin.get(program.kind)
        call: Call | Load | Done[T] = first
        try:
            if begin is not None:
                if self._store.family.before_begin is not None:
                    self.send(driver, call_of(self._store.family.before_begin))
                driver.begin(*begin)
            while not isinstance(call, Done):
                if isinstance(call, Load):
                    self.load(driver, call)
                    call = advance(steps, Rows())
                else:
                    call = advance(steps, self.send(driver, call))
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

    def send(self, driver: Any, call: Call) -> Rows:
        """Send a statement."""
        return send(driver, call, self._config, self._store.way)

    def load(self, driver: Any, load: Load) -> None:
        """Load rows in bulk, by the names of the columns."""
        driver.load_from_arrow(load.table, arrow_table(load))


class ThreadTransport(BlockingTransport):
    """Runs a whole program in a thread, for sync drivers.

    The threads are the transport's own and stay, because a driver may keep a connection for each thread that it saw.
    """

    threads = 4
    small_threads = 2

    def __init__(
        self,
        spec: SQLSpec,
        config: Any,
        store: QueueStore,
        failures: SQLSpecFailures,
        *,
        limit: float | None = None,
        small: bool = False,
    ) -> None:
        super().__init__(spec, config, store, failures, limit=limit, small=small)
        self._executor = self.start_threads(config)

    def start_threads(self, config: Any) -> ThreadPoolExecutor:
        """The threads that reach the database of a configuration."""
        return ThreadPoolExecutor(self.threads_for(config), thread_name_prefix="litestar-queues-sql")

    def threads_for(self, config: Any) -> int:
        """How many threads reach the database of a configuration."""
        return self.small_threads if self._small else self.threads

    def refused(self, error: Exception) -> Exception:
        """What to raise where the database could not be opened."""
        return self._failures.of_connection(error)

    async def attempt(self, program: Program[T]) -> T:
        steps = program.start()
        first = advance(steps)
        if isinstance(first, Done):
            return first.answer
        # A caller that is cancelled meanwhile leaves at once; the thread brings the transaction to its end.
        limit = Limit(None if program.unhurried else self._limit, self._store.cut)
        running = asyncio.get_running_loop().run_in_executor(self._executor, self._run, program, steps, first, limit)
        last = asyncio.timeout(limit.at_last)
        try:
            with limit.running():
                async with last:
                    return await running
        except BaseException as error:
            limit.nobody_waits = True
            if isinstance(error, Exception) and (limit.expired or last.expired()):
                raise self._failures.of_silence(program.name, limit.seconds) from error
            raise

    def _run(self, program: Program[T], steps: Steps[T], first: Call | Load, limit: Limit) -> T:
        session: AbstractContextManager[Any] = self._spec.provide_session(self._config)
        try:
            driver = self.connect(session)
        except Exception as error:
            raise self.refused(error) from error
        limit.connection = driver.connection
        try:
            limit.check()  # a claim, say, would be for nobody
            answer = self.transact(driver, program, steps, first)
        except BaseException as error:
            # Some pools find out only so that a connection is broken; on any other error they had better keep it.
            self._end(session, error if isinstance(error, LostConnectionError) else None)
            raise
        self._end(session, None)
        return answer

    def connect(self, session: AbstractContextManager[Any]) -> Any:
        """A driver on a connection of the pool, or the pool's own error."""
        return session.__enter__()

    def _end(self, session: AbstractContextManager[Any], error: BaseException | None) -> None:
        try:
            session.__exit__(None if error is None else type(error), error, None)
        except Exception as failure:  # noqa: BLE001  # what the program did is decided by now
            _log.debug("%s: a connection was lost: %s", self._failures.database, self._failures.text(failure))

    async def ask(self, question: Callable[[Any], Any]) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._executor, self._ask, question)

    def _ask(self, question: Callable[[Any], Any]) -> Any:
        session: AbstractContextManager[Any] = self._spec.provide_session(self._config)
        with session as driver:
            return question(driver)

    async def close(self) -> None:
        await asyncio.to_thread(self._executor.shutdown)
