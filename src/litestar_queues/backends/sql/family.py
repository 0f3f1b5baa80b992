"""What a family of databases is: the values in which one differs from another, and how it writes names."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import TYPE_CHECKING, Any, Literal

from litestar_queues.backends.sizes import MIB, Sizes
from litestar_queues.backends.sql.files import TABLE
from litestar_queues.backends.sql.lists import Lists
from litestar_queues.backends.sql.values import text_of_time, time_of_text
from litestar_queues.backends.verdict import Verdict, Verdicts
from litestar_queues.columns import VERSION
from litestar_queues.errors import QueueConfigurationError

if TYPE_CHECKING:
    from litestar_queues.backends.sql.engine import Engine

__all__ = (
    "TABLE",
    "Family",
    "Kind",
    "Statement",
    "Version",
    "bare_name",
    "is_table",
    "quoted_name",
    "split_name",
)

_NAME = re.compile(r"(?:(?P<schema>[A-Za-z_][A-Za-z0-9_]*)\.)?(?P<table>[A-Za-z_][A-Za-z0-9_]*)")
_TABLES = ("", "_lock", "_record", "_new")
"""What follows the configured name in the names of tables; whatever else does, follows it in the name of an index."""
_LONGEST_SUFFIX = len("_queue_scheduled")


SIZES = Sizes(part=16 * MIB, most=1000 * MIB, called="the database's own limit for a text")
"""A database that takes texts of a gigabyte. A batch is split long before: several copies of it are in memory at once."""


class Kind(Enum):
    """What a program needs of its transaction."""

    READ = "read"
    """One statement that reads."""
    ONE = "one"
    """One statement that writes."""
    EACH = "each"
    """Statements that write, each of which may take effect by itself."""
    WRITE = "write"
    """Statements that take effect together, and decide on what no other transaction changes meanwhile."""


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement of a family's file, ready to be sent."""

    name: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """What a version of the schema changes, besides adding the columns that came with it.

    Attributes:
        creates: Statements that create something, each with what follows the table's name in the name of that.
        drops: Statements that drop an index, each with the same.
        alters: Statements of which nothing is seen afterwards but that the version is recorded; those of a database that
            commits each by itself can be repeated.
        rebuilds: Whether a new table takes the place of the old one, where the database cannot change it.
        options: What stands behind the definition of a table that is rebuilt.
    """

    creates: Mapping[str, str] = field(default_factory=dict[str, str])
    drops: Mapping[str, str] = field(default_factory=dict[str, str])
    alters: tuple[str, ...] = ()
    rebuilds: bool = False
    options: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Family:
    """Databases that share their statements.

    Attributes:
        name: Names the family in messages, and its file of statements beside this module.
        clock: Whose time counts: the client's for a database without a server, else the server's.
        engine: How its statements make up the operations of the port.
        lists: How it writes lists of columns.
        versions: What each version of the schema brought besides its columns, from the first on to the last that did.
        begin: The arguments of a driver's `begin` for a kind of transaction; a kind that is absent needs no `begin`.
        before_begin: A statement that is sent before each `begin`, and is about the transaction that follows.
        one_writer: Whether only one transaction at a time may write, so that those of one process had better queue for it
            than find the database locked.
        verdicts: What its errors, and those of its drivers, mean to a caller.
        sizes: How much one statement takes.
        slots: What the file leaves open, by name; `states` and the slots of `lists` are filled in every family.
        swapping: The same databases for a server without SKIP LOCKED: its claims compare and swap.
        named_batches: Whether the rows of a batch are JSON objects, by the names of the fields, and not arrays.
        least_version: The oldest version that understands the statements.
        forks: The same of databases that count their versions differently, by a word in what they answer.
        quote: What stands on both sides of a name.
        has_schemas: Whether a table's name can be preceded by that of a schema.
        name_max: Longest name of a table or an index, in characters.
        fold: A name as the database has it: one that knows capitals only gets it in capitals.
        qualifies_indexes: Whether an index is named with the schema that it is created in; else it is in the table's.
        settings: What the statement `settings` has to answer, by the name of each setting.
        empty_is_null: Whether an empty text is NULL to the database, so that texts travel as `values.kept_text` has them.
        bind_time: A time as a parameter.
        write_time: A time inside a JSON batch.
        read_time: A time in UTC, from what a driver returns.
        read_value: Any other value, from what a driver returns; None where drivers return it as it was stored.
    """

    name: str
    clock: Literal["client", "server"]
    engine: type[Engine]
    lists: Lists
    versions: tuple[Version, ...]
    begin: Mapping[Kind, tuple[str, ...]]
    before_begin: str | None = None
    one_writer: bool = False
    verdicts: Verdicts = field(default_factory=Verdicts)
    sizes: Sizes = SIZES
    least_version: tuple[int, ...] = ()
    forks: Mapping[str, tuple[int, ...]] = field(default_factory=dict[str, tuple[int, ...]])
    quote: str = '"'
    has_schemas: bool = True
    name_max: int = 63
    fold: Callable[[str], str] = str
    qualifies_indexes: bool = False
    settings: Mapping[str, str] = field(default_factory=dict[str, str])
    empty_is_null: bool = False
    slots: Mapping[str, str] = field(default_factory=dict[str, str])
    swapping: Family | None = None
    named_batches: bool = False
    bind_time: Callable[[datetime], Any] = text_of_time
    write_time: Callable[[datetime], datetime | str] = text_of_time
    read_time: Callable[[Any], datetime] = time_of_text
    read_value: Callable[[Any], Any] | None = None

    def grown(self) -> tuple[Version, ...]:
        """What each version brought, up to the newest."""
        return (*self.versions, *[Version()] * (VERSION - len(self.versions)))

    def is_conflict(self, error: BaseException) -> bool:
        """Whether the error means that another transaction got in the way, and that the whole may be tried again."""
        return self.verdicts.of(error) is Verdict.CONFLICT

    def newer_than(self, found: str) -> tuple[int, ...] | None:
        """The oldest version that would do, where this one, as the database tells it, is older."""
        least = next((version for fork, version in self.forks.items() if fork in found), self.least_version)
        return least if tuple(int(part) for part in re.findall(r"\d+", found)[: len(least)]) < least else None

    def is_lost(self, error: BaseException) -> bool:
        """Whether the error means that the connection is gone."""
        return self.verdicts.of(error) is Verdict.LOST


def split_name(family: Family, table: str) -> tuple[str | None, str]:
    """The schema, if one is named, and the table of a configured name.

    Raises:
        QueueConfigurationError: The name cannot be a table's.
    """
    longest = family.name_max - _LONGEST_SUFFIX
    found = _NAME.fullmatch(table)
    if found is None or len(found["table"]) > longest:
        raise QueueConfigurationError(
            f"the table name {table!r} cannot be used: it takes letters, digits and underscores, no digit first, and at "
            f"most {longest} characters{', after a schema and a dot if it stands in one' if family.has_schemas else ''}"
        )
    if found["schema"] and not family.has_schemas:
        raise QueueConfigurationError(f"the table name {table!r} names a schema, and {family.name} knows none")
    return found["schema"], found["table"]


def quoted_name(family: Family, table: str, suffix: str = "") -> str:
    """The table of a configured name, or what is called like it with a suffix, as the family writes it."""
    schema, _ = split_name(family, table)
    quote = family.quote
    qualified = schema and (is_table(suffix) or family.qualifies_indexes)
    where = f"{quote}{family.fold(schema)}{quote}." if schema and qualified else ""
    return f"{where}{quote}{bare_name(family, table, suffix)}{quote}"


def is_table(suffix: str) -> bool:
    """Whether what follows the configured name makes the name of a table; else it is that of an index."""
    return suffix in _TABLES


def bare_name(family: Family, table: str, suffix: str = "") -> str:
    """The same without its schema and quotes, as the database's own catalog has it."""
    return family.fold(f"{split_name(family, table)[1]}{suffix}")
