"""The tables in the database: whether they are there, and making what is missing."""

from __future__ import annotations

from sqlalchemy import Connection, inspect

from litestar_queues.backends.advanced_alchemy.table import QueueTable

__all__ = ("create", "is_complete")


def is_complete(connection: Connection, table: QueueTable) -> bool:
    """Whether both tables are there, and the indexes of that of the tasks. Reads only."""
    inspector = inspect(connection)
    tasks, locks = table.tasks, table.locks
    if not all(inspector.has_table(one.name, schema=one.schema) for one in (tasks, locks)):
        return False
    there = {index["name"] for index in inspector.get_indexes(tasks.name, schema=tasks.schema)}
    return all(index.name in there for index in tasks.indexes)


def create(connection: Connection, table: QueueTable) -> None:
    """Create what is missing."""
    for one in (table.tasks, table.locks):
        one.create(connection, checkfirst=True)
        for index in sorted(one.indexes, key=lambda index: str(index.name)):
            index.create(connection, checkfirst=True)
