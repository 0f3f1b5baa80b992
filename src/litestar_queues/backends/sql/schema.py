"""The schema of a queue in a database: what is there, what that means, and the statements that bring it up to date.

A schema is made as it grew: version 1 stays what it was, and each later version adds to it. So there is one way to every
table, whether it is new or old, and whether `create_schema` goes it or a migration does.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import Enum

import anyio

from litestar_queues.backends.sql.families import (
    TABLE,
    Family,
    Statement,
    bare_name,
    is_table,
    quoted_name,
    statements_of,
)
from litestar_queues.backends.sql.lists import STORED, later
from litestar_queues.backends.sql.program import Call, Steps, defines, reads
from litestar_queues.columns import VERSION
from litestar_queues.errors import QueueConfigurationError

__all__ = (
    "MIGRATION_TIMEOUT",
    "Advice",
    "Found",
    "Schema",
    "Standing",
    "migrated_by_others",
    "recorded_version",
    "schema_of",
    "standing_of",
    "usable",
)

MIGRATION_TIMEOUT = 60.0
"""Seconds for which a backend waits for a migration by others, unless said."""

_LOOKS_EVERY = 0.5
"""Seconds between two looks at a table that somebody else is to migrate."""

_log = logging.getLogger("litestar_queues")


class Standing(Enum):
    """How the tables in a database stand to this code."""

    MISSING = "missing"
    """One of them is not there."""
    FOREIGN = "foreign"
    """There is a table of that name which is no queue's."""
    OLDER = "older"
    """They are of an older version, and have to be migrated first."""
    USABLE = "usable"
    """They are of this version, or of a newer one."""


@dataclass(frozen=True, slots=True)
class Found:
    """What there is of a schema.

    Attributes:
        table: The name of the tasks' table, as the catalogue has it.
        names: Its own and those of the tables beside it, of its indexes, of its columns, each with a dot before it, of its
            checks, each with `#` before it, where the family asks for them, and of tables with foreign keys that would follow the
            table when it is dropped, each with `>` before it.
        version: The version that is recorded; 0 where none is.
    """

    table: str
    names: frozenset[str] = frozenset()
    version: int = 0

    def lacks_columns(self, version: int, fold: Callable[[str], str] = str) -> list[str]:
        """The columns of that version which are not there."""
        return [one.name for one in STORED if one.since == version and f".{fold(one.name)}" not in self.names]


@dataclass(frozen=True, slots=True)
class Advice:
    """What to do about tables that cannot be used, for each way in which they cannot."""

    missing: str
    foreign: str
    older: str


def standing_of(found: Found, family: Family) -> tuple[Standing, str]:
    """How the tables stand to this code, and why, in words."""
    if found.table not in found.names:
        return Standing.MISSING, f"the table {found.table!r} is not there"
    if lacking := found.lacks_columns(1, family.fold):
        more = f" and {len(lacking) - 3} more" if len(lacking) > 3 else ""
        text = f"the table {found.table!r} is no queue's: it has no column {', '.join(lacking[:3])}{more}"
        return Standing.FOREIGN, text
    if (beside := f"{found.table}{family.fold('_lock')}") not in found.names:
        return Standing.MISSING, f"the table {beside!r}, which belongs to {found.table!r}, is not there"
    if found.version < VERSION:
        text = f"the table {found.table!r} has version {found.version or 1} of the schema, and this release needs {VERSION}"
        return Standing.OLDER, text
    lacking = [name for version in range(2, VERSION + 1) for name in found.lacks_columns(version, family.fold)]
    if found.version == VERSION and lacking:
        return (
            Standing.OLDER,
            f"the table {found.table!r} has no column {', '.join(lacking)}, whatever is recorded of it",
        )
    return Standing.USABLE, ""


def recorded_version(value: object, table: str) -> int:
    """The version in the record of the schema.

    Raises:
        QueueConfigurationError: Somebody has written something else there.
    """
    text = str(value)
    if not (text.isascii() and text.isdecimal()):
        raise QueueConfigurationError(
            f"the record 'schema' in the table {table!r} is {text[:40]!r}, and no version: delete it, and upgrade the tables again"
        )
    return int(text)


def usable(found: Found, family: Family, place: str, advice: Advice) -> None:
    """Make sure that the tables can be used.

    Raises:
        QueueConfigurationError: They cannot; says why, and what to do in this very case.
    """
    standing, why = standing_of(found, family)
    if standing is not Standing.USABLE:
        raise QueueConfigurationError(f"{place}: {why}: {getattr(advice, standing.value)}")


async def migrated_by_others(look: Callable[[], Awaitable[Found]], family: Family, place: str, limit: float) -> Found:
    """Wait, where the tables are of an older version, until somebody else has migrated them, or the time is over.

    While a release rolls out, its first processes may start before the migration was applied. Processes of the older
    release go on meanwhile.

    Args:
        look: Looks at the tables.
        family: The family of the database.
        place: What to call the database.
        limit: The longest to wait, in seconds.
    """
    found = await look()
    standing, why = standing_of(found, family)
    if standing is not Standing.OLDER or limit <= 0:
        return found
    _log.warning("%s: %s: waiting for up to %g s until it is migrated", place, why, limit)
    deadline = time.monotonic() + limit
    while standing_of(found, family)[0] is Standing.OLDER and (left := deadline - time.monotonic()) > 0:
        await anyio.sleep(min(_LOOKS_EVERY, left))
        found = await look()
    return found


def schema_of(family: Family, table: str = TABLE) -> Schema:
    """The schema of a family's own statements.

    Raises:
        QueueConfigurationError: The name cannot be a table's.
    """
    return Schema(family, statements_of(family, table), table)


class Schema:
    """The programs that look at a schema, and change it.

    Args:
        family: What differs from other databases.
        statements: The family's statements, for the table.
        table: The table's name, as it is configured.
    """

    def __init__(self, family: Family, statements: Mapping[str, Statement], table: str) -> None:
        self.family = family
        self._statements = statements
        self._versions = family.grown()
        self._configured = table
        self.table = bare_name(family, table)

    @reads
    def look(self) -> Steps[Found]:
        """What there is. Takes no lock, and writes nothing."""
        return (yield from self._look())

    @defines
    def create(self) -> Steps[None]:
        """Create what is missing, and bring an older version up to date; what is no queue's stays as it is."""
        if "lock_schema" in self._statements:
            yield self._call("lock_schema")
        found = yield from self._look()
        if standing_of(found, self.family)[0] is not Standing.FOREIGN:
            for name in self.steps(found):
                yield self._call(name)
        if "unlock_schema" in self._statements:
            yield self._call("unlock_schema")

    def steps(self, found: Found, only: int | None = None) -> list[str]:
        """The names of the statements that bring what is there up to date, or to one version from that before it.

        A schema of a newer version is left alone: what it lacks, it may have dropped.
        """
        if found.version > len(self._versions):
            return []
        if self.table not in found.names:
            found = replace(found, version=0)  # of a table that was dropped
        numbers = range(1, len(self._versions) + 1) if only is None else [only]
        return [name for number in numbers for name in self._steps_of(number, found)]

    def texts(self, found: Found | None = None, version: int | None = None) -> list[str]:
        """The statements that make the schema, or lead to one version of it from that before."""
        return [self._statements[name].text for name in self.steps(found or Found(self.table), version)]

    def undoing(self, version: int) -> list[str]:
        """The statements that lead back from a version to that before it; from the first, to nothing.

        Columns stay where the database cannot drop them. Whoever does not know them does without.
        """
        made = [suffix for suffix in self._versions[version - 1].creates.values() if is_table(suffix)]
        drops = [f"DROP TABLE {quoted_name(self.family, self._configured, suffix)}" for suffix in reversed(made)]
        dropped = [self._statements.get(f"drop_column_{column.name}") for column in later(version)]
        return [*drops, *(one.text for one in dropped if one is not None)]

    def drops(self) -> list[str]:
        """The statements that remove all tables, and all tasks with them."""
        versions = range(len(self._versions), 0, -1)
        return [text for version in versions for text in self.undoing(version) if text.startswith("DROP TABLE")]

    def _steps_of(self, number: int, found: Found) -> Iterator[str]:
        version = self._versions[number - 1]
        is_due = found.version < number
        lacking = found.lacks_columns(number, self.family.fold)
        if number > 1:
            yield from (f"add_column_{name}" for name in lacking)
        # With the old table go its indexes. The new one has none that a later version drops.
        if not any(one.rebuilds for one in self._versions[found.version : number - 1]):
            yield from (name for name, suffix in version.drops.items() if self._named(suffix) in found.names)
        if is_due and version.rebuilds:
            yield from self._rebuilding(number, found)
        is_new = any(one.rebuilds for one in self._versions[found.version : number])
        for name, suffix in self._creates(number):
            if self._named(suffix) not in found.names or (is_new and not is_table(suffix)):
                yield name
        if is_due:
            yield from (name for name in version.alters if not self._is_altered(found))
            if number > 1:
                yield f"record_version_{number}"

    def _is_altered(self, found: Found) -> bool:
        """Whether the table has the latest check of the states, where that has a name of its own.

        The record of the version can be gone, with its table. The name cannot be given a second time then.
        """
        slots = self.family.slots
        check = slots.get("states_check")
        return check is not None and check != slots.get("state_check") and f"#{check}" in found.names

    def _rebuilding(self, number: int, found: Found) -> Iterator[str]:
        ours = {f".{self.family.fold(one.name)}" for one in STORED}
        if more := sorted(name[1:] for name in found.names if name[:1] == "." and name not in ours):
            raise QueueConfigurationError(
                f"the table {self.table!r} has to be made anew for version {number} of the schema, which would lose what is no "
                f"queue's: {', '.join(more)}; move these columns to a table of their own"
            )
        if referring := sorted(name[1:] for name in found.names if name[:1] == ">"):
            raise QueueConfigurationError(
                f"the table {self.table!r} has to be made anew for version {number} of the schema, and foreign keys refer to "
                f"it, in {', '.join(referring)}: dropping the old table would delete those rows, or fail; upgrade it once "
                f"with PRAGMA foreign_keys = OFF, or without these foreign keys"
            )
        yield from (f"rebuild_create_{number}", f"rebuild_copy_{number}", "rebuild_drop", "rebuild_rename")
        for earlier in range(1, number):
            yield from (name for name, suffix in self._creates(earlier) if not is_table(suffix))

    def _creates(self, number: int) -> Iterator[tuple[str, str]]:
        """What a version creates that no later one drops."""
        dropped = {suffix for version in self._versions[number:] for suffix in version.drops.values()}
        for name, suffix in self._versions[number - 1].creates.items():
            if suffix not in dropped:
                yield name, suffix

    def _look(self) -> Steps[Found]:
        rows = (yield self._call("existing")).rows
        found = Found(self.table, frozenset(str(row[0]) for row in rows))
        if self._named("_record") not in found.names:
            return found
        rows = (yield self._call("schema_version")).rows
        return replace(found, version=recorded_version(rows[0][0], self._named("_record"))) if rows else found

    def _named(self, suffix: str) -> str:
        return f"{self.table}{self.family.fold(suffix)}"

    def _call(self, name: str) -> Call:
        return Call(self._statements[name])
