"""What we use of SQLSpec that it does not promise: a newer SQLSpec without it fails here, by its name."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
from sqlspec.core import SQL
from sqlspec.core.statement import ProcessedState

from litestar_queues.backends.sql.families import statements_of
from litestar_queues.backends.sql.family import Statement
from litestar_queues.backends.sql.program import Call
from litestar_queues.backends.sqlspec.sending import prepared
from litestar_queues.backends.sqlspec.stores import store_of
from litestar_queues_matrix.adapters import ADAPTERS, Adapter

URL = "postgresql://user:secret@host:5/database"


def config_of(adapter: Adapter) -> Any:
    pytest.importorskip(adapter.driver)
    return adapter.config(URL)


def test_a_compiled_statement_can_be_made_of_its_parts() -> None:
    given = inspect.signature(SQL._create_cached_direct).parameters
    assert {"sql", "config", "processed_state", "pooled"} <= set(given)
    parts = {
        "compiled_sql", "execution_parameters", "parsed_expression", "operation_type", "input_named_parameters",
        "applied_wrap_types", "parameter_casts", "parameter_profile", "operation_profile", "expression_is_shared",
    }  # fmt: skip
    assert parts <= set(inspect.signature(ProcessedState).parameters)


def test_psqlpy_has_the_query_that_counts_and_knows_its_poolers() -> None:
    pytest.importorskip("psqlpy")
    from sqlspec.adapters.psqlpy.core import _dml_count_query
    from sqlspec.adapters.psqlpy.driver import PsqlpyDriver

    counting = _dml_count_query("DELETE FROM t WHERE a = $1")
    assert counting is not None
    assert counting.startswith("WITH")
    assert "RETURNING 1" in counting
    assert callable(PsqlpyDriver._is_transaction_pooler_mode)


@pytest.mark.parametrize("adapter", ADAPTERS, ids=lambda adapter: adapter.name)
def test_what_is_prepared_once_is_what_sqlspec_compiles_each_time(adapter: Adapter) -> None:
    config = config_of(adapter)
    for name, statement in statements_of(store_of(config).family, "litestar_queue_task").items():
        values = {info.name: f"value of {info.name}" for info in _named(config, statement)}
        compiled, given = SQL(statement.text, values, statement_config=config.statement_config).compile()
        one = prepared(Call(statement, values), config)
        assert one.text == compiled, name
        ours = (
            {key: values[of] for key, of in one.names.items()} if one.order is None else [values[n] for n in one.order]
        )
        assert ours == (given if isinstance(given, dict) else list(given or ())), name


def _named(config: Any, statement: Statement) -> list[Any]:
    return [
        info for info in config.statement_config.parameter_validator.extract_parameters(statement.text) if info.name
    ]


def test_a_statement_is_compiled_once() -> None:
    config = config_of(next(one for one in ADAPTERS if one.name == "asyncpg"))
    call = Call(Statement("one", "SELECT :a AS a"), {"a": 1})
    assert prepared(call, config) is prepared(Call(Statement("one", "SELECT :a AS a"), {"a": 2}), config)


def test_a_percent_sign_that_begins_no_placeholder_is_doubled_where_drivers_format() -> None:
    config = config_of(next(one for one in ADAPTERS if one.name == "psycopg"))
    one = prepared(Call(Statement("one", "SELECT :a AS a WHERE 'x' LIKE 'x%'"), {"a": 1}), config)
    assert one.text == "SELECT %s AS a WHERE 'x' LIKE 'x%'"
    assert one.percents == "SELECT %s AS a WHERE 'x' LIKE 'x%%'"
    none = prepared(Call(Statement("none", "SELECT 'x' LIKE 'x%'")), config)
    assert none.percents == none.text
