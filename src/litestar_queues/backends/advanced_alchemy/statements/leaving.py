"""An insert that leaves out the rows whose id is stored already, or whose key is held."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Insert
from sqlalchemy.ext.compiler import compiles

__all__ = ("LeavingInsert",)


class LeavingInsert(Insert):
    """What the dialects' own inserts say with `on_conflict_do_nothing` and `on_duplicate_key_update`.

    Those are compiled each time that they are executed: a millisecond for each enqueue.
    """

    inherit_cache = True


@compiles(LeavingInsert)
def _conflicts(statement: LeavingInsert, compiler: Any, **kwargs: Any) -> str:
    return f"{compiler.visit_insert(statement.inline(), **kwargs)} ON CONFLICT DO NOTHING"


@compiles(LeavingInsert, "mysql", "mariadb")
def _duplicates(statement: LeavingInsert, compiler: Any, **kwargs: Any) -> str:
    # IGNORE would do the same, and would cut short what is too long.
    key: Any = next(iter(statement.table.primary_key))
    name = compiler.preparer.quote(key.name)
    return f"{compiler.visit_insert(statement.inline(), **kwargs)} ON DUPLICATE KEY UPDATE {name} = {name}"
