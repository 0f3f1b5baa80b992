"""The oracle family's programs and statements on a PostgreSQL: what of them can be run where there is no Oracle.

Each statement of `oracle.sql` is put into PostgreSQL's words by the few rules below, which 17 and newer understand:
JSON_TABLE, MERGE, FETCH FIRST and FOR UPDATE SKIP LOCKED are there, too. So what the statements say, in which order, and
what happens between several clients, is held to the guarantees; how Oracle itself takes them is not shown by it.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from litestar_queues.backends.base import QueueBackend
from litestar_queues.backends.sql.families import (
    ORACLE,
    POSTGRES,
    Family,
    Statement,
    bare_name,
    drop_statements,
    quoted_name,
    statements_of,
)
from litestar_queues.backends.sqlspec.backend import SQLSpecBackend
from litestar_queues.backends.sqlspec.servers import locate_server
from litestar_queues.backends.sqlspec.store import QueueStore
from litestar_queues.backends.sqlspec.transports import AsyncTransport
from litestar_queues_matrix.adapters import Adapter
from litestar_queues_matrix.servers import Kind, ServerRow, ask
from litestar_queues_matrix.sqlserver import SqlServerTarget
from litestar_queues_matrix.tables import reshaped_ddl

__all__ = ("STANDIN", "OracleStandInTarget", "oracle_standin", "standin_backend", "standin_statements", "translated")

STANDIN: Family = replace(
    ORACLE,
    conflict_codes=POSTGRES.conflict_codes,
    lost_codes=POSTGRES.lost_codes,
    lost=POSTGRES.lost,
    code_of=POSTGRES.code_of,
    name_max=63,
)
_STORE = QueueStore("psycopg", STANDIN, AsyncTransport, locate_server, autocommit=False, arrow_from=None)
_FORMAT = """'YYYY-MM-DD"T"HH24:MI:SS.FF6'"""
_NUMBERS = ("limit", "last_urgency")


def _bound(found: re.Match[str]) -> str:
    kind = "bigint" if found[1] in _NUMBERS else "text"
    return f"CAST(:{found[1]} AS {kind})"


def _merged(found: re.Match[str]) -> str:
    assignments = re.sub(r"\b[tl]\.(\w+) =", r"\1 =", found[1])
    return f"WHEN MATCHED AND ({found[2].strip()}) THEN UPDATE SET {assignments.strip()}{found[3]}"


_RULES: tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...] = (
    (rf"TO_TIMESTAMP\((SUBSTR\([^()]*\)|:\w+), {re.escape(_FORMAT)}\)", r"CAST(\1 AS timestamp(6))"),
    (r"CAST\(SYS_EXTRACT_UTC\(SYSTIMESTAMP\) AS TIMESTAMP\(6\)\)", "CAST(clock_timestamp() AT TIME ZONE 'UTC' AS timestamp(6))"),
    (r"TO_BINARY_DOUBLE\((\w+\.\w+)\)", r"CAST(\1 AS double precision)"),
    (r"JSON_TABLE\((:\w+),", r"JSON_TABLE(CAST(\1 AS jsonb),"),
    (r" ERROR ON ERROR COLUMNS", " COLUMNS"),
    (r"VARCHAR2\((\d+) CHAR\)", r"varchar(\1)"),
    (r"\bNUMBER\b", "numeric"),
    (r"\bCLOB\b", "text"),
    (r"\bBINARY_DOUBLE\b", "double precision"),
    (r"\) VIRTUAL", ") STORED"),
    (r"\bCROSS APPLY \(", "CROSS JOIN LATERAL ("),
    (r"\s+FROM dual\b", ""),
    (r"(?s)WHEN MATCHED THEN UPDATE SET(.*?)\nWHERE (.*?)(\nWHEN|$)", _merged),
    (r"(UPDATE \S+ t SET) t\.", r"\1 "),
    (r"FETCH FIRST (:\w+) ROWS ONLY", r"FETCH FIRST (\1) ROWS ONLY"),
    (r"(?<![\w:]):([a-z]\w*)", _bound),
)
"""What PostgreSQL calls otherwise, in the order in which it is put into its words."""


def translated(text: str) -> str:
    """A statement of Oracle's as PostgreSQL has it."""
    for pattern, words in _RULES:
        text = re.sub(pattern, words, text)
    return text


def standin_statements(table: str) -> dict[str, Statement]:
    """The oracle family's statements, for PostgreSQL; what asks about the database itself is answered for it."""
    made = {name: Statement(name, translated(one.text)) for name, one in statements_of(STANDIN, table).items()}
    settings = " UNION ALL ".join(f"SELECT '{name}', '{value}'" for name, value in STANDIN.settings.items())
    names = ", ".join(f"'{bare_name(STANDIN, table, suffix)}'" for suffix in STANDIN.ddl.values())
    own = {
        "version": "SELECT '23.0.0.0.0'",
        "settings": settings,
        "existing": f"SELECT relname FROM pg_class WHERE relname IN ({names})",  # noqa: S608  # our own names
    }
    return made | {name: Statement(name, text) for name, text in own.items()}


def standin_backend(config: Any, table: str) -> SQLSpecBackend:
    """A backend of the oracle family on a configuration of psycopg's; not open yet."""
    return SQLSpecBackend(
        _STORE,
        config,
        standin_statements(table),
        sqlspec=None,
        create_schema=True,
        table_name=table,
        patience=10.0,
        limit=60.0,
    )


@dataclass(frozen=True, slots=True)
class OracleStandInTarget(SqlServerTarget):
    """Named for what it is: no Oracle runs here."""

    @property
    def rows(self) -> tuple[ServerRow, ...]:
        rows = SqlServerTarget.rows.__get__(self)
        return tuple(row for row in rows if int(row.version) >= 17)

    async def open(self, config: dict[str, Any]) -> QueueBackend:
        backend = standin_backend(self.adapter.config(config["url"]), config["table"])
        await backend.open()
        return backend

    async def reset(self, config: dict[str, Any]) -> None:
        drops = (one.replace("DROP TABLE", "DROP TABLE IF EXISTS") for one in drop_statements(STANDIN, config["table"]))
        await asyncio.to_thread(ask.execute, config["url"], "SET lock_timeout = '20s'", *drops)

    async def reshape(self, config: dict[str, Any], how: str) -> None:
        ddl = reshaped_ddl(standin_statements(config["table"])["create_task_table"].text, how)
        await asyncio.to_thread(ask.execute, config["url"], ddl)

    async def server_version(self, config: dict[str, Any]) -> str:
        return f"{config['server']}, in place of Oracle"


def _conninfo(url: str) -> dict[str, Any]:
    return {"conninfo": url, "min_size": 1, "max_size": 5}


oracle_standin = OracleStandInTarget(
    Adapter(
        name="oracle-standin",
        config_class="psycopg:PsycopgAsyncConfig",
        driver="psycopg_pool",
        install="psycopg[binary,pool]",
        kinds=(Kind.POSTGRESQL,),
        connection=_conninfo,
        loads_arrow=False,
    )
)
