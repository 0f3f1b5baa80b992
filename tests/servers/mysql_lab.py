"""A MySQL and a MariaDB for the tests of a module, and an empty database in it for each test."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import count
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

import pymysql
import pytest
from pymysql.cursors import DictCursor
from sqlspec.adapters.pymysql import PyMysqlConfig, PyMysqlDriver

from litestar_queues.backends.sql.families import MYSQL, Statement, statements_of
from litestar_queues.backends.sql.program import Call, Done, Load, Program, Rows, advance
from litestar_queues.backends.sql.schema import schema_of
from litestar_queues.backends.sqlspec.sending import BY_CURSOR, prepared, send
from litestar_queues.clock import ManualClock
from litestar_queues_matrix.servers import Server, start

T = TypeVar("T")

_numbers = count(1)


def connection_of(url: str) -> dict[str, Any]:
    """What the drivers call the parts of an address."""
    parts = urlsplit(url)
    return {
        "host": parts.hostname,
        "port": parts.port,
        "user": unquote(parts.username or ""),
        "password": unquote(parts.password or ""),
        "database": parts.path.strip("/"),
    }


def ask(url: str, query: str) -> list[Any]:
    with pymysql.connect(**connection_of(url), autocommit=True) as connection, connection.cursor() as cursor:
        cursor.execute(query)
        return list(cursor.fetchall())


@pytest.fixture(scope="module", params=["mysql", "mariadb"])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with start(request.param) as started:
        yield started


@pytest.fixture
def url(server: Server) -> Iterator[str]:
    name = f"test_{next(_numbers)}"
    # Not what the tables are to be: they say it themselves.
    ask(server.url, f"CREATE DATABASE {name} CHARACTER SET latin1 COLLATE latin1_swedish_ci")
    yield f"{server.url.rpartition('/')[0]}/{name}"
    ask(server.url, f"DROP DATABASE {name}")


class Lab:
    """The engine on one session of a database, whose work can be counted."""

    def __init__(self, url: str) -> None:
        self.config = PyMysqlConfig(connection_config=connection_of(url))
        self.engine = MYSQL.engine(MYSQL, statements_of(MYSQL), ManualClock())
        self._session = self.config.provide_session()
        self.driver: PyMysqlDriver = self._session.__enter__()
        self.run(schema_of(MYSQL).create())

    def close(self) -> None:
        self._session.__exit__(None, None, None)
        self.config.close_pool()

    def run(self, program: Program[T]) -> T:
        steps = program.start()
        call = advance(steps)
        while not isinstance(call, Done):
            assert not isinstance(call, Load)
            call = advance(steps, self.send(call.statement.name, call.parameters))
        self.driver.commit()
        return call.answer

    def send(self, name: str, parameters: Mapping[str, Any]) -> Rows:
        return self._ask(statements_of(MYSQL)[name].text, parameters)

    def analyze(self) -> None:
        self._ask("ANALYZE TABLE litestar_queue_task")

    def plan(self, name: str, **parameters: Any) -> list[dict[str, Any]]:
        """How the server goes about a statement: a table, or what it makes of a parameter, a row."""
        text = f"EXPLAIN FORMAT=TRADITIONAL {statements_of(MYSQL)[name].text}"
        one = prepared(Call(Statement(name, text), parameters), self.config)
        with self.driver.connection.cursor(DictCursor) as cursor:
            cursor.execute(one.percents, [parameters[each] for each in one.order or ()])
            found = cursor.fetchall()
        self.driver.commit()
        return list(found)

    def cost(self, program: Program[Any]) -> int:
        """How many rows and entries of indexes the server reads for a program: what no other session can change."""
        before = self._read()
        self.run(program)
        return self._read() - before - self._cost_of_asking()

    def _cost_of_asking(self) -> int:
        before = self._read()
        return self._read() - before

    def _read(self) -> int:
        found = self._ask("SHOW SESSION STATUS LIKE 'Handler_read%'")
        return sum(int(value) for _, value in found.rows)

    def _ask(self, text: str, parameters: Mapping[str, Any] | None = None) -> Rows:
        return send(self.driver, Call(Statement("ask", text), parameters or {}), self.config, BY_CURSOR)
