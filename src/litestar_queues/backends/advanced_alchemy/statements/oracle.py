"""Oracle: candidates, locks, writes under the fence, as in the file of the family, whose comments say why each is as it is.

These have been compiled and parsed, and never been sent to an Oracle: docs/decisions/0011 says what that is worth.

The lists travel as one JSON parameter, which `JSON_TABLE` unpacks; SQLAlchemy would write `TABLE (JSON_TABLE(...))` for a
function that has rows, which Oracle refuses, and so those parts are text. What is written travels as rows of parameters,
one for each task, which Oracle takes in one round trip: there is no UPDATE from a list, and a base's own columns get what
their `onupdate` says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Delete,
    FromClause,
    Select,
    String,
    Text,
    TextualSelect,
    Update,
    and_,
    bindparam,
    cast,
    column,
    delete,
    func,
    literal_column,
    or_,
    select,
    true,
    union_all,
    update,
)
from sqlalchemy import table as described
from sqlalchemy import text as written_out
from sqlalchemy.dialects.oracle import TIMESTAMP

from litestar_queues.backends.advanced_alchemy.statements.core import (
    PREFIX,
    Columns,
    Given,
    Maker,
    claimable,
    earliest,
    first,
    in_state,
    limit,
    locks_by_row,
    number,
    param,
    statements_shared_by_all,
    text,
    waiting,
)
from litestar_queues.backends.advanced_alchemy.table import QueueTable
from litestar_queues.backends.sql.families import Statement
from litestar_queues.backends.sql.values import COMMITTED
from litestar_queues.lifecycle import State

__all__ = ("oracle",)

_MOMENT = TIMESTAMP()
_LONGEST = 256


def _unpacked(name: str, alias: str, columns: Mapping[str, str], *, strict: bool = False) -> TextualSelect:
    """The rows of a JSON parameter. A list that filters is not strict: what is too long to be a value there is not there."""
    parts = ", ".join(f"{one} {type_}" for one, type_ in columns.items())
    names = ", ".join(f"{alias}.{one}" for one in columns)
    # Without the hint, the optimizer would expect 8,168 rows, and might read the whole table for them.
    query = written_out(
        f"SELECT /*+ CARDINALITY({alias} 10) */ {names} "  # noqa: S608  # names of ours
        f"FROM JSON_TABLE(:{PREFIX}{name}, '$[*]'{' ERROR ON ERROR' if strict else ''} COLUMNS ({parts})) {alias}"
    )
    return query.bindparams(bindparam(f"{PREFIX}{name}", type_=Text())).columns(
        *(column(one, String()) for one in columns)
    )


def _texts(name: str) -> Any:
    return _unpacked(name, "i", {"item": f"VARCHAR2({_LONGEST} CHAR) PATH '$'"})


def _held() -> FromClause:
    columns = {"id": "VARCHAR2(37 CHAR) PATH '$[0]'", "fence": "NUMBER(19) PATH '$[1]'"}
    return _unpacked("held", "h", columns, strict=True).subquery("c")


class _Oracle:
    def __init__(self, table: QueueTable) -> None:
        self.table = table
        self.tasks = table.tasks
        self.c = table.columns()

    def now(self) -> ColumnElement[Any]:
        return param("now", _MOMENT)

    def alias(self) -> Columns:
        """The table under a name of its own, for a hint to name it by."""
        return self.table.columns(self.tasks.alias("a"))

    def by_index(self, found: Select[Any], c: Columns, *fields: str) -> Select[Any]:
        """Hold a select to the order of an index, so that it reads no more rows than are wanted."""
        names = " ".join(c[field].name for field in fields)
        return found.with_hint(c["id"].table, f"INDEX(%(name)s ({names}))", "oracle")

    # Claims

    def _promotable(self, *fields: ColumnElement[Any], c: Columns) -> Select[Any]:
        found = select(c["id"], *fields).where(in_state(c, State.SCHEDULED), c["due_at"] <= self.now())
        return found.order_by(*earliest(c)).limit(limit())

    def promote_candidates(self) -> Select[Any]:
        c = self.alias()
        return self.by_index(self._promotable(c=c), c, "state", "due_at", "id")

    def promote_queues_candidates(self) -> Select[Any]:
        c, q = self.alias(), _texts("queues").subquery("q")
        mine = self._promotable(c["due_at"], c=c).where(c["queue"] == q.c.item)
        one = self.by_index(mine, c, "queue", "state", "due_at", "id").lateral("c")
        return select(one.c[0]).select_from(q.join(one, true())).order_by(one.c[1], one.c[0]).limit(limit())

    def lock_scheduled(self) -> Select[Any]:
        c = self.c
        found = select(c["id"]).where(c["id"].in_(_texts("ids")), in_state(c, State.SCHEDULED))
        return found.with_for_update(skip_locked=True)

    def write_promoted(self) -> Update:
        c = self.c
        promoted = update(self.tasks).where(c["id"].in_(_texts("ids")), in_state(c, State.SCHEDULED))
        return promoted.values({c["state"]: State.PENDING.value})

    def _behind(self, given: Given, c: Columns) -> Sequence[ColumnElement[bool]]:
        """Whether a task stands behind the last candidate that was looked at."""
        if "last_due" not in given:
            return ()
        urgency, due, id_ = number("last_urgency"), param("last_due", _MOMENT), text("last_id")
        later = or_(c["due_at"] > due, and_(c["due_at"] == due, c["id"] > id_))
        return (or_(c["urgency"] > urgency, and_(c["urgency"] == urgency, later)),)

    def _candidates(self, given: Given, c: Columns) -> Select[*tuple[Any, ...]]:
        found = select(c["id"], c["urgency"], c["due_at"]).where(
            claimable(c, self.now(), given, _texts), *self._behind(given, c)
        )
        return found.order_by(*first(c)).limit(limit())

    def claim_candidates(self, given: Given) -> Select[Any]:
        c = self.alias()
        found = self._candidates(given, c).where(in_state(c, State.PENDING))
        return self.by_index(found, c, "state", "urgency", "due_at", "id")

    def claim_queues_candidates(self, given: Given) -> Select[*tuple[Any, ...]]:
        c, q = self.alias(), _texts("queues").subquery("q")
        mine = self._candidates(given, c).where(in_state(c, State.PENDING), c["queue"] == q.c.item)
        one = self.by_index(mine, c, "queue", "state", "urgency", "due_at", "id").lateral("c")
        id_, urgency, due_at = one.c
        found = select(id_, urgency, due_at).select_from(q.join(one, true()))
        return found.order_by(urgency, due_at, id_).limit(limit())

    def claim_held_candidates(self, given: Given) -> Select[Any]:
        c, h = self.c, _held()
        found = self._candidates(given, c).where(c["id"] == h.c.id, c["fence"] == h.c.fence, waiting(c))
        if "queues" in given:
            found = found.where(c["queue"].in_(_texts("queues")))
        return found

    def lock_candidates(self, given: Given) -> Select[Any]:
        c = self.c
        found = select(*self.table.record()).where(
            c["id"].in_(_texts("ids")), waiting(c), claimable(c, self.now(), given, _texts)
        )
        return found.with_for_update(skip_locked=True)

    # Rows that are locked, and written

    def by_ids(self, *, lock: bool = False) -> Select[Any]:
        found = select(*self.table.record()).where(self.c["id"].in_(_texts("ids")))
        return found.order_by(self.c["id"]).with_for_update() if lock else found

    def by_keys(self) -> Select[Any]:
        return select(*self.table.record()).where(self.c["active_key"].in_(_texts("keys")))

    def lock_keys(self) -> Select[*tuple[Any, ...]]:
        c = self.c
        found = select(c["active_key"], c["id"]).where(c["active_key"].in_(_texts("keys")))
        return found.order_by(c["id"]).with_for_update()

    def _given(self, field: str) -> ColumnElement[Any]:
        return param(field, self.c[field].type)

    def write_fenced(self, fields: Sequence[str]) -> Update:
        c = self.c
        found = update(self.tasks).where(c["id"] == self._given("id"), c["fence"] == self._given("fence") - 1)
        return found.values({c[field]: self._given(field) for field in fields if field != "id"})

    def write_heartbeats(self, fields: Sequence[str]) -> Update:
        c = self.c
        found = update(self.tasks).where(
            c["id"] == self._given("id"), c["fence"] == self._given("fence"), in_state(c, State.RUNNING)
        )
        return found.values({c[field]: self._given(field) for field in fields if field not in {"id", "fence"}})

    def delete_tasks(self) -> Delete:
        return delete(self.tasks).where(self.c["id"].in_(_texts("ids")))

    # Reads

    def find_stale(self) -> Select[Any]:
        c = self.c
        found = select(*self.table.record()).where(
            in_state(c, State.RUNNING), or_(c["heartbeat_at"].is_(None), c["heartbeat_at"] < param("before", _MOMENT))
        )
        return found.order_by(c["heartbeat_at"].nulls_first(), c["id"]).limit(limit())

    def next_due_queues(self) -> Select[Any]:
        c, q = self.alias(), _texts("queues").subquery("q")
        one = select(func.min(c["due_at"]).label("due_at")).where(in_state(c, State.SCHEDULED), c["queue"] == q.c.item)
        firsts = one.lateral("f")
        return select(func.min(firsts.c.due_at)).select_from(q.join(firsts, true()))


def _settings() -> Any:
    def of(view: str, *names: str) -> Select[*tuple[Any, ...]]:
        p = described(view, column("parameter", String()), column("value", String()))
        return select(p.c.parameter, p.c.value).where(
            p.c.parameter.in_([literal_column(f"'{name}'") for name in names])
        )

    return union_all(
        of("nls_database_parameters", "NLS_CHARACTERSET"), of("nls_session_parameters", "NLS_SORT", "NLS_COMP")
    )


def _version() -> Select[Any]:
    v = described("product_component_version", column("version", String()), column("product", String()))
    return select(func.max(v.c.version)).where(v.c.product.like(literal_column("'Oracle%'")))


def oracle(table: QueueTable) -> Mapping[str, Statement]:
    """The statements for Oracle Database 19c or newer."""
    made = _Oracle(table)
    maker = Maker()
    statements_shared_by_all(maker, table, _texts)
    locks_by_row(maker, table, _MOMENT)
    maker.fixed("version", _version)
    maker.fixed("settings", _settings)
    maker.fixed("now", lambda: select(cast(func.sys_extract_utc(literal_column("SYSTIMESTAMP")), _MOMENT)))
    maker.fixed("enqueued", lambda: (made.by_ids(), made.by_keys()))
    maker.fixed("promote_candidates", made.promote_candidates)
    maker.fixed("promote_queues_candidates", made.promote_queues_candidates)
    maker.fixed("lock_scheduled", made.lock_scheduled)
    maker.fixed("write_promoted", made.write_promoted)
    maker.add("claim_candidates", made.claim_candidates)
    maker.add("claim_queues_candidates", made.claim_queues_candidates)
    maker.add("claim_held_candidates", made.claim_held_candidates)
    maker.add("lock_candidates", made.lock_candidates)
    maker.fixed("lock_tasks", lambda: made.by_ids(lock=True))
    maker.fixed("lock_keys", made.lock_keys)
    maker.by_row("write_fenced", COMMITTED, made.write_fenced)
    maker.by_row("write_heartbeats", ("id", "fence", "heartbeat_at", "progress"), made.write_heartbeats)
    maker.fixed("delete_tasks", made.delete_tasks)
    maker.fixed("get", made.by_ids)
    maker.fixed("find_stale", made.find_stale)
    maker.fixed("next_due", lambda: select(func.min(made.c["due_at"])).where(in_state(made.c, State.SCHEDULED)))
    maker.fixed("next_due_queues", made.next_due_queues)
    return maker.statements
