"""LIF-01 and LIF-03: a field of each kind, forgotten on one of its ways.

`DEFECTS` makes the same defects for any other field.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import msgspec

from litestar_queues.lifecycle import State
from litestar_queues.records import Enqueued, NewTask, Stale, TaskRecord, Want
from litestar_queues_conformance.fields import FIELDS
from litestar_queues_conformance.saboteurs.base import Saboteur

__all__ = ("DEFECTS",)

_DEFAULTS = {
    field.name: field.default for field in msgspec.structs.fields(NewTask) if field.default is not msgspec.NODEFAULT
}


class _ForgetsOnEnqueue(Saboteur):
    guarantee = "LIF-01"
    field: str

    def enqueue_one(self, new: NewTask, now: datetime) -> Enqueued:
        return super().enqueue_one(msgspec.structs.replace(new, **{self.field: _DEFAULTS[self.field]}), now)


class _CutsOnEnqueue(Saboteur):
    guarantee = "LIF-01"
    field: str

    def enqueue_one(self, new: NewTask, now: datetime) -> Enqueued:
        longest = FIELDS[self.field].longest or 0
        text: str | None = getattr(new, self.field)
        return super().enqueue_one(msgspec.structs.replace(new, **{self.field: text and text[: longest - 1]}), now)


class _LeavesOutOfClaims(Saboteur):
    guarantee = "LIF-01"
    field: str

    async def claim(self, want: Want, *, now: datetime | None = None) -> list[TaskRecord]:
        claimed = await super().claim(want, now=now)
        return [record.evolve(**{self.field: _DEFAULTS.get(self.field)}) for record in claimed]


class _KeepsOnCommit(Saboteur):
    guarantee = "LIF-03"
    field: str

    def commit_one(self, task: TaskRecord, stale: Stale | None) -> bool:
        stored = self.tasks.get(task.id)
        if stored is not None:
            task = task.evolve(**{self.field: getattr(stored, self.field)})
        return super().commit_one(task, stale)


class _CannotClear(Saboteur):
    guarantee = "LIF-03"
    field: str

    def commit_one(self, task: TaskRecord, stale: Stale | None) -> bool:
        stored = self.tasks.get(task.id)
        if stored is not None and task.state is not State.PENDING and getattr(task, self.field) is None:
            task = task.evolve(**{self.field: getattr(stored, self.field)})
        return super().commit_one(task, stale)


DEFECTS: Mapping[str, tuple[type[Saboteur], str]] = {
    "ForgetsOnEnqueue": (_ForgetsOnEnqueue, "An enqueue forgets the field {}."),
    "CutsOnEnqueue": (_CutsOnEnqueue, "An enqueue cuts the last character of the longest {}."),
    "LeavesOutOfClaims": (_LeavesOutOfClaims, "A claim's answer lacks the field {}."),
    "KeepsOnCommit": (_KeepsOnCommit, "A commit leaves the field {} as it was."),
    "CannotClear": (_CannotClear, "A commit can set the field {}, and cannot clear it."),
}
"""The class of each defect, which wants a `field`, and a sentence about it."""


def _add(defect: str, *fields: str) -> None:
    base, sentence = DEFECTS[defect]
    for field in fields:
        name = f"{defect}{''.join(part.title() for part in field.split('_'))}"
        made = type(name, (base,), {"field": field, "__doc__": sentence.format(field), "__module__": __name__})
        globals()[name] = made  # where another process finds its target


_add("ForgetsOnEnqueue", "priority", "metadata", "description", "timeout", "expires_at", "execution_profile")
_add("CutsOnEnqueue", "description")
_add("LeavesOutOfClaims", "metadata", "timeout")
_add("KeepsOnCommit", "execution_backend", "execution_ref")
_add("CannotClear", "worker", "finished_at")
