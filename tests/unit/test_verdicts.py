"""What an error of a store means: lost, a conflict, refused for now, or refused for good."""

from __future__ import annotations

import copy
import pickle
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlspec.exceptions import DataError, PermissionDeniedError, SQLSpecError

from litestar_queues.backends.retry import ConflictError, LostConnectionError, RefusedForNowError, is_away
from litestar_queues.backends.sql import verdicts
from litestar_queues.backends.sql.families import COCKROACH, DUCKDB, MYSQL, ORACLE, POSTGRES, SQLITE, Family
from litestar_queues.backends.sqlspec.failures import SQLSpecFailures
from litestar_queues.backends.verdict import Verdict
from litestar_queues.errors import (
    BackendError,
    BackendUnavailableError,
    InvalidTaskError,
    RefusedError,
    TooLargeError,
)

LOST, CONFLICT, FOR_NOW, FOR_GOOD = Verdict.LOST, Verdict.CONFLICT, Verdict.FOR_NOW, Verdict.FOR_GOOD


class Postgres(Exception):
    def __init__(self, code: str) -> None:
        super().__init__("words of the server")
        self.sqlstate = code


class MySql(Exception): ...


class Told:
    def __init__(self, code: int, full: str) -> None:
        self.code = code
        self.full_code = full


class Oracle(Exception): ...


def wrapped(cause: BaseException, wrapper: type[Exception] = SQLSpecError) -> Exception:
    error = wrapper("words of the layer above")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("code", "verdict"),
    [
        *(
            (code, FOR_NOW)
            for code in ("25006", "53100", "53200", "53300", "55000", "55006", "57014", "58030", "58P01")
        ),
        *(
            (code, FOR_NOW)
            for code in ("42501", "42P01", "42703", "26000", "42P05", "0A000", "3D000", "28P01", "F0000")
        ),
        *((code, LOST) for code in ("08000", "08006", "08P01", "57P01", "57P02", "57P03", "25P03", "40003")),
        *((code, CONFLICT) for code in ("40001", "40P01", "55P03", "23505")),
        *((code, FOR_GOOD) for code in ("54000", "54001", "22001", "22003", "22021", "22P05")),
        *((code, None) for code in ("23502", "23514", "42601", "P0001", "XX000", "40002", "21000")),
    ],
)
@pytest.mark.parametrize("family", [POSTGRES, COCKROACH], ids=["postgres", "cockroach"])
def test_a_sqlstate_is_judged_by_itself_or_by_its_class(family: Family, code: str, verdict: Verdict | None) -> None:
    assert family.verdicts.of(wrapped(Postgres(code))) is verdict


@pytest.mark.parametrize(
    ("code", "verdict"),
    [
        *((code, FOR_NOW) for code in (1290, 1836, 1021, 1114, 3024, 1146, 1142, 1040, 1203, 1317, 1969, 1047)),
        *((code, LOST) for code in (1053, 1152, 1158, 1161, 1927, 2006, 2013, 2055)),
        *((code, CONFLICT) for code in (1062, 1205, 1213, 1020)),
        *((code, FOR_GOOD) for code in (1153, 1162, 1301, 1406, 1366, 1264)),
        *((code, None) for code in (1064, 1105, 3819, 4025)),
    ],
)
def test_a_number_of_mysql_is_judged(code: int, verdict: Verdict | None) -> None:
    assert MYSQL.verdicts.of(wrapped(MySql(code, "words"))) is verdict


@pytest.mark.parametrize(
    ("code", "full", "verdict"),
    [
        (942, "ORA-00942", FOR_NOW), (1653, "ORA-01653", FOR_NOW), (16000, "ORA-16000", FOR_NOW),
        (12899, "ORA-12899", FOR_GOOD), (60, "ORA-00060", CONFLICT), (3113, "ORA-03113", LOST),
        (0, "DPY-4011", LOST), (2290, "ORA-02290", None),
    ],
)  # fmt: skip
def test_a_number_of_oracle_is_judged(code: int, full: str, verdict: Verdict | None) -> None:
    assert ORACLE.verdicts.of(wrapped(Oracle(Told(code, full)))) is verdict


@pytest.mark.parametrize(
    ("name", "text", "verdict"),
    [
        ("TransactionException", "Conflict on tuple deletion!", CONFLICT),
        ("TransactionException", "no transaction is active", None),
        ("IOException", "No space left on device", FOR_NOW),
        ("OutOfMemoryException", "failed to allocate", FOR_NOW),
        ("CatalogException", "Table does not exist", FOR_NOW),
        ("OutOfRangeException", "out of range", FOR_GOOD),
        ("ParserException", "syntax error", None),
    ],
)
def test_an_exception_of_duckdb_is_judged_by_its_class(name: str, text: str, verdict: Verdict | None) -> None:
    assert DUCKDB.verdicts.of(wrapped(type(name, (Exception,), {})(text))) is verdict


def sqlite_error(path: Path, *statements: str, mode: str = "rwc", longest: int | None = None) -> sqlite3.Error:
    """What SQLite itself says to the last of the statements."""
    uri = f"file:{path}?mode={mode}"
    with closing(sqlite3.connect(uri, uri=True, isolation_level=None)) as connection:
        if longest is not None:
            connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, longest)
        for statement in statements[:-1]:
            connection.execute(statement)
        with pytest.raises(sqlite3.Error) as raised:
            connection.execute(statements[-1])
    return raised.value


def test_what_sqlite_itself_raises_is_judged(tmp_path: Path) -> None:
    path = tmp_path / "q.db"
    made, insert = "CREATE TABLE IF NOT EXISTS t (x)", "INSERT INTO t VALUES (hex(zeroblob(99999)))"
    verdict = SQLITE.verdicts.of
    full = sqlite_error(path, made, "PRAGMA max_page_count = 3", insert)
    assert (full.sqlite_errorname, verdict(full)) == ("SQLITE_FULL", FOR_NOW)
    read_only = sqlite_error(path, insert, mode="ro")
    assert (read_only.sqlite_errorname, verdict(read_only)) == ("SQLITE_READONLY", FOR_NOW)
    missing = sqlite_error(path, "SELECT * FROM nowhere")
    assert (missing.sqlite_errorname, verdict(wrapped(missing))) == ("SQLITE_ERROR", FOR_NOW)
    assert verdict(sqlite_error(path, "SELECT y FROM t")) is FOR_NOW
    long = sqlite_error(path, insert, longest=1000)
    assert (long.sqlite_errorname, verdict(long)) == ("SQLITE_TOOBIG", FOR_GOOD)
    assert verdict(sqlite_error(path, "SELEC 1")) is None
    assert verdict(sqlite_error(path, made, "CREATE UNIQUE INDEX IF NOT EXISTS u ON t (x)", "INSERT INTO t VALUES (1), (1)")) is None  # fmt: skip


@pytest.mark.parametrize("family", [SQLITE, DUCKDB, POSTGRES, MYSQL, ORACLE], ids=lambda family: family.name)
def test_a_value_that_no_driver_can_write_is_refused_for_good(family: Family) -> None:
    assert family.verdicts.of(wrapped(OverflowError("int too large"))) is FOR_GOOD
    assert family.verdicts.of(wrapped(UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates"))) is FOR_GOOD


def test_a_class_that_means_a_lost_connection_is_believed_only_without_a_code() -> None:
    lost = type("OperationalError", (Exception,), {})
    assert POSTGRES.verdicts.of(lost("server closed the connection")) is LOST
    coded = lost("division by zero")
    coded.sqlstate = "22012"
    assert POSTGRES.verdicts.of(coded) is FOR_GOOD
    coded.sqlstate = "42601"
    assert POSTGRES.verdicts.of(coded) is None


def test_a_value_that_asyncpg_cannot_write_is_no_lost_connection() -> None:
    interface = type("InterfaceError", (Exception,), {})
    assert POSTGRES.verdicts.of(type("DataError", (interface, ValueError), {})("invalid input")) is FOR_GOOD
    assert POSTGRES.verdicts.of(interface("connection is closed")) is LOST


@pytest.mark.parametrize(
    ("words", "verdict"),
    [
        ("db error: ERROR: cannot execute UPDATE in a read-only transaction", FOR_NOW),
        ('db error: ERROR: relation "litestar_queue_task" does not exist', FOR_NOW),
        ("db error: ERROR: permission denied for table litestar_queue_task", FOR_NOW),
        ("Cannot execute query, error - connection closed", LOST),
        ("Cannot execute query, error - db error: ERROR: syntax error", None),
    ],
)
def test_a_driver_without_codes_is_judged_by_its_words(words: str, verdict: Verdict | None) -> None:
    assert POSTGRES.verdicts.of(wrapped(Exception(words))) is verdict


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (wrapped(Postgres("25006")), RefusedForNowError),
        (wrapped(Postgres("42501"), PermissionDeniedError), RefusedForNowError),
        (wrapped(Postgres("57P01")), LostConnectionError),
        (wrapped(Postgres("40001")), ConflictError),
        (wrapped(Postgres("54000"), DataError), RefusedError),
        (wrapped(Postgres("XX000")), BackendError),
        (OSError("broken pipe"), LostConnectionError),
    ],
)
def test_a_verdict_decides_what_is_raised(error: Exception, kind: type[Exception]) -> None:
    ours = SQLSpecFailures(POSTGRES, "database 'x'", {}).of_statement(error, "commit")
    assert type(ours) is kind
    if kind is RefusedForNowError:
        assert "commit was refused for now, nothing was stored" in str(ours)
        assert "words of the server" in str(ours)


def test_a_refusal_for_now_is_no_store_that_is_away() -> None:
    assert is_away(BackendUnavailableError("no connection"))
    assert is_away(LostConnectionError("gone"))
    assert not is_away(RefusedForNowError("no such table"))
    assert not is_away(BackendError("?"))
    assert isinstance(RefusedForNowError("no such table"), BackendUnavailableError)


def test_every_table_can_lose_an_entry() -> None:
    without = verdicts.POSTGRES.without("23505", "UniqueViolationError")
    assert without.of(Postgres("23505")) is None
    assert verdicts.POSTGRES.of(Postgres("23505")) is CONFLICT


@pytest.mark.parametrize("again", [copy.copy, lambda error: pickle.loads(pickle.dumps(error))], ids=["copy", "pickle"])
def test_a_size_survives_being_copied(again: Any) -> None:
    error = again(TooLargeError("text", size=20, limit=16, task_id="t"))
    assert (str(error), error.size, error.limit, error.task_id) == ("text", 20, 16, "t")
    assert isinstance(error, RefusedError)
    assert isinstance(error, InvalidTaskError)
