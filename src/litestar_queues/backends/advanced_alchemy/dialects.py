"""What differs between SQLAlchemy's dialects: a row each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from sqlalchemy.types import TypeEngine

from litestar_queues.backends.advanced_alchemy.statements import TimeText, statements_of
from litestar_queues.backends.advanced_alchemy.table import QueueTable
from litestar_queues.backends.sql import families
from litestar_queues.backends.sql.families import Family, Kind, Statement
from litestar_queues.backends.sql.files import TABLE
from litestar_queues.backends.sql.limit import Cut, close, shut_socket, terminate
from litestar_queues.errors import QueueConfigurationError

__all__ = ("CUTS", "Dialect", "dialect_of")


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """How tasks are stored through one of SQLAlchemy's dialects.

    Attributes:
        family: What the engine has to know.
        moment: The type of a time as a parameter of a statement; that of the model's columns unless given.
        counts: Whether an insert that leaves out what is stored already says how many rows were stored.
        isolation: The isolation level for a kind of program; one that is absent keeps the engine's.
        opening: What is sent before the program's own statements.
        closing: What is sent after them.
        uninterrupted: Whether a call that is cancelled comes to its end first. A connection that aiosqlite was opening at
            that moment would never be closed, and a transaction on a file is short.
        listens: The drivers through which hints can be heard.
        made_meanwhile: The database's codes for what another has created, which undo nothing else.
    """

    family: Family
    moment: TypeEngine[datetime] | None = None
    counts: bool = True
    isolation: Mapping[Kind, str] = field(default_factory=dict[Kind, str])
    opening: Mapping[Kind, tuple[str, ...]] = field(default_factory=dict[Kind, tuple[str, ...]])
    closing: str | None = None
    uninterrupted: bool = False
    listens: tuple[str, ...] = ()
    made_meanwhile: frozenset[int] = frozenset()

    def statements(self, table: QueueTable) -> Mapping[str, Statement]:
        """The statements over a model's tables."""
        return statements_of(self.family, table, self.moment or table.columns()["due_at"].type)


def _same(value: datetime) -> datetime:
    return value


def _naive(value: datetime) -> datetime:
    return value.astimezone(UTC).replace(tzinfo=None)


def _in_utc(value: datetime) -> datetime:
    """Some dialects answer without a time zone, others in that of the session."""
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def _stored_text(value: datetime) -> str:
    """A time as SQLAlchemy stores it in SQLite, for what travels in a batch."""
    return _naive(value).isoformat(" ", "microseconds")


def _time_of_stored(value: str) -> datetime:
    return datetime.fromisoformat(value).replace(tzinfo=UTC)


_SCHEDULED = "t.state = 'scheduled'"
"""Whether a task is scheduled, in a table whose `urgency` is the same in every state."""
_WRITES = (Kind.ONE, Kind.EACH, Kind.WRITE)
_IMMEDIATELY = ("BEGIN IMMEDIATE",)
_COMMITTED = ("SET TRANSACTION ISOLATION LEVEL READ COMMITTED", "START TRANSACTION")

POSTGRES = Dialect(
    family=replace(families.POSTGRES, read_time=_in_utc, slots={**families.POSTGRES.slots, "json": "TEXT"}),
    # A statement that stands alone needs no BEGIN and no COMMIT, each of which is a round trip.
    isolation={
        Kind.READ: "AUTOCOMMIT",
        Kind.ONE: "AUTOCOMMIT",
        Kind.EACH: "AUTOCOMMIT",
        Kind.WRITE: "READ COMMITTED",
    },
    listens=("asyncpg", "psycopg"),
)

SQLITE = Dialect(
    family=replace(families.SQLITE, bind_time=_same, write_time=_stored_text, read_time=_time_of_stored),
    # Python's driver begins transactions on its own, later than a writer needs them, unless it is told not to.
    isolation=dict.fromkeys(Kind, "AUTOCOMMIT"),
    opening=dict.fromkeys(_WRITES, _IMMEDIATELY),
    closing="COMMIT",
    uninterrupted=True,
)

MYSQL = Dialect(
    family=replace(
        families.MYSQL,
        bind_time=_naive,
        read_time=_in_utc,
        slots={
            **families.MYSQL.slots,
            "scheduled": _SCHEDULED,
            "scheduled_index": f"{TABLE}_scheduled",
            "queue_scheduled_index": f"{TABLE}_queue_scheduled",
            "queue_scheduled_order": "/*!80017 t.queue, t.state, */",
            "running_index": f"{TABLE}_state",
            "id_index": f"{TABLE}_task",
        },
    ),
    # SQLAlchemy's connections count the rows that an update finds, and not those that it changes.
    counts=False,
    opening={Kind.EACH: _COMMITTED, Kind.WRITE: _COMMITTED},
    # A table, a column, an index; a check that is there, or gone.
    made_meanwhile=frozenset({1050, 1060, 1061, 1091, 1826, 3821, 3822, 3940}),
)

ORACLE = Dialect(
    family=replace(
        families.ORACLE,
        bind_time=_naive,
        read_time=_in_utc,
        slots={
            **families.ORACLE.slots,
            "scheduled": _SCHEDULED,
            "scheduled_columns": "state due_at id",
            "urgency": "s.urgency",
        },
        fold=str,  # SQLAlchemy knows every name in small letters
    ),
    moment=TimeText(),
    # A table or an index, one of these columns, a column; a check that is there, or gone.
    made_meanwhile=frozenset({955, 1408, 1430, 2264, 2443}),
)

_DIALECTS: Mapping[str, Dialect] = {
    "postgresql": POSTGRES,
    "sqlite": SQLITE,
    "mysql": MYSQL,
    "mariadb": MYSQL,
    "oracle": ORACLE,
}

CUTS: Mapping[str, Cut] = {"asyncpg": terminate, "psycopg": shut_socket, "asyncmy": close, "aiomysql": close}
"""How a connection of a driver is cut off; one that is absent has no way, and its calls are cancelled."""


def dialect_of(name: str) -> Dialect:
    """The row for a dialect.

    Raises:
        QueueConfigurationError: There is none; lists those that there are.
    """
    try:
        return _DIALECTS[name]
    except KeyError:
        raise QueueConfigurationError(
            f"there are no statements for SQLAlchemy's dialect {name!r}: sqlalchemy_config takes a database of one of "
            f"these: {', '.join(_DIALECTS)}"
        ) from None
