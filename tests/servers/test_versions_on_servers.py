"""What a version of the schema can change on servers, and what an upgrade does to those who use the table meanwhile."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import anyio
import psycopg
import pymysql
import pytest
from mysql_lab import connection_of
from sqlspec.adapters.asyncmy import AsyncmyConfig
from sqlspec.adapters.asyncpg import AsyncpgConfig
from waiting import DEADLINE

from litestar_queues.backends.sql.families import MYSQL, POSTGRES, Family, Version, load
from litestar_queues.backends.sql.program import Call, Program, Rows, advance
from litestar_queues.backends.sql.schema import Schema, schema_of
from litestar_queues.backends.sqlspec import SQLSpecBackendConfig
from litestar_queues.columns import STATES, VERSION
from litestar_queues_matrix.servers import Server, start

pytestmark = pytest.mark.anyio

_numbers = count(1)
TABLE = "litestar_queue_task"
INSERT = (
    f"INSERT INTO {TABLE} (id, name, queue, state, priority, attempt, max_attempts, fence, args, kwargs, metadata, "
    "execution_backend, created_at, due_at) VALUES ('{0}', 'n', 'q', '{1}', 0, 0, 1, 0, '[]', '{{}}', '{{}}', 'local', "
    "'2030-01-01 00:00:00', '2030-01-01 00:00:00')"
)
NEXT = Path(__file__).parents[1] / "unit" / "next_version.sql"


@pytest.fixture(scope="module", params=["postgresql", "mysql", "mariadb"])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with start(request.param) as started:
        yield started


class Database:
    """An empty database, by one session."""

    def __init__(self, server: Server, name: str) -> None:
        self.family: Family = POSTGRES if server.url.startswith("postgres") else MYSQL
        self.url = f"{server.url.rpartition('/')[0]}/{name}"
        self._of_server = self.connect(server.url)
        self.name = name
        self.execute(f"CREATE DATABASE {name}", self._of_server)
        self.connection = self.connect(self.url)

    def connect(self, url: str) -> Any:
        if self.family is POSTGRES:
            return psycopg.connect(url, autocommit=True)
        return pymysql.connect(**connection_of(url), autocommit=True)

    def execute(self, text: str, connection: Any = None) -> list[Any]:
        with closing((connection or self.connection).cursor()) as cursor:
            cursor.execute(text)
            return list(cursor.fetchall()) if cursor.description else []

    def run(self, program: Program[Any]) -> Any:
        steps = program.start()
        call = advance(steps)
        self.execute("BEGIN")
        while isinstance(call, Call):
            call = advance(steps, Rows(self.execute(call.statement.text)))
        self.execute("COMMIT")
        return call.answer

    def close(self) -> None:
        self.connection.close()
        force = " WITH (FORCE)" if self.family is POSTGRES else ""
        self.execute(f"DROP DATABASE {self.name}{force}", self._of_server)
        self._of_server.close()

    def config(self) -> Any:
        if self.family is POSTGRES:
            return AsyncpgConfig(connection_config={"dsn": self.url, "min_size": 1, "max_size": 4})
        return AsyncmyConfig(connection_config=connection_of(self.url))


@pytest.fixture
def database(server: Server) -> Iterator[Database]:
    made = Database(server, f"versions_{next(_numbers)}")
    yield made
    made.close()


def first_version(database: Database) -> None:
    for text in schema_of(database.family).texts(version=1):
        database.execute(text)
    database.execute(INSERT.format("old", "pending"))


def next_version(family: Family, monkeypatch: pytest.MonkeyPatch) -> Schema:
    """A version to come, with a longer state more, and an index more and one less where it can have a condition."""
    monkeypatch.setitem(STATES, VERSION + 1, (*STATES[VERSION], "overwhelmed"))  # type: ignore[misc]
    changes: dict[str, Any] = {"alters": ("widen_states",)}
    lists = family.lists
    if family is POSTGRES:
        changes |= {"creates": {"create_history_index": "_history"}, "drops": {"drop_overdue_index": "_overdue"}}
    else:
        was = {**lists.earlier, VERSION: {"state": lists.types["state"]}}
        lists = replace(lists, types={**lists.types, "state": "VARCHAR(12)"}, earlier=was)
    later = replace(family, lists=lists, versions=(*family.versions, Version(**changes)))
    statements = load(Path(inspect.getfile(load)).with_name(f"{family.name}.sql"), later)
    more = load(NEXT, later) if family is POSTGRES else {}
    return Schema(later, statements | more, TABLE)


@pytest.mark.parametrize("begins", [first_version, lambda database: None], ids=["first_version", "new"])
def test_a_version_can_bring_a_state_and_change_indexes(
    database: Database, monkeypatch: pytest.MonkeyPatch, begins: Callable[[Database], None]
) -> None:
    begins(database)
    schema = next_version(database.family, monkeypatch)
    for _ in range(2):
        database.run(schema.create())
    found = database.run(schema.look())
    assert found.version == VERSION + 1
    assert schema.steps(found) == []
    database.execute(INSERT.format("new", "overwhelmed"))
    with pytest.raises((psycopg.errors.CheckViolation, pymysql.err.OperationalError), match=r"(?i)check|constraint"):
        database.execute(INSERT.format("worse", "dreaming"))
    if database.family is POSTGRES:
        assert {f"{TABLE}_history", f"{TABLE}_ready"} <= found.names
        assert f"{TABLE}_overdue" not in found.names
    assert database.execute(f"SELECT version, value FROM {TABLE}_record")[0][0] == VERSION


async def test_several_that_upgrade_at_one_moment_do_it_once(database: Database) -> None:
    first_version(database)
    backends = [SQLSpecBackendConfig(config=database.config()).create_backend() for _ in range(6)]
    try:
        await asyncio.gather(*(backend.open() for backend in backends))
        stored = await backends[0].get(["old"])
        assert (stored["old"].recoveries, stored["old"].max_recoveries, stored["old"].history) == (0, 3, None)
    finally:
        for backend in backends:
            await backend.close()
    assert database.execute(f"SELECT version FROM {TABLE}_record")[0][0] == VERSION - 1


WAITING = {
    "postgres": "SELECT count(*) FROM pg_locks WHERE NOT granted AND mode = 'AccessExclusiveLock'",
    "mysql": "SELECT count(*) FROM information_schema.processlist WHERE state LIKE 'Waiting for table metadata lock%'",
}


async def test_an_upgrade_that_has_to_wait_for_the_table_lets_others_pass_and_comes_again(database: Database) -> None:
    first_version(database)
    database.execute("BEGIN")
    database.execute(f"SELECT * FROM {TABLE}")  # whoever changes the table waits for the end of this
    with closing(database.connect(database.url)) as other:
        backend = SQLSpecBackendConfig(config=database.config(), lock_timeout=DEADLINE).create_backend()
        opening = asyncio.create_task(backend.open())
        with anyio.fail_after(DEADLINE):
            while not database.execute(WAITING[database.family.name], other)[0][0]:  # noqa: ASYNC110  # the server's
                await anyio.sleep(0.01)
            # Stands behind the change, until that gives way.
            await asyncio.to_thread(database.execute, f"SELECT * FROM {TABLE}", other)
            assert not opening.done()
            database.execute("ROLLBACK")
            await opening
        await backend.close()


async def test_whoever_has_no_right_to_change_the_table_waits_for_who_has(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    if database.family is not POSTGRES:
        pytest.skip("roles are PostgreSQL's")
    first_version(database)
    role = f"worker_of_{database.name}"
    database.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'x'")
    database.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role}")
    database.execute(f"ALTER DEFAULT PRIVILEGES GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO {role}")
    config = AsyncpgConfig(connection_config={"dsn": database.url, "user": role, "min_size": 1, "max_size": 4})
    backend = SQLSpecBackendConfig(config=config, migration_timeout=DEADLINE).create_backend()
    opening = asyncio.create_task(backend.open())
    with anyio.fail_after(DEADLINE):
        while "waiting for up to" not in caplog.text and not opening.done():  # noqa: ASYNC110  # a log has no event
            await anyio.sleep(0.01)
        assert not opening.done(), opening
        assert "the schema was not upgraded: " in caplog.text
        assert "must be owner of table" in caplog.text
        database.run(schema_of(POSTGRES).create())
        await opening
    assert list(await backend.get(["old"])) == ["old"]
    await backend.close()
    database.execute(f"DROP OWNED BY {role}")
    database.execute(f"DROP ROLE {role}")
