"""The tables in the database: whether they are there, and making what is missing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from sqlalchemy import Connection, inspect
from sqlalchemy.exc import DBAPIError

from litestar_queues.backends.advanced_alchemy.dialects import Dialect
from litestar_queues.backends.advanced_alchemy.table import QueueTable

__all__ = ("create", "is_complete")


def is_complete(connection: Connection, table: QueueTable) -> bool:
    """Whether both tables are there, and their indexes. Reads only."""
    return next(_missing(connection, table), None) is None


def create(connection: Connection, table: QueueTable, dialect: Dialect) -> None:
    """Create what is missing.

    Where a statement of definition is a transaction of its own, what others create at the same moment is passed over: a
    transaction that was tried again for each of nine indexes would not end while eight processes start.
    """
    for make in _missing(connection, table):
        try:
            make(connection)
        except DBAPIError as error:
            if error.orig is None or dialect.family.code_of(error.orig) not in dialect.made_meanwhile:
                raise


def _missing(connection: Connection, table: QueueTable) -> Iterator[Callable[[Connection], None]]:
    """What creates what is not there, in order: tables before their indexes, which come with a table that is new."""
    for one in (table.tasks, table.locks):
        inspector = inspect(connection)
        if not inspector.has_table(one.name, schema=one.schema):
            yield partial(one.create, checkfirst=False)
            inspector = inspect(connection)
        there = {index["name"] for index in inspector.get_indexes(one.name, schema=one.schema)}
        for index in sorted(one.indexes, key=lambda index: str(index.name)):
            if index.name not in there:
                yield partial(index.create, checkfirst=False)
