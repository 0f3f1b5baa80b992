"""Alembic's autogenerate: the migration that it writes of a model, applied, and what it still finds then."""

from __future__ import annotations

from typing import Any

import advanced_alchemy.types
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata, produce_migrations, render_python_code
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy.dialects import mysql, oracle, postgresql


def _options(connection: sa.Connection) -> dict[str, Any]:
    """All that can be compared; not the types of MySQL, where Alembic reads our collations as other ones."""
    mysql = connection.dialect.name == "mysql"
    return {"compare_type": False if mysql else _compare_type, "compare_server_default": True}


def _compare_type(_context: Any, column: sa.Column[Any], *_: Any) -> bool | None:
    """Leave out Advanced Alchemy's key of UUIDs, which SQLite reads back as another type, in each of its models."""
    return False if column.name == "id" else None


_IMPORTS = {"sa": sa, "advanced_alchemy": advanced_alchemy, "mysql": mysql, "oracle": oracle, "postgresql": postgresql}


def migrate(connection: sa.Connection, metadata: sa.MetaData) -> str:
    """Apply what autogenerate writes for a metadata; the code."""
    context = MigrationContext.configure(connection, opts=_options(connection))
    found = produce_migrations(context, metadata)
    assert found.upgrade_ops is not None
    batch = connection.dialect.name == "sqlite"  # which changes no column
    code = str(render_python_code(found.upgrade_ops, migration_context=context, render_as_batch=batch))
    exec(f"if True:\n{code}", {**_IMPORTS, "op": Operations(context)})
    for table in metadata.tables.values():
        _let_states_in(connection, Operations(context), table)
    return code


def _let_states_in(connection: sa.Connection, operations: Operations, table: sa.Table) -> None:
    """Change the check of the states, as our documentation says: autogenerate does not see it."""
    named = [one for one in table.constraints if isinstance(one, sa.CheckConstraint) and "litestar_queues" in one.info]
    told = sa.inspect(connection).get_check_constraints(table.name, schema=table.schema)
    older = [one for one in told if "'pending'" in one["sqltext"] and "'dispatched'" not in one["sqltext"]]
    if not named or not older:
        return
    if connection.dialect.name == "sqlite":
        with operations.batch_alter_table(table.name, copy_from=table, recreate="always"):
            return
    operations.drop_constraint(str(older[0]["name"]), table.name, type_="check")
    if connection.dialect.name == "mysql":  # whose types autogenerate does not compare
        operations.alter_column(table.name, "state", type_=table.c.state.type, existing_nullable=False)
    # As text: a check of the model's columns would become one of the model's table as well.
    spelt = {"literal_binds": True, "include_table": False}
    condition = str(named[0].sqltext.compile(dialect=connection.dialect, compile_kwargs=spelt))
    operations.create_check_constraint(operations.f(str(named[0].name)), table.name, sa.text(condition))


LATER = ("recoveries", "max_recoveries", "stale_after", "history")


def take_back(connection: sa.Connection, table: sa.Table) -> None:
    """Make the tables as version 1 of the schema had them."""
    connection.execute(sa.schema.DropTable(table.metadata.tables[f"{table.name}_record"]))
    for column in LATER:
        connection.execute(sa.text(f"ALTER TABLE {table.name} DROP COLUMN {column}"))


def differences(connection: sa.Connection, metadata: sa.MetaData) -> list[Any]:
    """What autogenerate would change now."""
    return list(compare_metadata(MigrationContext.configure(connection, opts=_options(connection)), metadata))


def by_name(connection: sa.Connection, metadata: sa.MetaData) -> list[Any]:
    """What autogenerate would do where its plugin compares checks by their names."""
    plugins = ["alembic.autogenerate.*", "alembic.ext.checkconstraint_byname"]
    options = {**_options(connection), "autogenerate_plugins": plugins}
    found = produce_migrations(MigrationContext.configure(connection, opts=options), metadata)
    assert found.upgrade_ops is not None
    changes: list[Any] = [one for table in found.upgrade_ops.ops for one in getattr(table, "ops", [table])]
    return changes
