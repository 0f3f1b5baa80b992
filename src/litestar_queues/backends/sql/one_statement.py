"""Engines of families in which one statement does the whole of an operation."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from litestar_queues.backends.sql.engine import PROMOTED_AT_ONCE, Engine
from litestar_queues.backends.sql.program import Rows, Steps
from litestar_queues.lifecycle import State
from litestar_queues.records import Held, NewTask, Stale, TaskRecord, Want, queue_names

__all__ = ("OneStatement", "ServerTimed", "Swapping")


class OneStatement(Engine):
    """Sends a statement for an operation; a claim makes due tasks pending first."""

    owes = (
        Engine.owes
        | {"claim", "claim_held", "claim_queues", "promote", "promote_queues"}
        | {"commit", "commit_keys", "commit_stale", "delete", "lock", "touch_heartbeats"}
    )

    def _moment(self, now: datetime | None) -> Any:
        """The time as a parameter of a statement."""
        return self._bind(self._clock.now() if now is None else now)

    def _claim(self, want: Want, now: datetime | None) -> Steps[list[TaskRecord]]:
        queues = queue_names(want.queues)
        parameters: dict[str, Any] = {
            "now": self._moment(now),
            "limit": want.limit,
            "execution_backends": self._any_of(want.execution_backends),
            "worker": want.worker,
            "stale_after": want.stale_after,
            "taken": (State.DISPATCHED if want.reserve else State.RUNNING).value,
            "counted": int(not want.reserve),
            "execution_ref": want.execution_ref,
        }
        if want.tasks is not None:
            parameters |= {"held": self._held_batch(want.tasks), "queues": self._any_of(queues)}
            parameters["dispatched"] = int(not want.reserve)
            return (yield from self._take("claim_held", parameters))
        promoted = {"now": parameters["now"], "limit": want.limit + PROMOTED_AT_ONCE}
        if queues is None:
            return (yield from self._take_first("claim", parameters, "promote", promoted))
        parameters["queues"] = promoted["queues"] = self._list(queues)
        return (yield from self._take_first("claim_queues", parameters, "promote_queues", promoted))

    def _take_first(
        self, name: str, parameters: dict[str, Any], promotion: str, promoted: dict[str, Any]
    ) -> Steps[list[TaskRecord]]:
        """Claim the first of the tasks that are pending once those that are due are."""
        yield self._call(promotion, promoted)
        return (yield from self._take(name, parameters))

    def _take(self, name: str, parameters: dict[str, Any]) -> Steps[list[TaskRecord]]:
        """Claim by the statement of this name."""
        return self._records((yield self._call(name, parameters)))

    def _touch(self, held: Sequence[Held], now: datetime | None) -> Steps[set[str]]:
        touched = {"held": self._held_batch(held), "now": self._moment(now)}
        return _ids((yield self._call("touch_heartbeats", touched)))

    def _commit_part(self, tasks: Sequence[TaskRecord], stale: Stale | None) -> Steps[set[str]]:
        written: dict[str, Any] = {"batch": self._commit_batch(tasks)}
        if stale is not None:
            return _ids((yield self._call("commit_stale", written | self._silent(stale))))
        name = "commit" if all(task.active_key is None for task in tasks) else "commit_keys"
        return _ids((yield self._call(name, written)))

    def _delete(self, held: Sequence[Held]) -> Steps[set[str]]:
        return _ids((yield self._call("delete", {"held": self._held_batch(held)})))

    def _lock(self, name: str, owner: str, ttl: timedelta, now: datetime | None) -> Steps[bool]:
        at = self._clock.now() if now is None else now
        lent = {"name": name, "owner": owner, "now": self._bind(at), "expires_at": self._bind(at + ttl)}
        return bool((yield self._call("lock", lent)).rows)


class ServerTimed(OneStatement):
    """The same on a server that needs no time from its client: without `now`, a statement takes its own.

    `enqueue` answers how many tasks were stored, and when.
    """

    owes = OneStatement.owes | {"claim_queues_unless_due", "claim_unless_due", "free_tasks", "notify"}
    passes_locked_tasks = True

    def _moment(self, now: datetime | None) -> Any:
        return self._bind_now(now)

    def _insert(self, tasks: Sequence[NewTask], now: datetime | None) -> Steps[tuple[int, datetime | None]]:
        if self._loads:
            return (yield from super()._insert(tasks, now))
        parts = self.parts.of_new(tasks, now)
        if len(parts) > 1 and now is None:  # one time for all of them
            now = yield from self._server_time()
        stored = 0
        for part in parts:
            batch = self._enqueue_batch(part, now)
            found = yield self._call("enqueue", {"batch": batch, "now": self._bind_now(now)})
            stored_now, at = found.rows[0]
            stored += stored_now
            now = self.family.read_time(at) if stored_now else now
        return stored, now

    def _take_first(
        self, name: str, parameters: dict[str, Any], promotion: str, promoted: dict[str, Any]
    ) -> Steps[list[TaskRecord]]:
        """Claim at once where no task is due: a round trip less."""
        claimed = yield from self._take(f"{name}_unless_due", parameters)
        return claimed or (yield from super()._take_first(name, parameters, promotion, promoted))

    def _free(self, records: Sequence[TaskRecord]) -> Steps[set[str]]:
        return _ids((yield self._call("free_tasks", {"ids": self._list(record.id for record in records)})))

    def _lock(self, name: str, owner: str, ttl: timedelta, now: datetime | None) -> Steps[bool]:
        lent = {"name": name, "owner": owner, "now": self._bind_now(now), "ttl": ttl // timedelta(microseconds=1)}
        return bool((yield self._call("lock", lent)).rows)


class Swapping(ServerTimed):
    """The same where claims lock nothing beforehand, and take what is still as it was when they write."""

    passes_locked_tasks = False

    def _take(self, name: str, parameters: dict[str, Any]) -> Steps[list[TaskRecord]]:
        """Of the tasks that a claim chose, another may have been faster with some, and there may be more."""
        claimed = yield from super()._take(name, parameters)
        more = name.removesuffix("_unless_due")
        while 0 < len(claimed) < parameters["limit"]:
            rest = yield from super()._take(more, parameters | {"limit": parameters["limit"] - len(claimed)})
            if not rest:
                break
            claimed += rest
        return claimed


def _ids(found: Rows) -> set[str]:
    return {row[0] for row in found.rows}
