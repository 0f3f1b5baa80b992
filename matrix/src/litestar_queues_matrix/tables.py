"""Tables as applications have them: with columns in another order, or with more of them than the queues'."""

from __future__ import annotations

import re

from litestar_queues.backends.sql.families import Family
from litestar_queues.backends.sql.schema import schema_of

__all__ = ("reshaped_ddl", "reshaped_schema")

_BODY = re.compile(r"^(?P<head>[^(]*\()\n(?P<body>.*)\n(?P<tail>\).*)$", re.DOTALL)
_CONSTRAINT = re.compile(r"\s*(?:UNIQUE |PRIMARY |FULLTEXT )?(?:KEY|INDEX|CONSTRAINT|CHECK)\b", re.IGNORECASE)
_GROWN = ("    app_note VARCHAR(40) DEFAULT 'the application''s'", "    app_seen INTEGER")


def reshaped_schema(family: Family, how: str) -> list[str]:
    """The statements of a new schema, of which the last table of tasks is reshaped.

    It is for a family that puts a new table in the place of an older one. There, only that table can be reshaped: the
    upgrade of an older table with other columns is refused.

    Args:
        family: The family.
        how: "reordered" or "grown".
    """
    newest = re.compile(r"CREATE TABLE \S+_new\b")
    return [reshaped_ddl(text, how) if newest.match(text) else text for text in schema_of(family).texts()]


def reshaped_ddl(create_table: str, how: str) -> str:
    """A family's CREATE TABLE with its columns "reordered", or "grown" by some of the application's among them.

    Args:
        create_table: The statement, a column or constraint a line.
        how: "reordered" or "grown".
    """
    found = _BODY.match(create_table.strip())
    if found is None or how not in ("reordered", "grown"):
        raise ValueError(f"no table to be {how}: {create_table[:60]!r}")
    lines = [line.rstrip(",") for line in found["body"].split("\n") if not line.strip().startswith("--")]
    columns = [line for line in lines if not _CONSTRAINT.match(line)]
    constraints = [line for line in lines if _CONSTRAINT.match(line)]
    if how == "reordered":
        columns.reverse()
    else:
        columns[5:5], columns[:0] = _GROWN[:1], _GROWN[1:]
    body = ",\n".join([*columns, *constraints])
    return f"{found['head']}\n{body}\n{found['tail']}"
