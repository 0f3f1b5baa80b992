"""What the Advanced Alchemy backend would send to an Oracle: its statements, compiled by SQLAlchemy's dialect."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from advanced_alchemy.base import BigIntAuditBase
from sqlalchemy import insert
from sqlalchemy.dialects.oracle import oracledb
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.schema import CreateIndex, CreateTable

from litestar_queues.backends.advanced_alchemy import QueueTaskModel, QueueTaskModelMixin
from litestar_queues.backends.advanced_alchemy.dialects import dialect_of
from litestar_queues.backends.advanced_alchemy.leaving import LeavingInsert
from litestar_queues.backends.advanced_alchemy.statements import ModelStatement
from litestar_queues.backends.advanced_alchemy.table import QueueTable

__all__ = ("MODELS", "Job", "compiled", "dialect", "statements")


class Job(BigIntAuditBase, QueueTaskModelMixin):
    """A model of an application's: a key that the database makes, a schema, a name and a column that need quotes."""

    __tablename__ = "Order"
    __table_args__ = {"schema": "ops"}  # noqa: RUF012  # as SQLAlchemy has it

    size: Mapped[int] = mapped_column(default=7)


MODELS: tuple[type[Any], ...] = (QueueTaskModel, Job)


def dialect() -> Any:
    """SQLAlchemy's dialect of Oracle, as it is after it has connected to a 19c."""
    made: Any = oracledb.dialect()  # type: ignore[no-untyped-call]  # SQLAlchemy's own
    made.server_version_info = (19, 0, 0, 0, 0)
    return made


def compiled(statement: Any, **how: Any) -> str:
    """A statement's text."""
    return str(statement.compile(dialect=dialect(), **how)).strip()


def statements(model: type[Any]) -> Iterator[tuple[str, str]]:
    """Everything that is sent for a model, by names."""
    table = QueueTable.of(model)
    prefix = f"alchemy {table.tasks.fullname}"
    for one in (table.tasks, table.locks):
        yield f"{prefix} create {one.name}", compiled(CreateTable(one))
    for index in sorted(table.tasks.indexes, key=lambda index: str(index.name)):
        yield f"{prefix} create {index.name}", compiled(CreateIndex(index))
    keys = [column.key for column in table.tasks.c if column.key != "sa_orm_sentinel"]
    for insertion in (insert(table.tasks), LeavingInsert(table.tasks)):
        yield f"{prefix} {type(insertion).__name__}", compiled(insertion, column_keys=keys)
    for name, statement in dialect_of("oracle").statements(table).items():
        assert isinstance(statement, ModelStatement)
        yield f"{prefix} {name}", compiled(statement.sent, column_keys=[])
