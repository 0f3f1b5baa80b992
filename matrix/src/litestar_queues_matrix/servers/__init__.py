"""Throw-away database servers for tests: found, started, killed, started again, and always stopped.

`start("postgresql15")` takes, in this order, a URL that was given in `LITESTAR_QUEUES_POSTGRESQL15_URL`, executables on
this machine or in a wheel, or Docker. What it starts is served on a loopback port from a folder of its own, and is gone
when the process that started it is.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from types import MappingProxyType

from litestar_queues_matrix.servers.containers import ContainerServer
from litestar_queues_matrix.servers.errors import ServerUnavailable
from litestar_queues_matrix.servers.native import NativeServer
from litestar_queues_matrix.servers.rows import SERVERS, Product, ServerRow, rows_of
from litestar_queues_matrix.servers.running import GivenServer, Server
from litestar_queues_matrix.servers.sources import Executables, Given, Source, find, find_first

__all__ = (
    "SERVERS",
    "Product",
    "Server",
    "ServerRow",
    "ServerUnavailable",
    "Source",
    "find",
    "find_first",
    "launch",
    "rows_of",
    "start",
)

_NONE: Mapping[str, str] = MappingProxyType({})


def start(
    name: str,
    *,
    durable: bool = False,
    settings: Mapping[str, str] = _NONE,
    given: bool = True,
    env: Mapping[str, str] | None = None,
) -> Server:
    """Start the server of this name, or the best that there is of this product: `start("postgresql")`.

    Args:
        name: A server or a product, as in `SERVERS`.
        durable: Write to the disk before a commit is acknowledged, for tests that crash the server.
        settings: The server's own settings, as it names them: `{"default_transaction_isolation": "serializable"}`.
        given: Take one that was given by its URL. Leave it out for a server that must be killed. One that was given has
            the settings that it has, so with `durable` or `settings` it is never taken.
        env: The environment variables, if not this process's.

    Raises:
        ServerUnavailable: It cannot be had; says how to get it.
    """
    env = os.environ if env is None else env
    source = find_first(rows_of(name), env, given=given and not durable and not settings)
    return launch(source, env, durable=durable, settings=settings)


def launch(
    source: Source, env: Mapping[str, str], *, durable: bool = False, settings: Mapping[str, str] = _NONE
) -> Server:
    """Start what was found.

    Raises:
        ServerUnavailable: It did not start.
    """
    if isinstance(source, Given):
        return GivenServer(source.row, source.url, source.origin)
    if isinstance(source, Executables):
        return NativeServer(source, env, durable=durable, settings=settings)
    return ContainerServer(source, durable=durable, settings=settings)
