"""Oracle through oracledb."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from litestar_queues.backends.sql.families import ORACLE
from litestar_queues.backends.sqlspec.servers import ServerAddress
from litestar_queues.backends.sqlspec.store import QueueStore, is_async, is_sync
from litestar_queues.backends.sqlspec.transports import AsyncTransport, ThreadTransport


def _cut(connection: Any) -> None:
    """Ask the server to break off the statement; the driver can do so while it waits for the server.

    There is no way that leaves the driver's pool in order: `terminate` keeps the place of the connection taken.
    """
    connection.cancel()


_ASYNC = QueueStore(
    "oracledb",
    ORACLE,
    AsyncTransport,
    ServerAddress(database=("service_name", "sid")),
    autocommit=False,
    # SQLSpec's Arrow load is Oracle's direct path: it locks the table against every claim, and commits by itself.
    arrow_from=None,
    cut=_cut,
    matches=is_async,
    small_pool={"min": 1, "max": 2},
    events=("poll_queue", "aq", "txeventq"),
)
STORES = (_ASYNC, replace(_ASYNC, transport=ThreadTransport, matches=is_sync))
