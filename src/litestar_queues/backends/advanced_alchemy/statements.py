"""The families' statements over a model's tables: their own text, with the model's names.

A name stands in the text as a mark, such as `<<state>>`. SQLAlchemy writes the name when it compiles the statement, because
it alone knows the dialect's quotes and the schema that a connection has for the model's.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Self

from sqlalchemy import (
    Executable,
    String,
    Text,
    TextClause,
    TypeDecorator,
    Update,
    bindparam,
    insert,
    literal_column,
    select,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.types import TypeEngine

from litestar_queues.backends.advanced_alchemy.table import QueueTable
from litestar_queues.backends.sql.families import OUR_NAME, Family, Statement, file_of, slots_of
from litestar_queues.backends.sql.files import filled, parsed, renamed

__all__ = ("PREFIX", "ModelStatement", "ModelText", "ModelUpdate", "TimeText", "statements_of")

PREFIX = "p_"
"""Stands before the name of each parameter: SQLAlchemy wants the names of columns for itself."""

_TIMES = ("now", "at", "before", "since", "expires_at", "last_due")
_LONG = ("batch", "held", "ids", "keys", "queues", "states", "names", "execution_backends")
"""Parameters that can be longer than what Oracle takes for a short text."""
_PARAMETER = re.compile(r"(?<![\w:]):([a-z_]+)")
_MARK = re.compile(r"<<(?:\w+\.)?(\w*)>>")
_WHOLE = "/* the whole */"
_ON_UPDATE = "/* onupdate */"
_OTHERS = re.compile(r"(add|create|drop|rebuild|record|widen)_.*|existing|(un)?lock_schema|schema_version|enqueue")
"""The schema is SQLAlchemy's to create, and tasks are its to insert: only so do columns get the application's defaults."""


class TimeText(TypeDecorator[datetime]):
    """A time that a statement reads from a text."""

    impl = String
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Any) -> str | None:
        return None if value is None else value.isoformat(timespec="microseconds")


class ModelText(TextClause):
    """A statement with marks for the names of a model.

    The text of one model differs from that of another by the key of the table: SQLAlchemy compiles each text once.
    """

    inherit_cache = True
    table: QueueTable

    @classmethod
    def of(cls, text: str, table: QueueTable, moment: TypeEngine[Any]) -> Self:
        """The statement, with times as parameters of a type."""
        made = cls(text)
        made.table = table
        types = {f"{PREFIX}{name}": type_ for names, type_ in ((_TIMES, moment), (_LONG, Text())) for name in names}
        typed = sorted(types.keys() & set(_PARAMETER.findall(text)))
        return made.bindparams(*(bindparam(name, type_=types[name]) for name in typed))


@compiles(ModelText)
def _with_names(statement: ModelText, compiler: Any, **kwargs: Any) -> str:
    table, preparer = statement.table, compiler.preparer
    columns = table.columns()
    tables = {"": table.tasks, "_lock": table.locks, "_record": table.records}

    def name(mark: re.Match[str]) -> str:
        if mark[1] in columns:
            return str(preparer.format_column(columns[mark[1]]))
        if mark[1] in tables:
            return str(preparer.format_table(tables[mark[1]]))
        return str(preparer.quote(f"{table.tasks.name}{mark[1]}"))

    return _MARK.sub(name, compiler.visit_textclause(statement, **kwargs))


class ModelUpdate(Update):
    """An update of which the one condition is the whole statement.

    SQLAlchemy adds what columns of the application get on an update, and brings their values each time: the statement
    takes that into its own list.
    """

    inherit_cache = True


@compiles(ModelUpdate)
def _with_updates(statement: ModelUpdate, compiler: Any, **kwargs: Any) -> str:
    added, _, text = compiler.visit_update(statement, **kwargs).partition(f" WHERE {_WHOLE}")
    sets = added.rpartition(" SET ")[2]
    return str(text.replace(f" {_ON_UPDATE}", f", {sets}" if sets else ""))


@dataclass(frozen=True, slots=True, eq=False)
class ModelStatement(Statement):
    """A statement as SQLAlchemy sends it."""

    sent: Executable


def statements_of(family: Family, table: QueueTable, moment: TypeEngine[Any]) -> dict[str, Statement]:
    """A family's statements by name, with times as parameters of a type."""
    names = {name: f"<<{name}>>" for name in table.keys}
    own, slots = slots_of(replace(family, lists=replace(family.lists, names=names)))
    slots["onupdate"] = _ON_UPDATE
    names |= {"priority": names["urgency"], "overdue_at": names["expires_at"]}
    if table.lacks_rowid:
        names["rowid"] = names["id"]
    # What a family's own slots name is renamed with the rest; lists of columns have the model's names already.
    first = {**{name: f"/* slot: {name} */" for name in slots}, **own}
    key = table.tasks.key.encode().hex()
    made: dict[str, Statement] = {}
    for name, written in parsed(file_of(family)).items():
        if _OTHERS.fullmatch(name) is None:
            text = _PARAMETER.sub(rf":{PREFIX}\1", filled(renamed(filled(written, first), names), slots))
            text = OUR_NAME.sub(lambda found: f"<<{key}.{found[1]}>>", text)
            made[name] = ModelStatement(name, text, _sent(text, table, moment))
    if "count_all" in made:
        made["count"] = made.pop("count_all")
    core = {"check_schema": _every_column(table)}
    if "lock_read" in made:
        core["lock_insert"] = _first_lock(table)
    return made | {name: ModelStatement(name, str(sent), sent) for name, sent in core.items()}


def _sent(text: str, table: QueueTable, moment: TypeEngine[Any]) -> Executable:
    if _ON_UPDATE in text:
        return ModelUpdate(table.tasks).where(ModelText.of(f"{_WHOLE}{text}", table, moment))
    return ModelText.of(text, table, moment)


def _every_column(table: QueueTable) -> Executable:
    """Reads nothing, and fails where a table or a column of the model is missing, be it the application's."""
    never = literal_column("1") == literal_column("0")
    # SQLAlchemy warns of tables that nothing joins.
    joined = (table.columns()["name"] == beside.c.name for beside in (table.locks, table.records))
    return select(*table.tasks.c, *table.locks.c, *table.records.c).where(never, *joined)


def _first_lock(table: QueueTable) -> Executable:
    """An insert that fails where another was faster, and is tried again: MySQL counts a row that a write left alone."""
    values: dict[str, Any] = {column.name: bindparam(f"{PREFIX}{column.name}") for column in table.locks.c}
    return insert(table.locks).values(values)
