"""Let the table of tasks hold dispatched tasks, and give them an index where the database has partial ones."""

from __future__ import annotations

from typing import Any

from litestar_queues.backends.sqlspec import migrating

__all__ = ("down", "up")


def up(context: Any) -> list[str]:
    """The statements of the database's family. Workers of earlier versions go on meanwhile, and afterwards."""
    return migrating.up(context, 3)


def down(context: Any) -> list[str]:
    """Nothing: a table that may hold one state more is as good for an earlier version, and dispatched tasks stay."""
    return migrating.down(context, 3)
