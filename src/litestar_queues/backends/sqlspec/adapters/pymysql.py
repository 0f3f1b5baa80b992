"""MySQL and MariaDB through PyMySQL."""

from __future__ import annotations

import socket
from typing import Any

from litestar_queues.backends.sql.families import MYSQL
from litestar_queues.backends.sqlspec.mysql import PYFORMAT, locate
from litestar_queues.backends.sqlspec.store import POLL, QueueStore
from litestar_queues.backends.sqlspec.transports import ThreadTransport


def _cut(connection: Any) -> None:
    """Shut the socket, so that the thread that reads from it finds its end."""
    connection._sock.shutdown(socket.SHUT_RDWR)  # noqa: SLF001  # `close` would wait for the server, or for that thread


STORES = (QueueStore("pymysql", MYSQL, ThreadTransport, locate, autocommit=False, cut=_cut, events=POLL, way=PYFORMAT),)
