"""The statements of the Advanced Alchemy backend for Oracle, as far as that can be said without a server."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from oracle_lab.alchemy import MODELS, Job, compiled, statements
from oracle_lab.rules import complaints
from oracle_lab.validators import Sqlglot
from sqlalchemy import create_engine, func, select

from litestar_queues.backends.advanced_alchemy.dialects import dialect_of
from litestar_queues.backends.advanced_alchemy.statements.core import CoreStatement
from litestar_queues.backends.advanced_alchemy.statements.leaving import LeavingInsert
from litestar_queues.backends.advanced_alchemy.table import QueueTable
from litestar_queues.backends.sql.engine import Engine
from litestar_queues.backends.sql.program import Load, advance
from litestar_queues.backends.sql.values import batch_text, commit_rows
from litestar_queues.clock import ManualClock
from litestar_queues.lifecycle import Claim, step
from litestar_queues.records import NewTask, admit

ORACLE = dialect_of("oracle")
NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, UTC)
JOBS = QueueTable.of(Job)


def engine() -> Engine:
    return Engine(ORACLE.family, ORACLE.statements(JOBS), ManualClock(NOW))


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_no_rule_is_broken_by_a_statement_in_whatever_form(model: type[Any]) -> None:
    found = dict(statements(model))
    assert len(found) > 50
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


def test_what_is_written_travels_as_rows_of_parameters() -> None:
    task = step(admit(NewTask(id="a", name="n", key="k"), NOW), Claim("w"), NOW)
    statement = ORACLE.statements(JOBS)["write_fenced"]
    assert isinstance(statement, CoreStatement)
    batch = batch_text((), commit_rows([task], ORACLE.family.write_time), named=False)
    [row] = statement.bound({"batch": batch})
    assert isinstance(row, dict)
    assert (row["p_id"], row["p_fence"], row["p_active_key"], row["p_result"]) == ("a", 1, "k", None)
    assert (row["p_started_at"], row["p_finished_at"]) == (NOW.replace(tzinfo=None), None)
    heartbeats = ORACLE.statements(JOBS)["write_heartbeats"]
    assert isinstance(heartbeats, CoreStatement)
    [row] = heartbeats.bound({"batch": batch})
    assert set(row) == {"p_id", "p_fence", "p_heartbeat_at", "p_progress"}


def test_only_rows_under_the_fence_before_are_written_and_counted() -> None:
    database = create_engine("sqlite://")
    tasks = [admit(NewTask(id=id_, name="n"), NOW) for id_ in ("a", "b")]
    statement = ORACLE.statements(JOBS)["write_fenced"]
    assert isinstance(statement, CoreStatement)
    aware = batch_text((), commit_rows([step(one, Claim("w"), NOW) for one in tasks]), named=False)
    with database.connect().execution_options(schema_translate_map={"ops": None}) as connection:
        JOBS.tasks.create(connection)
        loaded = {
            "id": ["a", "b"], "name": ["n"] * 2, "queue": ["q"] * 2, "state": ["pending"] * 2, "priority": [0] * 2,
            "attempt": [0] * 2, "max_attempts": [1] * 2, "fence": [0, 7], "args": ["[]"] * 2, "kwargs": ["{}"] * 2,
            "metadata": ["{}"] * 2, "execution_backend": ["local"] * 2, "created_at": [NOW] * 2, "due_at": [NOW] * 2,
        }  # fmt: skip
        connection.execute(JOBS.tasks.insert(), JOBS.rows(loaded))
        [write] = statement.parts({"batch": aware})
        written = connection.execute(write, statement.bound({"batch": aware}))
        assert written.rowcount == 1
        running = select(func.count()).where(JOBS.columns()["state"] == "running")
        assert connection.scalar(running) == 1


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
