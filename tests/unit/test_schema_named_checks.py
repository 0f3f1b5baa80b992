"""Half a schema whose record of the version is gone, where a check has a name of its own."""

from __future__ import annotations

from dataclasses import replace

from litestar_queues.backends.sql.families import COCKROACH, POSTGRES
from litestar_queues.backends.sql.schema import Found, schema_of
from litestar_queues.columns import VERSION


def test_a_check_that_is_there_is_not_made_again() -> None:
    schema = schema_of(COCKROACH, "t")
    older = Found("t", frozenset({"t", "t_lock"}))
    assert "widen_states" in schema.steps(older)
    found = replace(older, names=older.names | {"#check_state_3"})
    assert "widen_states" not in schema.steps(found)
    assert f"record_version_{VERSION}" in schema.steps(found), "the version is recorded again"


def test_a_check_whose_name_stays_the_same_is_made_again() -> None:
    found = Found("t", frozenset({"t", "t_lock", "#t_state_check", "#litestar_queue_task_state_check"}))
    assert "widen_states" in schema_of(POSTGRES, "t").steps(found)
