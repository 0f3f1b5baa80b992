"""SQLite: an operation a statement, as in the file of the family, whose comments say why each is as it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Float,
    FromClause,
    Select,
    String,
    Update,
    delete,
    exists,
    func,
    literal_column,
    or_,
    select,
    type_coerce,
    update,
)
from sqlalchemy.dialects.sqlite import insert

from litestar_queues.backends.advanced_alchemy.statements.core import (
    TIMES,
    Columns,
    Given,
    Maker,
    claimable,
    earliest,
    finished,
    first,
    in_state,
    limit,
    param,
    statements_shared_by_all,
    taken,
    text,
    waiting,
    written,
)
from litestar_queues.backends.advanced_alchemy.table import QueueTable
from litestar_queues.backends.sql.families import Statement
from litestar_queues.backends.sql.values import COMMITTED, HELD
from litestar_queues.columns import BY_NAME, ColumnKind
from litestar_queues.lifecycle import State

__all__ = ("sqlite",)

_ONE: ColumnElement[int] = literal_column("1", BigInteger())
_TYPES: Mapping[ColumnKind, Any] = {"int": BigInteger(), "bigint": BigInteger(), "float": Float()}
"""The types of a batch's fields; all others are texts."""


def _texts(name: str) -> Select[Any]:
    each = func.json_each(text(name)).table_valued("value", name=f"{name}_given")
    return select(each.c.value)


def _rows(name: str, fields: tuple[str, ...]) -> FromClause:
    """The rows of a batch; times as SQLAlchemy writes them, which differs from how the batch has them."""
    each = func.json_each(text(name)).table_valued("value", name="j")

    def part(index: int, field: str) -> ColumnElement[Any]:
        value = each.c.value.op("->>", return_type=_TYPES.get(BY_NAME[field].kind, String()))(
            literal_column(str(index))
        )
        return func.replace(func.substr(value, 1, 26), "T", " ") if field in TIMES else value

    return select(*(part(index, field).label(field) for index, field in enumerate(fields))).subquery(name)


class _Sqlite:
    def __init__(self, table: QueueTable) -> None:
        self.table = table
        self.c = table.columns()
        self.moment = self.c["due_at"].type

    def now(self) -> ColumnElement[Any]:
        return param("now", self.moment)

    def alias(self, name: str) -> Columns:
        return self.table.columns(self.table.tasks.alias(name))

    def take(self, picked: Select[Any]) -> Any:
        claimed = update(self.table.tasks).where(self.c["id"].in_(picked)).values(taken(self.table, self.now()))
        return claimed.returning(*self.table.record())

    def promoted(self, picked: Select[Any]) -> Update:
        return update(self.table.tasks).where(self.c["id"].in_(picked)).values({self.c["state"]: State.PENDING.value})

    # Claims

    def claim(self, given: Given) -> Any:
        c = self.alias("a")
        found = select(c["id"]).where(in_state(c, State.PENDING), claimable(c, self.now(), given, _texts))
        return self.take(found.order_by(*first(c)).limit(limit()))

    def claim_queues(self, given: Given) -> Any:
        q = func.json_each(text("queues")).table_valued("value", name="q")
        c, t = self.alias("a"), self.alias("t")
        mine = (
            select(c["id"])
            .where(in_state(c, State.PENDING), c["queue"] == q.c.value, claimable(c, self.now(), given, _texts))
            .order_by(*first(c))
            .limit(limit())
            .correlate(q)
        )
        return self.take(_crossed(q, t).where(t["id"].in_(mine)).order_by(*first(t)).limit(limit()))

    def claim_held(self, given: Given) -> Any:
        h, t = _rows("held", HELD), self.alias("t")
        found = _crossed(h, t).where(
            t["id"] == h.c.id, t["fence"] == h.c.fence, waiting(t), claimable(t, self.now(), given, _texts)
        )
        if "queues" in given:
            found = found.where(t["queue"].in_(_texts("queues")))
        return self.take(found.order_by(*first(t)).limit(limit()))

    def promote(self) -> Update:
        c = self.alias("a")
        found = select(c["id"]).where(in_state(c, State.SCHEDULED), c["due_at"] <= self.now())
        return self.promoted(found.order_by(*earliest(c)).limit(limit()))

    def promote_queues(self) -> Update:
        q = func.json_each(text("queues")).table_valued("value", name="q")
        c, t = self.alias("a"), self.alias("t")
        due = (
            select(c["id"])
            .where(in_state(c, State.SCHEDULED), c["queue"] == q.c.value, c["due_at"] <= self.now())
            .order_by(*earliest(c))
            .limit(limit())
            .correlate(q)
        )
        return self.promoted(_crossed(q, t).where(t["id"].in_(due)).order_by(*earliest(t)).limit(limit()))

    # Owners

    def touch(self) -> Any:
        h, c = _rows("held", HELD), self.c
        return (
            update(self.table.tasks)
            # The plus keeps the planner, once it has statistics, from going through the running tasks.
            .where(
                c["id"] == h.c.id,
                c["fence"] == h.c.fence,
                c["state"].op("||")(literal_column("''")) == literal_column("'running'"),
            )
            .values({c["heartbeat_at"]: self.now(), c["progress"]: func.coalesce(h.c.progress, c["progress"])})
            .returning(c["id"])
        )

    def commit(self, given: Given, *, keys: bool = False) -> Any:
        new, c = _rows("batch", COMMITTED), self.c
        changed = update(self.table.tasks).where(c["id"] == new.c.id, c["fence"] == new.c.fence - 1)
        if "stale_before" in given:
            before = param("stale_before", self.moment)
            changed = changed.where(or_(c["heartbeat_at"].is_(None), c["heartbeat_at"] < before))
        if keys:
            other = self.alias("holder")
            holder: Select[Any] = select(_ONE).where(other["active_key"] == new.c.active_key, other["id"] != new.c.id)
            changed = changed.where(or_(new.c.active_key.is_(None), ~exists(holder.correlate(new))))
        # The times are texts already, in the form in which they are stored.
        values = {one.key: type_coerce(one, self.c[one.key].type) for one in new.c}
        return changed.values(written(self.table, values)).returning(c["id"])

    def delete(self) -> Any:
        h, t = _rows("held", HELD), self.alias("t")
        found = _crossed(h, t).where(t["id"] == h.c.id, t["fence"] == h.c.fence, finished(t))
        return delete(self.table.tasks).where(self.c["id"].in_(found)).returning(self.c["id"])

    # Reads

    def enqueued(self) -> Any:
        record = self.table.record()
        return select(*record).where(self.c["id"].in_(_texts("ids"))), select(*record).where(
            self.c["active_key"].in_(_texts("keys"))
        )

    def find_stale(self) -> Select[Any]:
        c = self.c
        return (
            select(*self.table.record())
            .where(
                in_state(c, State.RUNNING),
                or_(c["heartbeat_at"].is_(None), c["heartbeat_at"] < param("before", self.moment)),
            )
            .order_by(c["heartbeat_at"], c["id"])
            .limit(limit())
        )

    def next_due_queues(self) -> Select[Any]:
        q = func.json_each(text("queues")).table_valued("value", name="q")
        a = self.alias("a")
        one = (
            select(func.min(a["due_at"]))
            .where(in_state(a, State.SCHEDULED), a["queue"] == q.c.value)
            .correlate(q)
            .scalar_subquery()
        )
        firsts = select(one.label("due_at")).select_from(q).subquery("firsts")
        return select(func.min(firsts.c.due_at))

    # Locks

    def lock(self) -> Any:
        locks = self.table.locks
        made = insert(locks).values(name=text("name"), owner=text("owner"), expires_at=param("expires_at", self.moment))
        return made.on_conflict_do_update(
            index_elements=[locks.c.name],
            set_={"owner": made.excluded.owner, "expires_at": made.excluded.expires_at},
            where=or_(locks.c.owner == made.excluded.owner, locks.c.expires_at <= self.now()),
        ).returning(locks.c.name)


def _crossed(rows: FromClause, tasks: Columns) -> Select[Any]:
    """The tasks for each of the rows: CROSS JOIN keeps SQLite from turning the order round."""
    table = tasks["id"].table
    return select(tasks["id"]).select_from(rows.join(table, literal_column("1") == literal_column("1")))


def sqlite(table: QueueTable) -> Mapping[str, Statement]:
    """The statements for SQLite 3.38 or newer."""
    made = _Sqlite(table)
    maker = Maker()
    statements_shared_by_all(maker, table, _texts)
    maker.fixed("version", lambda: select(func.sqlite_version()))
    maker.fixed("enqueued", made.enqueued)
    maker.add("claim", made.claim)
    maker.add("claim_queues", made.claim_queues)
    maker.add("claim_held", made.claim_held)
    maker.fixed("promote", made.promote)
    maker.fixed("promote_queues", made.promote_queues)
    maker.fixed("touch_heartbeats", made.touch)
    maker.add("commit", made.commit)
    maker.add("commit_keys", lambda given: made.commit(given, keys=True))
    maker.fixed("delete", made.delete)
    maker.fixed("find_stale", made.find_stale)
    maker.fixed("next_due", lambda: select(func.min(made.c["due_at"])).where(in_state(made.c, State.SCHEDULED)))
    maker.fixed("next_due_queues", made.next_due_queues)
    maker.fixed("lock", made.lock)
    return maker.statements
