"""Rules of our own about statements of Oracle's, for what its parsers elsewhere do not know, or let pass."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

__all__ = ("RULES", "complaints", "json_tables", "outline", "parts")

LONGEST_NAME = 128
"""Bytes, from 12.2 on; 30 before."""

# What V$RESERVED_WORDS has as reserved, and the manual besides.
_RESERVED = frozenset(
    [
        "access",
        "add",
        "all",
        "alter",
        "and",
        "any",
        "as",
        "asc",
        "audit",
        "between",
        "by",
        "char",
        "check",
        "cluster",
        "column",
        "column_value",
        "comment",
        "compress",
        "connect",
        "create",
        "current",
        "date",
        "decimal",
        "default",
        "delete",
        "desc",
        "distinct",
        "drop",
        "else",
        "exclusive",
        "exists",
        "file",
        "float",
        "for",
        "from",
        "grant",
        "group",
        "having",
        "identified",
        "immediate",
        "in",
        "increment",
        "index",
        "initial",
        "insert",
        "integer",
        "intersect",
        "into",
        "is",
        "level",
        "like",
        "lock",
        "long",
        "maxextents",
        "minus",
        "mlslabel",
        "mode",
        "modify",
        "nested_table_id",
        "noaudit",
        "nocompress",
        "not",
        "nowait",
        "null",
        "number",
        "of",
        "offline",
        "on",
        "online",
        "option",
        "or",
        "order",
        "pctfree",
        "prior",
        "public",
        "raw",
        "rename",
        "resource",
        "revoke",
        "row",
        "rowid",
        "rownum",
        "rows",
        "select",
        "session",
        "set",
        "share",
        "size",
        "smallint",
        "start",
        "successful",
        "synonym",
        "sysdate",
        "table",
        "then",
        "to",
        "trigger",
        "uid",
        "union",
        "unique",
        "update",
        "user",
        "validate",
        "values",
        "varchar",
        "varchar2",
        "view",
        "whenever",
        "where",
        "with",
    ]
)
_FOREIGN_TYPES = (
    r"TEXT|LONGTEXT|TINYTEXT|MEDIUMTEXT|(?:BIG|SMALL)?SERIAL|BOOL(?:EAN)?|BIGINT|TINYINT|DATETIME|TIMESTAMPTZ|JSONB?|UUID|"
    r"BYTEA|DOUBLE(?! PRECISION)|VARCHAR(?!\d)|STRING"
)
_CLAUSES = {
    "LIMIT": r"\bLIMIT\s+(?:\d|:|CAST)",
    "RETURNING rows": r"\bRETURNING\b(?!.*\bINTO\b)",
    "ON CONFLICT": r"\bON\s+CONFLICT\b",
    "ON DUPLICATE KEY": r"\bON\s+DUPLICATE\s+KEY\b",
    "IF EXISTS, which 23 is the first to know": r"\bIF\s+(?:NOT\s+)?EXISTS\b",
    "ILIKE": r"\bILIKE\b",
    "a cast by ::": r"::",
    "a semicolon": r";",
    "backticks": r"`",
    "EXCEPT": r"\bEXCEPT\b",
    "UPDATE with FROM": r"^UPDATE\b[^()]*\bSET\b[^()]*\bFROM\b",
    "TRUE or FALSE": r"\b(?:TRUE|FALSE)\b",
}
_COLUMN = re.compile(r"\w+ (?:VARCHAR2\(\d+ CHAR\)|NUMBER(?:\(\d+\))?|CLOB) PATH '\$(?:\[\d+\])?'")


_LOOP = re.compile(r"FOR \w+ IN \((.*?)\) LOOP$", re.DOTALL | re.MULTILINE)
_EXECUTED = re.compile(
    r"EXECUTE IMMEDIATE q'\[(.*?)\]'(?: \|\| \w+\.\w+(?: \|\| '(.*?)')?)?;$", re.DOTALL | re.MULTILINE
)
_BLOCK = re.compile(r"(BEGIN|QUERY|EXECUTED|END LOOP;|END;|\s)+")


def parts(text: str) -> list[str]:
    """The statements of a block of PL/SQL, with `some` in the place of names that it looks up; any other is one part.

    Raises:
        ValueError: The block has anything else than loops over queries, and statements that are executed in them.
    """
    if not text.startswith("BEGIN"):
        return [text]
    if _BLOCK.fullmatch(_EXECUTED.sub("EXECUTED", _LOOP.sub("QUERY", text))) is None:
        raise ValueError(f"a block of another form: {text[:200]}")
    executed = [
        f"{found[1]}{'some' if '||' in found[0].rpartition(']')[2] else ''}{found[2] or ''}"
        for found in _EXECUTED.finditer(text)
    ]
    return [*_LOOP.findall(text), *executed]


def outline(text: str) -> str:
    """The statement without what stands in its literals and comments; the quotes stay."""
    text = re.sub(r"/\*.*?\*/", " ", text, flags=re.DOTALL)
    return re.sub(r"'[^']*'", lambda found: "'?'" if len(found[0]) > 2 else "''", text)


def _at_top(text: str) -> str:
    """The statement without what stands in parentheses."""
    depth, kept = 0, ""
    for character in outline(text):
        depth += (character == "(") - (character == ")")
        kept += character if depth == 0 else ""
    return kept


def _found(pattern: str, text: str) -> re.Match[str] | None:
    return re.search(pattern, text, re.IGNORECASE | re.DOTALL)


def lockable(text: str) -> Iterator[str]:
    """Rows are locked as they stand in a table: nothing may be limited, made distinct, put together or counted."""
    top = _at_top(text)
    if _found(r"\bFOR\s+UPDATE\b", top):
        for what in ("FETCH", "OFFSET", "DISTINCT", "GROUP BY", "UNION", "JOIN", "COUNT", "MIN", "MAX", "SUM"):
            if _found(rf"\b{what}\b", top):
                yield f"{what} beside FOR UPDATE"


def names(text: str) -> Iterator[str]:
    """No name is longer than Oracle takes."""
    for name in re.findall(r'"([^"]*)"|\b([A-Za-z_]\w*)', outline(text)):
        if len((name[0] or name[1]).encode()) > LONGEST_NAME:
            yield f"a name of more than {LONGEST_NAME} bytes: {(name[0] or name[1])[:20]}..."


def binds(text: str) -> Iterator[str]:
    """No parameter is called like a reserved word."""
    for name in re.findall(r"(?<![:\w]):(\w+)", outline(text)):
        if name.lower() in _RESERVED:
            yield f"the bind :{name} is a reserved word"


def types(text: str) -> Iterator[str]:
    """Every column has a type of Oracle's, with its length in characters."""
    told = outline(text)
    if _found(r"^\s*CREATE\s+TABLE\b", told):
        for found in re.finditer(rf"[(,]\s*\w+\s+({_FOREIGN_TYPES})\b", told, re.IGNORECASE):
            yield f"{found[1]} is no type of Oracle's"
    for found in re.finditer(r"\bVARCHAR2\b(?!\(\d+ CHAR\))", told):
        yield f"VARCHAR2 without its length in characters, at {found.start()}"


def clauses(text: str) -> Iterator[str]:
    """Nothing of other databases' languages."""
    told = outline(text)
    for what, pattern in _CLAUSES.items():
        if _found(pattern, told):
            yield what


def empty_texts(text: str) -> Iterator[str]:
    """An empty text is NULL: no statement has one."""
    if "''" in outline(text):
        yield "an empty text"


def aliases(text: str) -> Iterator[str]:
    """A table's alias follows it without AS."""
    if _found(r'\b(?:FROM|JOIN|INTO|UPDATE|USING)\s+["\w.]+\s+AS\b', outline(text)):
        yield "AS before the alias of a table"


def from_something(text: str) -> Iterator[str]:
    """Every query has a FROM."""
    if _found(r"^\s*SELECT\b(?!.*\bFROM\b)", _at_top(text)):
        yield "SELECT without FROM"


def merges(text: str) -> Iterator[str]:
    """A MERGE leaves what it joins on as it is."""
    told = outline(text)
    joined = _found(r"\bON\s*\(\s*(\w+\.\w+)\s*=", told)
    if _found(r"^\s*MERGE\b", told) and joined and _found(rf"\bSET\b.*?\b{re.escape(joined[1])}\s*=[^>]", told):
        yield f"MERGE sets {joined[1]}, on which it joins"


def exactness(text: str) -> Iterator[str]:
    """No column is known to hold JSON, because SQLSpec would decode it."""
    if _found(r"\bIS\s+JSON\b", outline(text)):
        yield "IS JSON"


def clock(text: str) -> Iterator[str]:
    """The time is the server's, in UTC, whatever the session says."""
    if found := _found(r"\b(?:CURRENT_TIMESTAMP|LOCALTIMESTAMP|CURRENT_DATE|SYSDATE|NOW\(\))", outline(text)):
        yield f"{found[0]} instead of SYS_EXTRACT_UTC(SYSTIMESTAMP)"
    if _found(r"(?<!SYS_EXTRACT_UTC\()\bSYSTIMESTAMP\b", outline(text)):
        yield "SYSTIMESTAMP in the time zone of the server"


def unpacking(text: str) -> Iterator[str]:
    """JSON_TABLE is used in one form only, and what is written comes from one that raises errors."""
    writes = _found(r"^\s*(?:INSERT|MERGE)\b", outline(text))
    for call in json_tables(text):
        if not _found(r"^JSON_TABLE\(:\w+, '\$\[\*\]'( ERROR ON ERROR)? COLUMNS \(", call):
            yield f"JSON_TABLE in an unknown form: {call[:60]}"
            continue
        columns = call[call.index("COLUMNS (") + len("COLUMNS (") : -2]
        for column in re.split(r",\s*(?=\w+ [A-Z])", columns.strip()):
            if not _COLUMN.fullmatch(column.strip()):
                yield f"a column of JSON_TABLE in an unknown form: {column.strip()}"
        if writes and "ERROR ON ERROR" not in call:
            yield "values to be written, without ERROR ON ERROR"


def json_tables(text: str) -> list[str]:
    """The calls of JSON_TABLE in a statement."""
    calls: list[str] = []
    for found in re.finditer(r"\bJSON_TABLE\(", text):
        depth = 0
        for end in range(found.end() - 1, len(text)):
            depth += (text[end] == "(") - (text[end] == ")")
            if depth == 0:
                calls.append(text[found.start() : end + 1])
                break
    return calls


RULES: dict[str, Callable[[str], Iterator[str]]] = {
    rule.__name__: rule
    for rule in (
        lockable,
        names,
        binds,
        types,
        clauses,
        empty_texts,
        aliases,
        from_something,
        merges,
        exactness,
        clock,
        unpacking,
    )
}


def complaints(text: str) -> list[str]:
    """What the rules say against a statement, each with the rule's name."""
    return [f"{name}: {said}" for name, rule in RULES.items() for said in rule(text)]
