"""The tables and indexes of a store, as the database's own catalogue lists them, and how to remove one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from litestar_queues.backends.sql.family import Family, is_table

if TYPE_CHECKING:
    from sqlalchemy import Table

__all__ = ("Run", "fenced", "made_by", "modelled", "present", "removal", "spoilt")

Run = Callable[[str], Sequence[Sequence[Any]]]
"""Sends a statement; the rows that it brings."""

_HOLDS = {"": "tasks", "_lock": "locks", "_record": "records"}
_CATALOGUE = {
    "sqlite": "SELECT name FROM sqlite_master WHERE type IN ('table', 'index')",
    "duckdb": "SELECT table_name FROM duckdb_tables() UNION SELECT index_name FROM duckdb_indexes()",
    "postgresql": "SELECT relname FROM pg_class WHERE relkind IN ('r', 'i') AND pg_table_is_visible(oid)",
    "mysql": (
        "SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE() "
        "UNION SELECT index_name FROM information_schema.statistics WHERE table_schema = DATABASE()"
    ),
}
_INDEX_OF_TABLE = {"mysql": "DROP INDEX {part} ON {table}"}


def made_by(family: Family, table: str) -> dict[str, str]:
    """What the family's creation makes, each in a statement of its own; the value says what it holds."""
    suffixes = [suffix for version in family.grown() for suffix in version.creates.values()]
    return {f"{table}{suffix}": _HOLDS[suffix] if is_table(suffix) else "" for suffix in suffixes}


def modelled(tables: Mapping[str, Table]) -> dict[str, str]:
    """What the creation of a model's tables makes, each in a statement of its own, from the tables by what they hold."""
    found = {table.name: holds for holds, table in tables.items()}
    return found | {str(index.name): "" for table in tables.values() for index in table.indexes}


def present(run: Run, dialect: str, parts: Mapping[str, str]) -> dict[str, str]:
    """Those of the parts that are there; none where nobody wrote down how to ask the catalogue."""
    if dialect not in _CATALOGUE:
        return {}
    there = {str(row[0]) for row in run(_CATALOGUE[dialect])}
    return {part: holds for part, holds in parts.items() if part in there}


def removal(dialect: str, part: str, parts: Mapping[str, str]) -> str:
    """The statement that removes a part."""
    if parts[part]:
        return f"DROP TABLE {_spelt(part)}"
    # Only the table of the tasks has such indexes.
    [table] = [one for one, holds in parts.items() if holds == "tasks"]
    return _INDEX_OF_TABLE.get(dialect, "DROP INDEX {part}").format(part=_spelt(part), table=table)


def _spelt(part: str) -> str:
    """The name in a statement: quoted, where it is not as most databases would fold it."""
    return part if part.islower() else f'"{part}"'


def fenced(table: str, id_: str, fence: int, *, column: str = "id") -> str:
    """The statement that gives a task this fence."""
    return f"UPDATE {table} SET fence = {fence:d} WHERE {column} = '{id_}'"  # noqa: S608  # an id of the suite's


def spoilt(table: str) -> str:
    """The statement that makes a table of the name which is no queue's."""
    return f"CREATE TABLE {table} (app_note INTEGER)"
