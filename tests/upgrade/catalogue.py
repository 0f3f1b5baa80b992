"""The tables of a queue as the database's own catalogue shows them, in lines that can be compared.

Columns are sorted by their names: one that an upgrade adds stands behind all others.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from golden import FOLDERS, TABLE, V1, run_duckdb

from litestar_queues_matrix.servers import ask

__all__ = ("catalogue", "file_of", "kept_catalogue")

_SQLITE = f"""
SELECT 'column', m.name, c.name, c.type, c."notnull", c.dflt_value, c.pk, c.hidden
FROM sqlite_schema AS m, pragma_table_xinfo(m.name) AS c WHERE m.type = 'table' AND m.name LIKE '{TABLE}%'
"""
_SQLITE_TEXTS = f"SELECT type, name, sql FROM sqlite_schema WHERE name LIKE '{TABLE}%' AND sql IS NOT NULL"
_DUCKDB = (
    f"""
    SELECT 'column', table_name, column_name, data_type, is_nullable, column_default
    FROM duckdb_columns() WHERE table_name LIKE '{TABLE}%'
    """,
    f"SELECT 'index', table_name, index_name, is_unique, expressions FROM duckdb_indexes() WHERE table_name LIKE '{TABLE}%'",
    f"""
    SELECT 'constraint', table_name, constraint_type, constraint_text
    FROM duckdb_constraints() WHERE table_name LIKE '{TABLE}%' AND constraint_type <> 'NOT NULL'
    """,
)
_POSTGRES = (
    f"""
    SELECT 'column', c.table_name, c.column_name, c.data_type, c.character_maximum_length, c.is_nullable,
        c.column_default, c.collation_name
    FROM information_schema.columns AS c WHERE c.table_name LIKE '{TABLE}%%'
    """,
    f"SELECT 'index', indexname, indexdef FROM pg_indexes WHERE tablename LIKE '{TABLE}%%'",
    # From 18 on, NOT NULL is a constraint, too.
    f"""
    SELECT 'constraint', conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint
    WHERE conrelid::regclass::text LIKE '{TABLE}%%' AND contype <> 'n'
    """,
    f"SELECT 'options', oid::regclass::text, reloptions::text FROM pg_class WHERE relname LIKE '{TABLE}%%' AND relkind = 'r'",
)
_MARIADB = (
    f"""
    SELECT 'column', table_name, column_name, column_type, is_nullable, column_default,
        IF(collation_name LIKE '%%bin', collation_name, character_set_name), extra, generation_expression
    FROM information_schema.columns WHERE table_schema = database() AND table_name LIKE '{TABLE}%%'
    """,
    f"""
    SELECT 'index', table_name, index_name, non_unique, GROUP_CONCAT(column_name ORDER BY seq_in_index)
    FROM information_schema.statistics WHERE table_schema = database() AND table_name LIKE '{TABLE}%%'
    GROUP BY table_name, index_name, non_unique
    """,
    f"""
    SELECT 'constraint', table_name, constraint_name, check_clause FROM information_schema.check_constraints
    WHERE constraint_schema = database() AND table_name LIKE '{TABLE}%%'
    """,
    f"""
    SELECT 'options', table_name, engine, row_format FROM information_schema.tables
    WHERE table_schema = database() AND table_name LIKE '{TABLE}%%'
    """,
)


def file_of(through: str) -> Path:
    """Where the newest version's catalogue is kept."""
    return V1.parent / "schema" / f"{FOLDERS[through]}.txt"


def kept_catalogue(place: dict[str, Any]) -> list[str]:
    """What there is to be; nothing where the database has no tables."""
    file = file_of(place["through"])
    return file.read_text(encoding="utf-8").splitlines() if file.exists() else []


def catalogue(place: dict[str, Any]) -> list[str]:
    """What there is, a line each; nothing where the database has no tables."""
    at = place["at"]
    if "prefix" in place:
        return []
    if place["through"] == "duckdb":
        return _lines(row for query in _DUCKDB for row in run_duckdb(at, query))
    if "://" not in at:
        with closing(sqlite3.connect(at)) as connection:
            return _lines([*connection.execute(_SQLITE), *_texts(connection.execute(_SQLITE_TEXTS))])
    with ask.connected(at) as cursor:
        return _lines(
            row for query in (_MARIADB if at.startswith("mysql") else _POSTGRES) for row in _ask(cursor, query)
        )


def _ask(cursor: Any, query: str) -> Any:
    cursor.execute(query, ())
    return cursor.fetchall()


def _texts(rows: Iterable[tuple[str, str, str]]) -> Iterator[tuple[str, ...]]:
    """Of indexes all that SQLite keeps, and of tables the constraints: they are columns for the rest."""
    for kind, name, text in rows:
        if kind == "index":
            yield kind, name, text
        else:
            yield from (("constraint", name, check) for check in re.findall(r"\bCHECK \(.*\)", text))


def _lines(rows: Iterable[Iterable[Any]]) -> list[str]:
    return sorted(_EACH_CAST.sub(_cast_once, " | ".join(" ".join(str(value).split()) for value in row)) for row in rows)


_EACH_CAST = re.compile(r"ARRAY\[(\('\w+'::character varying\)::text(?:, )?)+\]")
"""A list in the condition of an index, as PostgreSQL writes it once the type of the column was changed."""


def _cast_once(found: re.Match[str]) -> str:
    return f"({found[0].replace('(', '').replace(')::text', '')})::text[]"
