"""Oracle's statements, as far as that can be said without an Oracle and without its driver."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracle_lab import rules
from oracle_lab.corpus import WRONG, Wrong
from oracle_lab.rules import complaints, json_tables, parts
from oracle_lab.validators import Sqlglot

from litestar_queues.backends.sql.families import (
    ORACLE,
    bare_name,
    quoted_name,
    statements_of,
)
from litestar_queues.backends.sql.program import Call, Rows, advance
from litestar_queues.backends.sql.schema import Found, schema_of
from litestar_queues.backends.sql.values import COLUMNS, COMMITTED, ENQUEUED, kept_text, text_kept
from litestar_queues.clock import ManualClock
from litestar_queues.errors import QueueConfigurationError
from litestar_queues.records import Matching, NewTask

STATEMENTS = statements_of(ORACLE)
ODD_NAMES = ("litestar_queue_task", "order", "ops.Tasks_2", "_" * 112)


@pytest.mark.parametrize("table", ODD_NAMES, ids=lambda name: name[:20])
def test_no_rule_is_broken_by_a_statement_for_whatever_table(table: str) -> None:
    for name, statement in statements_of(ORACLE, table).items():
        assert [said for part in parts(statement.text) for said in complaints(part)] == [], name
    for text in schema_of(ORACLE, table).drops():
        assert complaints(text) == []


def test_a_parser_of_many_dialects_takes_every_statement() -> None:
    texts = [part for statement in STATEMENTS.values() for part in parts(statement.text)]
    assert [one for one in Sqlglot().complaints(texts) if one] == []


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: wrong.what)
def test_each_rule_catches_what_it_is_for(wrong: Wrong) -> None:
    assert [*rules.RULES[wrong.rule](wrong.text)]
    others = [said for said in complaints(wrong.text) if not said.startswith(f"{wrong.rule}:")]
    assert others == [], "one thing is wrong with each"


def test_every_rule_is_needed_for_a_wrong_statement() -> None:
    assert {one.rule for one in WRONG} == set(rules.RULES)


def test_a_name_stands_in_capitals_and_in_the_schema_that_it_was_given() -> None:
    assert quoted_name(ORACLE, "ops.Order", "_ready") == '"OPS"."ORDER_READY"'
    assert bare_name(ORACLE, "ops.Order", "_lock") == "ORDER_LOCK"
    assert 'CREATE INDEX "OPS"."ORDER_READY" ON "OPS"."ORDER"' in " ".join(schema_of(ORACLE, "ops.Order").texts())
    tables = frozenset({"LITESTAR_QUEUE_TASK", "LITESTAR_QUEUE_TASK_LOCK"})
    missing = schema_of(ORACLE).texts(Found("LITESTAR_QUEUE_TASK", tables), 1)
    assert [text.split()[1] for text in missing] == ["INDEX"] * 4


def test_the_names_that_nobody_chose_fit_into_the_30_bytes_of_old_versions() -> None:
    created = [suffix for version in ORACLE.versions for suffix in version.creates.values()]
    assert max(len(bare_name(ORACLE, "litestar_queue_task", suffix)) for suffix in created) <= 30


def test_a_name_that_is_too_long_is_refused() -> None:
    statements_of(ORACLE, "t" * 112)
    with pytest.raises(QueueConfigurationError, match="at most 112 characters"):
        statements_of(ORACLE, "t" * 113)


def test_the_columns_are_the_fields_of_a_record() -> None:
    for name in ("get", "lock_tasks", "lock_candidates", "find_stale", "check_schema"):
        selected = re.findall(r"\bt\.(\w+)", STATEMENTS[name].text.partition("FROM")[0])
        assert tuple(selected[: len(COLUMNS)]) == COLUMNS


@pytest.mark.parametrize(
    ("name", "fields", "other_names"),
    [
        ("enqueue", ENQUEUED, {"key": "of_key", "timeout": "seconds"}),
        ("write_fenced", COMMITTED, {"error": "failure"}),
    ],
)
def test_a_batch_is_unpacked_place_by_place(name: str, fields: tuple[str, ...], other_names: dict[str, str]) -> None:
    [call] = json_tables(STATEMENTS[name].text)
    unpacked = re.findall(r"(\w+) [A-Z0-9]+(?:\(\d+(?: CHAR)?\))? PATH '\$\[(\d+)\]'", call)
    assert unpacked == [(other_names.get(field, field), str(place)) for place, field in enumerate(fields)]


def test_a_heartbeat_reads_its_places_of_the_same_batch() -> None:
    [call] = json_tables(STATEMENTS["write_heartbeats"].text)
    for field, place in re.findall(r"(\w+) [A-Z0-9]+(?:\(\d+(?: CHAR)?\))? PATH '\$\[(\d+)\]'", call):
        assert COMMITTED[int(place)] == field


@given(st.text(alphabet="~a\u00e9 ", max_size=6))
def test_no_text_is_sent_empty_and_every_text_comes_back(text: str) -> None:
    sent = kept_text(text)
    assert sent
    assert text_kept(sent) == text


def test_a_filter_by_an_empty_text_is_no_filter_by_nothing() -> None:
    engine = ORACLE.engine(ORACLE, STATEMENTS, ManualClock())
    call = advance(engine.find(Matching(key="", queues=("",)), 10).start())
    assert isinstance(call, Call)
    assert (call.parameters["key"], call.parameters["queues"]) == ("~", '["~"]')


def test_a_batch_has_no_two_tasks_of_one_id_or_one_key_and_what_was_left_out_is_sent_when_it_is_needed() -> None:
    """The holder of the key is stored long ago, and terminal: the second task of the key is new."""
    tasks = [NewTask(id="a", name="n", key="k"), NewTask(id="b", name="n", key="k"), NewTask(id="c", name="n")]
    engine = ORACLE.engine(ORACLE, STATEMENTS, ManualClock())
    steps = engine.enqueue_many(tasks, ManualClock().now()).start()
    first = advance(steps)
    assert isinstance(first, Call)
    assert ['"a"' in first.parameters["batch"], '"b"' in first.parameters["batch"]] == [True, False]
    advance(steps, Rows(affected=1))
    at = ManualClock().now().replace(tzinfo=None)

    def row(task: NewTask, state: str) -> tuple[Any, ...]:
        values: dict[str, Any] = {
            "id": task.id, "name": "n", "queue": "default", "state": state, "priority": 0, "attempt": 0,
            "max_attempts": 1, "fence": 0, "key": task.key, "args": "[]", "kwargs": "{}", "metadata": "{}",
            "execution_backend": "local", "created_at": at, "due_at": at,
        }  # fmt: skip
        return tuple(values.get(column) for column in COLUMNS)

    second = advance(steps, Rows([row(tasks[0], "completed"), row(tasks[2], "pending")]))
    assert isinstance(second, Call)
    assert second.statement.name == "enqueue"
    assert ['"a"' in second.parameters["batch"], '"b"' in second.parameters["batch"]] == [False, True]


class Told:
    """What an error of python-oracledb's carries."""

    def __init__(self, code: int, full_code: str) -> None:
        self.code, self.full_code = code, full_code


@pytest.mark.parametrize("code", [1, 54, 60, 955, 8177, 30006])
def test_conflicts_are_told_by_the_numbers_of_errors(code: int) -> None:
    error = Exception("SQLSpec's own")
    error.__cause__ = Exception(Told(code, f"ORA-{code:05}"))
    assert ORACLE.is_conflict(error)
    assert not ORACLE.is_lost(error)


@pytest.mark.parametrize(
    ("code", "full_code"),
    [(28, "ORA-00028"), (3113, "ORA-03113"), (12541, "ORA-12541"), (0, "DPY-4011"), (0, "DPY-1001"), (0, "DPY-6005")],
)
def test_a_lost_connection_is_told_by_its_number_or_by_the_drivers_own(code: int, full_code: str) -> None:
    error = Exception("SQLSpec's own")
    error.__cause__ = Exception(Told(code, full_code))
    assert ORACLE.is_lost(error)
    assert not ORACLE.is_conflict(error)


def test_what_the_statement_did_wrong_is_neither() -> None:
    for error in (
        Exception(Told(942, "ORA-00942")),
        Exception(Told(12899, "ORA-12899")),
        Exception(),
        Exception("text"),
    ):
        assert not ORACLE.is_lost(error)
        assert not ORACLE.is_conflict(error)


@pytest.mark.parametrize(("found", "least"), [("18.0.0.0.0", (19,)), ("19.0.0.0.0", None), ("23.0.0.0.0", None)])
def test_a_version_that_is_too_old_is_told(found: str, least: Any) -> None:
    assert ORACLE.newer_than(found) == least
