"""Oracle's statements in PostgreSQL's words."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache

__all__ = ("SETUP", "binds_in", "in_words", "translated")

_FORMAT = re.escape("""'YYYY-MM-DD"T"HH24:MI:SS.FF6'""")
_NUMBERS = ("dispatched", "last_urgency", "limit", "own", "seen")
_LITERAL = re.compile(r"'[^']*'")
_BIND = re.compile(r"(?<![\w:]):([A-Za-z]\w*)")


def _bound(found: re.Match[str]) -> str:
    return f"CAST(%({found[1]})s AS {'bigint' if found[1].removeprefix('p_') in _NUMBERS else 'text'})"


def _merged(found: re.Match[str]) -> str:
    assignments = re.sub(r"\b[tlr]\.(\w+) =", r"\1 =", found[1])
    return f"WHEN MATCHED AND ({found[2].strip()}) THEN UPDATE SET {assignments.strip()}{found[3]}"


_RULES: tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...] = (
    # A block of PL/SQL.
    (
        r"(?s)^BEGIN\b(.*)\bEND;$",
        r"DO $do$ DECLARE narrow record; made record; lacking record; older record; BEGIN\1END $do$",
    ),
    (r"(?s)q'\[(.*?)\]'", r"$q$\1$q$"),
    (r"EXECUTE IMMEDIATE", "EXECUTE"),
    (r"(ALTER TABLE \S+ )MODIFY \((\w+) (VARCHAR2\(\d+ CHAR\))\)", r"\1ALTER COLUMN \2 TYPE \3"),
    (r"\$q\$(ALTER TABLE \S+ ADD) \(([^$]*)\)\$q\$", r"$q$\1 COLUMN \2$q$"),
    (r'\$q\$CREATE INDEX "\w+"\.("\w+") ON', r"$q$CREATE INDEX \1 ON"),
    (rf"TO_TIMESTAMP\((\w+\.\w+|:\w+), {_FORMAT}\)", r"CAST(\1 AS timestamp(6))"),
    (r"SYS_EXTRACT_UTC\(SYSTIMESTAMP\)", "(clock_timestamp() AT TIME ZONE 'UTC')"),
    (r"TO_BINARY_DOUBLE\((\w+\.\w+|:\w+)\)", r"CAST(\1 AS double precision)"),
    (r"JSON_TABLE\((:\w+),", r"JSON_TABLE(CAST(\1 AS jsonb),"),
    (r" ERROR ON ERROR COLUMNS", " COLUMNS"),
    (r"VARCHAR2\((\d+) CHAR\)", r"varchar(\1)"),
    (r"\bNUMBER\b", "numeric"),
    (r"\bCLOB\b", "text"),
    (r"\bBINARY_DOUBLE\b", "double precision"),
    (r"\) VIRTUAL", ") STORED"),
    (r"(?s)^(ALTER TABLE \S+ ADD) \((.*)\)$", r"\1 COLUMN \2"),
    (r'^CREATE INDEX "\w+"\.("\w+") ON', r"CREATE INDEX \1 ON"),
    (r"(?s)WHEN MATCHED THEN UPDATE SET(.*?)\nWHERE (.*?)(\nWHEN|$)", _merged),
    (r"(UPDATE \S+ t SET) t\.", r"\1 "),
    (r" AND ROWNUM = 1$", " LIMIT 1"),
    (r"FETCH FIRST (:\w+) ROWS ONLY", r"FETCH FIRST (\1) ROWS ONLY"),
    (_BIND.pattern, _bound),
)
"""What PostgreSQL calls otherwise, in the order in which it is put into its words."""

SETUP = (
    "CREATE SCHEMA IF NOT EXISTS oracle",
    "CREATE OR REPLACE FUNCTION oracle.instr(text, text) RETURNS integer IMMUTABLE LANGUAGE sql AS 'SELECT strpos($1, $2)'",
    (
        "CREATE OR REPLACE FUNCTION oracle.replace(text, text) RETURNS text IMMUTABLE LANGUAGE sql "
        "AS 'SELECT pg_catalog.replace($1, $2, '''')'"
    ),
    "CREATE OR REPLACE FUNCTION oracle.sys_context(text, text) RETURNS text STABLE LANGUAGE sql AS 'SELECT current_schema()'",
    "CREATE OR REPLACE VIEW oracle.dual AS SELECT 'X' AS dummy",
    "CREATE OR REPLACE VIEW oracle.all_tables AS SELECT schemaname AS owner, tablename AS table_name FROM pg_tables",
    (
        "CREATE OR REPLACE VIEW oracle.all_indexes AS "
        "SELECT schemaname AS table_owner, tablename AS table_name, indexname AS index_name FROM pg_indexes"
    ),
    (
        "CREATE OR REPLACE VIEW oracle.all_tab_columns AS "
        "SELECT table_schema AS owner, table_name, upper(column_name) AS column_name, "
        "character_maximum_length AS char_length FROM information_schema.columns"
    ),
    (
        "CREATE OR REPLACE VIEW oracle.all_constraints AS "
        "SELECT n.nspname AS owner, r.relname AS table_name, c.conname AS constraint_name, upper(c.contype) AS constraint_type, "
        "pg_get_constraintdef(c.oid) AS search_condition_vc FROM pg_constraint AS c "
        "JOIN pg_class AS r ON r.oid = c.conrelid JOIN pg_namespace AS n ON n.oid = r.relnamespace"
    ),
    "CREATE OR REPLACE FUNCTION oracle.to_char(integer) RETURNS text IMMUTABLE LANGUAGE sql AS 'SELECT $1::text'",
    "CREATE OR REPLACE FUNCTION oracle.to_char(text) RETURNS text IMMUTABLE LANGUAGE sql AS 'SELECT $1'",
    "CREATE OR REPLACE FUNCTION oracle.to_number(text) RETURNS numeric IMMUTABLE LANGUAGE sql AS 'SELECT $1::numeric'",
    (
        "CREATE OR REPLACE FUNCTION oracle.to_number(double precision) RETURNS numeric IMMUTABLE LANGUAGE sql "
        "AS 'SELECT $1::numeric'"
    ),
    (
        "CREATE OR REPLACE FUNCTION oracle.numtodsinterval(numeric, text) RETURNS interval IMMUTABLE LANGUAGE sql "
        "AS 'SELECT make_interval(secs => $1)'"
    ),
    (
        "CREATE OR REPLACE VIEW oracle.product_component_version AS "
        "SELECT 'Oracle, and in truth a PostgreSQL' AS product, '19.0.0.0.0' AS version"
    ),
    (
        "CREATE OR REPLACE VIEW oracle.nls_database_parameters AS "
        "SELECT 'NLS_CHARACTERSET' AS parameter, 'AL32UTF8' AS value"
    ),
    (
        "CREATE OR REPLACE VIEW oracle.nls_session_parameters AS "
        "SELECT parameter, 'BINARY' AS value FROM (VALUES ('NLS_SORT'), ('NLS_COMP')) AS named (parameter)"
    ),
)
"""What stands in Oracle's own catalog, and PostgreSQL has otherwise."""


def translated(text: str) -> str:
    """A statement of Oracle's as PostgreSQL has it, with psycopg's parameters."""
    return in_words(text.replace("%", "%%"))


@cache
def in_words(text: str) -> str:
    """The same of a statement in which each per cent sign stands twice already."""
    for pattern, words in _RULES:
        text = re.sub(pattern, words, text)
    return text


@cache
def binds_in(text: str) -> frozenset[str]:
    """The names of the parameters of a statement of Oracle's."""
    return frozenset(_BIND.findall(_LITERAL.sub("''", text)))
