"""Create the tables of the queue, and their indexes, as version 1 of the schema had them."""

from __future__ import annotations

from typing import Any

from litestar_queues.backends.sqlspec import migrating

__all__ = ("down", "up")


def up(context: Any) -> list[str]:
    """The statements of the database's family, which stay as they are."""
    return migrating.up(context, 1)


def down(context: Any) -> list[str]:
    """Drop the tables, and all tasks with them."""
    return migrating.down(context, 1)
