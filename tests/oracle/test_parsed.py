"""The parsers of Oracle's language that are to be had without Oracle. What they say is printed after the tests."""

from __future__ import annotations

from conftest import REPORT
from oracle_lab.corpus import WRONG

CAUGHT_AT_LEAST = {"sqlglot": 1, "sqlfluff": 4, "antlr4ts-sql": 8, "our rules": len(WRONG)}
"""How many of the wrong statements each finds: one that finds fewer is worth less than was thought."""


def test_every_statement_is_taken_by_each_for_an_odd_table_too() -> None:
    assert {name: dict(said) for name, said in REPORT().refused.items() if said} == {}


def test_wrong_statements_are_refused_by_as_many_as_before() -> None:
    caught = {name: sum(said) for name, said in REPORT().caught.items()}
    assert {"sqlglot", "sqlfluff", "our rules"} <= {*caught}
    assert [name for name, count in caught.items() if count < CAUGHT_AT_LEAST[name]] == []
