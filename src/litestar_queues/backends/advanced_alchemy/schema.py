"""The tables in the database: what there is of them, and making what is missing."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import partial

from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import Connection, Inspector, Table, func, insert, inspect, select, text, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.schema import CreateColumn

from litestar_queues.backends.advanced_alchemy.dialects import Dialect
from litestar_queues.backends.advanced_alchemy.model import states_check
from litestar_queues.backends.advanced_alchemy.table import QueueTable
from litestar_queues.backends.sql.schema import Found, recorded_version
from litestar_queues.columns import VERSION, states_of
from litestar_queues.errors import QueueConfigurationError

__all__ = ("changes", "create", "look")

_SCHEMA = "schema"
"""The record that holds the version."""

Change = Callable[[Connection], None]


def look(connection: Connection, table: QueueTable) -> Found:
    """What there is, by the names of fields. Reads only.

    The version is that of what is there, since the application's migrations record none; a newer one that is recorded
    counts, whatever that is.
    """
    inspector = inspect(connection)
    tasks = table.tasks
    names = {one.name for one in _tables(table) if inspector.has_table(one.name, schema=one.schema)}
    if tasks.name in names:
        columns = {one["name"] for one in inspector.get_columns(tasks.name, schema=tasks.schema)}
        names |= {f".{field}" for field, key in table.keys.items() if tasks.c[key].name in columns}
    found = Found(tasks.name, frozenset(names))
    lacking = [version for version in range(1, VERSION + 1) if _lacks(inspector, table, found, version)]
    version = min(lacking) - 1 if lacking else VERSION
    recorded = _recorded(connection, table) if table.records.name in names else None
    return Found(tasks.name, found.names, recorded if recorded is not None and recorded > VERSION else version)


def _lacks(inspector: Inspector, table: QueueTable, found: Found, version: int) -> bool:
    """Whether something is missing that came with a version."""
    if table.tasks.name not in found.names:
        return True
    if found.lacks_columns(version) or (version > 1 and table.records.name not in found.names):
        return True
    return version > 1 and states_of(version) != states_of(version - 1) and _refuses(inspector, table, version)


def _refuses(inspector: Inspector, table: QueueTable, version: int) -> bool:
    """Whether the table refuses a state that a task can have from a version on, by its check or by the column's length."""
    longest = max(map(len, states_of(version)))
    name = table.columns()["state"].name
    for column in inspector.get_columns(table.tasks.name, schema=table.tasks.schema):
        if column["name"] == name and (getattr(column["type"], "length", None) or longest) < longest:
            return True
    told = inspector.get_check_constraints(table.tasks.name, schema=table.tasks.schema)
    allowed = [_allowed(one["sqltext"]) for one in told]
    return any("pending" in states and not states.issuperset(states_of(version)) for states in allowed)


def _allowed(check: str) -> set[str]:
    """The texts in the condition of a check."""
    return set(re.findall(r"'(\w+)'", check))


def changes(connection: Connection, table: QueueTable) -> list[Change]:
    """What brings the tables up to date, in order; nothing, where they are of a newer version."""
    found = look(connection, table)
    if found.version > VERSION:
        return []
    made = [*_changes(inspect(connection), table, found)]
    recorded = _recorded(connection, table) if table.records.name in found.names else None
    return made if recorded == VERSION else [*made, partial(_record, table=table)]


def create(connection: Connection, table: QueueTable, dialect: Dialect) -> None:
    """Create what is missing, and bring an older version up to date.

    Where a statement of definition is a transaction of its own, what others create at the same moment is passed over: a
    transaction that was tried again for each of nine indexes would not end while eight processes start.
    """
    # Behind a change that waits for the table stands every worker that wants it: it rather comes again.
    is_mysql = connection.dialect.name in ("mysql", "mariadb")
    if is_mysql:
        connection.exec_driver_sql("SET SESSION lock_wait_timeout = 2")
    elif connection.dialect.name == "postgresql":
        limit = func.set_config("lock_timeout", "2s", True)  # for this transaction
        connection.execute(select(limit, func.pg_advisory_xact_lock(func.hashtext(table.tasks.fullname))))
    for make in changes(connection, table):
        try:
            make(connection)
        except DBAPIError as error:
            if error.orig is None or dialect.family.verdicts.code_of(error.orig) not in dialect.made_meanwhile:
                raise
    if is_mysql:
        connection.exec_driver_sql("SET SESSION lock_wait_timeout = DEFAULT")


def _changes(inspector: Inspector, table: QueueTable, found: Found) -> Iterator[Change]:
    """Tables before their indexes, which come with a table that is new."""
    tasks = table.tasks
    is_new = tasks.name not in found.names
    yield from (partial(one.create, checkfirst=False) for one in _tables(table) if one.name not in found.names)
    if not is_new:
        for field, key in table.keys.items():
            if f".{field}" not in found.names:
                yield partial(_add_column, table=tasks, key=key)
        if _refuses(inspector, table, VERSION):
            yield partial(_widen, queue=table)
        there = {index["name"] for index in inspector.get_indexes(tasks.name, schema=tasks.schema)}
        for index in sorted(tasks.indexes, key=lambda index: str(index.name)):
            if index.name not in there:
                yield partial(index.create, checkfirst=False)


def _tables(table: QueueTable) -> tuple[Table, Table, Table]:
    return table.tasks, table.locks, table.records


def _add_column(connection: Connection, table: Table, key: str) -> None:
    definition = CreateColumn(table.c[key]).compile(dialect=connection.dialect)
    name = connection.dialect.identifier_preparer.format_table(table)
    connection.exec_driver_sql(f"ALTER TABLE {name} ADD {definition}")


def _widen(connection: Connection, queue: QueueTable) -> None:
    """Let the table take the states of this version. SQLite changes no check: there a new table takes its place."""
    operations = Operations(MigrationContext.configure(connection))
    table = queue.tasks
    if connection.dialect.name == "sqlite":
        there = {one["name"] for one in inspect(connection).get_columns(table.name, schema=table.schema)}
        if more := sorted(there - {column.name for column in table.columns}):
            raise QueueConfigurationError(
                f"the table {table.name!r} has to be made anew for the states of this release, which would lose what its model "
                f"does not know: {', '.join(more)}; add that to the model, or migrate the table yourself"
            )
        if connection.exec_driver_sql("PRAGMA foreign_keys").scalar() and (referring := _referring(connection, table)):
            raise QueueConfigurationError(
                f"the table {table.name!r} has to be made anew for the states of this release, and foreign keys refer to it, in "
                f"{', '.join(referring)}: dropping the old table would delete those rows, or fail; upgrade it once with PRAGMA "
                f"foreign_keys = OFF, or migrate the table yourself"
            )
        with operations.batch_alter_table(table.name, schema=table.schema, copy_from=table, recreate="always"):
            return
    # The column first: where each statement is a transaction of its own, another process that finds the check gone finds
    # the column done.
    column = queue.columns()["state"]
    operations.alter_column(
        table.name, str(column.name), type_=column.type, existing_nullable=False, schema=table.schema
    )
    wanted = set(states_of(VERSION))
    told = inspect(connection).get_check_constraints(table.name, schema=table.schema)
    checks = [(one["name"], _allowed(one["sqltext"])) for one in told if "pending" in _allowed(one["sqltext"])]
    for name, states in checks:
        if name is not None and not states.issuperset(wanted):
            operations.drop_constraint(name, table.name, type_="check", schema=table.schema)
    if not any(states.issuperset(wanted) for _, states in checks):
        check = states_check(table)
        name = connection.dialect.identifier_preparer.format_constraint(check)
        # As text: a check of the model's columns would become one of the model's table as well.
        spelt = {"literal_binds": True, "include_table": False}
        condition = text(str(check.sqltext.compile(dialect=connection.dialect, compile_kwargs=spelt)))
        operations.create_check_constraint(name, table.name, condition, schema=table.schema)


def _referring(connection: Connection, table: Table) -> list[str]:
    """The tables that refer to this one."""
    inspector = inspect(connection)
    others = inspector.get_table_names(schema=table.schema)
    return [
        name
        for name in others
        if any(one["referred_table"] == table.name for one in inspector.get_foreign_keys(name, schema=table.schema))
    ]


def _recorded(connection: Connection, table: QueueTable) -> int | None:
    """The version that is recorded."""
    records = table.records.c
    value: str | None = connection.scalar(select(records.value).where(records.name == _SCHEMA))
    return None if value is None else recorded_version(value, table.records.name)


def _record(connection: Connection, table: QueueTable) -> None:
    """Record the version, which never falls."""
    recorded, value = _recorded(connection, table), str(VERSION)
    if recorded is None:
        connection.execute(insert(table.records).values(name=_SCHEMA, version=1, value=value))
    elif recorded < VERSION:
        records = table.records.c
        changed = update(table.records).where(records.name == _SCHEMA, records.value == str(recorded))
        connection.execute(changed.values(version=records.version + 1, value=value))
