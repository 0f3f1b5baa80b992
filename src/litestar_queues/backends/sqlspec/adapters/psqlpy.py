"""PostgreSQL through psqlpy, which cannot cut a connection off."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from functools import lru_cache
from importlib import import_module
from typing import Any

from litestar_queues.backends.sql.families import POSTGRES
from litestar_queues.backends.sql.program import Rows
from litestar_queues.backends.sqlspec.sending import Prepared, Way
from litestar_queues.backends.sqlspec.servers import ServerAddress
from litestar_queues.backends.sqlspec.store import LISTEN, QueueStore
from litestar_queues.backends.sqlspec.transports import AsyncTransport

_DML = frozenset({"INSERT", "UPDATE", "DELETE"})


async def _send(driver: Any, text: str, one: Prepared, values: Any) -> Rows:
    # Behind a pooler that gives each transaction another connection, nothing may be prepared.
    arguments = {"prepared": False} if driver._is_transaction_pooler_mode() else {}  # noqa: SLF001  # no public way
    connection = driver.connection
    # SQLSpec makes decimals of the floats in a write. psqlpy sends them in the format of decimals, also where the server
    # expects a float, and refuses it.
    values = [float(value) if isinstance(value, Decimal) else value for value in values or ()]
    if one.returns_rows:
        rows = _rows(await connection.fetch(text, values, **arguments))
        return Rows(rows, len(rows))
    counting = _counting(text) if one.operation in _DML else None
    if counting is not None:
        [[count]] = _rows(await connection.fetch(counting, values, **arguments))
        return Rows((), count)
    await connection.execute(text, values, **arguments)
    return Rows()


def _rows(result: Any) -> Sequence[Sequence[Any]]:
    try:
        rows: Sequence[Sequence[Any]] = result.result(as_tuple=True)
    except Exception as error:
        if "type: void" in str(error):  # a function without a value, such as pg_notify
            return ()
        raise
    return rows


@lru_cache(256)
def _counting(text: str) -> str | None:
    """A write as a query of how many rows it changed, which psqlpy does not tell."""
    core: Any = import_module("sqlspec.adapters.psqlpy.core")  # needs psqlpy
    counting: str | None = core._dml_count_query(text)  # noqa: SLF001  # no public way
    return counting


STORES = (
    QueueStore(
        "psqlpy",
        POSTGRES,
        AsyncTransport,
        ServerAddress(host=("host", "hosts"), database=("db_name",)),
        arrow_from=None,
        small_pool={"max_db_pool_size": 2},
        events=LISTEN,
        way=Way(_send),
    ),
)
