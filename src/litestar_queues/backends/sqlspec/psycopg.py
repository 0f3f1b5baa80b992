"""What psycopg's pools need."""

from __future__ import annotations

import asyncio
from typing import Any

from litestar_queues.backends.sql.families import POSTGRES
from litestar_queues.backends.sqlspec.failures import Failures
from litestar_queues.backends.sqlspec.servers import locate_server

__all__ = ("probe",)


def probe(config: Any) -> None:
    """Make one connection without the pool, which would try for 30 seconds and then not say why it has none.

    Raises:
        BackendUnavailableError: There is no connection to be had; says what the server or the network said.
    """
    if config.connection_instance is not None:
        return
    try:
        if config.is_async:
            asyncio.run(_connect(config))
        else:
            config.create_connection().close()
    except Exception as error:
        failures = Failures(POSTGRES, locate_server(config).database, config.connection_config)
        raise failures.of_connection(error) from error


async def _connect(config: Any) -> None:
    await (await config.create_connection()).close()
