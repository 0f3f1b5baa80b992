"""The statements of the Advanced Alchemy backend for Oracle, as far as that can be said without a server."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from oracle_lab.alchemy import MODELS, Job, compiled, dialect, statements
from oracle_lab.rules import complaints
from oracle_lab.validators import Sqlglot
from sqlalchemy import Text

from litestar_queues.backends.advanced_alchemy.dialects import dialect_of
from litestar_queues.backends.advanced_alchemy.leaving import LeavingInsert
from litestar_queues.backends.advanced_alchemy.statements import ModelStatement
from litestar_queues.backends.advanced_alchemy.table import QueueTable
from litestar_queues.backends.sql.engine import Engine
from litestar_queues.backends.sql.lists import STORED
from litestar_queues.backends.sql.program import Load, advance
from litestar_queues.backends.sql.schema import Found, Standing, standing_of
from litestar_queues.clock import ManualClock
from litestar_queues.columns import VERSION
from litestar_queues.records import NewTask

ORACLE = dialect_of("oracle")
NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, UTC)
JOBS = QueueTable.of(Job)


def engine() -> Engine:
    return ORACLE.family.engine(ORACLE.family, ORACLE.statements(JOBS), ManualClock(NOW), loads=True)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_no_rule_is_broken_by_a_statement_in_whatever_form(model: type[Any]) -> None:
    found = dict(statements(model))
    assert len(found) > 40
    assert {name: said for name, text in found.items() if (said := complaints(text))} == {}
    assert [one for one in Sqlglot().complaints([*found.values()]) if one] == []


def test_an_insert_looks_for_what_is_there_and_keeps_the_defaults_of_the_row() -> None:
    keys = ["size", *JOBS.keys.values()]
    text = compiled(LeavingInsert(JOBS.tasks), column_keys=keys)
    assert text.startswith('INSERT INTO ops."Order" (')
    assert text.count(':"size"') == 1, "a default of the application's, by a name that has to be quoted"
    assert text.endswith(
        ' FROM DUAL WHERE NOT EXISTS (SELECT 1 FROM ops."Order" t WHERE t.task_id = :task_id) '
        'AND NOT EXISTS (SELECT 1 FROM ops."Order" t WHERE t.active_key = :active_key)'
    )


def test_a_time_travels_as_the_text_that_a_statement_reads() -> None:
    statement = ORACLE.statements(JOBS)["claim_candidates"]
    assert isinstance(statement, ModelStatement)
    made = statement.sent.compile(dialect=dialect())
    assert made._bind_processors["p_now"](NOW.replace(tzinfo=None)) == "2026-01-02T03:04:05.678901"


def test_lists_and_batches_are_never_too_long_for_a_text() -> None:
    for name, of in (("get", "ids"), ("write_fenced", "batch"), ("claim_held_candidates", "held")):
        statement = ORACLE.statements(JOBS)[name]
        assert isinstance(statement, ModelStatement)
        made = statement.sent.compile(dialect=dialect(), column_keys=[])
        assert isinstance(made.binds[f"p_{of}"].type, Text), "which SQLAlchemy binds as a CLOB"


def test_texts_travel_as_they_are_kept_and_each_key_is_stored_once() -> None:
    new = [
        NewTask(id="a", name="n", key="k"),
        NewTask(id="b", name="n", key="k"),
        NewTask(id="c", name="n", description="~"),
    ]
    load = advance(engine().enqueue_many(new, NOW).start())
    assert isinstance(load, Load)
    assert load.leaving
    assert sorted(load.columns["id"]) == ["a", "c"]
    by_id = dict(zip(load.columns["id"], range(2), strict=True))
    assert load.columns["description"][by_id["c"]] == "~~", "as every text travels that may be taken for none"


def test_a_table_whose_columns_sqlalchemy_lists_in_small_letters_is_a_queues() -> None:
    names = {"order", "order_lock", "order_record", *(f".{one.name}" for one in STORED)}
    found = Found("order", frozenset(names), VERSION)
    assert standing_of(found, ORACLE.family)[0] is Standing.USABLE
