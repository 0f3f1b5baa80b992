"""What a backend should answer, told in the plainest way: one dictionary, no index, every question asked of every task.

Nothing here is shared with a backend but the two functions that define what is right, `lifecycle.step` and
`records.admit`, and the order of claims. Where the port leaves two answers open, the model says which are legal.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from litestar_queues.lifecycle import ACTIVE, TERMINAL, UNSTARTED, WAITING, IllegalTransition, State, step
from litestar_queues.records import (
    Count,
    Dispatched,
    Enqueued,
    Finished,
    Held,
    NamedRecord,
    NewTask,
    Overdue,
    Query,
    Stale,
    TaskRecord,
    Want,
    admit,
    beaten,
    claim_order,
    is_silent,
    is_stale,
)
from litestar_queues_conformance.fields import CHANGING

__all__ = ("Model", "as_of")

_OWNED = (State.RUNNING, State.DISPATCHED)


def as_of(record: TaskRecord, now: datetime) -> TaskRecord:
    """The record as it may be compared: a scheduled task whose time has come reads as pending, stored so or not."""
    if record.state is State.SCHEDULED and record.due_at <= now:
        return record.evolve(state=State.PENDING)
    return record


class Model:
    """The tasks and locks of one store, and what each operation of the port makes of them.

    Every version of a task is kept, because a client may act on any that it once read.
    """

    def __init__(self) -> None:
        self.tasks: dict[str, TaskRecord] = {}
        self.versions: dict[str, list[TaskRecord]] = {}
        self.locks: dict[str, tuple[str, datetime]] = {}
        self.records: dict[str, NamedRecord] = {}

    def enqueue_many(self, tasks: Sequence[NewTask], now: datetime) -> list[Enqueued]:
        """Store what is new; answer for each, in order."""
        return [self._enqueue(new, now) for new in tasks]

    def claim(self, want: Want, now: datetime) -> list[TaskRecord]:
        """Give the first that match and can be claimed to the worker."""
        claimed: list[TaskRecord] = []
        for record in sorted(self.tasks.values(), key=claim_order):
            if len(claimed) < want.limit and _wanted(record, want):
                try:
                    claimed.append(self._put(step(record, want.event, now)))
                except IllegalTransition:
                    continue
        return claimed

    def touch_heartbeats(self, held: Sequence[Held], now: datetime) -> set[str]:
        """Set the heartbeat of what is running or dispatched under the fence given."""
        kept: set[str] = set()
        for one in held:
            record = self.tasks.get(one.id)
            if record is not None and record.fence == one.fence and record.state in _OWNED:
                self.tasks[one.id] = beaten(record, one, now)
                kept.add(one.id)
        return kept

    def commit(self, tasks: Sequence[TaskRecord], stale: Stale | None = None) -> set[str]:
        """Store each where the stored fence is one below its own, and nothing speaks against it."""
        return {task.id for task in tasks if self._commit(task, stale)}

    def get(self, ids: Collection[str]) -> dict[str, TaskRecord]:
        """The stored ones of these."""
        return {id_: self.tasks[id_] for id_ in ids if id_ in self.tasks}

    def find(self, query: Query, limit: int) -> list[TaskRecord]:
        """The first that match, in the order of the query."""
        match query:
            case Stale():
                found = [r for r in self.tasks.values() if is_stale(r, query)]
                return _first(found, limit, lambda r: (r.heartbeat_at is not None, r.heartbeat_at))
            case Dispatched():
                found = [r for r in self.tasks.values() if is_silent(r, query)]
                return _first(found, limit, lambda r: (r.heartbeat_at is not None, r.heartbeat_at))
            case Overdue(at):
                found = [r for r in self._in(UNSTARTED) if r.expires_at is not None and r.expires_at <= at]
                return _first(found, limit, lambda r: r.expires_at)
            case Finished(before, since):
                ended = [(r.finished_at, r) for r in self._in(TERMINAL) if r.finished_at is not None]
                found = [r for at, r in ended if at < before and (since is None or since <= at)]
                return _first(found, limit, lambda r: r.finished_at)
            case _:
                found = [
                    r
                    for r in self.tasks.values()
                    if (query.states is None or r.state in query.states)
                    and (query.queues is None or r.queue in query.queues)
                    and (query.names is None or r.name in query.names)
                    and (query.key is None or r.key == query.key)
                ]
                return sorted(sorted(found, key=lambda r: r.id), key=lambda r: r.created_at, reverse=True)[:limit]

    def legal_count(self, counts: Iterable[Count], queues: Collection[str] | None, now: datetime) -> str | None:
        """What is wrong with these counts, in words; None where nothing is."""
        told = {(one.queue, one.state): one.tasks for one in counts if one.tasks}
        due: dict[str, int] = {}
        right: dict[tuple[str, State], int] = {}
        for record in self.tasks.values():
            if queues is None or record.queue in queues:
                right[record.queue, record.state] = right.get((record.queue, record.state), 0) + 1
                due[record.queue] = due.get(record.queue, 0) + (as_of(record, now) is not record)
        for queue, tasks in due.items():
            # Each due task may be counted either way; how many were, the count of scheduled ones tells.
            moved = right.get((queue, State.SCHEDULED), 0) - told.get((queue, State.SCHEDULED), 0)
            if 0 <= moved <= tasks:
                right[queue, State.SCHEDULED] = right.get((queue, State.SCHEDULED), 0) - moved
                right[queue, State.PENDING] = right.get((queue, State.PENDING), 0) + moved
        right = {of: tasks for of, tasks in right.items() if tasks}
        return None if told == right else f"the counts are {told}, not {right}"

    def legal_next_due(self, answer: datetime | None, queues: Collection[str] | None, now: datetime) -> str | None:
        """What is wrong with this answer to `next_due`, in words; None where nothing is."""
        times = [r.due_at for r in self._in([State.SCHEDULED]) if queues is None or r.queue in queues]
        ahead = min((at for at in times if at > now), default=None)
        legal = {ahead} | {at for at in times if at <= now}
        return None if answer in legal else f"next_due is {answer}, not {ahead}"

    def delete(self, held: Sequence[Held]) -> set[str]:
        """Forget what is terminal under the fence given."""
        deleted: set[str] = set()
        for one in held:
            record = self.tasks.get(one.id)
            if record is not None and record.fence == one.fence and record.state in TERMINAL:
                del self.tasks[one.id]
                deleted.add(one.id)
        return deleted

    def lock(self, name: str, owner: str, ttl: timedelta, now: datetime) -> bool:
        """Whether the owner holds the lock now."""
        holder, until = self.locks.get(name, (owner, now))
        if holder != owner and until > now:
            return False
        self.locks[name] = (owner, now + ttl)
        return True

    def unlock(self, name: str, owner: str) -> bool:
        """Whether the lock was this owner's."""
        if name not in self.locks or self.locks[name][0] != owner:
            return False
        del self.locks[name]
        return True

    def read_records(self, prefix: str) -> dict[str, NamedRecord]:
        """The named records whose names begin so."""
        return {name: one for name, one in self.records.items() if name[: len(prefix)] == prefix}

    def write_records(self, records: Sequence[NamedRecord]) -> set[str]:
        """Store each that follows the stored version."""
        versions = {name: one.version for name, one in self.records.items()}
        new = {one.name: one for one in records if one.version > 0 and one.version - 1 == versions.get(one.name, 0)}
        self.records |= new
        return set(new)

    def version(self, id_: str, age: int) -> TaskRecord:
        """The task as a client read it so many events ago, or the first that there was."""
        versions = self.versions[id_]
        if age == 0 and id_ in self.tasks:
            return self.tasks[id_]
        return versions[max(len(versions) - 1 - age, 0)]

    def owned(self) -> list[TaskRecord]:
        """The running and the dispatched tasks."""
        return self._in(_OWNED)

    def once_owned(self) -> list[TaskRecord]:
        """Every version in which a task ran or was dispatched, for as long as the task is stored."""
        return [r for id_ in self.tasks for r in self.versions[id_] if r.state in _OWNED]

    def once_dispatched(self) -> list[TaskRecord]:
        """Every version in which a task was dispatched, for as long as the task is stored."""
        return [r for id_ in self.tasks for r in self.versions[id_] if r.state is State.DISPATCHED]

    def holder(self, key: str) -> TaskRecord | None:
        """The active task with this key."""
        return next((r for r in self._in(ACTIVE) if r.key == key), None)

    def _enqueue(self, new: NewTask, now: datetime) -> Enqueued:
        if new.id in self.tasks:
            return Enqueued(self.tasks[new.id], True)
        holder = None if new.key is None else self.holder(new.key)
        if holder is not None:
            return Enqueued(holder, False)
        return Enqueued(self._put(admit(new, now)), True)

    def _commit(self, task: TaskRecord, stale: Stale | None) -> bool:
        stored = self.tasks.get(task.id)
        if stored is None or stored.fence != task.fence - 1:
            return False
        if stale is not None and not is_stale(stored, stale):
            return False
        if stored.key is not None and task.state in ACTIVE:
            holder = self.holder(stored.key)
            if holder is not None and holder.id != task.id:
                return False
        self._put(stored.evolve(**{field: getattr(task, field) for field in CHANGING}))
        return True

    def _put(self, record: TaskRecord) -> TaskRecord:
        self.tasks[record.id] = record
        self.versions.setdefault(record.id, []).append(record)
        return record

    def _in(self, states: Collection[State]) -> list[TaskRecord]:
        return [record for record in self.tasks.values() if record.state in states]


def _wanted(record: TaskRecord, want: Want) -> bool:
    by_id = want.tasks is not None and not want.reserve
    return (
        record.state in (UNSTARTED if by_id else WAITING)
        and (want.queues is None or record.queue in want.queues)
        and (want.execution_backends is None or record.execution_backend in want.execution_backends)
        and (want.tasks is None or any(one.id == record.id and one.fence == record.fence for one in want.tasks))
    )


def _first(records: list[TaskRecord], limit: int, at: Callable[[TaskRecord], Any]) -> list[TaskRecord]:
    return sorted(sorted(records, key=lambda r: r.id), key=at)[:limit]
