"""What the drivers of MySQL and MariaDB have in common."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, cast

from litestar_queues.backends.sqlspec.sending import BY_CURSOR
from litestar_queues.backends.sqlspec.servers import ServerAddress
from litestar_queues.backends.sqlspec.store import Location
from litestar_queues.errors import QueueConfigurationError

__all__ = ("ADDRESS", "PYFORMAT", "locate")

PYFORMAT = replace(BY_CURSOR, percents=True)
"""For the drivers that put the values into the text themselves, by Python's own formatting."""

ADDRESS = ServerAddress(
    url=("dsn", "url", "connection_string"), host=("host", "unix_socket"), database=("database", "db")
)
_FOUND_ROWS = 2


def locate(config: Any) -> Location:
    """Where a server's database is.

    Raises:
        QueueConfigurationError: The connections would not tell how many rows were stored.
    """
    location = ADDRESS(config)
    settings: Mapping[str, Any] = config.connection_config
    if any(flag & _FOUND_ROWS for flag in _flags(settings)):
        raise QueueConfigurationError(
            f"{location.database}: the client flag FOUND_ROWS makes rows that are there already count as stored: leave it "
            f"out, or give the queue a configuration of its own"
        )
    return location


def _flags(settings: Mapping[str, Any]) -> Iterable[int]:
    for name in ("client_flag", "client_flags"):
        given = settings.get(name) or 0
        flags = cast("Iterable[Any]", given if isinstance(given, (list, tuple)) else (given,))
        # A negative one takes a flag away.
        yield from (flag for flag in flags if isinstance(flag, int) and flag > 0)
