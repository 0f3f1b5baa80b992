"""What differs between SQLAlchemy's dialects: a row each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Insert, Table
from sqlalchemy.dialects import mysql as mysql_dialect
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects import sqlite as sqlite_dialect

from litestar_queues.backends.advanced_alchemy.statements.mysql import mysql
from litestar_queues.backends.advanced_alchemy.statements.postgres import postgres
from litestar_queues.backends.advanced_alchemy.statements.sqlite import sqlite
from litestar_queues.backends.advanced_alchemy.table import QueueTable
from litestar_queues.backends.sql import families
from litestar_queues.backends.sql.families import Family, Kind, Statement
from litestar_queues.backends.sql.limit import Cut, close, shut_socket, terminate
from litestar_queues.errors import QueueConfigurationError

__all__ = ("CUTS", "Dialect", "dialect_of")


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """How tasks are stored through one of SQLAlchemy's dialects.

    Attributes:
        family: What the engine has to know.
        statements: The statements over a model's tables.
        leaving: An insert that leaves out the rows whose id is stored already, or whose key is held.
        counts: Whether such an insert of one row says whether it was stored.
        isolation: The isolation level for a kind of program; one that is absent keeps the engine's.
        opening: What is sent before the program's own statements.
        closing: What is sent after them.
        listens: The drivers through which hints can be heard.
        made_meanwhile: The database's codes for what another has created, which undo nothing else.
    """

    family: Family
    statements: Callable[[QueueTable], Mapping[str, Statement]]
    leaving: Callable[[Table, str], Insert]
    counts: bool = True
    isolation: Mapping[Kind, str] = field(default_factory=dict[Kind, str])
    opening: Mapping[Kind, tuple[str, ...]] = field(default_factory=dict[Kind, tuple[str, ...]])
    closing: str | None = None
    listens: tuple[str, ...] = ()
    made_meanwhile: frozenset[int] = frozenset()


def _same(value: datetime) -> datetime:
    return value


def _naive(value: datetime) -> datetime:
    return value.astimezone(UTC).replace(tzinfo=None)


def _in_utc(value: datetime) -> datetime:
    """Some dialects answer without a time zone, others in that of the session."""
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def _leaving_conflicts(insert: Callable[[Table], Any]) -> Callable[[Table, str], Insert]:
    def make(table: Table, _id: str) -> Insert:
        made: Insert = insert(table).on_conflict_do_nothing()
        return made

    return make


def _leaving_duplicates(table: Table, id_: str) -> Insert:
    # IGNORE would do the same, and would cut short what is too long.
    return mysql_dialect.insert(table).on_duplicate_key_update({table.c[id_].name: table.c[id_]})


_WRITES = (Kind.ONE, Kind.EACH, Kind.WRITE)
_IMMEDIATELY = ("BEGIN IMMEDIATE",)
_COMMITTED = ("SET TRANSACTION ISOLATION LEVEL READ COMMITTED", "START TRANSACTION")

POSTGRES = Dialect(
    family=replace(families.POSTGRES, bind_time=_same, read_time=_in_utc),
    statements=postgres,
    leaving=_leaving_conflicts(postgresql.insert),
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
    family=replace(families.SQLITE, bind_time=_same, read_time=_in_utc),
    statements=sqlite,
    leaving=_leaving_conflicts(sqlite_dialect.insert),
    # Python's driver begins transactions on its own, later than a writer needs them, unless it is told not to.
    isolation=dict.fromkeys(Kind, "AUTOCOMMIT"),
    opening=dict.fromkeys(_WRITES, _IMMEDIATELY),
    closing="COMMIT",
)

MYSQL = Dialect(
    family=replace(
        families.MYSQL,
        bind_time=_naive,
        read_time=_in_utc,
    ),
    statements=mysql,
    leaving=_leaving_duplicates,
    # SQLAlchemy's connections count the rows that an update finds, and not those that it changes.
    counts=False,
    opening={Kind.EACH: _COMMITTED, Kind.WRITE: _COMMITTED},
    made_meanwhile=frozenset({1050, 1061}),  # a table, and an index
)

_DIALECTS: Mapping[str, Dialect] = {
    "postgresql": POSTGRES,
    "sqlite": SQLITE,
    "mysql": MYSQL,
    "mariadb": MYSQL,
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
