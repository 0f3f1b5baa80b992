"""The parsers of Oracle's language that are to be had without Oracle."""

from __future__ import annotations

import pytest
from oracle_lab.corpus import WRONG
from oracle_lab.validators import VALIDATORS, Validator

from litestar_queues.backends.sql.families import ORACLE, drop_statements, statements_of

CAUGHT_AT_LEAST = {"sqlglot": 1, "sqlfluff": 3, "antlr4ts-sql": 7, "our rules": len(WRONG)}
"""How many of the wrong statements each finds: one that finds fewer is worth less than was thought."""

runs = pytest.mark.parametrize(
    "validator", [one for one in VALIDATORS if one.missing() is None], ids=lambda validator: validator.name
)


@runs
def test_every_statement_is_taken_for_an_odd_table_too(validator: Validator) -> None:
    named = {name: one.text for name, one in statements_of(ORACLE, "ops.Order").items()}
    named |= {text: text for text in drop_statements(ORACLE, "ops.Order")}
    said = dict(zip(named, validator.complaints([*named.values()]), strict=True))
    assert {name: one for name, one in said.items() if one is not None} == {}


@runs
def test_wrong_statements_are_refused_and_none_by_nobody(validator: Validator) -> None:
    said = validator.complaints([one.text for one in WRONG])
    assert sum(one is not None for one in said) >= CAUGHT_AT_LEAST[validator.name]
