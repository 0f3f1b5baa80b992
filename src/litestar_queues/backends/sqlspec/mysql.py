"""MySQL and MariaDB: what their drivers need."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from importlib import import_module
from typing import Any, TypeVar, cast

from sqlspec import SQLSpec

from litestar_queues.backends.sql.program import ConflictError, Program
from litestar_queues.backends.sqlspec.failures import Failures
from litestar_queues.backends.sqlspec.servers import locate_server
from litestar_queues.backends.sqlspec.sessions import AsyncSession
from litestar_queues.backends.sqlspec.store import Location, QueueStore
from litestar_queues.backends.sqlspec.transports import AsyncTransport, Connected, ThreadTransport
from litestar_queues.errors import BackendUnavailableError, QueueConfigurationError

__all__ = (
    "AiomysqlTransport",
    "MysqlConnectorThreadTransport",
    "MysqlConnectorTransport",
    "cut_async_connector",
    "cut_connector",
    "cut_pymysql",
    "locate",
)

T = TypeVar("T")

_FOUND_ROWS = 2
_POOL_SIZE = 5
"""Sessions of mysql-connector's pool, where the configuration does not say how many."""


def locate(config: Any) -> Location:
    """Where a server's database is.

    Raises:
        QueueConfigurationError: The connections would not tell how many rows were stored.
    """
    location = locate_server(config)
    settings: Mapping[str, Any] = config.connection_config
    if any(flag & _FOUND_ROWS for flag in _flags(settings)):
        raise QueueConfigurationError(
            f"{location.database}: the client flag FOUND_ROWS makes rows that are there already count as stored: leave it "
            f"out, or give the queue a configuration of its own"
        )
    return location


def _flags(settings: Mapping[str, Any]) -> Iterable[int]:
    for name in ("client_flag", "client_flags"):
        given = settings.get(name) or 0
        flags = cast("Iterable[Any]", given if isinstance(given, (list, tuple)) else (given,))
        # A negative one takes a flag away.
        yield from (flag for flag in flags if isinstance(flag, int) and flag > 0)


def cut_pymysql(connection: Any) -> None:
    """Shut the socket, which the thread that reads it finds at its end then."""
    connection._sock.shutdown(socket.SHUT_RDWR)  # noqa: SLF001  # `close` would wait for the server, or for that thread


def cut_connector(connection: Any) -> None:
    """The same for mysql-connector."""
    connection._socket.sock.shutdown(socket.SHUT_RDWR)  # noqa: SLF001  # as above


def cut_async_connector(connection: Any) -> None:
    """The same for its streams."""
    connection._socket._writer.transport.abort()  # noqa: SLF001  # as above


class AiomysqlTransport(AsyncTransport):
    """Tells who waits for the pool of a connection that came back broken: aiomysql's does so for whole ones alone."""

    async def leave(self, connected: Connected, *, committed: bool) -> None:
        await super().leave(connected, committed=committed)
        if not committed:
            with suppress(Exception):
                await self._config.connection_instance._wakeup()  # noqa: SLF001  # there is no other way


def _pool_size(config: Any) -> int:
    return int(config.connection_config.get("pool_size") or _POOL_SIZE)


@contextmanager
def _waiting_for_a_session() -> Generator[None]:
    """Count a pool that the application has emptied as a conflict: it may have a session a moment later."""
    try:
        yield
    except BackendUnavailableError as error:
        cause = error.__cause__
        if type(cause).__name__ == "PoolError" and "exhausted" in str(cause):
            raise ConflictError(str(cause)) from error
        raise


@contextmanager
def _losing_none(pool: Any, waiting: Callable[[Any], Sequence[Any]], mend: Callable[[Any], None]) -> Generator[None]:
    """Put back what the pool took out, and lost when that could not be connected anew.

    mysql-connector's pools put a session back only after an `InterfaceError`; on any other error, or when whoever asked
    is cancelled, they have one less from then on, and after a restart of the server soon none.
    """
    first: Any = next(iter(waiting(pool) if pool else ()), None)
    try:
        yield
    except BaseException:
        if first is not None:
            with suppress(Exception):
                mend(first)
                if not any(one is first for one in waiting(pool)):
                    pool._queue_connection(first)  # noqa: SLF001  # `add_connection` would do the same, with more words
        raise


def _waiting_in_tasks(pool: Any) -> Sequence[Any]:
    found: Sequence[Any] = pool._cnx_queue._queue  # noqa: SLF001  # as above
    return found


def _waiting_in_threads(pool: Any) -> Sequence[Any]:
    found: Sequence[Any] = pool._cnx_queue.queue  # noqa: SLF001  # as above
    return found


def _mend(session: Any) -> None:
    """Let a session connect again: a failed try leaves a text where the next one expects more."""
    session._charset = None  # noqa: SLF001  # as above


def _leave_alone(_session: Any) -> None:
    pass


class MysqlConnectorTransport(AsyncTransport):
    """Waits for a session of a pool that raises at once when it has none."""

    kept_for = 0.0  # one that is kept, or on its way back, would count as taken

    def __init__(
        self, spec: SQLSpec, config: Any, store: QueueStore, failures: Failures, *, limit: float | None = None
    ) -> None:
        super().__init__(spec, config, store, failures, limit=limit)
        self._free = asyncio.Semaphore(_pool_size(config))

    async def connect(self, session: AsyncSession) -> Any:
        # Nobody else gets between the look at the pool and the taking: there is no await that waits before.
        with _losing_none(self._config.connection_instance, _waiting_in_tasks, _mend):
            return await super().connect(session)

    async def attempt(self, program: Program[T]) -> T:
        async with self._free:
            with _waiting_for_a_session():
                return await super().attempt(program)


class MysqlConnectorThreadTransport(ThreadTransport):
    """Uses no more threads than such a pool has sessions."""

    def threads_for(self, _config: Any) -> int:
        return min(self.threads, _pool_size(_config))

    def connect(self, session: AbstractContextManager[Any]) -> Any:
        pooling: Any = import_module("mysql.connector.pooling")
        pool = self._config.connection_instance
        # The pool's own lock, which it takes again.
        with pooling.CONNECTION_POOL_LOCK, _losing_none(pool, _waiting_in_threads, _leave_alone):
            return super().connect(session)

    async def attempt(self, program: Program[T]) -> T:
        with _waiting_for_a_session():
            return await super().attempt(program)
