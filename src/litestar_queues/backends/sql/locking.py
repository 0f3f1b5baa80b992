"""The engine of families whose statements cannot change rows and answer with them: lock, step, write."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, ClassVar

from litestar_queues.backends.sql.engine import OWNED, PROMOTED_AT_ONCE, Engine
from litestar_queues.backends.sql.program import Steps
from litestar_queues.lifecycle import TERMINAL, step
from litestar_queues.records import Held, Stale, TaskRecord, Want, beaten, claim_order, is_stale, queue_names

__all__ = ("LOCKS", "LockStepWrite")

LOCKS = frozenset({"delete_tasks", "lock_free_tasks", "lock_keys", "lock_read", "lock_tasks", "lock_write"})
"""What is owed by every family that locks rows before it writes them."""


class LockStepWrite(Engine):
    """Locks rows, decides by `lifecycle.step` what becomes of them, and writes them.

    A statement cannot look at the parts of several queues, so that a claim looks at one after the other.
    """

    owes = (
        Engine.owes
        | LOCKS
        | {"claim_held_lock", "claim_lock", "claim_queue_lock", "promote", "promote_queue", "write_tasks"}
    )
    # The first lock of a name, where a write would not say whether it found one.
    may_use: ClassVar[frozenset[str]] = Engine.may_use | {"lock_insert"}
    passes_locked_tasks = True

    def _claim(self, want: Want, now: datetime | None) -> Steps[list[TaskRecord]]:
        at = yield from self._time(now)
        parameters: dict[str, Any] = {
            "now": self._bind(at),
            "limit": want.limit,
            "execution_backends": self._any_of(want.execution_backends),
        }
        locked = yield from self._lock_first(want, queue_names(want.queues), parameters)
        claimed = [step(record, want.event, at) for record in locked]
        yield from self._write(claimed)
        return claimed

    def _lock_first(
        self, want: Want, queues: Sequence[str] | None, parameters: dict[str, Any]
    ) -> Steps[list[TaskRecord]]:
        """Lock the tasks to be claimed, once those that are due are pending."""
        if want.tasks is not None:
            parameters |= {"held": self._held_batch(want.tasks), "queues": self._any_of(queues)}
            parameters["dispatched"] = int(not want.reserve)
            return self._records((yield self._call("claim_held_lock", parameters)))
        promoted = {"now": parameters["now"], "limit": want.limit + PROMOTED_AT_ONCE}
        if queues is None:
            yield self._call("promote", promoted)
            return self._records((yield self._call("claim_lock", parameters)))
        # Each queue's first tasks, and the first of those: another queue's backlog is never looked at.
        locked: list[TaskRecord] = []
        for queue in queues:
            yield self._call("promote_queue", {**promoted, "queue": queue})
            locked += self._records((yield self._call("claim_queue_lock", {**parameters, "queue": queue})))
        locked.sort(key=claim_order)
        return locked[: want.limit]

    def _touch(self, held: Sequence[Held], now: datetime | None) -> Steps[set[str]]:
        at = yield from self._time(now)
        stored = yield from self._lock_tasks(held, "lock_free_tasks")
        kept = [beaten(record, one, at) for one, record in stored if record.state in OWNED]
        yield from self._write_heartbeats(kept)
        return {record.id for record in kept}

    def _commit_part(self, tasks: Sequence[TaskRecord], stale: Stale | None) -> Steps[set[str]]:
        by_id = {task.id: task for task in tasks}
        statement = "lock_tasks" if stale is None else "lock_free_tasks"
        stored = yield from self._lock_tasks([Held(task.id, task.fence - 1) for task in tasks], statement)
        passed = [by_id[record.id] for _, record in stored if stale is None or is_stale(record, stale)]
        keys = [task.active_key for task in passed if task.active_key is not None]
        if keys:
            found = yield self._call("lock_keys", {"keys": self._list(keys)})
            holders = {self._read(row[0]): self._read(row[1]) for row in found.rows}
            passed = [t for t in passed if t.active_key is None or holders.get(t.active_key, t.id) == t.id]
        yield from self._write(passed)
        return {task.id for task in passed}

    def _free(self, records: Sequence[TaskRecord]) -> Steps[set[str]]:
        stored = yield from self._lock_tasks([record.held for record in records], "lock_free_tasks")
        return {record.id for _, record in stored}

    def _delete(self, held: Sequence[Held]) -> Steps[set[str]]:
        stored = yield from self._lock_tasks(held)
        deleted = {record.id for _, record in stored if record.state in TERMINAL}
        if deleted:
            yield self._call("delete_tasks", {"ids": self._list(deleted)})
        return deleted

    def _lock(self, name: str, owner: str, ttl: timedelta, now: datetime | None) -> Steps[bool]:
        at = yield from self._time(now)
        found = yield self._call("lock_read", {"name": name})
        if found.rows and self._read(found.rows[0][0]) != owner and self.family.read_time(found.rows[0][1]) > at:
            return False
        statement = "lock_insert" if not found.rows and "lock_insert" in self._statements else "lock_write"
        lent = {"name": name, "owner": owner, "now": self._bind(at), "expires_at": self._bind(at + ttl)}
        written = yield self._call(statement, lent)
        # Without a row there was nothing to lock, and another may have been faster: then nothing is written.
        return bool(found.rows) or written.affected > 0

    def _lock_tasks(self, held: Iterable[Held], statement: str = "lock_tasks") -> Steps[list[tuple[Held, TaskRecord]]]:
        """Lock those of the tasks that are under the fence given, each once."""
        asked = {(one.id, one.fence): one for one in held}
        found = yield self._call(statement, {"ids": self._list(sorted({id_ for id_, _ in asked}))})
        stored = self._records(found)
        return [(asked[r.id, r.fence], r) for r in stored if (r.id, r.fence) in asked]

    def _write(self, records: Sequence[TaskRecord]) -> Steps[None]:
        """Write rows that this transaction holds locked."""
        for part in self.parts.of_changed(records):
            yield self._call("write_tasks", {"batch": self._commit_batch(part)})

    def _write_heartbeats(self, records: Sequence[TaskRecord]) -> Steps[None]:
        """The same where nothing but heartbeats and progress changed."""
        yield from self._write(records)
