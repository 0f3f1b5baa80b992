"""PostgreSQL and CockroachDB through asyncpg."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from litestar_queues.backends.sql.families import COCKROACH, POSTGRES
from litestar_queues.backends.sql.limit import terminate
from litestar_queues.backends.sql.program import Rows
from litestar_queues.backends.sqlspec.sending import Prepared, Way
from litestar_queues.backends.sqlspec.servers import ServerAddress
from litestar_queues.backends.sqlspec.store import LISTEN, QueueStore
from litestar_queues.backends.sqlspec.transports import AsyncTransport


async def _send(driver: Any, text: str, one: Prepared, values: Any) -> Rows:
    connection = driver.connection
    arguments = _timeout(driver, one)
    if one.returns_rows:
        rows = await connection.fetch(text, *values, **arguments)
        return Rows(rows, len(rows))
    status: str = await connection.execute(text, *values, **arguments)  # "UPDATE 3", "INSERT 0 1", "CREATE TABLE"
    count = status.rpartition(" ")[2]
    return Rows((), int(count) if count.isdigit() else 0)


def _timeout(driver: Any, one: Prepared) -> dict[str, Any]:
    """The seconds for a statement that the configuration gives, as SQLSpec's driver reads them."""
    given = one.sql.statement_config.execution_args or driver.statement_config.execution_args or {}
    name = next((name for name in ("timeout", "command_timeout") if name in given), None)
    return {} if name is None else {"timeout": given[name]}


_ASYNCPG = QueueStore(
    "asyncpg",
    POSTGRES,
    AsyncTransport,
    ServerAddress(),
    cut=terminate,
    small_pool={"min_size": 0, "max_size": 2},
    events=LISTEN,
    way=Way(_send),
)
STORES = (
    _ASYNCPG,
    # SQLSpec 0.69's table of events crashes the process on this adapter when transactions conflict.
    replace(_ASYNCPG, adapter="cockroach_asyncpg", family=COCKROACH, events=()),
)
