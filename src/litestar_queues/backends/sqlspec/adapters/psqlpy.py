"""PostgreSQL through psqlpy, which cannot cut a connection off."""

from __future__ import annotations

from litestar_queues.backends.sql.families import POSTGRES
from litestar_queues.backends.sqlspec.servers import ServerAddress
from litestar_queues.backends.sqlspec.store import LISTEN, QueueStore
from litestar_queues.backends.sqlspec.transports import AsyncTransport

STORES = (
    QueueStore(
        "psqlpy",
        POSTGRES,
        AsyncTransport,
        ServerAddress(host=("host", "hosts"), database=("db_name",)),
        arrow_from=None,
        small_pool={"max_db_pool_size": 2},
        events=LISTEN,
    ),
)
