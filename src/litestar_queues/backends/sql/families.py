"""What differs between families of databases: a row here, and the file of statements that the row names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

from litestar_queues.backends.sizes import MIB, Sizes
from litestar_queues.backends.sql import verdicts
from litestar_queues.backends.sql.candidates import CandidatesFirst
from litestar_queues.backends.sql.family import (
    SIZES,
    TABLE,
    Family,
    Kind,
    Statement,
    Version,
    bare_name,
    is_table,
    quoted_name,
    split_name,
)
from litestar_queues.backends.sql.files import filled, open_slots, parsed
from litestar_queues.backends.sql.lists import Lists, later, quoted
from litestar_queues.backends.sql.locking import LockStepWrite
from litestar_queues.backends.sql.one_statement import OneStatement, ServerTimed, Swapping
from litestar_queues.backends.sql.values import text_kept, text_of_time
from litestar_queues.columns import ColumnKind, states_of

__all__ = (
    "COCKROACH",
    "DUCKDB",
    "MYSQL",
    "ORACLE",
    "OUR_NAME",
    "POSTGRES",
    "SQLITE",
    "TABLE",
    "Family",
    "Kind",
    "Statement",
    "Version",
    "bare_name",
    "file_of",
    "is_table",
    "load",
    "quoted_name",
    "slots_of",
    "statements_of",
)

OUR_NAME = re.compile(rf"\b{TABLE}(\w*)")
"""The name of a table or an index in a file, with what follows the table's name in it."""


_RECORDS = Version(creates={"create_record_table": "_record"})
_DISPATCHED = {"create_dispatched_index": "_dispatched"}
_TEXTS: tuple[ColumnKind, ...] = ("id", "name", "queue", "state", "key", "json", "text", "short", "tag")
_PRIMARY = {"id": " PRIMARY KEY", "state": " CHECK (state IN (<states>))"}


def _texts(kind: str) -> dict[ColumnKind, str]:
    """One type for all kinds of texts."""
    return dict.fromkeys(_TEXTS, kind)


SQLITE = Family(
    name="sqlite",
    clock="client",
    engine=OneStatement,
    lists=Lists(
        types={**_texts("TEXT"), "time": "TEXT", "int": "INTEGER", "bigint": "INTEGER", "float": "REAL"},
        unpack=lambda name, _kind, place: f"value ->> {place} AS {name}",
        constraints=_PRIMARY,
    ),
    versions=(
        Version(
            creates={
                "create_task_table": "",
                "create_key_index": "_key",
                "create_ready_index": "_ready",
                "create_queue_ready_index": "_queue_ready",
                "create_scheduled_index": "_scheduled",
                "create_queue_scheduled_index": "_queue_scheduled",
                "create_running_index": "_running",
                "create_overdue_index": "_overdue",
                "create_finished_index": "_finished",
                "create_queue_finished_index": "_queue_finished",
                "create_lock_table": "_lock",
            }
        ),
        _RECORDS,
        Version(creates=_DISPATCHED, rebuilds=True),
    ),
    # A deferred transaction that reads first and writes later fails at once where another has written in between.
    begin={Kind.ONE: ("IMMEDIATE",), Kind.EACH: ("IMMEDIATE",), Kind.WRITE: ("IMMEDIATE",)},
    one_writer=True,
    has_schemas=False,
    verdicts=verdicts.SQLITE,
    sizes=replace(SIZES, most=950_000_000, called="SQLITE_LIMIT_LENGTH"),
    least_version=(3, 38),
)


def _same(value: datetime) -> datetime:
    return value


def _in_utc(value: datetime) -> datetime:
    """Drivers answer in the time zone of the session, or of their own choice."""
    return value if value.tzinfo is UTC else value.astimezone(UTC)


_BY_LOCK = {
    "skip_locked": "FOR UPDATE SKIP LOCKED",
    "skip_locked_t": "FOR UPDATE OF t SKIP LOCKED",
    "skip_locked_l": "FOR UPDATE OF l SKIP LOCKED",
    # A row that another table refers to stays free for this.
    "skip_locked_beats": "FOR NO KEY UPDATE OF l SKIP LOCKED",
    "unclaimed": "",
    "under_fence": "",
}
_BY_SWAP = {
    **dict.fromkeys(_BY_LOCK, ""),
    "unclaimed": "AND state IN ('pending', 'scheduled')",
    # Every change but that of a scheduled task to a pending one raises the fence.
    "under_fence": (
        "AND EXISTS (SELECT 1 FROM json_array_elements(CAST(CAST(:held AS text) AS json)) AS one (item) "
        "WHERE one.item ->> 'id' = id AND CAST(one.item ->> 'fence' AS bigint) = fence)"
    ),
}

_LOCKING = Family(
    name="postgres",
    clock="server",
    engine=ServerTimed,
    lists=Lists(
        types={
            **_texts("text"),
            "id": "varchar(36)<exact>",
            "queue": "text<exact>",
            "json": "<json>",
            "int": "integer",
            "bigint": "bigint",
            "float": "double precision",
            "time": "timestamptz",
        },
        unpacked=_texts("text"),
        read={"json": "CAST({0} AS text) AS {1}"},
        written={"json": "CAST({0} AS <json>)"},
        # The server, whose time counts, decides whether a new task waits.
        stated=frozenset({"state", "due_at", "created_at"}),
        unsent=frozenset({"state"}),
        constraints=_PRIMARY | {"active_key": "<exact>"},
    ),
    versions=(*SQLITE.versions[:2], Version(creates=_DISPATCHED, alters=("widen_states",))),
    begin={Kind.WRITE: ()},
    verdicts=verdicts.POSTGRES,
    least_version=(12,),
    named_batches=True,
    bind_time=_same,
    write_time=_same,
    read_time=_in_utc,
    slots={
        **_BY_LOCK,
        "json": "JSON",
        "exact": ' COLLATE "C"',
        "schema_lock": "pg_advisory_xact_lock(hashtext('litestar_queue_task'))",
        "state_check": "litestar_queue_task_state_check",
        "states_check": "litestar_queue_task_state_check",
        # A page keeps room for the next versions of its rows: 23,000 against 13,600 settled a second. Dead rows are
        # cleaned away before a claim has to step over many.
        "storage": "WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02)",
    },
)

_SWAPPING = replace(_LOCKING, engine=Swapping, slots={**_LOCKING.slots, **_BY_SWAP})
POSTGRES = replace(_LOCKING, swapping=_SWAPPING)
COCKROACH = replace(
    _SWAPPING,
    slots={
        **_SWAPPING.slots,
        "json": "TEXT",
        "exact": "",
        "storage": "",
        "schema_lock": "''",
        # A database that stands in for CockroachDB names the check as PostgreSQL does.
        "state_check": "check_state, DROP CONSTRAINT IF EXISTS litestar_queue_task_state_check",
        "states_check": "check_state_3",
    },
)
"""CockroachDB speaks PostgreSQL's language. Its JSON is JSONB by another name, which does not keep values as they were. The
name of a check that is dropped is taken until the transaction has ended."""


def _at_place(name: str, kind: str, place: int) -> str:
    """A field of an array, for JSON_TABLE."""
    return f"{name} {kind} PATH '$[{place}]'"


def _text_without_offset(value: datetime) -> str:
    return text_of_time(value)[:26]


def _naive_in_utc(value: datetime) -> datetime:
    return value.replace(tzinfo=UTC)


MYSQL = Family(
    name="mysql",
    clock="server",
    engine=LockStepWrite,
    lists=Lists(
        types={
            "id": "VARCHAR(36)",
            "name": "VARCHAR(200)",
            "queue": "VARCHAR(100)",
            "state": "VARCHAR(10)",
            "key": "VARCHAR(255)",
            "int": "INTEGER",
            "bigint": "BIGINT",
            "float": "DOUBLE",
            "json": "LONGTEXT",
            "text": "TEXT",
            "short": "VARCHAR(50)",
            "tag": "VARCHAR(100)",
            "time": "DATETIME(6)",
        },
        # A type without a width would take its collation from the connection.
        unpacked={
            "id": "VARCHAR(36) <exact>",
            "name": "VARCHAR(200) <exact>",
            "queue": "VARCHAR(100) <exact>",
            "state": "VARCHAR(10) <exact>",
            "key": "VARCHAR(255) <exact>",
            "json": "LONGTEXT <exact>",
            "text": "TEXT <exact>",
            "short": "VARCHAR(50) <exact>",
            "tag": "VARCHAR(100) <exact>",
            "time": "VARCHAR(32)",
        },
        unpack=_at_place,
        # MySQL would convert a time with an offset to the time zone of the session.
        written={"time": "LEFT({0}, 26)"},
        alias="t.",
        spelt={"key": "`key`"},
        constraints=_PRIMARY,
        earlier={2: {"state": "VARCHAR(9)"}},
    ),
    slots={
        "exact": "CHARACTER SET utf8mb4 COLLATE /*!80017 utf8mb4_0900_bin *//*M!100600 utf8mb4_nopad_bin */",
        # The one product gives the check a name, and has it beside the columns; to the other it is part of its column.
        "state_check": (
            "/*!80017 DROP CHECK litestar_queue_task_chk_1, MODIFY COLUMN state <state> NOT NULL, "
            "ADD CONSTRAINT litestar_queue_task_chk_1 CHECK (state IN (<states>)) */"
            "/*M!100600 MODIFY COLUMN state <state> NOT NULL CHECK (state IN (<states>)) */"
        ),
        "scheduled": "t.state = 'scheduled' AND t.urgency = 0",
        "scheduled_index": f"{TABLE}_ready",
        "queue_scheduled_index": f"{TABLE}_queue_ready",
        "queue_scheduled_order": "/*!80017 t.queue, t.state, t.urgency, */",
        "running_index": f"{TABLE}_ready",
        "id_index": "PRIMARY",
    },
    versions=(
        Version(creates={"create_task_table": "", "create_lock_table": "_lock"}),
        _RECORDS,
        Version(alters=("widen_states",)),
    ),
    begin={Kind.EACH: (), Kind.WRITE: ()},
    # Otherwise a claim locks the gaps between the rows that it looks at, and an enqueue waits for it; and what is read
    # again is what was there before.
    before_begin="SET TRANSACTION ISOLATION LEVEL READ COMMITTED",
    verdicts=verdicts.MYSQL,
    # Until the server has told its own: the default of MariaDB and of MySQL 5.
    sizes=Sizes(part=4 * MIB, most=16 * MIB, called="max_allowed_packet", told=True, escaped=True),
    least_version=(8, 0, 19),
    forks={"MariaDB": (10, 6)},
    quote="`",
    name_max=64,
    bind_time=_text_without_offset,
    read_time=_naive_in_utc,
)


DUCKDB = Family(
    name="duckdb",
    clock="client",
    engine=OneStatement,
    lists=Lists(
        types={
            **_texts("VARCHAR"),
            "json": "JSON",
            "int": "INTEGER",
            "bigint": "BIGINT",
            "float": "DOUBLE",
            "time": "TIMESTAMP",
        },
        unpacked={"json": "VARCHAR"},
        unpack=lambda name, kind, _place: f'"{name}": "{kind}"',
        shape="'[{{{0}}}]'",  # a text of its own: no slot is filled inside one
        read={"json": "CAST({0} AS VARCHAR) AS {1}"},
        constraints=_PRIMARY,
        adds_required=False,
    ),
    versions=(
        Version(creates={"create_task_table": "", "create_key_index": "_key", "create_lock_table": "_lock"}),
        _RECORDS,
        Version(rebuilds=True),
    ),
    begin={Kind.WRITE: ()},
    verdicts=verdicts.DUCKDB,
    least_version=(2, 0),
    named_batches=True,
    read_time=_naive_in_utc,
)


def _oracle_value(value: Any) -> Any:
    """Numbers are whole ones but for `timeout`, which is no NUMBER; drivers can be told to answer with decimals."""
    return int(value) if isinstance(value, Decimal) else text_kept(value)


ORACLE = Family(
    name="oracle",
    clock="server",
    engine=CandidatesFirst,
    lists=Lists(
        # A character longer than elsewhere: see `empty_is_null`.
        types={
            "id": "VARCHAR2(37 CHAR)",
            "name": "VARCHAR2(201 CHAR)",
            "queue": "VARCHAR2(101 CHAR)",
            "state": "VARCHAR2(10 CHAR)",
            "key": "VARCHAR2(256 CHAR)",
            "int": "NUMBER(10)",
            "bigint": "NUMBER(19)",
            "float": "BINARY_DOUBLE",
            "json": "CLOB",
            "text": "CLOB",
            "short": "VARCHAR2(51 CHAR)",
            "tag": "VARCHAR2(101 CHAR)",
            "time": "TIMESTAMP(6)",
        },
        unpacked={"float": "NUMBER", "time": "VARCHAR2(26 CHAR)"},
        unpack=_at_place,
        written={"float": "TO_BINARY_DOUBLE({0})", "time": """TO_TIMESTAMP({0}, 'YYYY-MM-DD"T"HH24:MI:SS.FF6')"""},
        alias="t.",
        fields={"key": "of_key", "timeout": "seconds", "error": "failure"},
        constraints=_PRIMARY | {"active_key": " UNIQUE"},
        earlier={2: {"state": "VARCHAR2(9 CHAR)"}},
    ),
    slots={
        "scheduled": "t.state = 'scheduled' AND t.urgency = 0",
        "scheduled_columns": "state urgency due_at id",
        "urgency": "-s.priority",
        "state_type": "<state>",
    },
    versions=(
        Version(
            creates={
                "create_task_table": "",
                "create_ready_index": "_ready",
                "create_queue_ready_index": "_q_ready",
                "create_overdue_index": "_overdue",
                "create_finished_index": "_finished",
                "create_lock_table": "_lock",
            }
        ),
        _RECORDS,
        Version(alters=("widen_states",)),
    ),
    begin={Kind.EACH: (), Kind.WRITE: ()},
    verdicts=verdicts.ORACLE,
    least_version=(19,),
    # 30 before 12.2, and where COMPATIBLE says so: our own names are no longer than that.
    name_max=128,
    fold=str.upper,
    qualifies_indexes=True,
    # Any other character set loses characters; any other comparison takes `User-1` for `user-1`, or sorts each claim.
    settings={"NLS_CHARACTERSET": "AL32UTF8", "NLS_SORT": "BINARY", "NLS_COMP": "BINARY"},
    empty_is_null=True,
    bind_time=_text_without_offset,
    write_time=_text_without_offset,
    read_time=_naive_in_utc,
    read_value=_oracle_value,
)


@cache
def statements_of(family: Family, table: str = TABLE) -> Mapping[str, Statement]:
    """A family's statements by name, for a table of this name.

    Raises:
        QueueConfigurationError: The name cannot be a table's, or the file lacks a statement that the engine needs.
    """
    split_name(family, table)
    statements = load(file_of(family), family, table)
    family.engine.check(family, statements)
    return statements


def file_of(family: Family) -> Path:
    """The file of a family's statements."""
    return Path(__file__).with_name(f"{family.name}.sql")


def load(path: Path, family: Family, table: str = TABLE) -> dict[str, Statement]:
    """The statements of a file, by name; our names in them become those of the table, quoted."""
    own, slots = slots_of(family)
    bare = f"{family.quote}{bare_name(family, table)}{family.quote}"

    def named(found: re.Match[str]) -> str:
        return quoted_name(family, table, found[1])

    statements: dict[str, Statement] = {}
    for name, text in parsed(path).items():
        for suffix, more in _variants(family, own, open_slots(text)).items():
            made = OUR_NAME.sub(named, filled(text, slots | more)).replace("<bare>", bare)
            statements[f"{name}{suffix}"] = Statement(f"{name}{suffix}", made)
    return statements


def slots_of(family: Family) -> tuple[dict[str, str], dict[str, str]]:
    """What the slots of a family's file are filled with, by name: those that lists of columns may name, and all."""
    states = quoted(states_of(len(family.grown())))
    kind = family.lists.types["state"]
    own = {name: text.replace("<states>", states).replace("<state>", kind) for name, text in family.slots.items()}
    own |= {"states": states, "bare": "<bare>"}
    return own, {"onupdate": "", **own, **family.lists.slots(own)}


def _variants(family: Family, own: Mapping[str, str], left_open: frozenset[str]) -> dict[str, dict[str, str]]:
    """What follows a statement's name, and fills its slots: it may be there for each column, or version, that came later."""
    lists, numbered = family.lists, list(enumerate(family.grown(), 1))
    if not left_open.isdisjoint({"column", "column_name"}):
        return {f"_{column.name}": lists.added(column, own) for column in later()}
    if not left_open.isdisjoint({"whole_table", "whole"}):
        return {
            f"_{number}": lists.whole(number, own) | {"options": one.options}
            for number, one in numbered
            if one.rebuilds
        }
    if "version" in left_open:
        return {f"_{number}": {"version": str(number)} for number, _ in numbered[1:]}
    return {"": {}}
