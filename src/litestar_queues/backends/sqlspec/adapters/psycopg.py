"""PostgreSQL and CockroachDB through psycopg."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import cache
from typing import Any

from litestar_queues.backends.sql.families import COCKROACH, POSTGRES
from litestar_queues.backends.sql.limit import shut_socket
from litestar_queues.backends.sql.program import Rows
from litestar_queues.backends.sqlspec.failures import SQLSpecFailures
from litestar_queues.backends.sqlspec.sending import Prepared, Way
from litestar_queues.backends.sqlspec.servers import ServerAddress
from litestar_queues.backends.sqlspec.store import LISTEN, POLL, QueueStore, is_async, is_sync
from litestar_queues.backends.sqlspec.transports import AsyncTransport, ThreadTransport

_ADDRESS = ServerAddress(url=("conninfo",), database=("dbname",))


def _probe(config: Any) -> None:
    """Make one connection without the pool, which would try for 30 seconds and then not say why it has none.

    Raises:
        BackendUnavailableError: No connection could be made; gives the reason of the server or the network.
    """
    if config.connection_instance is not None:
        return
    try:
        if config.is_async:
            asyncio.run(_connect(config))
        else:
            config.create_connection().close()
    except Exception as error:
        failures = SQLSpecFailures(POSTGRES, _ADDRESS(config).database, config.connection_config)
        raise failures.of_connection(error) from error


async def _connect(config: Any) -> None:
    await (await config.create_connection()).close()


def _send(driver: Any, text: str, _one: Prepared, values: Any) -> Any:
    if driver.is_async:
        return _send_async(driver, text, values)
    with driver.connection.cursor(row_factory=_by_position()) as cursor:
        cursor.execute(text, values or None)
        if cursor.description:
            rows = cursor.fetchall()
            return Rows(rows, len(rows))
        return Rows((), max(cursor.rowcount, 0))


async def _send_async(driver: Any, text: str, values: Any) -> Rows:
    async with driver.connection.cursor(row_factory=_by_position()) as cursor:
        await cursor.execute(text, values or None)
        if cursor.description:
            rows = await cursor.fetchall()
            return Rows(rows, len(rows))
        return Rows((), max(cursor.rowcount, 0))


@cache
def _by_position() -> Any:
    from psycopg.rows import tuple_row  # noqa: PLC0415  # needs psycopg

    return tuple_row


_ASYNC = QueueStore(
    "psycopg",
    POSTGRES,
    AsyncTransport,
    _ADDRESS,
    _probe,
    autocommit=False,
    cut=shut_socket,
    matches=is_async,
    small_pool={"min_size": 0, "max_size": 2},
    events=LISTEN,
    way=Way(_send, percents=True),
)
_SYNC = replace(_ASYNC, transport=ThreadTransport, matches=is_sync)
STORES = (
    _ASYNC,
    _SYNC,
    *(replace(one, adapter="cockroach_psycopg", family=COCKROACH, events=POLL) for one in (_ASYNC, _SYNC)),
)
