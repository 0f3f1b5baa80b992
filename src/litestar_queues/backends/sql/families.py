"""What differs between families of databases: a row here, and the file of statements that the row names."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Any, Literal

from sqlspec.loader import SQLFileLoader

from litestar_queues.backends.sql.values import text_of_time, time_of_text
from litestar_queues.errors import QueueConfigurationError
from litestar_queues.lifecycle import State

__all__ = ("SQLITE", "TABLE", "Family", "Kind", "Statement", "statements_of")

TABLE = "litestar_queue_task"
"""The table's name in the files of statements, and where nothing else is configured."""

_OUR_NAME = re.compile(rf"\b{TABLE}(\w*)")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LONGEST_SUFFIX = len("_queue_scheduled")


class Kind(Enum):
    """What a program needs of its transaction."""

    READ = "read"
    """One statement that reads."""
    WRITE = "write"
    """Statements that take effect together, and decide on what no other transaction changes meanwhile."""


@dataclass(frozen=True, slots=True, eq=False)
class Family:
    """Databases that share their statements.

    Attributes:
        name: Names the family in messages, and its file of statements beside this module.
        clock: Whose time counts: the client's for a database without a server, else the server's.
        ddl: The statements that create the schema, in their order.
        begin: The arguments of a driver's `begin` for a kind of transaction; a kind that is absent needs no `begin`.
        one_writer: Whether only one transaction at a time may write, so that those of one process had better queue for it
            than find the database locked.
        conflicts: The names of those errors of the driver layer after which a whole transaction may be tried again.
        conflict_codes: The same, as SQLite's own result codes, for errors that come from below the driver layer.
        least_version: The oldest version that understands the statements.
        quote: What stands on both sides of a name.
        name_max: Longest name of a table or an index, in characters.
        bind_time: A time as a parameter. Inside a JSON batch it is always the text of `values.text_of_time`.
        read_time: A time in UTC, from what a driver returns.
    """

    name: str
    clock: Literal["client", "server"]
    ddl: tuple[str, ...]
    begin: Mapping[Kind, tuple[str, ...]]
    one_writer: bool = False
    conflicts: frozenset[str] = frozenset({"DeadlockError", "SerializationConflictError"})
    least_version: tuple[int, ...] = ()
    quote: str = '"'
    name_max: int = 63
    conflict_codes: frozenset[int] = frozenset()
    bind_time: Callable[[datetime], Any] = text_of_time
    read_time: Callable[[Any], datetime] = time_of_text

    def is_conflict(self, error: BaseException) -> bool:
        """Whether the error means that another transaction got in the way, and that the whole may be tried again."""
        if any(cls.__name__ in self.conflicts for cls in type(error).__mro__):
            return True
        code = getattr(error, "sqlite_errorcode", None)
        return code is not None and code & 0xFF in self.conflict_codes


SQLITE = Family(
    name="sqlite",
    clock="client",
    ddl=(
        "create_task_table",
        "create_key_index",
        "create_ready_index",
        "create_queue_ready_index",
        "create_scheduled_index",
        "create_queue_scheduled_index",
        "create_running_index",
        "create_overdue_index",
        "create_finished_index",
        "create_queue_finished_index",
        "create_lock_table",
    ),
    # A deferred transaction that reads first and writes later fails at once where another has written in between.
    begin={Kind.WRITE: ("IMMEDIATE",)},
    one_writer=True,
    conflict_codes=frozenset({5, 6}),  # SQLITE_BUSY, SQLITE_LOCKED
    least_version=(3, 38),
)


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement of a family's file, ready to be sent."""

    name: str
    text: str


@cache
def statements_of(family: Family, table: str = TABLE) -> Mapping[str, Statement]:
    """A family's statements by name, for a table of this name.

    Raises:
        QueueConfigurationError: The name cannot be a table's.
    """
    longest = family.name_max - _LONGEST_SUFFIX
    if not _NAME.fullmatch(table) or len(table) > longest:
        raise QueueConfigurationError(
            f"the table name {table!r} cannot be used: it takes letters, digits and underscores, no digit first, and at "
            f"most {longest} characters"
        )
    return load(Path(__file__).with_name(f"{family.name}.sql"), family, table)


def load(path: Path, family: Family, table: str = TABLE) -> dict[str, Statement]:
    """The statements of a file, by name; our names in them become those of the table, quoted."""
    loader = SQLFileLoader()
    loader.load_sql(path)
    slots = {"states": ", ".join(f"'{state}'" for state in State)}
    quoted = rf"{family.quote}{table}\1{family.quote}"
    statements: dict[str, Statement] = {}
    for name in loader.list_queries():
        fills = {slot.name: slots[slot.name] for slot in loader.get_query_slots(name)}
        text = loader.get_sql(name, **fills).raw_sql
        statements[name] = Statement(name, _OUR_NAME.sub(quoted, text))
    return statements
