"""PostgreSQL and CockroachDB through asyncpg."""

from __future__ import annotations

from dataclasses import replace

from litestar_queues.backends.sql.families import COCKROACH, POSTGRES
from litestar_queues.backends.sql.limit import terminate
from litestar_queues.backends.sqlspec.servers import ServerAddress
from litestar_queues.backends.sqlspec.store import LISTEN, QueueStore
from litestar_queues.backends.sqlspec.transports import AsyncTransport

_ASYNCPG = QueueStore(
    "asyncpg",
    POSTGRES,
    AsyncTransport,
    ServerAddress(),
    cut=terminate,
    small_pool={"min_size": 0, "max_size": 2},
    events=LISTEN,
)
STORES = (
    _ASYNCPG,
    # SQLSpec 0.69's table of events crashes the process on this adapter when transactions conflict.
    replace(_ASYNCPG, adapter="cockroach_asyncpg", family=COCKROACH, events=()),
)
