"""Statements that Oracle refuses, or takes for something else than was meant: what a check is worth is seen on these."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ("WRONG", "Wrong")


@dataclass(frozen=True, slots=True)
class Wrong:
    """A wrong statement, what is wrong with it, and the rule of ours that says so."""

    what: str
    rule: str
    text: str


WRONG = (
    Wrong(
        "ORA-02014: a row limit beside FOR UPDATE",
        "lockable",
        "SELECT t.id FROM tasks t WHERE t.state = 'pending' ORDER BY t.id FETCH FIRST :limit ROWS ONLY FOR UPDATE SKIP LOCKED",
    ),
    Wrong("ORA-02014: DISTINCT beside FOR UPDATE", "lockable", "SELECT DISTINCT t.id FROM tasks t FOR UPDATE"),
    Wrong(
        "ORA-01786: UNION ALL beside FOR UPDATE",
        "lockable",
        "SELECT t.id FROM tasks t UNION ALL SELECT o.id FROM others o FOR UPDATE",
    ),
    Wrong(
        "ORA-00972: a name of 129 bytes",
        "names",
        f'CREATE INDEX "{"T" * 129}" ON tasks (state)',
    ),
    Wrong("ORA-01745: a reserved word for a bind", "binds", "SELECT t.id FROM tasks t WHERE t.room < :size"),
    Wrong("ORA-00902: TEXT is no type", "types", "CREATE TABLE tasks (id VARCHAR2(36 CHAR) PRIMARY KEY, args TEXT)"),
    Wrong("ORA-00902: SERIAL is no type", "types", "CREATE TABLE tasks (id SERIAL, name VARCHAR2(10 CHAR))"),
    Wrong("ORA-00902: BOOLEAN is no type before 23", "types", "CREATE TABLE tasks (id NUMBER(10), done BOOLEAN)"),
    Wrong(
        "ORA-00906: VARCHAR2 without its length", "types", "CREATE TABLE tasks (id VARCHAR2, name VARCHAR2(10 CHAR))"
    ),
    Wrong("ORA-00933: LIMIT", "clauses", "SELECT t.id FROM tasks t ORDER BY t.id LIMIT 10"),
    Wrong(
        "ORA-00925: RETURNING rows",
        "clauses",
        "UPDATE tasks t SET t.state = 'running' WHERE t.id = :id RETURNING t.id, t.name",
    ),
    Wrong(
        "ORA-00933: ON CONFLICT",
        "clauses",
        "INSERT INTO tasks (id, name) VALUES (:id, :name) ON CONFLICT (id) DO NOTHING",
    ),
    Wrong("never true: nothing equals an empty text", "empty_texts", "SELECT t.id FROM tasks t WHERE t.key = ''"),
    Wrong("ORA-00933: AS before the alias of a table", "aliases", "SELECT t.id FROM tasks AS t"),
    Wrong("ORA-00922: IF NOT EXISTS before 23", "clauses", "CREATE TABLE IF NOT EXISTS tasks (id NUMBER(10))"),
    Wrong("ORA-00923: no FROM before 23", "from_something", "SELECT SYS_EXTRACT_UTC(SYSTIMESTAMP)"),
    Wrong("ORA-00911: a semicolon at the end", "clauses", "DELETE FROM tasks t WHERE t.id = :id;"),
    Wrong(
        "ORA-38104: MERGE sets what it joins on",
        "merges",
        "MERGE INTO tasks t USING (SELECT :id AS id FROM dual) c ON (t.id = c.id) WHEN MATCHED THEN UPDATE SET t.id = c.id",
    ),
    Wrong(
        "SQLSpec decodes the column: other values come back",
        "exactness",
        "CREATE TABLE tasks (id NUMBER(10), args CLOB NOT NULL CHECK (args IS JSON))",
    ),
    Wrong("the time zone of the session", "clock", "SELECT CURRENT_TIMESTAMP FROM dual"),
    Wrong(
        "a value that is too long becomes NULL, silently",
        "unpacking",
        "INSERT INTO tasks (id) SELECT n.id FROM JSON_TABLE(:batch, '$[*]' COLUMNS (id VARCHAR2(36 CHAR) PATH '$[0]')) n",
    ),
    Wrong(
        "ORA-00907: JSON_TABLE as MySQL has it",
        "unpacking",
        "SELECT i.id FROM JSON_TABLE(:ids, '$[*]' COLUMNS (id VARCHAR2(36 CHAR) PATH '$' DEFAULT 'x' ON EMPTY ON ERROR)) i",
    ),
)
