"""Create the tables of the queue, and their indexes."""

from __future__ import annotations

from typing import Any

from litestar_queues.backends.sqlspec.migrating import to_create, to_drop

__all__ = ("down", "up")


def up(context: Any) -> list[str]:
    """The statements of the database's family, the same that `create_schema` sends."""
    return to_create(context)


def down(context: Any) -> list[str]:
    """Drop the tables, and all tasks with them."""
    return to_drop(context)
