"""Servers of Redis and Valkey for the tests of a module, and a prefix on one for each test."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from itertools import count
from typing import Any

import pytest
from acceptance.redis_database import RedisDatabase

from litestar_queues.backends.redis.backend import RedisBackend
from litestar_queues_matrix.servers import Server, ServerRow, ServerUnavailable, find, launch, rows_of

_numbers = count(1)
Opens = Callable[..., Awaitable[RedisBackend]]


def _rows() -> Iterator[Any]:
    """Every server once, with each client in turn; one that cannot be had is listed as skipped, with the reason."""
    for number, row in enumerate((*rows_of("redis"), *rows_of("valkey"))):
        client = ("redis", "valkey")[number % 2]
        name = f"{client}@{row.name}"
        try:
            find(row, os.environ, given=False, docker=False)
        except ServerUnavailable as error:
            yield pytest.param((row, client), id=name, marks=pytest.mark.skip(reason=str(error)))
        else:
            yield pytest.param((row, client), id=name)


@pytest.fixture(scope="module", params=_rows())
def pair(request: pytest.FixtureRequest) -> Iterator[tuple[Server, str]]:
    """A running server, and the client to reach it by."""
    row: ServerRow
    row, client = request.param
    with launch(find(row, os.environ, given=False), os.environ) as server:
        yield server, client


@pytest.fixture
def server(pair: tuple[Server, str]) -> Server:
    return pair[0]


@pytest.fixture
def database(pair: tuple[Server, str]) -> Iterator[RedisDatabase]:
    server, client = pair
    database = RedisDatabase(client, server.url, f"test_{next(_numbers)}")
    yield database
    database.remove()


@pytest.fixture
async def opened(database: RedisDatabase) -> AsyncIterator[Opens]:
    """Opens backends on the prefix, and closes them."""
    backends: list[Any] = []

    async def opened(**store: Any) -> Any:
        backend = database.backend(**store).create_backend()
        backends.append(backend)
        await backend.open()
        return backend

    yield opened
    for backend in backends:
        await backend.close()
