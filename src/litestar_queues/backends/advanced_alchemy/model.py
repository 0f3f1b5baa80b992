"""The models of tasks: the columns of the queues, to be composed with a base of the application's, and a ready one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, cast

from advanced_alchemy.base import UUIDAuditBase
from sqlalchemy import (
    DDL,
    BigInteger,
    CheckConstraint,
    Column,
    ColumnElement,
    Index,
    Integer,
    Table,
    and_,
    event,
)
from sqlalchemy import text as sql_text
from sqlalchemy.orm import Mapped, declarative_mixin, mapped_column

from litestar_queues.backends.advanced_alchemy.types import exact, json_text, moment, number, owner, text
from litestar_queues.backends.sql.families import TABLE
from litestar_queues.columns import BY_NAME, STATES
from litestar_queues.lifecycle import State

__all__ = ("BESIDE", "UNIQUE", "QueueTaskModel", "QueueTaskModelMixin", "states_check", "table_beside")

_Columns = Mapping[str, Column[Any]]


def _pending(c: _Columns) -> ColumnElement[bool]:
    return c["state"] == State.PENDING.value


def _scheduled(c: _Columns) -> ColumnElement[bool]:
    return c["state"] == State.SCHEDULED.value


def _may_expire(c: _Columns) -> ColumnElement[bool]:
    return and_(c["expires_at"].is_not(None), c["state"].in_([State.PENDING.value, State.SCHEDULED.value]))


def _is_finished(c: _Columns) -> ColumnElement[bool]:
    return c["finished_at"].is_not(None)


_INDEXES: dict[str, tuple[tuple[str, ...], Callable[[_Columns], ColumnElement[bool]] | None]] = {
    "ready": (("state", "urgency", "due_at", "task_id"), _pending),
    "queue_ready": (("queue", "state", "urgency", "due_at", "task_id"), _pending),
    "scheduled": (("state", "due_at", "task_id"), _scheduled),
    "queue_scheduled": (("queue", "state", "due_at", "task_id"), _scheduled),
    "overdue": (("state", "expires_at", "task_id"), _may_expire),
    "finished": (("finished_at", "task_id"), _is_finished),
    "state": (("state", "queue"), None),
}
"""What follows the table's name in that of an index, its columns, and what it is restricted to where that is possible.

No column is sorted downwards: MariaDB could not before 10.8, and migration tools compare such indexes badly.
"""
_STORAGE = """ALTER TABLE %(fullname)s SET (
    fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02
)"""
"""A page keeps room for the next versions of its rows, and dead ones are cleaned away before many are stepped over."""
BESIDE = ("_lock", "_record")
"""What follows the table's name in those of the tables beside it."""
UNIQUE = {"task": "task_id", "key": "active_key"}
"""What follows the table's name in that of a unique index, and its column: what an enqueue may find there already."""


def _default(name: str) -> Any:
    """What a worker of an older version leaves to the database."""
    return sql_text(str(BY_NAME[name].default))


@declarative_mixin
class QueueTaskModelMixin:
    """The columns of a task, for a class that inherits from a base of the application's, too.

    The class's table gets indexes that are named after it, and two tables beside it, in the same metadata and schema: one
    for the locks of schedules and maintenance, called the same with `_lock` after it, and one for named records, among them
    the version of the schema, with `_record`. The primary key, and audit columns
    where the base has them, are the base's: a key of UUIDs is that of the task, any other is made as the base says.

    The backend writes these columns; an application may read them.
    """

    task_id: Mapped[str] = mapped_column(exact(36))
    """The id of the task, as `TaskResult.id` has it."""
    name: Mapped[str] = mapped_column(exact(200))
    queue: Mapped[str] = mapped_column(exact(100))
    state: Mapped[str] = mapped_column(exact(10))
    priority: Mapped[int] = mapped_column(Integer)
    urgency: Mapped[int] = mapped_column(BigInteger)
    """The priority with its sign turned, so that an index has the first to be claimed first."""
    attempt: Mapped[int] = mapped_column(Integer)
    max_attempts: Mapped[int] = mapped_column(Integer)
    fence: Mapped[int] = mapped_column(BigInteger)
    key: Mapped[str | None] = mapped_column(exact(255))
    active_key: Mapped[str | None] = mapped_column(exact(255))
    """The key while the task is active: no two rows have the same."""
    args: Mapped[str] = mapped_column(json_text())
    kwargs: Mapped[str] = mapped_column(json_text())
    task_metadata: Mapped[str] = mapped_column("metadata", json_text())
    description: Mapped[str | None] = mapped_column(text())
    timeout: Mapped[float | None] = mapped_column(number())
    execution_backend: Mapped[str] = mapped_column(exact(50))
    execution_profile: Mapped[str | None] = mapped_column(exact(100))
    execution_ref: Mapped[str | None] = mapped_column(text())
    worker: Mapped[str | None] = mapped_column(text())
    progress: Mapped[str | None] = mapped_column(json_text())
    result: Mapped[str | None] = mapped_column(json_text())
    error: Mapped[str | None] = mapped_column(json_text())
    enqueued_at: Mapped[datetime] = mapped_column(moment())
    """When the task was stored, by the database's clock where it has one; a base's `created_at` says the same less
    exactly on some databases."""
    due_at: Mapped[datetime] = mapped_column(moment())
    expires_at: Mapped[datetime | None] = mapped_column(moment())
    started_at: Mapped[datetime | None] = mapped_column(moment())
    heartbeat_at: Mapped[datetime | None] = mapped_column(moment())
    finished_at: Mapped[datetime | None] = mapped_column(moment())
    recoveries: Mapped[int] = mapped_column(Integer, server_default=_default("recoveries"))
    max_recoveries: Mapped[int] = mapped_column(Integer, server_default=_default("max_recoveries"))
    stale_after: Mapped[float | None] = mapped_column(number())
    history: Mapped[str | None] = mapped_column(json_text())

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        # A declarative base maps a class before it comes to this. What `__table_args__` could say here, an application
        # would replace with its own.
        table = cls.__dict__.get("__table__")
        if isinstance(table, Table):
            _complete(cast("Any", cls), cast("Any", table))  # generic from SQLAlchemy 2.1 on


def states_check(table: Table) -> CheckConstraint:
    """The check of a table of tasks that says which states there are.

    Its name changes with them: migration tools compare checks by their names, where they do at all.
    """
    return next(one for one in table.constraints if isinstance(one, CheckConstraint) and "litestar_queues" in one.info)


def table_beside(table: Table, suffix: str) -> Table:
    """One of the tables that belong to a table of tasks."""
    name = f"{table.name}{suffix}"
    return table.metadata.tables[name if table.schema is None else f"{table.schema}.{name}"]


def _complete(model: Any, table: Table) -> None:
    """Give a table its indexes, its check, and the tables beside it."""
    columns = {attribute.key: attribute.columns[0] for attribute in model.__mapper__.column_attrs}
    if "active_key" not in columns or f"{table.name}_key" in {index.name for index in table.indexes}:
        return
    for suffix, field in UNIQUE.items():
        Index(f"{table.name}_{suffix}", columns[field], unique=True)
    for suffix, (fields, condition) in _INDEXES.items():
        parts = [columns[field] for field in fields]
        where: dict[str, Any] = {}
        if condition is not None:
            where = dict.fromkeys(("postgresql_where", "sqlite_where"), condition(columns))
        Index(f"{table.name}_{suffix}", *parts, **where)
    since = max(STATES)
    check = CheckConstraint(columns["state"].in_(STATES[since]), name="state" if since == 1 else f"state_{since}")
    check.info["litestar_queues"] = "states"
    table.append_constraint(check)
    storage: Any = DDL(_STORAGE)  # type: ignore[no-untyped-call]  # SQLAlchemy's own
    event.listen(table, "after_create", storage.execute_if(dialect="postgresql"))
    locks: tuple[Column[Any], ...] = (
        Column("owner", owner(), nullable=False),
        Column("expires_at", moment(), nullable=False),
    )
    records: tuple[Column[Any], ...] = (
        Column("version", BigInteger, nullable=False),
        Column("value", json_text(), nullable=False),
    )
    for suffix, more in zip(BESIDE, (locks, records), strict=True):
        name: Column[str] = Column("name", exact(255), primary_key=True)
        Table(f"{table.name}{suffix}", table.metadata, name, *more, schema=table.schema, info=dict(table.info))


class QueueTaskModel(UUIDAuditBase, QueueTaskModelMixin):
    """The table of tasks where the application brings none of its own."""

    __tablename__ = TABLE
