"""LIF-01 and LIF-03: each field, forgotten on one of its ways."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import msgspec

from litestar_queues.lifecycle import State
from litestar_queues.records import Enqueued, NewTask, TaskRecord, Want
from litestar_queues_conformance.fields import CHANGING, FIELDS, TEXTS
from litestar_queues_conformance.saboteurs.base import Saboteur

_DEFAULTS = {
    field.name: field.default for field in msgspec.structs.fields(NewTask) if field.default is not msgspec.NODEFAULT
}


class _ForgetsOnEnqueue(Saboteur):
    guarantee = "LIF-01"
    field: str

    def _enqueue(self, new: NewTask, now: datetime) -> Enqueued:
        return super()._enqueue(msgspec.structs.replace(new, **{self.field: _DEFAULTS[self.field]}), now)


class _CutsOnEnqueue(Saboteur):
    guarantee = "LIF-01"
    field: str

    def _enqueue(self, new: NewTask, now: datetime) -> Enqueued:
        longest = FIELDS[self.field].longest or 0
        text: str | None = getattr(new, self.field)
        return super()._enqueue(msgspec.structs.replace(new, **{self.field: text and text[: longest - 1]}), now)


class _LeavesOutOfClaims(Saboteur):
    guarantee = "LIF-01"
    field: str

    async def claim(self, want: Want, *, now: datetime | None = None) -> list[TaskRecord]:
        claimed = await super().claim(want, now=now)
        return [record.evolve(**{self.field: _DEFAULTS.get(self.field)}) for record in claimed]


class _KeepsOnCommit(Saboteur):
    guarantee = "LIF-03"
    field: str

    def _commit(self, task: TaskRecord, stale_before: datetime | None) -> bool:
        stored = self._tasks.get(task.id)
        if stored is not None:
            task = task.evolve(**{self.field: getattr(stored, self.field)})
        return super()._commit(task, stale_before)


class _CannotClear(Saboteur):
    guarantee = "LIF-03"
    field: str

    def _commit(self, task: TaskRecord, stale_before: datetime | None) -> bool:
        stored = self._tasks.get(task.id)
        if stored is not None and task.state is not State.PENDING and getattr(task, self.field) is None:
            task = task.evolve(**{self.field: getattr(stored, self.field)})
        return super()._commit(task, stale_before)


def _one_each(base: type[Saboteur], fields: tuple[str, ...], what: Callable[[str], str]) -> None:
    for field in fields:
        name = f"{base.__name__[1:]}{''.join(part.title() for part in field.split('_'))}"
        made = type(name, (base,), {"field": field, "__doc__": what(field), "__module__": __name__})
        globals()[name] = made  # where another process finds its target


_one_each(_ForgetsOnEnqueue, tuple(_DEFAULTS), lambda field: f"An enqueue forgets the field {field}.")
_one_each(_CutsOnEnqueue, TEXTS, lambda field: f"An enqueue cuts the last character of the longest {field}.")
_one_each(
    _LeavesOutOfClaims,
    ("description", "metadata", "timeout", "expires_at", "execution_profile"),
    lambda field: f"A claim's answer lacks the field {field}.",
)
_one_each(
    _KeepsOnCommit,
    tuple(name for name in CHANGING if name not in ("state", "fence")),
    lambda field: f"A commit leaves the field {field} as it was.",
)
_one_each(
    _CannotClear,
    ("worker", "progress", "result", "error", "started_at", "finished_at"),
    lambda field: f"A commit can set the field {field}, and cannot clear it.",
)
