"""MySQL and MariaDB: lock, step, write, as in the file of the family, whose comments say why each is as it is.

The lists and batches travel as one JSON parameter, which `JSON_TABLE` unpacks. It always comes first in a join that is
held to its order: read the other way round, a small table would be locked as a whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import (
    ColumnElement,
    FromClause,
    Join,
    Select,
    Update,
    and_,
    column,
    delete,
    func,
    literal_column,
    or_,
    select,
)
from sqlalchemy.dialects.mysql import DATETIME
from sqlalchemy.ext.compiler import compiles

from litestar_queues.backends.advanced_alchemy.statements.core import (
    TIMES,
    Columns,
    Given,
    Maker,
    claimable,
    earliest,
    first,
    in_state,
    limit,
    listed,
    locks_by_row,
    param,
    statements_shared_by_all,
    text,
    waiting,
)
from litestar_queues.backends.advanced_alchemy.table import QueueTable
from litestar_queues.backends.advanced_alchemy.types import BINARY
from litestar_queues.backends.sql.families import MYSQL, Statement
from litestar_queues.backends.sql.values import COMMITTED, HELD
from litestar_queues.columns import BY_NAME
from litestar_queues.lifecycle import State

__all__ = ("mysql",)

_MOMENT = DATETIME(fsp=6)
_EXACT = f"CHARACTER SET utf8mb4 COLLATE {BINARY}"
_TYPES = MYSQL.lists.batch_types({"exact": _EXACT})


class _InOrder(Join):
    """A join whose left side is read first."""

    inherit_cache = True


@compiles(_InOrder)
def _in_order(join: _InOrder, compiler: Any, **kwargs: Any) -> str:
    kwargs.pop("from_linter", None)  # looks for joins without a condition
    left, right = (compiler.process(side, **{**kwargs, "asfrom": True}) for side in (join.left, join.right))
    return f"{left} STRAIGHT_JOIN {right} ON {compiler.process(join.onclause, **{**kwargs, 'asfrom': False})}"


class _UpdateInOrder(Update):
    """An update from rows that are read first; in one of a join, SQLAlchemy sets a column with an `onupdate` twice."""

    inherit_cache = True


@compiles(_UpdateInOrder)
def _update_in_order(statement: _UpdateInOrder, compiler: Any, **kwargs: Any) -> str:
    def tables(_statement: Any, table: Any, rows: Any, **how: Any) -> str:
        named = (compiler.process(one, **{**how, "asfrom": True, "iscrud": True}) for one in (*rows, table))
        return " STRAIGHT_JOIN ".join(named)

    compiler.update_tables_clause = tables
    try:
        return str(compiler.visit_update(statement, **kwargs))
    finally:
        del compiler.update_tables_clause


def _table(name: str, columns: str, *names: str) -> FromClause:
    made: Any = func.JSON_TABLE(text(name), literal_column(f"'$[*]' COLUMNS ({columns})"))
    return made.table_valued(*(column(one) for one in names), name=f"{name}_given")  # type: ignore[no-any-return]


def _list(name: str) -> FromClause:
    return _table(name, f"value VARCHAR(255) {_EXACT} PATH '$'", "value")


def _texts(name: str) -> Select[Any]:
    return select(_list(name).c.value)


def _rows(name: str, fields: tuple[str, ...]) -> FromClause:
    columns = (f"`{field}` {_TYPES[BY_NAME[field].kind]} PATH '$[{index}]'" for index, field in enumerate(fields))
    return _table(name, ", ".join(columns), *fields)


class _Mysql:
    def __init__(self, table: QueueTable) -> None:
        self.table = table
        self.tasks = table.tasks
        self.c = table.columns()

    def now(self) -> ColumnElement[Any]:
        return param("now", _MOMENT)

    def by_index(self, found: Select[Any], suffix: str) -> Select[Any]:
        """Hold a select to the order of an index, so that no more rows are read, and locked, than are wanted."""
        return found.with_hint(self.tasks, f"FORCE INDEX (`{self.tasks.name}_{suffix}`)")

    def joined(self, rows: FromClause, condition: ColumnElement[bool]) -> Join:
        return _InOrder(rows, self.tasks, condition)

    def of(self, rows: FromClause, condition: ColumnElement[bool]) -> Select[Any]:
        return select(*self.table.record()).select_from(self.joined(rows, condition))

    # Claims

    def promote(self, *, queue: bool = False) -> Any:
        a = self.tasks.alias("a")
        c = self.table.columns(a)
        found = select(c["id"].label("id")).where(in_state(c, State.SCHEDULED), c["due_at"] <= self.now())
        if queue:
            found = found.where(c["queue"] == text("queue"))
        hint = f"FORCE INDEX (`{self.tasks.name}_{'queue_scheduled' if queue else 'scheduled'}`)"
        due = found.with_hint(a, hint).order_by(*earliest(c)).limit(limit()).with_for_update(skip_locked=True)
        s = due.subquery("s")
        return _UpdateInOrder(self.tasks).where(self.c["id"] == s.c.id).values({self.c["state"]: State.PENDING.value})

    def claim(self, given: Given, *, queue: bool = False) -> Select[Any]:
        c = self.c
        found = select(*self.table.record()).where(in_state(c, State.PENDING), claimable(c, self.now(), given, _texts))
        if queue:
            found = found.where(c["queue"] == text("queue"))
        found = self.by_index(found, "queue_ready" if queue else "ready")
        return found.order_by(*first(c)).limit(limit()).with_for_update(skip_locked=True)

    def claim_held(self, given: Given) -> Select[Any]:
        h, c = _rows("held", HELD), self.c
        found = self.of(h, and_(c["id"] == h.c.id, c["fence"] == h.c.fence)).where(
            waiting(c), claimable(c, self.now(), given, _texts)
        )
        if "queues" in given:
            found = found.where(c["queue"].in_(_texts("queues")))
        return found.order_by(*first(c)).limit(limit()).with_for_update(of=self.tasks, skip_locked=True)

    # Rows that are locked, and written

    def by_ids(self, *, lock: bool = False) -> Select[Any]:
        ids = _list("ids")
        found = self.of(ids, self.c["id"] == ids.c.value)
        return found.with_for_update(of=self.tasks) if lock else found

    def by_keys(self) -> Select[Any]:
        keys = _list("keys")
        return self.of(keys, self.c["active_key"] == keys.c.value).with_for_update(of=self.tasks)

    def lock_keys(self) -> Select[*tuple[Any, ...]]:
        return self.by_keys().with_only_columns(self.c["active_key"], self.c["id"], maintain_column_froms=True)

    def write(self) -> Any:
        new, columns = _rows("batch", COMMITTED), self.c
        values = {
            columns[name]: func.left(new.c[name], 26) if name in TIMES else new.c[name]
            for name in COMMITTED
            if name != "id"
        }
        return _UpdateInOrder(self.tasks).where(columns["id"] == new.c.id).values(values)

    # Reads

    def find_stale(self) -> Select[Any]:
        c = self.c
        found = select(*self.table.record()).where(
            in_state(c, State.RUNNING), or_(c["heartbeat_at"].is_(None), c["heartbeat_at"] < param("before", _MOMENT))
        )
        return self.by_index(found, "state").order_by(c["heartbeat_at"], c["id"]).limit(limit())

    def next_due(self) -> Select[Any]:
        c = self.c
        found = select(c["due_at"]).where(in_state(c, State.SCHEDULED))
        return self.by_index(found, "scheduled").order_by(c["due_at"]).limit(1)

    def next_due_queues(self) -> Select[Any]:
        q = _list("queues")
        a = self.tasks.alias("a")
        c = self.table.columns(a)
        one = select(func.min(c["due_at"])).where(in_state(c, State.SCHEDULED), c["queue"] == q.c.value)
        firsts = select(one.correlate(q).scalar_subquery().label("due_at")).select_from(q).subquery("firsts")
        return select(func.min(firsts.c.due_at))


def mysql(table: QueueTable) -> Mapping[str, Statement]:
    """The statements for MySQL 8.0.19 or newer, and MariaDB 10.6 or newer."""
    made = _Mysql(table)
    c: Columns = made.c
    maker = Maker()
    statements_shared_by_all(maker, table, _texts)
    locks_by_row(maker, table, _MOMENT)
    maker.fixed("version", lambda: select(func.version()))
    maker.fixed("now", lambda: select(func.utc_timestamp(literal_column("6"), type_=_MOMENT)))
    maker.fixed("enqueued", lambda: (made.by_ids(lock=True), made.by_keys()))
    maker.fixed("promote", made.promote)
    maker.fixed("promote_queue", lambda: made.promote(queue=True))
    maker.add("claim_lock", made.claim)
    maker.add("claim_queue_lock", lambda given: made.claim(given, queue=True))
    maker.add("claim_held_lock", made.claim_held)
    maker.fixed("lock_tasks", lambda: made.by_ids(lock=True))
    maker.fixed("lock_keys", made.lock_keys)
    maker.fixed("write_tasks", made.write)
    # MariaDB before 11.1 would read the whole table for a delete whose ids are those of a subquery.
    maker.fixed("delete_tasks", lambda: delete(made.tasks).where(c["id"].in_(listed("ids"))), lists=["ids"])
    maker.fixed("get", made.by_ids)
    maker.fixed("find_stale", made.find_stale)
    maker.fixed("next_due", made.next_due)
    maker.fixed("next_due_queues", made.next_due_queues)
    return maker.statements
