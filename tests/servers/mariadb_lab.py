"""A MariaDB for the tests of a module, and an empty database in it for each test."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Any
from urllib.parse import urlsplit

import pymysql
import pytest

from litestar_queues_matrix.servers import Server, start

_numbers = count(1)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with start("mariadb") as started:
        yield started


@pytest.fixture
def settings(server: Server) -> Iterator[dict[str, Any]]:
    """How to connect: `host`, `port`, `user`, `password`, `database`."""
    url = urlsplit(server.url)
    login: dict[str, Any] = {
        "host": url.hostname, "port": url.port, "user": url.username, "password": url.password or "",
    }  # fmt: skip
    name = f"test_{next(_numbers)}"
    connection = pymysql.connect(**login)
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {name}")
        yield {**login, "database": name}
        cursor.execute(f"DROP DATABASE {name}")
    connection.close()


def ask(settings: dict[str, Any], query: str) -> list[tuple[Any, ...]]:
    connection = pymysql.connect(**settings)
    with connection.cursor() as cursor:
        cursor.execute(query)
        rows = list(cursor.fetchall())
    connection.close()
    return rows
