from __future__ import annotations

import re
import sqlite3
from typing import Any

import pytest
from sql_lab import WHOLE, Lab

from litestar_queues.backends.advanced_alchemy.dialects import dialect_of
from litestar_queues.backends.advanced_alchemy.model import QueueTaskModel
from litestar_queues.backends.advanced_alchemy.table import QueueTable
from litestar_queues.backends.sql import families
from litestar_queues.backends.sql.families import (
    COCKROACH,
    DUCKDB,
    MYSQL,
    ORACLE,
    POSTGRES,
    SQLITE,
    Family,
    statements_of,
)
from litestar_queues.backends.sql.values import COLUMNS, text_of_time, time_of_text
from litestar_queues.clock import ManualClock
from litestar_queues.errors import QueueConfigurationError
from litestar_queues.lifecycle import State
from litestar_queues.records import TaskRecord

ALL = pytest.mark.parametrize("family", [SQLITE, DUCKDB, POSTGRES, COCKROACH, MYSQL, ORACLE], ids=lambda one: one.name)
SCHEMA = re.compile(
    r"existing|(un)?lock_schema|(schema|record)_version(_\d+)?|(add|drop)_column_\w+|rebuild_\w+|widen_states"
)
"""What versions of the schema use; the last of these, one that is to come."""
STATES = re.compile(r"state (?:=|(?:NOT )?IN) \(?((?:'\w+'(?:, )?)+)")


@pytest.fixture
def lab() -> Lab:
    return Lab(WHOLE)


def test_the_columns_are_the_fields_of_a_record() -> None:
    assert sorted(COLUMNS) == sorted(TaskRecord.__struct_fields__)
    assert ", ".join(COLUMNS) in " ".join(WHOLE["get"].text.split())


def test_the_table_has_a_column_for_each_field_and_the_active_key(lab: Lab) -> None:
    columns = [row[1] for row in lab.connection.execute("PRAGMA table_info(litestar_queue_task)")]
    assert sorted(columns) == sorted([*COLUMNS, "active_key"])


def test_the_table_refuses_a_state_that_the_lifecycle_does_not_know(lab: Lab) -> None:
    insert = (
        "INSERT INTO litestar_queue_task (id, name, queue, state, priority, attempt, max_attempts, fence, args, kwargs, "
        "metadata, execution_backend, created_at, due_at) VALUES (?, '', '', ?, 0, 0, 1, 0, '', '', '', '', '', '')"
    )
    for state in State:
        lab.connection.execute(insert, (f"id {state}", state))
    with pytest.raises(sqlite3.IntegrityError, match="CHECK"):
        lab.connection.execute(insert, ("other", "dreaming"))


def test_every_state_that_a_statement_names_is_one_of_the_lifecycle() -> None:
    named = {name for s in WHOLE.values() for part in STATES.findall(s.text) for name in re.findall(r"\w+", part)}
    assert {"pending", "scheduled", "running"} <= named <= set(State)


@pytest.mark.parametrize("table", ["", "a b", "1a", 'a"b', "a;drop", "é", "a.b", "x" * 48])
def test_a_name_that_cannot_be_a_tables_is_refused(table: str) -> None:
    with pytest.raises(QueueConfigurationError, match="table name"):
        statements_of(SQLITE, table)


@pytest.mark.parametrize("table", ["order", "Tasks_2", "_", "litestar_queue_task_two"])
def test_an_odd_table_name_is_used_everywhere(table: str) -> None:
    lab = Lab(statements_of(SQLITE, table))
    made = {row[0] for row in lab.connection.execute("SELECT name FROM sqlite_master WHERE sql IS NOT NULL")}
    assert {table, f"{table}_lock", f"{table}_ready"} <= made
    assert all(name.startswith(table) for name in made)


def test_times_as_text_sort_as_times_do() -> None:
    texts = [
        "0999-12-31T23:59:59.999999+00:00",
        "2030-01-01T00:00:00.000000+00:00",
        "2030-01-01T00:00:00.000001+00:00",
        "2030-01-01T00:00:01.000000+00:00",
        "9999-12-31T23:59:59.999999+00:00",
    ]
    assert [text_of_time(time_of_text(text)) for text in texts] == texts
    assert sorted(texts, key=time_of_text) == sorted(texts) == texts
    assert text_of_time(time_of_text("2030-01-01T02:00:00+02:00")) == texts[1]


@pytest.mark.parametrize(
    ("family", "found", "least"),
    [
        (SQLITE, "3.37.2", (3, 38)),
        (SQLITE, "3.38", None),
        (MYSQL, "8.0.18", (8, 0, 19)),
        (MYSQL, "8.0.42-0ubuntu0.24.04.1", None),
        (MYSQL, "9.7.4-2", None),
        (MYSQL, "10.5.29-MariaDB-log", (10, 6)),
        (MYSQL, "10.6.1-MariaDB", None),
        (MYSQL, "11.8.9-MariaDB-0+deb13u1 from Debian", None),
    ],
)
def test_a_version_that_is_too_old_is_told_by_the_product(family: Family, found: str, least: Any) -> None:
    assert family.newer_than(found) == least


class DriverError(Exception):
    """As PyMySQL, aiomysql and asyncmy have them: the number comes first."""


class NumberedError(Exception):
    """As mysql-connector has them."""

    errno = 1213


def wrapped(cause: Exception) -> Exception:
    error = Exception("MySQL error")
    error.__cause__ = cause
    return error


def test_conflicts_and_lost_connections_are_told_by_the_numbers_of_the_drivers_errors() -> None:
    for number in (1062, 1205, 1213, 1020, 1050):
        assert MYSQL.is_conflict(wrapped(DriverError(number, "text")))
    assert MYSQL.is_conflict(wrapped(NumberedError("text")))
    assert not MYSQL.is_conflict(wrapped(DriverError(1406, "Data too long")))
    assert not MYSQL.is_conflict(DriverError())
    assert MYSQL.is_lost(wrapped(DriverError(1053, "Server shutdown in progress")))
    assert not MYSQL.is_lost(wrapped(DriverError(1213, "Deadlock")))
    assert not POSTGRES.is_lost(wrapped(DriverError(None)))


@pytest.mark.parametrize("family", [MYSQL, POSTGRES, SQLITE], ids=lambda family: family.name)
def test_statements_travel_without_comments_but_those_for_one_product(family: Family) -> None:
    texts = [statement.text for statement in statements_of(family).values()]
    assert not any("--" in text for text in texts)
    assert any("/*M!" in text for text in texts) == (family is MYSQL)


@ALL
def test_a_file_holds_the_statements_that_its_engine_uses_and_no_others(family: Family) -> None:
    held, owed = set(statements_of(family)), family.engine.owed(family)
    own = {name for one in family.versions for name in (*one.creates, *one.drops, *one.alters)}
    assert sorted((owed | own) - held) == []
    others = held - owed - own - family.engine.may_use - {"count_all"}  # which counts the tables of models
    assert sorted(name for name in others if SCHEMA.fullmatch(name) is None) == []


@ALL
def test_every_statement_that_an_engine_needs_is_missed_by_name_when_it_is_not_there(family: Family) -> None:
    whole = statements_of(family)
    for name in family.engine.owed(family):
        rest = {one: statement for one, statement in whole.items() if one != name}
        with pytest.raises(QueueConfigurationError, match=f"statements of the {family.name} family lack '{name}'"):
            family.engine(family, rest, ManualClock())


def test_a_file_that_lacks_a_statement_is_refused_when_it_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = dict(statements_of(SQLITE))
    monkeypatch.setattr(families, "load", lambda *_: {name: one for name, one in whole.items() if name != "claim"})
    with pytest.raises(QueueConfigurationError, match="statements of the sqlite family lack 'claim'"):
        statements_of(SQLITE, "a_table_of_its_own")


@pytest.mark.parametrize("dialect", ["postgresql", "sqlite", "mysql", "oracle"])
def test_a_dialect_has_the_statements_that_its_engine_uses_and_no_others(dialect: str) -> None:
    row = dialect_of(dialect)
    held, owed = set(row.statements(QueueTable.of(QueueTaskModel))), row.family.engine.owed(row.family, loads=True)
    assert sorted(owed - held) == []
    assert sorted(held - owed - row.family.engine.may_use) == []
