"""What the families' statements are made of."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import (
    BigInteger,
    BindParameter,
    Column,
    ColumnElement,
    Executable,
    Integer,
    Select,
    String,
    and_,
    bindparam,
    delete,
    func,
    insert,
    literal_column,
    or_,
    select,
    update,
)

from litestar_queues.backends.advanced_alchemy.table import QueueTable
from litestar_queues.backends.sql.families import Statement
from litestar_queues.backends.sql.values import COMMITTED
from litestar_queues.columns import names
from litestar_queues.lifecycle import TERMINAL, State

__all__ = (
    "PREFIX",
    "TIMES",
    "Columns",
    "CoreStatement",
    "Given",
    "Maker",
    "Texts",
    "finished",
    "in_state",
    "limit",
    "listed",
    "locks_by_row",
    "number",
    "param",
    "statements_shared_by_all",
    "text",
    "waiting",
    "written",
)

PREFIX = "p_"
"""Stands before the name of each parameter: SQLAlchemy wants the names of columns for itself."""

TIMES = names(lambda one: one.committed and one.kind == "time")
"""The fields of a row to be committed that are times."""

Given = Collection[str]
"""The names of those parameters that are not None."""
Made = Executable | tuple[Executable, ...]
Columns = Mapping[str, Column[Any]]
Texts = Callable[[str], Select[Any]]
"""A select of the texts in a list, of which the parameter has the name."""


@dataclass(frozen=True, slots=True, eq=False)
class CoreStatement(Statement):
    """A statement that depends on which of its parameters are given: what is not asked for does not stand in it.

    Attributes:
        make: Makes it; of several, the rows are those of all.
        lists: Parameters that it takes as lists, and not as the JSON text that an engine makes of them.
        fields: The fields of a batch of which it takes each row as parameters of its own, and not the JSON text; none
            where it takes no rows.
    """

    make: Callable[[Given], Made] = field(kw_only=True)
    lists: frozenset[str] = field(kw_only=True, default=frozenset())
    fields: tuple[str, ...] = field(kw_only=True, default=())
    _made: dict[frozenset[str], tuple[Executable, ...]] = field(init=False, default_factory=dict[Any, Any])

    def parts(self, parameters: Mapping[str, Any]) -> tuple[Executable, ...]:
        """The expressions for these parameters, each the same object every time: SQLAlchemy compiles it once."""
        given = frozenset(name for name, value in parameters.items() if value is not None)
        found = self._made.get(given)
        if found is None:
            made = self.make(given)
            found = self._made[given] = made if isinstance(made, tuple) else (made,)
        return found

    def bound(self, parameters: Mapping[str, Any]) -> dict[str, Any] | list[dict[str, Any]]:
        """The parameters as SQLAlchemy gets them."""
        if self.fields:
            rows: list[list[Any]] = msgspec.json.decode(parameters["batch"])
            return [_by_row(row, self.fields) for row in rows]
        return {
            f"{PREFIX}{name}": msgspec.json.decode(value) if name in self.lists else value
            for name, value in parameters.items()
            if value is not None
        }


def _by_row(row: list[Any], fields: Sequence[str]) -> dict[str, Any]:
    """The parameters of one row of a batch to be committed."""
    values = {
        name: datetime.fromisoformat(value) if name in TIMES and value is not None else value
        for name, value in zip(COMMITTED, row, strict=True)
    }
    return {f"{PREFIX}{name}": values[name] for name in fields}


class Maker:
    """Collects statements by name."""

    def __init__(self) -> None:
        self.statements: dict[str, Statement] = {}

    def add(self, name: str, make: Callable[[Given], Made], *, lists: Iterable[str] = ()) -> None:
        """A statement that is made when it is first needed."""
        self.statements[name] = CoreStatement(name, "", make=make, lists=frozenset(lists))

    def fixed(self, name: str, make: Callable[[], Made], *, lists: Iterable[str] = ()) -> None:
        """The same for one that depends on nothing."""
        self.add(name, lambda _given: make(), lists=lists)

    def by_row(self, name: str, fields: Sequence[str], make: Callable[[Sequence[str]], Made]) -> None:
        """The same for one that is sent once for all rows of a batch to be committed, with these fields of each."""
        self.statements[name] = CoreStatement(name, "", make=lambda _given: make(fields), fields=tuple(fields))


# Parameters and literals


def param(name: str, type_: Any) -> BindParameter[Any]:
    """A parameter of a statement."""
    return bindparam(f"{PREFIX}{name}", type_=type_)


def text(name: str) -> BindParameter[str]:
    """A text."""
    return param(name, String())


def listed(name: str) -> BindParameter[Any]:
    """A list of texts, for a statement that takes it as one."""
    return bindparam(f"{PREFIX}{name}", type_=String(), expanding=True)


def number(name: str) -> BindParameter[int]:
    """An integer of 64 bits."""
    return param(name, BigInteger())


def limit() -> BindParameter[int]:
    """How many rows at most."""
    return param("limit", Integer())


def _literal(value: str) -> ColumnElement[str]:
    """A text of ours that stands in the statement: a planner finds an index with a condition only if it can read it."""
    return literal_column(f"'{value}'", String())


def in_state(columns: Columns, *states: State) -> ColumnElement[bool]:
    """Whether a task is in one of the states."""
    if len(states) == 1:
        return columns["state"] == _literal(states[0].value)
    return columns["state"].in_([_literal(state.value) for state in states])


def waiting(columns: Columns) -> ColumnElement[bool]:
    """Whether a task may be claimed sooner or later."""
    return in_state(columns, State.PENDING, State.SCHEDULED)


def finished(columns: Columns) -> ColumnElement[bool]:
    """Whether a task has come to its end."""
    return in_state(columns, *sorted(TERMINAL))


def first(columns: Columns) -> tuple[Column[Any], ...]:
    """The order of a claim."""
    return columns["urgency"], columns["due_at"], columns["id"]


def earliest(columns: Columns) -> tuple[Column[Any], ...]:
    """The order in which scheduled tasks are promoted."""
    return columns["due_at"], columns["id"]


def claimable(columns: Columns, now: ColumnElement[Any], given: Given, texts: Texts) -> ColumnElement[bool]:
    """Whether a waiting task may be claimed now, by whom it is for."""
    parts: list[ColumnElement[bool]] = [
        columns["due_at"] <= now,
        or_(columns["expires_at"].is_(None), columns["expires_at"] > now),
    ]
    if "execution_backends" in given:
        parts.append(columns["execution_backend"].in_(texts("execution_backends")))
    return and_(*parts)


def taken(table: QueueTable, now: ColumnElement[Any]) -> dict[Any, Any]:
    """What a claim sets."""
    c = table.columns()
    return {
        c["state"]: State.RUNNING.value,
        c["attempt"]: c["attempt"] + 1,
        c["fence"]: c["fence"] + 1,
        c["worker"]: text("worker"),
        c["started_at"]: now,
        c["heartbeat_at"]: now,
    }


def written(table: QueueTable, new: Mapping[str, ColumnElement[Any]]) -> dict[Any, Any]:
    """What a commit sets, from the columns of a batch."""
    columns = table.columns()
    return {columns[name]: new[name] for name in COMMITTED if name != "id"}


def statements_shared_by_all(maker: Maker, table: QueueTable, texts: Texts) -> None:
    """Statements that only read, or touch the locks, and that every dialect understands alike."""
    tasks = table.tasks
    c = table.columns()
    moment = c["due_at"].type
    record = table.record()

    maker.fixed(
        "check_schema",
        lambda: (
            select(*tasks.c).where(literal_column("1") == literal_column("0")),
            select(*table.locks.c).where(literal_column("1") == literal_column("0")),
        ),
    )
    maker.fixed("get", lambda: select(*record).where(c["id"].in_(texts("ids"))))

    def find(condition: ColumnElement[bool], *order: ColumnElement[Any]) -> Select[Any]:
        return select(*record).where(condition).order_by(*order).limit(limit())

    maker.fixed(
        "find_overdue",
        lambda: find(
            and_(waiting(c), c["expires_at"].is_not(None), c["expires_at"] <= param("at", moment)),
            c["expires_at"],
            c["id"],
        ),
    )
    maker.fixed(
        "find_finished",
        lambda: find(
            and_(c["finished_at"].is_not(None), c["finished_at"] < param("before", moment)), c["finished_at"], c["id"]
        ),
    )

    def matching(given: Given) -> Select[Any]:
        parts: list[ColumnElement[bool]] = [
            c[field_].in_(texts(name))
            for name, field_ in (("states", "state"), ("queues", "queue"), ("names", "name"))
            if name in given
        ]
        if "key" in given:
            parts.append(c["key"] == text("key"))
        return find(and_(literal_column("1") == literal_column("1"), *parts), c["created_at"].desc(), c["id"])

    maker.add("find_matching", matching)

    def count(given: Given) -> Select[*tuple[Any, ...]]:
        found = select(c["queue"], c["state"], func.count()).group_by(c["queue"], c["state"])
        return found.where(c["queue"].in_(texts("queues"))) if "queues" in given else found

    maker.add("count", count)
    locks = table.locks.c
    maker.fixed("unlock", lambda: delete(table.locks).where(locks.name == text("name"), locks.owner == text("owner")))


def locks_by_row(maker: Maker, table: QueueTable, moment: Any) -> None:
    """Statements of the locks where one is read under a row's lock, and then written.

    The insert of a lock's first row fails as a conflict where another was faster, and is then tried again.
    """
    locks = table.locks
    name, owner, expires_at = text("name"), text("owner"), param("expires_at", moment)
    of_name = locks.c.name == name
    maker.fixed("lock_read", lambda: select(locks.c.owner, locks.c.expires_at).where(of_name).with_for_update())
    maker.fixed("lock_write", lambda: update(locks).where(of_name).values(owner=owner, expires_at=expires_at))
    maker.fixed("lock_insert", lambda: insert(locks).values(name=name, owner=owner, expires_at=expires_at))
