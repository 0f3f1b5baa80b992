"""The table of a model, by what its columns mean: an application may have named them otherwise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, cast
from uuid import UUID

import sqlalchemy
from sqlalchemy import Column, Table
from sqlalchemy.exc import NoInspectionAvailable

from litestar_queues.backends.advanced_alchemy.model import QueueTaskModelMixin, table_beside
from litestar_queues.backends.sql.values import COLUMNS
from litestar_queues.errors import QueueConfigurationError

__all__ = ("QueueTable",)

_ATTRIBUTES = {"id": "task_id", "metadata": "task_metadata", "created_at": "enqueued_at"}
"""What the fields of a record are called in the model, where that is something else."""
_OURS = ("urgency", "active_key")


@dataclass(frozen=True, slots=True)
class QueueTable:
    """The tables that a model of tasks has.

    Attributes:
        model: The class.
        tasks: Its table.
        locks: The table of locks beside it.
        records: The table of named records beside it.
        keys: The key of each field's column in `tasks`.
        uuid: The key of the primary key, where it is one UUID.
        audited: The key of the base's `created_at`, where it has one.
    """

    model: type[Any]
    tasks: Table
    locks: Table
    records: Table
    keys: Mapping[str, str]
    uuid: str | None = None
    audited: str | None = None

    @classmethod
    def of(cls, model: type[Any]) -> QueueTable:
        """The tables of a model.

        Raises:
            QueueConfigurationError: It is no mapped class with the columns of `QueueTaskModelMixin`.
        """
        try:
            mapper = _mapper_of(model)
            columns: dict[str, Column[Any]] = {attribute.key: attribute.columns[0] for attribute in mapper.column_attrs}
        except (NoInspectionAvailable, AttributeError) as error:
            raise QueueConfigurationError(_not_a_model(model)) from error
        if not issubclass(model, QueueTaskModelMixin):
            raise QueueConfigurationError(_not_a_model(model))
        tasks: Table = mapper.local_table
        keys = {name: columns[_ATTRIBUTES.get(name, name)].key for name in (*COLUMNS, *_OURS)}
        ours = set(keys.values())
        primary: list[Column[Any]] = list(mapper.local_table.primary_key.columns)
        is_uuid = len(primary) == 1 and primary[0].key not in ours and _python_type(primary[0]) is UUID
        created = columns.get("created_at")
        audited = created is not None and created.key not in ours and _python_type(created) is datetime
        return cls(
            model,
            tasks,
            table_beside(tasks, "_lock"),
            table_beside(tasks, "_record"),
            keys,
            primary[0].key if is_uuid else None,
            created.key if created is not None and audited else None,
        )

    @property
    def lacks_rowid(self) -> bool:
        """Whether SQLite would find no row by `rowid`, or another column of that name."""
        return "rowid" in self.tasks.c or not self.tasks.dialect_options["sqlite"]["with_rowid"]

    def columns(self) -> Mapping[str, Column[Any]]:
        """The columns by field."""
        return {name: self.tasks.c[key] for name, key in self.keys.items()}

    def rows(self, columns: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
        """New rows by the keys of their columns, from what was loaded by field.

        A key of UUIDs becomes that of the task, and a base's `created_at` the time at which it was stored; what else the
        base or the application has, its own defaults fill in.
        """
        names = [self.keys[name] for name in columns]
        rows = [dict(zip(names, values, strict=True)) for values in zip(*columns.values(), strict=True)]
        for row, priority, stored_at in zip(rows, columns["priority"], columns["created_at"], strict=True):
            row[self.keys["urgency"]] = -priority
            if self.audited is not None:
                # Advanced Alchemy's type wants a time zone, which the other columns are bound without on MySQL.
                row[self.audited] = stored_at if stored_at.tzinfo is not None else stored_at.replace(tzinfo=UTC)
        if self.uuid is not None:
            uuids = [_uuid(id_) for id_ in columns["id"]]
            if None not in uuids:
                for row, uuid in zip(rows, uuids, strict=True):
                    row[self.uuid] = uuid
        return rows


def _mapper_of(model: type[Any]) -> Any:
    return sqlalchemy.inspect(cast("Any", model))


def _not_a_model(model: object) -> str:
    return (
        f"model_class takes a mapped class that inherits from a declarative base and from QueueTaskModelMixin, not "
        f"{getattr(model, '__qualname__', repr(model))}"
    )


def _python_type(column: Any) -> type[Any] | None:
    try:
        found: type[Any] = column.type.python_type
    except NotImplementedError:
        return None
    return found


def _uuid(id_: str) -> UUID | None:
    """The id as a UUID, if it is the canonical text of one."""
    try:
        found = UUID(id_)
    except ValueError:
        return None
    return found if str(found) == id_ else None
