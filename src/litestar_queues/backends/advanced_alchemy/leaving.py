"""An insert that leaves out the rows whose id is stored already, or whose key is held."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Insert
from sqlalchemy.ext.compiler import compiles

from litestar_queues.backends.advanced_alchemy.model import UNIQUE

__all__ = ("LeavingInsert",)


class LeavingInsert(Insert):
    """What the dialects' own inserts say with `on_conflict_do_nothing` and `on_duplicate_key_update`.

    Those are compiled each time that they are executed: a millisecond for each enqueue.
    """

    inherit_cache = True


@compiles(LeavingInsert)
def _conflicts(statement: LeavingInsert, compiler: Any, **kwargs: Any) -> str:
    return f"{compiler.visit_insert(statement.inline(), **kwargs)} ON CONFLICT DO NOTHING"


@compiles(LeavingInsert, "oracle")
def _unless_there(statement: LeavingInsert, compiler: Any, **kwargs: Any) -> str:
    # There is no clause for it, and the hint that says so names one index of two. The parameters are those of the insert,
    # by their names, so that a row's own defaults are among them.
    inserted = compiler.visit_insert(statement.inline(), **kwargs)
    head, _, values = inserted.partition(" VALUES (")
    table: Any = statement.table
    named: Any = {index.name: index for index in table.indexes}
    unique = [named[f"{table.name}_{suffix}"].columns[0] for suffix in UNIQUE]
    name, quote = compiler.preparer.format_table(table), compiler.preparer.format_column
    looks = [
        f"NOT EXISTS (SELECT 1 FROM {name} t WHERE t.{quote(one)} = {compiler.process(compiler.binds[one.key])})"  # noqa: S608
        for one in unique
    ]
    return f"{head} SELECT {values.removesuffix(')')} FROM DUAL WHERE {' AND '.join(looks)}"  # noqa: S608


@compiles(LeavingInsert, "mysql", "mariadb")
def _duplicates(statement: LeavingInsert, compiler: Any, **kwargs: Any) -> str:
    # IGNORE would do the same, and would cut short what is too long.
    key: Any = next(iter(statement.table.primary_key))
    name = compiler.preparer.quote(key.name)
    return f"{compiler.visit_insert(statement.inline(), **kwargs)} ON DUPLICATE KEY UPDATE {name} = {name}"
