"""A schema grows by versions: how an older table is told from others, and what a version can change on SQLite and DuckDB."""

from __future__ import annotations

import inspect
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import duckdb
import pytest
from sql_lab import WHOLE, Lab

from litestar_queues.backends.sql.families import (
    COCKROACH,
    DUCKDB,
    MYSQL,
    ORACLE,
    POSTGRES,
    SQLITE,
    Family,
    Version,
    load,
    statements_of,
)
from litestar_queues.backends.sql.program import Call, Program, Rows, advance
from litestar_queues.backends.sql.schema import Advice, Found, Schema, Standing, schema_of, standing_of, usable
from litestar_queues.columns import STATES, VERSION, states_of
from litestar_queues.errors import QueueConfigurationError
from litestar_queues.lifecycle import Cancel, Complete, IllegalTransition, State, step, stored_state
from litestar_queues.records import Matching, NewTask, Want

FAMILIES = [SQLITE, POSTGRES, COCKROACH, MYSQL, DUCKDB, ORACLE]
TABLE = "litestar_queue_task"


class Connection(Protocol):
    def execute(self, text: str, /) -> Any: ...


def run(connection: Connection, program: Program[Any]) -> Any:
    """What a program comes to on a driver of Python's own."""
    connection.execute("BEGIN")
    steps = program.start()
    call = advance(steps)
    while isinstance(call, Call):
        cursor = connection.execute(call.statement.text)
        call = advance(steps, Rows(cursor.fetchall() or ()))
    connection.execute("COMMIT")
    return call.answer


@pytest.fixture(params=["sqlite", "duckdb"])
def family(request: pytest.FixtureRequest) -> Family:
    return SQLITE if request.param == "sqlite" else DUCKDB


@pytest.fixture
def connection(family: Family) -> Iterator[Any]:
    made: Any = duckdb.connect() if family is DUCKDB else sqlite3.connect(":memory:", isolation_level=None)
    yield made
    made.close()


def first_version(connection: Connection, schema: Schema) -> None:
    for text in schema.texts(version=1):
        connection.execute(text)
    connection.execute(
        f"INSERT INTO {TABLE} (id, name, queue, state, priority, attempt, max_attempts, fence, args, kwargs, metadata, "
        "execution_backend, created_at, due_at) VALUES ('old', 'n', 'q', 'pending', 0, 0, 1, 0, '[]', '{}', '{}', 'local', "
        "'2030-01-01 00:00:00', '2030-01-01 00:00:00')"
    )


def rows(connection: Connection, text: str) -> list[Any]:
    found: list[Any] = connection.execute(text).fetchall()
    return found


def test_an_older_table_gets_what_later_versions_brought_and_keeps_its_tasks(family: Family, connection: Any) -> None:
    schema = schema_of(family)
    first_version(connection, schema)
    assert standing_of(run(connection, schema.look()), family)[0] is Standing.OLDER
    run(connection, schema.create())
    assert standing_of(run(connection, schema.look()), family)[0] is Standing.USABLE
    added = rows(connection, f"SELECT recoveries, max_recoveries, stale_after, history FROM {TABLE} WHERE id = 'old'")
    assert added == [(0, 3, None, None)]
    assert rows(connection, f"SELECT name, version, value FROM {TABLE}_record") == [
        ("schema", VERSION - 1, str(VERSION))
    ]


def test_a_table_of_the_second_version_takes_dispatched_tasks_once_it_is_upgraded(
    family: Family, connection: Any
) -> None:
    schema = schema_of(family)
    first_version(connection, schema)
    for text in schema.texts(version=2):
        connection.execute(text)
    refused = (sqlite3.IntegrityError, duckdb.ConstraintException)
    with pytest.raises(refused):
        connection.execute(f"UPDATE {TABLE} SET state = 'dispatched'")
    connection.execute(f"UPDATE {TABLE} SET history = '[]', active_key = 'k'")
    run(connection, schema.create())
    connection.execute(f"UPDATE {TABLE} SET state = 'dispatched'")
    kept = rows(connection, f"SELECT id, state, history, active_key FROM {TABLE}")
    assert kept == [("old", "dispatched", "[]", "k")]
    with pytest.raises(refused):
        connection.execute(f"UPDATE {TABLE} SET state = 'dreaming'")


def test_an_upgrade_is_made_once(family: Family, connection: Any) -> None:
    schema = schema_of(family)
    first_version(connection, schema)
    for _ in range(3):
        run(connection, schema.create())
    assert schema.steps(run(connection, schema.look())) == []
    assert rows(connection, f"SELECT version FROM {TABLE}_record") == [(VERSION - 1,)], "written once for each version"


def test_what_was_half_upgraded_is_brought_to_its_end(family: Family, connection: Any) -> None:
    schema = schema_of(family)
    first_version(connection, schema)
    for text in schema.texts(version=2)[:2]:
        connection.execute(text)
    assert standing_of(run(connection, schema.look()), family)[0] is Standing.OLDER
    run(connection, schema.create())
    assert schema.steps(run(connection, schema.look())) == []


def test_a_newer_schema_is_usable_and_left_alone(family: Family, connection: Any) -> None:
    schema = schema_of(family)
    run(connection, schema.create())
    connection.execute(f"UPDATE {TABLE}_record SET value = '{VERSION + 5}'")
    if family is SQLITE:
        connection.execute(f"DROP INDEX {TABLE}_overdue")  # as a version to come may
    run(connection, schema.create())
    found = run(connection, schema.look())
    assert standing_of(found, family)[0] is Standing.USABLE
    assert f"{TABLE}_overdue" not in found.names
    assert rows(connection, f"SELECT version, value FROM {TABLE}_record") == [(VERSION - 1, str(VERSION + 5))]


def test_a_table_that_is_no_queues_is_not_touched(family: Family, connection: Any) -> None:
    connection.execute(f"CREATE TABLE {TABLE} (id VARCHAR(36), name VARCHAR(10))")
    schema = schema_of(family)
    run(connection, schema.create())
    found = run(connection, schema.look())
    assert found.names == {TABLE, ".id", ".name"}
    assert standing_of(found, family)[0] is Standing.FOREIGN


ADVICE = Advice(missing="make it", foreign="take another", older="migrate it")
TABLES = frozenset({TABLE, f"{TABLE}_lock"})


@pytest.mark.parametrize(
    ("names", "version", "says"),
    [
        ((), 0, r"db: the table 'litestar_queue_task' is not there: make it"),
        (
            (TABLE, ".id"),
            0,
            r"'litestar_queue_task' is no queue's: it has no column name, queue, state and 24 more: take",
        ),
        ("version 1", 0, r"has version 1 of the schema, and this release needs \d: migrate it"),
        ("no locks", 0, r"'litestar_queue_task_lock', which belongs to 'litestar_queue_task', is not there: make it"),
    ],
)
def test_each_way_in_which_a_table_cannot_be_used_has_its_own_advice(names: Any, version: int, says: str) -> None:
    columns = {f".{name}" for name in statements_of(SQLITE)["create_task_table"].text.split("(", 1)[1].split()}
    if names == "version 1":
        names = TABLES | columns
    elif names == "no locks":
        names = {TABLE} | columns
    with pytest.raises(QueueConfigurationError, match=says):
        usable(Found(TABLE, frozenset(names), version), SQLITE, "db", ADVICE)


@pytest.mark.parametrize("each", FAMILIES, ids=lambda each: each.name)
def test_a_family_knows_every_version(each: Family) -> None:
    assert len(each.grown()) == VERSION
    text = " ".join(schema_of(each).texts(version=1))
    assert "recoveries" not in text, "the first version stays as it was"
    assert text.count("'expired'") >= 1


def test_the_newest_version_has_the_states_of_the_lifecycle() -> None:
    assert states_of(VERSION) == tuple(State)


# A version to come, of all that one can change where the database cannot: a state, STRICT, a partial index, and one less.


@pytest.mark.anyio
async def test_a_state_of_a_newer_version_is_read_and_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    lab = Lab(WHOLE)
    lab.run(next_version(SQLITE, monkeypatch).create())
    now = datetime(2030, 1, 1, tzinfo=UTC)
    await lab.enqueue_many([NewTask(id=name, name="x", key=f"k-{name}") for name in ("newer", "known")], now=now)
    [known, newer] = sorted(await lab.claim(Want(worker="w", limit=2), now=now), key=lambda record: record.id)
    lab.connection.execute(f"UPDATE {TABLE} SET state = 'reserved', fence = 7 WHERE id = 'newer'")
    stored = (await lab.get(["newer"]))["newer"]
    assert (stored.state, stored.active_key) == ("reserved", "k-newer")
    assert stored.state is stored_state("reserved")
    assert {one.state for one in await lab.find(Matching(), 9)} == {"running", "reserved"}
    assert {(one.state, one.tasks) for one in await lab.count()} == {("running", 1)}, "nobody here counts it"
    [answer] = await lab.enqueue_many([NewTask(id="other", name="x", key="k-newer")], now=now)
    assert (answer.is_new, answer.record.id) == (False, "newer")
    assert await lab.claim(Want(worker="w", limit=9, tasks=(stored.held,)), now=now) == []
    with pytest.raises(IllegalTransition, match="it is 'reserved'"):
        step(stored, Cancel(), now)
    assert await lab.commit([step(one, Complete("1"), now) for one in (known, newer)]) == {"known"}
    assert await lab.delete([stored.held]) == set()
    assert await lab.get(["newer"]) == {"newer": stored}


def test_only_what_is_stored_can_be_a_state_of_a_newer_version() -> None:
    assert stored_state("pending") is State.PENDING
    assert stored_state("reserved").value == "reserved"
    assert repr(stored_state("reserved")) == "<State.RESERVED: 'reserved'>"
    with pytest.raises(ValueError, match="reserved"):
        State("reserved")
    assert "reserved" not in [*State]


NEXT = Path(__file__).with_name("next_version.sql")


def next_version(family: Family, monkeypatch: pytest.MonkeyPatch) -> Schema:
    monkeypatch.setitem(STATES, VERSION + 1, (*STATES[VERSION], "reserved"))  # type: ignore[misc]
    changes: dict[str, Any] = {
        "creates": {"create_history_index": "_history"},
        "drops": {"drop_overdue_index": "_overdue"},
    }
    if family is DUCKDB:
        changes = {}  # it has no indexes but the unique ones
    version = Version(**changes, rebuilds=True, options="STRICT" if family is SQLITE else "")
    later = replace(family, versions=(*family.versions, version))
    own = Path(inspect.getfile(load)).with_name(f"{family.name}.sql")
    statements = load(own, later) | (load(NEXT, later) if family is SQLITE else {})
    return Schema(later, statements, TABLE)


@pytest.mark.parametrize("begins", ["first_version", "today", "new"])
def test_a_version_can_rebuild_the_table(
    family: Family, connection: Any, monkeypatch: pytest.MonkeyPatch, begins: str
) -> None:
    if begins == "first_version":
        first_version(connection, schema_of(family))
    elif begins == "today":
        first_version(connection, schema_of(family))
        run(connection, schema_of(family).create())
    schema = next_version(family, monkeypatch)
    for _ in range(2):
        run(connection, schema.create())
    found = run(connection, schema.look())
    assert found.version == VERSION + 1
    assert f"{TABLE}_new" not in found.names
    assert schema.steps(found) == []
    if begins != "new":
        assert rows(connection, f"SELECT id, max_recoveries FROM {TABLE}") == [("old", 3)]
        connection.execute(f"UPDATE {TABLE} SET state = 'reserved'")
    assert rows(connection, f"SELECT version FROM {TABLE}_record") == [(VERSION,)], "once for each version"
    if family is SQLITE:
        assert f"{TABLE}_history" in found.names
        assert f"{TABLE}_overdue" not in found.names
        assert f"{TABLE}_ready" in found.names, "the indexes came back"
        [(text,)] = rows(connection, f"SELECT sql FROM sqlite_master WHERE name = '{TABLE}'")
        assert text.endswith("STRICT")
    with pytest.raises((sqlite3.IntegrityError, duckdb.ConstraintException)):
        connection.execute(
            f"INSERT INTO {TABLE} (id, name, queue, state, priority, attempt, max_attempts, fence, args, kwargs, metadata, "
            "execution_backend, created_at, due_at, max_recoveries) VALUES ('x', 'n', 'q', 'dreaming', 0, 0, 1, 0, '[]', "
            "'{}', '{}', 'local', '2030-01-01', '2030-01-01', 3)"
        )


def test_a_table_with_columns_of_the_application_s_is_not_rebuilt(family: Family, connection: Any) -> None:
    first_version(connection, schema_of(family))
    connection.execute(f"ALTER TABLE {TABLE} ADD COLUMN theirs VARCHAR(10)")
    with pytest.raises(QueueConfigurationError, match="would lose what is no queue's: theirs; move"):
        run(connection, schema_of(family).create())
    connection.execute("ROLLBACK")
    assert rows(connection, f"SELECT id, theirs FROM {TABLE}") == [("old", None)]


def test_a_table_that_others_refer_to_is_not_rebuilt_where_that_would_take_their_rows_along() -> None:
    schema = schema_of(SQLITE)
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        first_version(connection, schema)
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute(f"CREATE TABLE note (task TEXT REFERENCES {TABLE} (id) ON DELETE CASCADE)")
        connection.execute("INSERT INTO note VALUES ('old')")
        with pytest.raises(QueueConfigurationError, match=r"foreign keys refer to it, in note: .* foreign_keys = OFF"):
            run(connection, schema.create())
        connection.execute("ROLLBACK")
        connection.execute("PRAGMA foreign_keys = OFF")
        run(connection, schema.create())
        connection.execute("PRAGMA foreign_keys = ON")
        assert rows(connection, "SELECT task FROM note JOIN litestar_queue_task ON id = task") == [("old",)]
        connection.execute(f"DELETE FROM {TABLE}")
        assert rows(connection, "SELECT task FROM note") == [], "the foreign key is about the new table"
        assert schema.steps(run(connection, schema.look())) == [], "it may be there once the upgrade is made"


def test_a_table_that_was_dropped_is_made_anew_as_the_newest(
    family: Family, connection: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    schema = next_version(family, monkeypatch)
    run(connection, schema.create())
    connection.execute(f"DROP TABLE {TABLE}")  # and not the record of its version
    run(connection, schema.create())
    first_version_row = (
        "INSERT INTO {0} (id, name, queue, state, priority, attempt, max_attempts, fence, args, kwargs, "
    )
    connection.execute(
        first_version_row.format(TABLE) + "metadata, execution_backend, created_at, due_at) VALUES ('new', 'n', 'q', "
        "'reserved', 0, 0, 1, 0, '[]', '{}', '{}', 'local', '2030-01-01 00:00:00', '2030-01-01 00:00:00')"
    )
    assert schema.steps(run(connection, schema.look())) == []


def test_a_column_that_somebody_dropped_is_named_and_comes_back(family: Family, connection: Any) -> None:
    schema = schema_of(family)
    first_version(connection, schema)
    run(connection, schema.create())
    if family is DUCKDB:  # which changes no table that has an index
        connection.execute(f"DROP INDEX {TABLE}_key")
    connection.execute(f"ALTER TABLE {TABLE} DROP COLUMN history")
    standing, why = standing_of(run(connection, schema.look()), family)
    assert standing is Standing.OLDER
    assert "has no column history, whatever is recorded" in why
    run(connection, schema.create())
    assert standing_of(run(connection, schema.look()), family)[0] is Standing.USABLE


def test_a_record_of_the_schema_that_somebody_edited_is_named(family: Family, connection: Any) -> None:
    schema = schema_of(family)
    run(connection, schema.create())
    connection.execute(f"UPDATE {TABLE}_record SET value = '\"two\"'")
    with pytest.raises(QueueConfigurationError, match=r"record 'schema' in the table 'litestar_queue_task_record' is"):
        run(connection, schema.look())
