"""The operations of the port over SQL, for sync and async drivers alike: what is the same in every family.

How a family's statements make up an operation is its engine's: one statement does the whole of it (`one_statement`), or
rows are locked, changed by `lifecycle.step` and written (`locking`), with candidates that are read first where a statement
cannot limit what it locks (`candidates`). Each engine lists the statements that it needs, and is made of no fewer.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from typing import Any, ClassVar

import msgspec

from litestar_queues.backends.parts import Parts
from litestar_queues.backends.sql.family import TABLE, Family, Kind, Statement
from litestar_queues.backends.sql.program import (
    Call,
    ConflictError,
    Load,
    Program,
    Rows,
    Steps,
    reads,
    writes,
    writes_each,
    writes_once,
)
from litestar_queues.backends.sql.values import (
    COMMITTED,
    ENQUEUED,
    HELD,
    Row,
    batch_text,
    commit_rows,
    enqueue_rows,
    held_rows,
    json_text,
    kept_text,
    loaded_columns,
    record_of,
)
from litestar_queues.clock import Clock
from litestar_queues.errors import QueueConfigurationError
from litestar_queues.lifecycle import State, stored_state
from litestar_queues.records import (
    LIMIT_MAX,
    Count,
    Dispatched,
    Enqueued,
    Finished,
    Held,
    Matching,
    NamedRecord,
    NewTask,
    Overdue,
    Query,
    Stale,
    TaskRecord,
    Want,
    admit,
    claim_order,
    first_outcomes,
    once_held,
)

__all__ = ("OWNED", "PROMOTED_AT_ONCE", "Engine")

OWNED = frozenset({State.RUNNING, State.DISPATCHED})
"""The states of a task that somebody has claimed or reserved, and sends heartbeats for."""

SCHEMA = "schema"
"""The named record of the schema's version, which is no business of the port's."""

_EVER = datetime(1000, 1, 1, tzinfo=UTC)
"""The earliest time that every database can compare with."""
PROMOTED_AT_ONCE = 1000
"""How many due tasks a claim makes pending, besides as many as it wants: what the port promises, so that the cost of a
claim stays bounded where a great many come due at once."""


class Engine(ABC):
    """Programs of one family, over a table.

    Args:
        family: What differs from other databases.
        statements: The family's statements, for the table.
        clock: The time, for a family that has no clock of its own.
        table: The table's name, as the statements have it.
        loads: Whether new tasks are loaded as rows, instead of being stored by the statement `enqueue`.

    Raises:
        QueueConfigurationError: A statement is missing; names it.
    """

    owes: ClassVar[frozenset[str]] = frozenset(
        {"check_schema", "count", "enqueue", "enqueued"}
        | {"find_dispatched", "find_finished", "find_matching", "find_overdue", "find_stale"}
        | {"get", "next_due", "next_due_queues", "unlock", "version"}
        | {"insert_named", "read_named", "update_named"}
    )
    """The statements that every family with this engine has. One with a server also has `now`, one with `settings` the
    statement that reads them, and one whose server tells how much it takes the statement `longest`."""
    may_use: ClassVar[frozenset[str]] = frozenset({"bound_wait"})
    """The statements that such a family may have besides, and those of its schema."""
    passes_locked_tasks: ClassVar[bool] = False
    """Whether heartbeats and recoveries leave out, instead of waiting for, what another transaction has locked."""

    def __init__(
        self,
        family: Family,
        statements: Mapping[str, Statement],
        clock: Clock,
        *,
        table: str = TABLE,
        loads: bool = False,
    ) -> None:
        self.check(family, statements, loads=loads)
        self.family = family
        self._table_name = table
        self._statements = statements
        self._clock = clock
        self._loads = loads
        size = family.sizes.of_text
        self.parts = Parts(
            family.sizes,
            new=lambda tasks, now: size(self._enqueue_batch(tasks, now)),
            changed=lambda tasks: size(self._commit_batch(tasks)),
            held=lambda held: size(self._held_batch(held)),
        )
        self._kept: Callable[[str], str] | None = kept_text if family.empty_is_null else None
        self._read = family.read_value or _as_it_is

    @classmethod
    def owed(cls, family: Family, *, loads: bool = False) -> frozenset[str]:
        """The statements that the engine of this family cannot do without."""
        of_family = {
            "now": family.clock == "server",
            "settings": bool(family.settings),
            "longest": family.sizes.told,
        }
        return (cls.owes | {name for name, is_owed in of_family.items() if is_owed}) - ({"enqueue"} if loads else set())

    @classmethod
    def check(cls, family: Family, statements: Collection[str], *, loads: bool = False) -> None:
        """Make sure that nothing is missing.

        Raises:
            QueueConfigurationError: A statement is missing; names the family and the statement.
        """
        if missing := cls.owed(family, loads=loads).difference(statements):
            raise QueueConfigurationError(
                f"the statements of the {family.name} family lack {', '.join(map(repr, sorted(missing)))}"
            )

    # The server

    @reads
    def check_schema(self) -> Steps[None]:
        """Fail with the database's own error where the table, or a column of it, is missing."""
        yield self._call("check_schema")

    @reads
    def version(self) -> Steps[str]:
        found = yield self._call("version")
        return str(found.rows[0][0])

    @reads
    def settings(self) -> Steps[dict[str, str]]:
        """Those of the database's settings that the family wants to know; none where the rest suits every one."""
        if not self.family.settings:
            return {}
        found = yield self._call("settings")
        return {str(name): str(value) for name, value in found.rows}

    @reads
    def longest(self) -> Steps[int]:
        """Bytes of the longest statement that the server takes; only for a family whose server tells it."""
        found = yield self._call("longest")
        return int(found.rows[0][0])

    # The port

    @reads
    def now(self) -> Steps[datetime]:
        if self.family.clock == "client":
            return self._clock.now()
        return (yield from self._server_time())

    def enqueue_many(
        self, tasks: Sequence[NewTask], now: datetime | None, *, bounded: bool = False
    ) -> Program[list[Enqueued]]:
        """One statement suffices without keys. With them, what is stored depends on what is looked up meanwhile.

        If `bounded`, one attempt does not wait for long for a key that an open transaction holds, where the family can
        limit that for one transaction.

        What a driver makes of several rows that are loaded need not be one statement, nor does a batch that is large.
        """
        is_one = (
            all(task.key is None for task in tasks) and not (self._loads and len(tasks) > 1) and self.parts.fits(tasks)
        )
        bounded = bounded and not is_one
        kind = Kind.ONE if is_one else Kind.WRITE
        return Program("enqueue_many", kind, lambda: self._enqueue_many(tasks, now, bounded=bounded))

    def _enqueue_many(self, tasks: Sequence[NewTask], now: datetime | None, *, bounded: bool) -> Steps[list[Enqueued]]:
        if not tasks:
            return []
        if bounded and "bound_wait" in self._statements:
            yield self._call("bound_wait")
        left: Sequence[NewTask] = tasks
        # A holder can finish between our insert and our look at it where others may write meanwhile; then its key is
        # free, and the insert has to be made once more.
        for _ in range(3):
            stored_now, now = yield from self._insert(self._in_one(left), now)
            if stored_now == len(tasks) and now is not None:
                at = now
                return [Enqueued(admit(new, at), True) for new in tasks]
            answers = yield from self._answers(tasks)
            if None not in answers:
                return [answer for answer in answers if answer is not None]
            left = [new for new, answer in zip(tasks, answers, strict=True) if answer is None]
        raise ConflictError("the holders of the keys change faster than they can be read")

    def _in_one(self, tasks: Iterable[NewTask]) -> list[NewTask]:
        """Those of the tasks that one statement takes.

        In the order of their keys, so that two batches with the same keys wait for each other, and never both.
        """
        return sorted(tasks, key=lambda task: task.key or "")

    def _insert(self, tasks: Sequence[NewTask], now: datetime | None) -> Steps[tuple[int, datetime | None]]:
        """Store tasks that are not stored yet, and whose keys are free: how many it were, and when, if that is known."""
        at = yield from self._time(now)
        if self._loads:
            self.parts.check(tasks)
            return (yield self._load([admit(new, at) for new in tasks], leaving=True)).affected, at
        stored = 0
        for part in self.parts.of_new(tasks, at):
            batch = {"batch": self._enqueue_batch(part, at), "now": self._bind(at)}
            stored += (yield self._call("enqueue", batch)).affected
        return stored, at

    def _answers(self, tasks: Sequence[NewTask]) -> Steps[list[Enqueued | None]]:
        """What became of new tasks; None for one where neither it nor a holder of its key is stored."""
        ids = [new.id for new in tasks]
        keys = [new.key for new in tasks if new.key is not None]
        found = yield self._call("enqueued", {"ids": self._list(ids), "keys": self._list(keys)})
        stored = {record.id: record for record in self._records(found)}
        holders = {record.active_key: record for record in stored.values()}
        return [_answer(new, stored, holders) for new in tasks]

    def load_many(self, tasks: Sequence[NewTask], now: datetime | None) -> Program[list[Enqueued]]:
        """New tasks without keys by way of a bulk load, which fails as a whole where one of them is stored already."""
        return Program("load_many", Kind.WRITE, lambda: self._load_many(tasks, now), repeatable=False)

    def _load_many(self, tasks: Sequence[NewTask], now: datetime | None) -> Steps[list[Enqueued]]:
        self.parts.check(tasks)
        at = yield from self._time(now)
        records = [admit(new, at) for new in tasks]
        yield self._load(records)
        return [Enqueued(record, True) for record in records]

    @writes_once
    def claim(self, want: Want, now: datetime | None) -> Steps[list[TaskRecord]]:
        if want.limit < 1 or want.queues == () or want.tasks == () or want.execution_backends == ():
            return []
        tasks = None if want.tasks is None else tuple(once_held(want.tasks))
        want = msgspec.structs.replace(want, limit=min(want.limit, LIMIT_MAX), tasks=tasks)
        claimed = yield from self._claim(want, now)
        claimed.sort(key=claim_order)
        return claimed

    @abstractmethod
    def _claim(self, want: Want, now: datetime | None) -> Steps[list[TaskRecord]]:
        """Claim tasks, in any order."""

    def touch_heartbeats(self, held: Sequence[Held], now: datetime | None) -> Program[set[str]]:
        """One statement suffices where all of them fit into it."""
        parts = self.parts.of_held(once_held(held)) if held else []
        kind = Kind.EACH if len(parts) < 2 else Kind.WRITE
        return Program("touch_heartbeats", kind, lambda: self._touch_parts(parts, now))

    def _touch_parts(self, parts: Sequence[Sequence[Held]], now: datetime | None) -> Steps[set[str]]:
        touched: set[str] = set()
        for part in parts:
            touched |= yield from self._touch(part, now)
        return touched

    @abstractmethod
    def _touch(self, held: Sequence[Held], now: datetime | None) -> Steps[set[str]]:
        """Set heartbeats; the ids of the tasks that had one set."""

    def commit(self, tasks: Sequence[TaskRecord], stale: Stale | None) -> Program[set[str]]:
        """One statement suffices where no two of the tasks have one key, and all of them fit into it."""
        parts = [list(part) for some in _by_key(first_outcomes(tasks)) for part in self.parts.of_changed(some)]
        kind = Kind.EACH if len(parts) < 2 else Kind.WRITE
        return Program("commit", kind, lambda: self._commit(parts, stale))

    def _commit(self, parts: list[list[TaskRecord]], stale: Stale | None) -> Steps[set[str]]:
        stored: set[str] = set()
        for batch in parts:
            stored |= yield from self._commit_part(batch, stale)
        return stored

    @abstractmethod
    def _commit_part(self, tasks: Sequence[TaskRecord], stale: Stale | None) -> Steps[set[str]]:
        """Commit tasks no two of which have one key; the ids of those that were stored."""

    @reads
    def get(self, ids: Collection[str]) -> Steps[dict[str, TaskRecord]]:
        if not ids:
            return {}
        found = yield self._call("get", {"ids": self._list(ids)})
        return {record.id: record for record in self._records(found)}

    def find(self, query: Query, limit: int) -> Program[list[TaskRecord]]:
        """A search for stale tasks leaves out those that somebody's transaction has locked: it locks those that it finds."""
        kind = Kind.WRITE if self.passes_locked_tasks and isinstance(query, Stale) else Kind.READ
        return Program("find", kind, lambda: self._find(query, limit))

    def _find(self, query: Query, limit: int) -> Steps[list[TaskRecord]]:
        if limit < 1:
            return []
        limit = min(limit, LIMIT_MAX)
        match query:
            case Stale():
                call = self._call("find_stale", {**self._silent(query), "limit": limit})
            case Dispatched(at=at, execution_backends=backends):
                silent = {"at": self._bind(at), "execution_backends": self._any_of(backends)}
                call = self._call("find_dispatched", silent | {"limit": limit})
            case Overdue(at):
                call = self._call("find_overdue", {"at": self._bind(at), "limit": limit})
            case Finished(before, since):
                between = {"since": self._bind(since or _EVER), "before": self._bind(before)}
                call = self._call("find_finished", between | {"limit": limit})
            case Matching(states=states, queues=queues, names=names, key=key):
                matching = {
                    "states": self._any_of(states),
                    "queues": self._any_of(queues),
                    "names": self._any_of(names),
                    "key": key,
                }
                call = self._call("find_matching", matching | {"limit": limit})
        found = self._records((yield call))
        if found and self.passes_locked_tasks and isinstance(query, Stale):
            free = yield from self._free(found)
            return [record for record in found if record.id in free]
        return found

    def _free(self, records: Sequence[TaskRecord]) -> Steps[set[str]]:
        """The ids of those that no transaction of somebody else has locked; only where `passes_locked_tasks`."""
        raise NotImplementedError

    @reads
    def count(self, queues: tuple[str, ...] | None) -> Steps[list[Count]]:
        found = yield self._call("count", {"queues": self._any_of(queues)})
        read = self._read
        return [Count(read(queue), stored_state(state), read(tasks)) for queue, state, tasks in found.rows]

    @reads
    def next_due(self, queues: tuple[str, ...] | None) -> Steps[datetime | None]:
        if queues is None:
            found = yield self._call("next_due")
        else:
            found = yield self._call("next_due_queues", {"queues": self._list(queues)})
        first = found.rows[0][0] if found.rows else None
        return None if first is None else self.family.read_time(first)

    @writes_each
    def delete(self, held: Sequence[Held]) -> Steps[set[str]]:
        if not held:
            return set()
        return (yield from self._delete(once_held(held)))

    @abstractmethod
    def _delete(self, held: Sequence[Held]) -> Steps[set[str]]:
        """Delete tasks; the ids of those that were deleted."""

    @writes_each
    def lock(self, name: str, owner: str, ttl: timedelta, now: datetime | None) -> Steps[bool]:
        return (yield from self._lock(name, owner, ttl, now))

    @abstractmethod
    def _lock(self, name: str, owner: str, ttl: timedelta, now: datetime | None) -> Steps[bool]:
        """Take or prolong a lock; whether that was done."""

    @writes_each
    def unlock(self, name: str, owner: str) -> Steps[bool]:
        return (yield self._call("unlock", {"name": name, "owner": owner})).affected > 0

    @reads
    def read_records(self, prefix: str) -> Steps[dict[str, NamedRecord]]:
        found = yield self._call("read_named", {"prefix": prefix or None})
        read = self._read
        records = [NamedRecord(read(name), int(version), read(value)) for name, version, value in found.rows]
        return {record.name: record for record in records if record.name != SCHEMA}

    @writes
    def write_records(self, records: Sequence[NamedRecord]) -> Steps[set[str]]:
        stored: set[str] = set()
        for record in sorted(
            records, key=attrgetter("name")
        ):  # so that two batches wait for each other, and never both
            written: dict[str, Any] = {"name": record.name, "value": record.value}
            if record.version > 1:
                written["seen"] = record.version - 1
            found = yield self._call("update_named" if record.version > 1 else "insert_named", written)
            if found.rows or found.affected > 0:
                stored.add(record.name)
        return stored

    @writes_each
    def notify(self, channel: str, payload: str) -> Steps[None]:
        """Tell the listeners of a channel, once this is committed; only for a family that has the statement."""
        yield self._call("notify", {"channel": channel, "payload": payload})

    # What they share

    def _call(self, name: str, parameters: Mapping[str, Any] | None = None) -> Call:
        kept = self._kept
        if kept is not None and parameters:
            parameters = {one: kept(value) if isinstance(value, str) else value for one, value in parameters.items()}
        return Call(self._statements[name], parameters or {})

    def _load(self, records: Sequence[TaskRecord], *, leaving: bool = False) -> Load:
        columns = loaded_columns(records, self.family.bind_time)
        kept = self._kept
        if kept is not None:
            columns = {
                name: [kept(value) if isinstance(value, str) else value for value in values]
                for name, values in columns.items()
            }
        return Load(self._table_name, columns, leaving)

    def _silent(self, query: Stale) -> dict[str, Any]:
        """The parameters of the condition that the owner of a task is silent."""
        return {
            "at": self._bind(query.at),
            "allowed": float(query.window),
            "own": int(query.own_windows),
            "longest": None if query.longest is None else float(query.longest),
        }

    def _bind(self, value: datetime) -> Any:
        return self.family.bind_time(value)

    def _bind_now(self, value: datetime | None) -> Any:
        return None if value is None else self.family.bind_time(value)

    def _list(self, values: Iterable[str]) -> str:
        return json_text(list(values) if self._kept is None else [self._kept(value) for value in values])

    def _any_of(self, values: Iterable[str] | None) -> str | None:
        """A filter; None filters nothing."""
        return None if values is None else self._list(values)

    def _enqueue_batch(self, tasks: Iterable[NewTask], now: datetime | None) -> str:
        return self._batch(ENQUEUED, enqueue_rows(tasks, now, self.family.write_time))

    def _commit_batch(self, tasks: Iterable[TaskRecord]) -> str:
        return self._batch(COMMITTED, commit_rows(tasks, self.family.write_time))

    def _held_batch(self, held: Iterable[Held]) -> str:
        return self._batch(HELD, held_rows(held))

    def _batch(self, fields: Sequence[str], rows: Iterable[Row]) -> str:
        kept = self._kept
        if kept is not None:
            rows = (tuple(kept(value) if isinstance(value, str) else value for value in row) for row in rows)
        return batch_text(fields, rows, named=self.family.named_batches)

    def _time(self, now: datetime | None) -> Steps[datetime]:
        if now is not None:
            return now
        if self.family.clock == "client":
            return self._clock.now()
        return (yield from self._server_time())

    def _server_time(self) -> Steps[datetime]:
        found = yield self._call("now")
        return self.family.read_time(found.rows[0][0])

    def _records(self, found: Rows) -> list[TaskRecord]:
        read_time, read = self.family.read_time, self.family.read_value
        if read is None:
            return [record_of(row, read_time) for row in found.rows]
        return [record_of([read(value) for value in row], read_time) for row in found.rows]

    def _names(self, found: Rows) -> list[str]:
        """The first value of each row."""
        return [self._read(row[0]) for row in found.rows]


def _answer(
    new: NewTask, stored: Mapping[str, TaskRecord], holders: Mapping[str | None, TaskRecord]
) -> Enqueued | None:
    """What became of a new task, or None where neither it nor a holder of its key is stored."""
    if new.id in stored:
        return Enqueued(stored[new.id], True)
    holder = None if new.key is None else holders.get(new.key)
    return None if holder is None else Enqueued(holder, False)


def _by_key(tasks: Sequence[TaskRecord]) -> list[list[TaskRecord]]:
    """The batch in parts in which no two tasks have one key, in order: who gives a key up and who takes it, apart."""
    if all(task.key is None for task in tasks):
        return [list(tasks)] if tasks else []
    parts: list[list[TaskRecord]] = []
    seen: dict[str, int] = {}
    for task in tasks:
        part = 0 if task.key is None else seen.get(task.key, -1) + 1
        if task.key is not None:
            seen[task.key] = part
        while len(parts) <= part:
            parts.append([])
        parts[part].append(task)
    return parts


def _as_it_is(value: Any) -> Any:
    return value
