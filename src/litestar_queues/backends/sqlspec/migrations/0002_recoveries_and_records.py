"""Add the columns of recoveries, of an owner's window and of a task's history, and the table of named records."""

from __future__ import annotations

from typing import Any

from litestar_queues.backends.sqlspec import migrating

__all__ = ("down", "up")


def up(context: Any) -> list[str]:
    """The statements of the database's family. Workers of version 1 go on meanwhile, and afterwards."""
    return migrating.up(context, 2)


def down(context: Any) -> list[str]:
    """Drop them; the tasks stay. DuckDB cannot drop a column of a table that has an index, and keeps them."""
    return migrating.down(context, 2)
