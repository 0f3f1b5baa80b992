"""PostgreSQL: an operation a statement, as in the file of the family, whose comments say why each is as it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    DateTime,
    Double,
    FromClause,
    Integer,
    Select,
    Text,
    Update,
    and_,
    case,
    cast,
    column,
    delete,
    exists,
    func,
    literal_column,
    or_,
    select,
    true,
    update,
)
from sqlalchemy.dialects.postgresql import JSON, insert

from litestar_queues.backends.advanced_alchemy.statements.core import (
    Given,
    Maker,
    claimable,
    earliest,
    finished,
    first,
    in_state,
    limit,
    number,
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

__all__ = ("postgres",)

_ONE: ColumnElement[int] = literal_column("1", Integer())
_TYPES: Mapping[ColumnKind, Any] = {
    "int": Integer(), "bigint": BigInteger(), "float": Double(), "time": DateTime(timezone=True),
}  # fmt: skip
"""The types of a batch's fields; all others are texts."""


def _texts(name: str) -> Select[Any]:
    each = func.json_array_elements_text(cast(text(name), JSON)).table_valued("value").alias(f"{name}_given")
    return select(each.c.value)


def _rows(name: str, fields: tuple[str, ...]) -> FromClause:
    columns = [column(field, _TYPES.get(BY_NAME[field].kind, Text())) for field in fields]
    made = func.json_to_recordset(cast(text(name), JSON)).table_valued(*columns, name=name)
    return made.render_derived(name=name, with_types=True)


class _Postgres:
    def __init__(self, table: QueueTable, *, skips_locked: bool) -> None:
        self.table = table
        self.c = table.columns()
        self.skips_locked = skips_locked
        self.moment = self.c["due_at"].type

    # Parts

    def now(self, given: Given) -> ColumnElement[Any]:
        return param("now", DateTime(timezone=True)) if "now" in given else func.statement_timestamp()

    def likely(self, condition: ColumnElement[bool]) -> ColumnElement[bool]:
        """A condition that is true of nearly all, and that the planner takes for that."""
        return case((condition, 1)).is_not(None)

    def skipping(self, found: Select[*tuple[Any, ...]], of: FromClause) -> Select[*tuple[Any, ...]]:
        return found.with_for_update(skip_locked=True, of=of) if self.skips_locked else found

    def those(self, picked: Select[Any]) -> ColumnElement[bool]:
        """Whose ids were picked: as an array, chosen once, and looked up by the index."""
        chosen = self.c["id"] == func.any(func.array(picked.scalar_subquery()))
        return chosen if self.skips_locked else and_(chosen, waiting(self.c))

    def take(self, picked: Select[Any], given: Given) -> Any:
        """Claim those that were picked."""
        claimed = update(self.table.tasks).where(self.those(picked)).values(taken(self.table, self.now(given)))
        return claimed.returning(*self.table.record())

    def promoted(self, picked: Select[Any]) -> Update:
        return update(self.table.tasks).where(self.those(picked)).values({self.c["state"]: State.PENDING.value})

    # Claims

    def claim(self, given: Given, *, unless_due: bool = False) -> Any:
        a = self.table.tasks.alias("a")
        c = self.table.columns(a)
        found = select(c["id"]).where(
            in_state(c, State.PENDING), self.likely(claimable(c, self.now(given), given, _texts))
        )
        if unless_due:
            b = self.table.columns(self.table.tasks.alias("b"))
            next_due = select(func.min(b["due_at"])).where(in_state(b, State.SCHEDULED)).scalar_subquery()
            found = found.where(func.coalesce(next_due > self.now(given), true()))
        return self.take(self.skipping(found.order_by(*first(c)).limit(limit()), a), given)

    def claim_queues(self, given: Given, *, unless_due: bool = False) -> Any:
        q = func.json_array_elements_text(cast(text("queues"), JSON)).table_valued("value").alias("q")
        a = self.table.tasks.alias("a")
        c = self.table.columns(a)
        found = select(c["id"].label("id"), c["urgency"].label("urgency"), c["due_at"].label("due_at")).where(
            in_state(c, State.PENDING),
            c["queue"] >= q.c.value,
            c["queue"] <= q.c.value,
            self.likely(claimable(c, self.now(given), given, _texts)),
        )
        s = self.skipping(found.order_by(c["queue"], *first(c)).limit(limit()), a).lateral("s")
        picked = select(s.c.id).select_from(q.join(s, true()))
        if unless_due:
            picked = picked.where(~self.something_due(given))
        return self.take(picked.order_by(s.c.urgency, s.c.due_at, s.c.id).limit(limit()), given)

    def something_due(self, given: Given) -> Any:
        q = func.json_array_elements_text(cast(text("queues"), JSON)).table_valued("value").alias("due_queue")
        b = self.table.columns(self.table.tasks.alias("b"))
        next_due = (
            select(b["due_at"])
            .where(in_state(b, State.SCHEDULED), b["queue"] >= q.c.value, b["queue"] <= q.c.value)
            .order_by(b["queue"], *earliest(b))
            .limit(1)
            .correlate(q)
            .scalar_subquery()
        )
        return exists(select(_ONE).select_from(q).where(next_due <= self.now(given)))

    def promote(self, given: Given) -> Update:
        a = self.table.tasks.alias("a")
        c = self.table.columns(a)
        found = select(c["id"]).where(in_state(c, State.SCHEDULED), c["due_at"] <= self.now(given))
        return self.promoted(self.skipping(found.order_by(*earliest(c)).limit(limit()), a))

    def promote_queues(self, given: Given) -> Update:
        q = func.json_array_elements_text(cast(text("queues"), JSON)).table_valued("value").alias("q")
        a = self.table.tasks.alias("a")
        c = self.table.columns(a)
        found = select(c["id"].label("id"), c["due_at"].label("due_at")).where(
            in_state(c, State.SCHEDULED),
            c["queue"] >= q.c.value,
            c["queue"] <= q.c.value,
            c["due_at"] <= self.now(given),
        )
        s = self.skipping(found.order_by(c["queue"], *earliest(c)).limit(limit()), a).lateral("s")
        picked = select(s.c.id).select_from(q.join(s, true())).order_by(s.c.due_at, s.c.id).limit(limit())
        return self.promoted(picked)

    def claim_held(self, given: Given) -> Any:
        h = _rows("held", HELD)
        a = self.table.tasks.alias("a")
        c = self.table.columns(a)
        found = (
            select(c["id"])
            .select_from(h.join(a, and_(c["id"] == h.c.id, c["fence"] == h.c.fence)))
            .where(h.c.fence >= literal_column("0"), waiting(c), claimable(c, self.now(given), given, _texts))
        )
        if "queues" in given:
            found = found.where(c["queue"].in_(_texts("queues")))
        return self.take(self.skipping(found.order_by(*first(c)).limit(limit()), a), given)

    # Owners

    def touch(self, given: Given) -> Any:
        h, c = _rows("held", HELD), self.c
        return (
            update(self.table.tasks)
            .where(
                c["id"] == h.c.id,
                c["fence"] == h.c.fence,
                h.c.fence >= literal_column("0"),
                in_state(c, State.RUNNING),
            )
            .values(
                {
                    c["heartbeat_at"]: self.now(given),
                    c["progress"]: func.coalesce(h.c.progress, c["progress"]),
                }
            )
            .returning(c["id"])
        )

    def commit(self, given: Given, *, keys: bool = False) -> Any:
        new, c = _rows("batch", COMMITTED), self.c
        changed = update(self.table.tasks).where(
            c["id"] == new.c.id,
            c["fence"] == new.c.fence - 1,
            # Always so, and said so that the planner expects a dozen rows, and looks each up by its id.
            new.c.fence > literal_column("0"),
            new.c.attempt >= literal_column("0"),
        )
        if "stale_before" in given:
            before = param("stale_before", DateTime(timezone=True))
            changed = changed.where(or_(c["heartbeat_at"].is_(None), c["heartbeat_at"] < before))
        if keys:
            other = self.table.columns(self.table.tasks.alias("holder"))
            holder: Select[Any] = select(_ONE).where(other["active_key"] == new.c.active_key, other["id"] != new.c.id)
            changed = changed.where(or_(new.c.active_key.is_(None), ~exists(holder.correlate(new))))
        return changed.values(written(self.table, _by_name(new))).returning(c["id"])

    def delete(self) -> Any:
        h, c = _rows("held", HELD), self.c
        return (
            delete(self.table.tasks)
            .where(c["id"] == h.c.id, c["fence"] == h.c.fence, h.c.fence >= literal_column("0"), finished(c))
            .returning(c["id"])
        )

    # Reads

    def enqueued(self) -> Any:
        record = self.table.record()
        return select(*record).where(self.c["id"].in_(_texts("ids"))), select(*record).where(
            self.c["active_key"].in_(_texts("keys"))
        )

    def find_stale(self) -> Select[Any]:
        c = self.c
        before = param("before", DateTime(timezone=True))
        return (
            select(*self.table.record())
            .where(in_state(c, State.RUNNING), or_(c["heartbeat_at"].is_(None), c["heartbeat_at"] < before))
            .order_by(c["heartbeat_at"].nulls_first(), c["id"])
            .limit(limit())
        )

    def next_due_queues(self) -> Select[Any]:
        q = func.json_array_elements_text(cast(text("queues"), JSON)).table_valued("value").alias("q")
        a = self.table.columns(self.table.tasks.alias("a"))
        one = (
            select(a["due_at"].label("due_at"))
            .where(in_state(a, State.SCHEDULED), a["queue"] >= q.c.value, a["queue"] <= q.c.value)
            .order_by(a["queue"], *earliest(a))
            .limit(1)
            .lateral("s")
        )
        return select(func.min(one.c.due_at)).select_from(q.join(one, true()))

    # Locks

    def lock(self, given: Given) -> Any:
        locks = self.table.locks
        until = self.now(given) + number("ttl") * literal_column("interval '1 microsecond'")
        made = insert(locks).values(name=text("name"), owner=text("owner"), expires_at=until)
        return made.on_conflict_do_update(
            index_elements=[locks.c.name],
            set_={"owner": made.excluded.owner, "expires_at": made.excluded.expires_at},
            where=or_(locks.c.owner == made.excluded.owner, locks.c.expires_at <= self.now(given)),
        ).returning(locks.c.name)


def _by_name(rows: FromClause) -> Mapping[str, ColumnElement[Any]]:
    return {one.key: one for one in rows.c}


def postgres(table: QueueTable, *, skips_locked: bool = True) -> Mapping[str, Statement]:
    """The statements for PostgreSQL 12 or newer.

    Args:
        table: The model's tables.
        skips_locked: Whether claims lock what they take; else they take what is still as it was when they write.
    """
    made = _Postgres(table, skips_locked=skips_locked)
    maker = Maker()
    statements_shared_by_all(maker, table, _texts)
    maker.fixed("version", lambda: select(func.current_setting("server_version")))
    maker.fixed("now", lambda: select(func.clock_timestamp()))
    maker.fixed("enqueued", made.enqueued)
    maker.add("claim", made.claim)
    maker.add("claim_unless_due", lambda given: made.claim(given, unless_due=True))
    maker.add("claim_queues", made.claim_queues)
    maker.add("claim_queues_unless_due", lambda given: made.claim_queues(given, unless_due=True))
    maker.add("claim_held", made.claim_held)
    maker.add("promote", made.promote)
    maker.add("promote_queues", made.promote_queues)
    maker.add("touch_heartbeats", made.touch)
    maker.add("commit", made.commit)
    maker.add("commit_keys", lambda given: made.commit(given, keys=True))
    maker.fixed("delete", made.delete)
    maker.fixed("find_stale", made.find_stale)
    maker.fixed("next_due", lambda: select(func.min(made.c["due_at"])).where(in_state(made.c, State.SCHEDULED)))
    maker.fixed("next_due_queues", made.next_due_queues)
    maker.add("lock", made.lock)
    maker.fixed("notify", lambda: select(func.pg_notify(text("channel"), text("payload"))))
    return maker.statements
