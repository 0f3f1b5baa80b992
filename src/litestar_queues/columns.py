"""The columns of a task, each once: what it is called, what it holds, and who writes it.

`NewTask`, `TaskRecord` and the mixin of the ORM are typed by hand, and a test compares each with this table. Everything
else that lists columns is made from it: the statements of the SQL families, the rows of batches, the fields of Redis, the
types of Arrow, and what the migrations add. A new column is a row here, a field of those three, and an option where users
choose its value.

The schema has versions. What a version brought stays as it is: a column that came later says since when there it is, and
can be left out by those who do not know it yet, because it may hold nothing or has a default.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

__all__ = ("ACTIVE_KEY", "BY_NAME", "COLUMNS", "STATES", "VERSION", "Column", "ColumnKind", "names", "states_of")

ColumnKind = Literal[
    "id", "name", "queue", "state", "key", "int", "bigint", "float", "json", "text", "short", "tag", "time"
]
"""What a column holds. Each family of databases has a type for each kind.

`name`, `queue`, `key`, `short` and `tag` are texts of bounded length, `text` is one without a bound, and `json` is a user's
value as JSON text, which comes back exactly as it was written.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column of a task.

    Attributes:
        name: The name of the field of a record, and of the column unless a model calls it otherwise.
        kind: What it holds.
        nullable: Whether it may hold nothing.
        enqueued: Whether `NewTask` brings its value.
        committed: Whether a transition can change it.
        initial: The value of a new task, for a column that is not nullable and whose value no `NewTask` brings.
        since: The version of the schema that brought it.
        default: What a task has there that was written without it, for a column that is not nullable and came after
            version 1.
    """

    name: str
    kind: ColumnKind
    nullable: bool = False
    enqueued: bool = False
    committed: bool = False
    initial: int | None = None
    since: int = 1
    default: int | None = None


def _given(name: str, kind: ColumnKind, *, nullable: bool = False, committed: bool = False) -> Column:
    return Column(name=name, kind=kind, nullable=nullable, enqueued=True, committed=committed)


def _later(name: str, kind: ColumnKind, initial: int | None = None) -> Column:
    return Column(name=name, kind=kind, nullable=initial is None, committed=True, initial=initial)


COLUMNS = (
    _given("id", "id"),
    _given("name", "name"),
    _given("queue", "queue"),
    _given("state", "state", committed=True),
    _given("priority", "int"),
    _later("attempt", "int", 0),
    _given("max_attempts", "int"),
    _later("fence", "bigint", 0),
    _given("key", "key", nullable=True),
    _given("args", "json"),
    _given("kwargs", "json"),
    _given("metadata", "json"),
    _given("description", "text", nullable=True),
    _given("timeout", "float", nullable=True),
    _given("execution_backend", "short", committed=True),
    _given("execution_profile", "tag", nullable=True),
    _later("execution_ref", "text"),
    _later("worker", "text"),
    _later("progress", "json"),
    _later("result", "json"),
    _later("error", "json"),
    Column(name="created_at", kind="time"),
    _given("due_at", "time", committed=True),
    _given("expires_at", "time", nullable=True),
    _later("started_at", "time"),
    _later("heartbeat_at", "time"),
    _later("finished_at", "time"),
    Column(name="recoveries", kind="int", committed=True, initial=0, since=2, default=0),
    Column(name="max_recoveries", kind="int", enqueued=True, since=2, default=3),
    Column(name="stale_after", kind="float", nullable=True, committed=True, since=2),
    Column(name="history", kind="json", nullable=True, committed=True, since=2),
)
"""In the order in which tables have them. The store itself writes `created_at`."""

ACTIVE_KEY = Column(name="active_key", kind="key", nullable=True, enqueued=True, committed=True)
"""The key while the task keeps it from others: a column of tables, behind `key`, which no record has."""

VERSION = 3
"""The version of the schema that this code needs."""

STATES: Mapping[int, tuple[str, ...]] = {
    1: ("pending", "scheduled", "running", "completed", "failed", "cancelled", "expired"),
    3: ("pending", "scheduled", "dispatched", "running", "completed", "failed", "cancelled", "expired"),
}
"""The states that a table may hold, from each version on that changed them."""

BY_NAME = {column.name: column for column in (*COLUMNS, ACTIVE_KEY)}


def names(holds: Callable[[Column], bool], columns: Iterable[Column] = COLUMNS) -> tuple[str, ...]:
    """The names of those columns for which it holds."""
    return tuple(column.name for column in columns if holds(column))


def states_of(version: int) -> tuple[str, ...]:
    """The states that a table of this version may hold."""
    return STATES[max(one for one in STATES if one <= version)]
