"""The engine of families whose statements cannot limit what they lock: candidates are read first, and locked then."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

from litestar_queues.backends.sql.engine import PROMOTED_AT_ONCE, Engine
from litestar_queues.backends.sql.locking import LOCKS, LockStepWrite
from litestar_queues.backends.sql.program import ConflictError, Steps
from litestar_queues.records import Held, NewTask, TaskRecord, Want

__all__ = ("CandidatesFirst",)


class CandidatesFirst(LockStepWrite):
    """Locks, of the candidates that it read, those that nobody else has locked, and are still what they were.

    A write asks for the fence once more, and it is compared how many rows it found. The statement `enqueue` takes no two
    tasks of one id or one key.
    """

    owes = (
        Engine.owes
        | LOCKS
        | {"claim_candidates", "claim_held_candidates", "claim_queues_candidates", "lock_candidates", "lock_scheduled"}
        | {"promote_candidates", "promote_queues_candidates", "write_fenced", "write_heartbeats", "write_promoted"}
    )

    def _in_one(self, tasks: Iterable[NewTask]) -> list[NewTask]:
        ids: set[str] = set()
        keys: set[str | None] = set()
        first: list[NewTask] = []
        for task in super()._in_one(tasks):
            if task.id not in ids and (task.key is None or task.key not in keys):
                first.append(task)
                ids.add(task.id)
                keys.add(task.key)
        return first

    def _lock_first(
        self, want: Want, queues: Sequence[str] | None, parameters: dict[str, Any]
    ) -> Steps[list[TaskRecord]]:
        if want.tasks is not None:
            parameters |= {"held": self._held_batch(want.tasks), "queues": self._any_of(queues)}
            parameters["dispatched"] = int(not want.reserve)
            return (yield from self._lock_candidates("claim_held_candidates", parameters, want.tasks))
        promoted = {"now": parameters["now"], "limit": want.limit + PROMOTED_AT_ONCE}
        if queues is None:
            yield from self._promote("promote_candidates", promoted)
            return (yield from self._lock_candidates("claim_candidates", parameters))
        parameters["queues"] = promoted["queues"] = self._list(queues)
        yield from self._promote("promote_queues_candidates", promoted)
        return (yield from self._lock_candidates("claim_queues_candidates", parameters))

    def _promote(self, candidates: str, parameters: dict[str, Any]) -> Steps[None]:
        """Make due tasks pending; those that another transaction has locked are left to it."""
        due = self._names((yield self._call(candidates, parameters)))
        if due and (locked := self._names((yield self._call("lock_scheduled", {"ids": self._list(due)})))):
            yield self._call("write_promoted", {"ids": self._list(locked)})

    def _lock_candidates(
        self, name: str, parameters: dict[str, Any], held: Collection[Held] | None = None
    ) -> Steps[list[TaskRecord]]:
        """Lock the first that nobody else has locked, looking further behind the last one for as long as some lack.

        No more are locked than are wanted: what is locked is invisible to other claims.
        """
        asked = None if held is None else {(one.id, one.fence) for one in held}
        checked = {one: parameters[one] for one in ("now", "execution_backends")}
        checked["dispatched"] = parameters.get("dispatched", 0)
        behind: dict[str, Any] = {"last_id": None, "last_urgency": None, "last_due": None}
        locked: list[TaskRecord] = []
        while (lacking := parameters["limit"] - len(locked)) > 0:
            candidates = yield self._call(name, {**parameters, **behind, "limit": lacking})
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

    def _write(self, records: Sequence[TaskRecord]) -> Steps[None]:
        yield from self._write_fenced("write_fenced", records)

    def _write_heartbeats(self, records: Sequence[TaskRecord]) -> Steps[None]:
        yield from self._write_fenced("write_heartbeats", records)

    def _write_fenced(self, name: str, records: Sequence[TaskRecord]) -> Steps[None]:
        written = 0
        for part in self.parts.of_changed(records):
            written += (yield self._call(name, {"batch": self._commit_batch(part)})).affected
        if written != len(records):
            raise ConflictError("tasks changed between being read under a lock and being written")
