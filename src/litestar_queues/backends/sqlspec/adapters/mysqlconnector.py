"""MySQL and MariaDB through mysql-connector."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import replace
from importlib import import_module
from typing import Any, TypeVar

from sqlspec import SQLSpec

from litestar_queues.backends.cancelling import whole
from litestar_queues.backends.sql.families import MYSQL
from litestar_queues.backends.sql.limit import GRACE
from litestar_queues.backends.sql.program import Call, ConflictError, Program, Rows
from litestar_queues.backends.sqlspec.failures import SQLSpecFailures
from litestar_queues.backends.sqlspec.mysql import locate
from litestar_queues.backends.sqlspec.sending import BY_CURSOR
from litestar_queues.backends.sqlspec.sessions import AsyncSession
from litestar_queues.backends.sqlspec.store import POLL, QueueStore, is_async, is_sync
from litestar_queues.backends.sqlspec.transports import AsyncTransport, ThreadTransport
from litestar_queues.errors import BackendUnavailableError

T = TypeVar("T")

_POOL_SIZE = 5
"""Sessions of mysql-connector's pool, where the configuration does not say how many."""


def _cut(connection: Any) -> None:
    """Shut the socket, so that the thread that reads from it finds its end."""
    connection._socket.sock.shutdown(socket.SHUT_RDWR)  # noqa: SLF001  # `close` would wait for the server


def _cut_stream(connection: Any) -> None:
    """The same for a connection on asyncio's streams."""
    connection._socket._writer.transport.abort()  # noqa: SLF001  # as above


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
    session._unread_result = False  # noqa: SLF001  # of a statement that was cancelled; the new connection has none


def _leave_alone(_session: Any) -> None:
    pass


class MysqlConnectorTransport(AsyncTransport):
    """Waits for a session of a pool that raises at once when it has none."""

    kept_for = 0.0  # one that is kept, or on its way back, would count as taken

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
        self._free = asyncio.Semaphore(_pool_size(config))

    async def connect(self, session: AsyncSession) -> Any:
        # Nobody else gets between the look at the pool and the taking: there is no await that waits before.
        with _losing_none(self._config.connection_instance, _waiting_in_tasks, _mend):
            return await super().connect(session)

    async def send(self, driver: Any, call: Call) -> Rows:
        # A session whose statement was cancelled refuses everything after that, a new connection as well.
        return await whole(super().send(driver, call), patience=GRACE)

    async def attempt(self, program: Program[T]) -> T:
        async with self._free:
            with _waiting_for_a_session():
                return await super().attempt(program)


class MysqlConnectorThreadTransport(ThreadTransport):
    """Uses no more threads than such a pool has sessions."""

    def threads_for(self, config: Any) -> int:
        return min(super().threads_for(config), _pool_size(config))

    def connect(self, session: AbstractContextManager[Any]) -> Any:
        pooling: Any = import_module("mysql.connector.pooling")
        pool = self._config.connection_instance
        # The pool's own lock, which it takes again.
        with pooling.CONNECTION_POOL_LOCK, _losing_none(pool, _waiting_in_threads, _leave_alone):
            return super().connect(session)

    async def attempt(self, program: Program[T]) -> T:
        with _waiting_for_a_session():
            return await super().attempt(program)


_ASYNC = QueueStore(
    "mysqlconnector",
    MYSQL,
    MysqlConnectorTransport,
    locate,
    autocommit=False,
    cut=_cut_stream,
    matches=is_async,
    small_pool={"pool_size": 2},
    events=POLL,
    way=BY_CURSOR,
)
STORES = (_ASYNC, replace(_ASYNC, transport=MysqlConnectorThreadTransport, cut=_cut, matches=is_sync))
