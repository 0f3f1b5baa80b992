"""A PostgreSQL for the tests of a module, and an empty database in it for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from itertools import count

import asyncpg
import pytest

from litestar_queues_matrix.servers import Server, start

_numbers = count(1)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with start("postgresql") as started:
        yield started


@pytest.fixture
async def dsn(server: Server) -> AsyncIterator[str]:
    name = f"test_{next(_numbers)}"
    connection = await asyncpg.connect(server.url)
    await connection.execute(f"CREATE DATABASE {name}")
    yield f"{server.url.rpartition('/')[0]}/{name}"
    await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await connection.close()
