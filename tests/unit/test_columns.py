"""What is typed by hand has the columns of the table, and no others."""

from __future__ import annotations

from datetime import datetime
from typing import Any, get_args, get_type_hints

import pytest
from sqlalchemy import inspect

from litestar_queues.backends.advanced_alchemy import QueueTaskModel
from litestar_queues.backends.redis.values import committed, record_of, submitted
from litestar_queues.backends.sql.families import COCKROACH, DUCKDB, MYSQL, ORACLE, POSTGRES, SQLITE, Family
from litestar_queues.backends.sql.lists import STORED
from litestar_queues.columns import ACTIVE_KEY, BY_NAME, COLUMNS, ColumnKind, names
from litestar_queues.records import MUTABLE, NewTask, TaskRecord

FAMILIES = [SQLITE, POSTGRES, COCKROACH, MYSQL, DUCKDB, ORACLE]
PYTHON = {"time": datetime, "int": int, "bigint": int, "float": float}
RENAMED = {"id": "task_id", "metadata": "task_metadata", "created_at": "enqueued_at"}


def test_a_record_has_the_columns() -> None:
    assert sorted(TaskRecord.__struct_fields__) == sorted(BY_NAME.keys() - {ACTIVE_KEY.name})


def test_a_record_takes_none_where_a_column_may_hold_nothing() -> None:
    hints = get_type_hints(TaskRecord)
    assert {name: type(None) in get_args(hints[name]) for name in TaskRecord.__struct_fields__} == {
        column.name: column.nullable for column in COLUMNS
    }


def test_a_new_task_brings_what_an_enqueue_writes() -> None:
    brought = {"due_at" if name == "run_at" else name for name in NewTask.__struct_fields__}
    assert brought | {"state"} == set(names(lambda column: column.enqueued))


def test_a_column_that_no_task_brings_begins_with_something() -> None:
    unwritten = names(lambda one: not one.nullable and not one.enqueued and one.initial is None)
    assert unwritten == ("created_at",)


def test_the_model_has_the_columns() -> None:
    mapped: Any = inspect(QueueTaskModel).columns
    for column in (*COLUMNS, ACTIVE_KEY):
        found = mapped[RENAMED.get(column.name, column.name)]
        assert found.nullable == column.nullable, column.name
        assert found.type.python_type is PYTHON.get(column.kind, str), column.name


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_a_family_has_a_type_for_every_kind(family: Family) -> None:
    assert set(family.lists.types) == set(get_args(ColumnKind))


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_an_insert_gives_every_column_that_has_to_have_a_value(family: Family) -> None:
    given = family.lists.slots({**family.slots, "states": ""})["new_columns"].replace("`", "").split(", ")
    required = {one.name for one in STORED if one.enqueued or not one.nullable}
    assert set(given) | family.lists.stated == required


def test_redis_keeps_what_a_new_task_brings() -> None:
    new = NewTask(id="i", name="n", key="k", description="d", timeout=2.0, execution_profile="p")
    fields = submitted(new)[-1]
    kept = dict(zip(fields[::2], fields[1::2], strict=True))
    at_enqueue = {"state", "due_at", "created_at"}
    assert kept.keys() | at_enqueue | {"id", "expires_at"} == set(names(lambda one: one.enqueued or not one.nullable))


def test_redis_writes_or_forgets_each_field_of_a_commit() -> None:
    values: dict[str, Any] = dict.fromkeys(TaskRecord.__struct_fields__, None)
    row: list[Any] = [False] * (len(values) - 1)
    fields = [name for name in TaskRecord.__struct_fields__ if name != "id"]
    texts = {"int": "1", "bigint": "2", "state": "running", "time": "2030-01-01T00:00:00.000000"}
    for place, name in enumerate(fields):
        if not BY_NAME[name].nullable:
            row[place] = texts.get(BY_NAME[name].kind, "[]")
    *_, set_, forgotten = committed(record_of([*row, "i"]))
    assert sorted([*set_[::2], *forgotten]) == sorted(MUTABLE)
