"""The verdicts on the errors of each family of databases: one table per family, with the source of its codes.

A code that stands in no table is unknown: a worker keeps the outcome that met it, and tries it by itself. So a code is
`for_good` only where the database refuses the values of the statement, whoever sends them and whenever.
"""

from __future__ import annotations

import re
from typing import Any

from litestar_queues.backends.verdict import Verdict, Verdicts, codes

__all__ = ("DUCKDB", "MYSQL", "ORACLE", "POSTGRES", "SQLITE")

_NAMES = {
    # SQLSpec's.
    "DeadlockError": Verdict.CONFLICT,
    "SerializationConflictError": Verdict.CONFLICT,
    "PermissionDeniedError": Verdict.FOR_NOW,
    "OperationCancelledError": Verdict.FOR_NOW,
    "QueryTimeoutError": Verdict.FOR_NOW,
    # PEP 249's: a value that the database, or the driver, cannot take.
    "DataError": Verdict.FOR_GOOD,
    # Python's, where a driver cannot write the value.
    "OverflowError": Verdict.FOR_GOOD,
    "UnicodeEncodeError": Verdict.FOR_GOOD,
}


def _sqlite_code(error: BaseException) -> int | str | None:
    """The primary result code; the general one with what it says of a table or a column that is missing."""
    code = getattr(error, "sqlite_errorcode", None)
    if not isinstance(code, int):
        return None
    return "missing" if code == 1 and _MISSING.search(str(error)) else code & 0xFF


_MISSING = re.compile(r"no such (table|column)|has no column")

SQLITE = Verdicts(
    # https://www.sqlite.org/rescode.html. Left out: 1 (SQLITE_ERROR), 19 (SQLITE_CONSTRAINT), 21 (SQLITE_MISUSE).
    codes(
        conflict=(5, 6),  # BUSY, LOCKED
        for_now=(
            # PERM, ABORT, NOMEM, READONLY, INTERRUPT, IOERR, CORRUPT, FULL, CANTOPEN, PROTOCOL, SCHEMA, NOLFS, AUTH, NOTADB
            *(3, 4, 7, 8, 9, 10, 11, 13, 14, 15, 17, 22, 23, 26),
            "missing",
        ),
        for_good=(18, 20),  # TOOBIG, MISMATCH
    ),
    _NAMES,
    texts=((_MISSING, Verdict.FOR_NOW),),
    code_of=_sqlite_code,
)


def _sqlstate(error: BaseException) -> str | None:
    """The SQLSTATE, as drivers of PostgreSQL call it."""
    code = getattr(error, "sqlstate", None)
    return code if isinstance(code, str) else None


POSTGRES = Verdicts(
    # https://www.postgresql.org/docs/18/errcodes-appendix.html. Left out, and so unknown: 23 (constraints), 38, 39, P0
    # (triggers), XX (internal errors), and what would be our own mistake. CockroachDB uses the same codes: of its own,
    # 40003 is an ambiguous commit, and 58C00 an unavailable range.
    codes(
        # Serialization failures, deadlocks, locks that were waited for too long, old snapshots; and what two see who create
        # the same thing, or give the same key to two tasks, at one moment.
        conflict=("40000", "40001", "40P01", "55P03", "23505", "42P07", "42710", "72000"),
        # The connection broke, or the server ended it: it shuts down, crashed elsewhere, starts up, or was told to.
        lost=("08", "25P03", "25P04", "40003", "57P01", "57P02", "57P03", "57P04", "57P05"),
        for_now=(
            "0A000",  # "cached plan must not change result type", after an ALTER TABLE
            "25006",  # read only, as after a failover
            "26000",  # a prepared statement that a pooler lost,
            "42P05",  # or that it gave to another
            *("28", "3D000", "3F000"),  # roles, databases and schemas that are being changed
            *("42501", "42P01", "42703", "42704", "42883"),  # privileges, tables, columns and functions, the same
            *("53", "55", "57", "58", "F0"),  # resources, states, operators, the system below, the configuration
        ),
        for_good=("22", "54"),  # values that no column takes, and what exceeds the server's own limits
    ),
    {
        **_NAMES,
        "UniqueViolationError": Verdict.CONFLICT,
        "OperationalError": Verdict.LOST,
        "InterfaceError": Verdict.LOST,
    },
    # psqlpy tells no codes.
    texts=(
        (
            re.compile(
                "read-only transaction|does not exist|permission denied|No space left|out of (shared )?memory|"
                "canceling statement|remaining connection slots|too many (clients|connections)|cached plan must not change"
            ),
            Verdict.FOR_NOW,
        ),
        (
            re.compile("invalid byte sequence|unsupported Unicode|exceeds the maximum|out of range for"),
            Verdict.FOR_GOOD,
        ),
        (re.compile(r"error - (connection closed|error communicating with the server)"), Verdict.LOST),
    ),
    code_of=_sqlstate,
)


def _mysql_code(error: BaseException) -> int | None:
    """The number of the error: an attribute of mysql-connector's errors, the first argument of the others'."""
    code = getattr(error, "errno", None)
    if code is None and error.args:
        code = error.args[0]
    return code if isinstance(code, int) and code > 0 else None  # -1 is what mysql-connector gives to what has none


MYSQL = Verdicts(
    # https://dev.mysql.com/doc/mysql-errors/9.4/en/server-error-reference.html, and .../client-error-reference.html;
    # https://mariadb.com/docs/server/reference/error-codes. The products share the numbers below 1900.
    codes(
        # Duplicate keys, which two see who give the same key to two tasks at one moment, 1050 who create a table, and 1060
        # who add a column; locks that were waited for too long; deadlocks; rows, tables and prepared statements that changed
        # since the transaction began; what a group's other member committed first; and a table that is altered while the
        # catalogue is read (1684).
        conflict=(1062, 1050, 1060, 1205, 1213, 1020, 1412, 1613, 1614, 1615, 1684, 3101, 3572),
        # The server shuts down; it killed the connection, or the client's socket did (1152 to 1161, and the client's own).
        lost=(
            *(1053, 1077, 1079, 1080, 1184, 1927, 3169, 4031),
            *(1152, 1154, 1155, 1156, 1157, 1158, 1159, 1160, 1161),
            *(2002, 2003, 2006, 2012, 2013, 2055),
        ),
        for_now=(
            *(1290, 1792, 1836, 3032),  # read only, or offline
            *(1021, 1023, 1026, 1030, 1114, 1598, 1877, 1878),  # a full disk, a full table, errors of the files below
            *(1016, 1017, 1036, 1194, 1195),  # a table that cannot be opened or written, or has to be repaired
            *(1037, 1038, 1041, 1135, 1461),  # memory, threads, prepared statements
            *(1040, 1129, 1203, 1226),  # connections
            *(1028, 1317, 1969, 3024),  # time limits, and statements that were killed
            *(1044, 1045, 1142, 1143, 1227, 1370, 1698),  # privileges that are being changed
            *(1049, 1054, 1146, 1932),  # databases, columns and tables, the same
            *(1099, 1100, 1223, 1243),  # LOCK TABLES and read locks; a prepared statement that a proxy lost
            *(1047, 3100),  # Galera's node is not ready; group replication has no majority
        ),
        # The packet, or the string, exceeds max_allowed_packet; values that no column takes.
        for_good=(1153, 1162, 1301, 1118, 1264, 1300, 1366, 1406, 3140, 3141, 3157),
    ),
    _NAMES,
    texts=((re.compile("Connection not available"), Verdict.LOST),),
    code_of=_mysql_code,
)


def _duckdb_code(error: BaseException) -> str | None:
    """The class of an error, which DuckDB has in the place of codes; for those of transactions, what it says."""
    name = type(error).__name__
    if name == "TransactionException":
        text = str(error)
        return "conflict" if "onflict" in text or "constraint violation" in text else name
    return name if name.endswith("Exception") else None


DUCKDB = Verdicts(
    # https://duckdb.org/docs/stable/clients/python/reference: the exceptions of the module.
    codes(
        conflict=("conflict",),
        lost=("ConnectionException",),
        for_now=(
            *("CatalogException", "BinderException"),  # a table, or a column, that is missing
            *("FatalException", "IOException", "InterruptException", "OutOfMemoryException", "PermissionException"),
        ),
        for_good=("ConversionException", "OutOfRangeException", "TypeMismatchException"),
    ),
    # What a transaction finds that began before another gave the same key to a task.
    {
        "SerializationConflictError": Verdict.CONFLICT,
        "UniqueViolationError": Verdict.CONFLICT,
        "OverflowError": Verdict.FOR_GOOD,
        "UnicodeEncodeError": Verdict.FOR_GOOD,
    },
    code_of=_duckdb_code,
)


def _oracle_code(error: BaseException) -> int | str | None:
    """The number of an ORA error; where there is none, the driver's own code, with its letters: `DPY-4011`."""
    told: Any = error.args[0] if error.args else None
    code, full = getattr(told, "code", None), getattr(told, "full_code", None)
    return code if isinstance(code, int) and code else full if isinstance(full, str) and full else None


ORACLE = Verdicts(
    # https://docs.oracle.com/en/error-help/db/, and python-oracledb's `errors.py` for DPY. Never met on a server here.
    codes(
        # Duplicate keys, which two see who give the same key to two tasks at one moment, 955 who create a table, and 1430
        # who add a column; rows and tables that another holds (54, 30006); deadlocks; and rows that changed since a
        # transaction began.
        conflict=(1, 54, 60, 955, 1430, 4020, 4021, 8176, 8177, 14411, 30006),
        # The session was killed or ran out; the instance starts, stops or moves; the network or the listener gave up.
        lost=(
            *(28, 1012, 1033, 1034, 1041, 1089, 1090, 1092, 2396, 3113, 3114, 3135, 12153, 12514, 12516, 12518, 12519),
            *(12520, 12528, 12537, 12541, 12543, 12547, 12570, 12571, 12572, 25401, 25402, 25408),
            *("DPY-1001", "DPY-4011", "DPY-4024", "DPY-6000", "DPY-6001", "DPY-6005"),
            *("DPI-1010", "DPI-1067", "DPI-1080"),
        ),
        for_now=(
            *(257, 372, 376, 16000, 19804, 19809),  # archiver, files, read only, recovery area
            *(1536, 1652, 1653, 1654, 1658, 1659, 1688, 1691, 30036),  # space
            *(18, 20, 1000, 4030, 4031, 4036),  # sessions, processes, cursors, memory
            *(1013, 1555, 8103, 4061, 4068, 1502),  # interrupted, old snapshots, objects and packages that changed
            *(904, 942, 1031, 1017, 28000, 28001),  # columns, tables and privileges that are being changed
        ),
        for_good=(1401, 1438, 1461, 1483, 1704, 12899, 22835, 40441, 40478),  # values that no column takes
    ),
    _NAMES,
    code_of=_oracle_code,
)
