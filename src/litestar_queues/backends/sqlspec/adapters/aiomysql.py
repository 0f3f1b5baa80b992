"""MySQL and MariaDB through aiomysql."""

from __future__ import annotations

from contextlib import suppress

from litestar_queues.backends.sql.families import MYSQL
from litestar_queues.backends.sql.limit import close
from litestar_queues.backends.sqlspec.mysql import PYFORMAT, locate
from litestar_queues.backends.sqlspec.store import POLL, QueueStore
from litestar_queues.backends.sqlspec.transports import AsyncTransport, Connected


class AiomysqlTransport(AsyncTransport):
    """Wakes those who wait for a connection when one comes back broken. aiomysql's pool wakes them for whole ones only."""

    async def leave(self, connected: Connected, *, committed: bool) -> None:
        await super().leave(connected, committed=committed)
        if not committed:
            with suppress(Exception):
                await self._config.connection_instance._wakeup()  # noqa: SLF001  # there is no other way


STORES = (
    QueueStore(
        "aiomysql",
        MYSQL,
        AiomysqlTransport,
        locate,
        autocommit=False,
        cut=close,
        small_pool={"minsize": 1, "maxsize": 2},
        events=POLL,
        way=PYFORMAT,
    ),
)
