"""MySQL and MariaDB through asyncmy."""

from __future__ import annotations

from litestar_queues.backends.sql.families import MYSQL
from litestar_queues.backends.sql.limit import close
from litestar_queues.backends.sqlspec.mysql import PYFORMAT, locate
from litestar_queues.backends.sqlspec.store import POLL, QueueStore
from litestar_queues.backends.sqlspec.transports import AsyncTransport

STORES = (
    QueueStore(
        "asyncmy",
        MYSQL,
        AsyncTransport,
        locate,
        autocommit=False,
        cut=close,
        small_pool={"minsize": 1, "maxsize": 2},
        events=POLL,
        way=PYFORMAT,
    ),
)
