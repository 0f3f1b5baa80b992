"""The operations of the port over SQL, each written once, for every family and for sync and async drivers alike.

Where a family's file offers a statement that does the whole of an operation, that is sent. Where it does not, the
operation locks the rows, decides in Python, by `lifecycle.step` where a task changes, and writes them: `lock_tasks`,
`lock_keys`, `write_tasks`, `delete_tasks`, `claim..._lock`, `lock_read`, `lock_write` (and `lock_insert` for the first
of a name, where a write would not say whether it found one). New tasks are loaded where there is no `enqueue`. A family
that cannot look at the parts of several queues in one statement looks at one after the other: `promote_queue`,
`claim_queue_lock`. One that cannot limit what it locks reads candidates first, and locks those: `..._candidates`, `lock_scheduled`,
`lock_candidates`; its writes ask for the fence once more, and it compares how many there were: `write_fenced`,
`write_heartbeats`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from litestar_queues.backends.sql.families import TABLE, Family, Kind, Statement
from litestar_queues.backends.sql.program import (
    Call,
    ConflictError,
    Load,
    Program,
    Rows,
    Steps,
    reads,
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
from litestar_queues.lifecycle import TERMINAL, Claim, State, step, stored_state
from litestar_queues.records import (
    Count,
    Enqueued,
    Finished,
    Held,
    Matching,
    NewTask,
    Overdue,
    Query,
    Stale,
    TaskRecord,
    Want,
    admit,
    claim_order,
    queue_names,
)

__all__ = ("PROMOTED_AT_ONCE", "Engine")

PROMOTED_AT_ONCE = 1000
"""How many due tasks a claim makes pending, besides as many as it wants: what the port promises, so that the cost of a
claim stays bounded where a great many come due at once."""


class Engine:
    """Programs of one family, over a table.

    Args:
        family: What differs from other databases.
        statements: The family's statements, for the table.
        clock: The time, for a family that has no clock of its own.
        table: The table's name, as the statements have it.
    """

    def __init__(
        self, family: Family, statements: Mapping[str, Statement], clock: Clock, *, table: str = TABLE
    ) -> None:
        self.family = family
        self._table_name = table
        self._statements = statements
        self._clock = clock
        self._loads = "enqueue" not in statements and "enqueue_timed" not in statements
        self._kept: Callable[[str], str] | None = kept_text if family.empty_is_null else None
        self._read = family.read_value or _as_it_is

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
        if "settings" not in self._statements:
            return {}
        found = yield self._call("settings")
        return {str(name): str(value) for name, value in found.rows}

    # The port

    @reads
    def now(self) -> Steps[datetime]:
        if self.family.clock == "client":
            return self._clock.now()
        return (yield from self._server_time())

    def enqueue_many(self, tasks: Sequence[NewTask], now: datetime | None) -> Program[list[Enqueued]]:
        """One statement suffices without keys. With them, what is stored depends on what is looked up meanwhile.

        What a driver makes of several rows that are loaded need not be one statement.
        """
        kind = (
            Kind.ONE if all(task.key is None for task in tasks) and not (self._loads and len(tasks) > 1) else Kind.WRITE
        )
        return Program("enqueue_many", kind, lambda: self._enqueue_many(tasks, now))

    def _enqueue_many(self, tasks: Sequence[NewTask], now: datetime | None) -> Steps[list[Enqueued]]:
        if not tasks:
            return []
        if "enqueue_timed" not in self._statements:
            now = yield from self._time(now)
        left = self._new(tasks)
        batch = None if self._loads else self._enqueue_batch(left, now)
        # A holder can finish between our insert and our look at it where others may write meanwhile; then its key is
        # free, and the insert has to be made once more.
        for _ in range(3):
            if "enqueue_timed" in self._statements:
                inserted = yield self._call("enqueue_timed", {"batch": batch, "now": self._bind_now(now)})
                stored_now, stored_at = inserted.rows[0]
                now = self.family.read_time(stored_at) if stored_now else now
            else:
                assert now is not None  # noqa: S101  # just asked for
                if self._loads:
                    stored_now = (yield self._load([admit(new, now) for new in left], leaving=True)).affected
                else:
                    stored_now = (yield self._call("enqueue", {"batch": batch, "now": self._bind(now)})).affected
            if stored_now == len(tasks) and now is not None:
                at = now
                return [Enqueued(admit(new, at), True) for new in tasks]
            ids = [new.id for new in tasks]
            keys = [new.key for new in tasks if new.key is not None]
            found = yield self._call("enqueued", {"ids": self._list(ids), "keys": self._list(keys)})
            stored = {record.id: record for record in self._records(found)}
            holders = {record.active_key: record for record in stored.values()}
            answers = [_answer(new, stored, holders) for new in tasks]
            if None not in answers:
                return [answer for answer in answers if answer is not None]
            if self.family.distinct_batches:  # another of its key stood before one, and was stored long ago
                left = self._new([new for new, answer in zip(tasks, answers, strict=True) if answer is None])
                batch = None if self._loads else self._enqueue_batch(left, now)
        raise ConflictError("the holders of the keys change faster than they can be read")

    def load_many(self, tasks: Sequence[NewTask], now: datetime | None) -> Program[list[Enqueued]]:
        """New tasks without keys by way of a bulk load, which fails as a whole where one of them is stored already."""
        return Program("load_many", Kind.WRITE, lambda: self._load_many(tasks, now), repeatable=False)

    def _load_many(self, tasks: Sequence[NewTask], now: datetime | None) -> Steps[list[Enqueued]]:
        at = yield from self._time(now)
        records = [admit(new, at) for new in tasks]
        yield self._load(records)
        return [Enqueued(record, True) for record in records]

    @writes_once
    def claim(self, want: Want, now: datetime | None) -> Steps[list[TaskRecord]]:
        if want.limit < 1 or want.queues == () or want.tasks == () or want.execution_backends == ():
            return []
        if self.family.clock != "statement":
            now = yield from self._time(now)
        queues = queue_names(want.queues)
        parameters: dict[str, Any] = {
            "now": self._bind_now(now),
            "limit": want.limit,
            "execution_backends": self._any_of(want.execution_backends),
        }
        claimed: list[TaskRecord] = []
        if want.tasks is not None:
            name = "claim_held"
            parameters |= {"held": self._held_batch(want.tasks), "queues": self._any_of(queues)}
        else:
            if queues is not None and "claim_queue_lock" in self._statements:
                promoted = {"now": parameters["now"], "limit": want.limit + PROMOTED_AT_ONCE}
                return (yield from self._claim_queue_by_queue(queues, parameters, promoted, want.worker, now))
            name, promotion = ("claim", "promote") if queues is None else ("claim_queues", "promote_queues")
            if queues is not None:
                parameters["queues"] = self._list(queues)
            if f"{name}_unless_due" in self._statements:
                at_once = parameters | {"worker": want.worker}
                claimed = self._records((yield self._call(f"{name}_unless_due", at_once)))
            if not claimed:
                promoted = {one: value for one, value in parameters.items() if one in {"now", "queues"}}
                yield from self._promote(promotion, promoted | {"limit": want.limit + PROMOTED_AT_ONCE})
        if name in self._statements:
            if not claimed:
                claimed = self._records((yield self._call(name, parameters | {"worker": want.worker})))
            # Of the tasks that it chose, another may have been faster with some, and there may be more.
            while self.family.swaps and 0 < len(claimed) < want.limit:
                more = parameters | {"worker": want.worker, "limit": want.limit - len(claimed)}
                if not (rest := self._records((yield self._call(name, more)))):
                    break
                claimed += rest
        elif f"{name}_candidates" in self._statements:
            locked = yield from self._lock_candidates(name, parameters, want.tasks)
            claimed = yield from self._take(locked, want.worker, now)
        else:
            locked = self._records((yield self._call(f"{name}_lock", parameters)))
            claimed = yield from self._take(locked, want.worker, now)
        claimed.sort(key=claim_order)
        return claimed

    def _promote(self, name: str, parameters: Mapping[str, Any]) -> Steps[None]:
        """Make due tasks pending; those that another transaction has locked are left to it."""
        if name in self._statements:
            yield self._call(name, parameters)
            return
        due = self._names((yield self._call(f"{name}_candidates", parameters)))
        if due and (locked := self._names((yield self._call("lock_scheduled", {"ids": self._list(due)})))):
            yield self._call("write_promoted", {"ids": self._list(locked)})

    def _lock_candidates(
        self, name: str, parameters: Mapping[str, Any], held: Collection[Held] | None
    ) -> Steps[list[TaskRecord]]:
        """Lock the first that nobody else has locked, looking further behind the last one for as long as some lack.

        No more are locked than are wanted: what is locked is invisible to other claims.
        """
        asked = None if held is None else {(one.id, one.fence) for one in held}
        checked = {one: parameters[one] for one in ("now", "execution_backends")}
        behind: dict[str, Any] = {"last_id": None, "last_urgency": None, "last_due": None}
        locked: list[TaskRecord] = []
        while (lacking := parameters["limit"] - len(locked)) > 0:
            wanted = {**parameters, **behind, "limit": lacking}
            candidates = yield self._call(f"{name}_candidates", wanted)
            ids = self._names(candidates)
            if ids:
                found = self._records((yield self._call("lock_candidates", {**checked, "ids": self._list(ids)})))
                locked += [one for one in found if asked is None or (one.id, one.fence) in asked]
            if len(ids) < lacking:
                break
            _, urgency, due_at = candidates.rows[-1]
            due = self.family.read_time(due_at)
            behind = {"last_id": ids[-1], "last_urgency": self._read(urgency), "last_due": self._bind(due)}
        return locked

    def _claim_queue_by_queue(
        self,
        queues: Sequence[str],
        parameters: Mapping[str, Any],
        promoted: Mapping[str, Any],
        worker: str,
        now: datetime | None,
    ) -> Steps[list[TaskRecord]]:
        """Lock each queue's first tasks, and take the first of those: another queue's backlog is never looked at."""
        locked: list[TaskRecord] = []
        for queue in queues:
            yield self._call("promote_queue", {**promoted, "queue": queue})
            locked += self._records((yield self._call("claim_queue_lock", {**parameters, "queue": queue})))
        locked.sort(key=claim_order)
        return (yield from self._take(locked[: parameters["limit"]], worker, now))

    def _take(self, locked: Sequence[TaskRecord], worker: str, now: datetime | None) -> Steps[list[TaskRecord]]:
        """Claim tasks that this transaction holds locked."""
        at = yield from self._time(now)
        claimed = [step(record, Claim(worker), at) for record in locked]
        yield from self._write(claimed)
        return claimed

    @writes_each
    def touch_heartbeats(self, held: Sequence[Held], now: datetime | None) -> Steps[set[str]]:
        if not held:
            return set()
        if "touch_heartbeats" in self._statements:
            if self.family.clock != "statement":
                now = yield from self._time(now)
            touched = {"held": self._held_batch(held), "now": self._bind_now(now)}
            return _ids((yield self._call("touch_heartbeats", touched)))
        at = yield from self._time(now)
        stored = yield from self._lock_tasks(held)
        kept = [
            record.evolve(heartbeat_at=at, progress=one.progress or record.progress)
            for one, record in stored
            if record.state is State.RUNNING
        ]
        yield from self._write(kept, "write_heartbeats")
        return {record.id for record in kept}

    def commit(self, tasks: Sequence[TaskRecord], stale_before: datetime | None) -> Program[set[str]]:
        """One statement suffices where no two of the tasks have one key."""
        parts = _by_key(tasks)
        kind = Kind.EACH if len(parts) < 2 else Kind.WRITE
        return Program("commit", kind, lambda: self._commit(parts, stale_before))

    def _commit(self, parts: list[list[TaskRecord]], stale_before: datetime | None) -> Steps[set[str]]:
        stored: set[str] = set()
        for batch in parts:
            if "commit" in self._statements:
                name = "commit" if all(task.active_key is None for task in batch) else "commit_keys"
                written = {"batch": self._commit_batch(batch), "stale_before": self._bind_now(stale_before)}
                stored |= _ids((yield self._call(name, written)))
            else:
                stored |= yield from self._commit_locked(batch, stale_before)
        return stored

    @reads
    def get(self, ids: Collection[str]) -> Steps[dict[str, TaskRecord]]:
        if not ids:
            return {}
        found = yield self._call("get", {"ids": self._list(ids)})
        return {record.id: record for record in self._records(found)}

    @reads
    def find(self, query: Query, limit: int) -> Steps[list[TaskRecord]]:
        if limit < 1:
            return []
        match query:
            case Stale(before):
                call = self._call("find_stale", {"before": self._bind(before), "limit": limit})
            case Overdue(at):
                call = self._call("find_overdue", {"at": self._bind(at), "limit": limit})
            case Finished(before):
                call = self._call("find_finished", {"before": self._bind(before), "limit": limit})
            case Matching(states=states, queues=queues, names=names, key=key):
                matching = {
                    "states": self._any_of(states),
                    "queues": self._any_of(queues),
                    "names": self._any_of(names),
                    "key": key,
                }
                call = self._call("find_matching", matching | {"limit": limit})
        return self._records((yield call))

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
        if "delete" in self._statements:
            return _ids((yield self._call("delete", {"held": self._held_batch(held)})))
        stored = yield from self._lock_tasks(held)
        deleted = {record.id for _, record in stored if record.state in TERMINAL}
        if deleted:
            yield self._call("delete_tasks", {"ids": self._list(deleted)})
        return deleted

    @writes_each
    def lock(self, name: str, owner: str, ttl: timedelta, now: datetime | None) -> Steps[bool]:
        if self.family.clock == "statement":
            lent = {"name": name, "owner": owner, "now": self._bind_now(now), "ttl": ttl // timedelta(microseconds=1)}
            return bool((yield self._call("lock", lent)).rows)
        at = yield from self._time(now)
        parameters = {"name": name, "owner": owner, "expires_at": self._bind(at + ttl)}
        if "lock" in self._statements:
            return bool((yield self._call("lock", parameters | {"now": self._bind(at)})).rows)
        found = yield self._call("lock_read", {"name": name})
        if found.rows and self._read(found.rows[0][0]) != owner and self.family.read_time(found.rows[0][1]) > at:
            return False
        statement = "lock_insert" if not found.rows and "lock_insert" in self._statements else "lock_write"
        written = yield self._call(statement, parameters | {"now": self._bind(at)})
        # Without a row there was nothing to lock, and another may have been faster: then nothing is written.
        return bool(found.rows) or written.affected > 0

    @writes_each
    def unlock(self, name: str, owner: str) -> Steps[bool]:
        return (yield self._call("unlock", {"name": name, "owner": owner})).affected > 0

    @writes_each
    def notify(self, channel: str, payload: str) -> Steps[None]:
        """Tell the listeners of a channel, once this is committed; only for a family that has the statement."""
        yield self._call("notify", {"channel": channel, "payload": payload})

    # What they share

    def _call(self, name: str, parameters: Mapping[str, Any] | None = None) -> Call:
        statement = self._statements.get(name)
        if statement is None:
            raise QueueConfigurationError(f"the statements of the {self.family.name} family lack {name!r}")
        kept = self._kept
        if kept is not None and parameters:
            parameters = {one: kept(value) if isinstance(value, str) else value for one, value in parameters.items()}
        return Call(statement, parameters or {})

    def _load(self, records: Sequence[TaskRecord], *, leaving: bool = False) -> Load:
        columns = loaded_columns(records, self.family.bind_time)
        kept = self._kept
        if kept is not None:
            columns = {
                name: [kept(value) if isinstance(value, str) else value for value in values]
                for name, values in columns.items()
            }
        return Load(self._table_name, columns, leaving)

    def _bind(self, value: datetime) -> Any:
        return self.family.bind_time(value)

    def _bind_now(self, value: datetime | None) -> Any:
        return None if value is None else self.family.bind_time(value)

    def _list(self, values: Iterable[str]) -> str:
        return json_text(list(values) if self._kept is None else [self._kept(value) for value in values])

    def _any_of(self, values: Iterable[str] | None) -> str | None:
        """A filter; None filters nothing."""
        return None if values is None else self._list(values)

    def _new(self, tasks: Iterable[NewTask]) -> list[NewTask]:
        """Tasks as one statement stores them."""
        ordered = _in_order(tasks)
        return _distinct(ordered) if self.family.distinct_batches else ordered

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

    def _write(self, records: Sequence[TaskRecord], fenced: str = "write_fenced") -> Steps[None]:
        """Write rows that this transaction holds locked.

        Where the family has the statement named `fenced`, it counts the rows under the fence that was read.
        """
        if not records:
            return
        batch = {"batch": self._commit_batch(records)}
        if fenced not in self._statements:
            yield self._call("write_tasks", batch)
        elif (yield self._call(fenced, batch)).affected != len(records):
            raise ConflictError("tasks changed between being read under a lock and being written")

    def _lock_tasks(self, held: Iterable[Held]) -> Steps[list[tuple[Held, TaskRecord]]]:
        """Lock those of the tasks that are under the fence given, each once."""
        asked = {(one.id, one.fence): one for one in held}
        found = yield self._call("lock_tasks", {"ids": self._list(sorted({id_ for id_, _ in asked}))})
        stored = self._records(found)
        return [(asked[r.id, r.fence], r) for r in stored if (r.id, r.fence) in asked]

    def _commit_locked(self, tasks: Sequence[TaskRecord], stale_before: datetime | None) -> Steps[set[str]]:
        by_id = {task.id: task for task in tasks}
        stored = yield from self._lock_tasks([Held(task.id, task.fence - 1) for task in tasks])
        passed = [
            by_id[record.id]
            for _, record in stored
            if stale_before is None or record.heartbeat_at is None or record.heartbeat_at < stale_before
        ]
        keys = [task.active_key for task in passed if task.active_key is not None]
        if keys:
            found = yield self._call("lock_keys", {"keys": self._list(keys)})
            holders = {self._read(row[0]): self._read(row[1]) for row in found.rows}
            passed = [t for t in passed if t.active_key is None or holders.get(t.active_key, t.id) == t.id]
        yield from self._write(passed)
        return {task.id for task in passed}


def _answer(
    new: NewTask, stored: Mapping[str, TaskRecord], holders: Mapping[str | None, TaskRecord]
) -> Enqueued | None:
    """What became of a new task, or None where neither it nor a holder of its key is stored."""
    if new.id in stored:
        return Enqueued(stored[new.id], True)
    holder = None if new.key is None else holders.get(new.key)
    return None if holder is None else Enqueued(holder, False)


def _in_order(tasks: Iterable[NewTask]) -> list[NewTask]:
    """In the order of their keys, so that two batches with the same keys wait for each other, and never both."""
    return sorted(tasks, key=lambda task: task.key or "")


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


def _distinct(tasks: Iterable[NewTask]) -> list[NewTask]:
    """The first task of each id, and of each key."""
    ids: set[str] = set()
    keys: set[str] = set()
    first: list[NewTask] = []
    for task in tasks:
        if task.id not in ids and task.key not in keys:
            first.append(task)
            ids.add(task.id)
            keys |= set() if task.key is None else {task.key}
    return first


def _as_it_is(value: Any) -> Any:
    return value


def _ids(found: Rows) -> set[str]:
    return {row[0] for row in found.rows}
