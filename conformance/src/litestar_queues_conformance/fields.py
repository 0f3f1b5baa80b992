"""What the suite knows of each field of a task, so that its cases can go through all the fields that there are.

A field that the port gains fails the cases until it stands here: a backend that forgot it would keep every guarantee
otherwise. Nothing here is taken from a backend.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from litestar_queues.lifecycle import State
from litestar_queues.records import KEY_MAX, NAME_MAX, QUEUE_MAX, NewTask, TaskRecord
from litestar_queues_conformance.harness import at

__all__ = ("CHANGING", "FIELDS", "NULLABLE", "TEXTS", "UNCHANGING", "Field", "NoValue", "changed", "given", "otherwise")


class NoValue(Exception):
    """A task has a field that the suite has no value for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """A field of a new task or of a record.

    Attributes:
        value: A value that differs from the field's default.
        other: One that differs from both.
        changes: Whether a commit writes it.
        longest: For a text that the caller chooses: how many characters it may have.
    """

    value: Any
    other: Any = None
    changes: bool = False
    longest: int | None = None


FIELDS: Mapping[str, Field] = {
    "name": Field(value="billing.send", other="billing.other", longest=NAME_MAX),
    "queue": Field(value="mail", other="other", longest=QUEUE_MAX),
    "key": Field(value="invoice-7", other="invoice-8", longest=KEY_MAX),
    "priority": Field(value=-3, other=4),
    "max_attempts": Field(value=2**31 - 1, other=7),
    "args": Field(value='[1, "two"]', other="[9]"),
    "kwargs": Field(value='{"three": 3}', other='{"nine": 9}'),
    "metadata": Field(value='{"tenant": "x"}', other='{"tenant": "y"}'),
    "description": Field(value="Send the invoice", other="not to be written", longest=1000),
    "timeout": Field(value=0.1, other=9.5),
    "run_at": Field(value=at(120, microseconds=1)),
    "expires_at": Field(value=at(240, microseconds=999_999), other=at(999_999)),
    "execution_backend": Field(value="cloudrun", other="local", changes=True, longest=50),
    "execution_profile": Field(value="large", other="small", longest=100),
    "created_at": Field(value=at(-5), other=at(-6)),
    "state": Field(value=State.PENDING, changes=True),
    "attempt": Field(value=3, changes=True),
    "fence": Field(value=9, changes=True),
    "due_at": Field(value=at(130, microseconds=7), changes=True),
    "worker": Field(value="worker-é", changes=True),
    "progress": Field(value='{"at": 3}', changes=True),
    "result": Field(value='{"r": [1]}', changes=True),
    "error": Field(value='{"type": "E"}', changes=True),
    "execution_ref": Field(value="projects/p/é/7", changes=True),
    "started_at": Field(value=at(60, microseconds=5), changes=True),
    "heartbeat_at": Field(value=at(70, microseconds=6), changes=True),
    "finished_at": Field(value=at(80, microseconds=8), changes=True),
    "recoveries": Field(value=2, changes=True),
    "max_recoveries": Field(value=5, other=0),
    "stale_after": Field(value=7.5, changes=True),
    "history": Field(value='[{"attempt": 1, "é": null}]', changes=True),
}
"""Every field but the id, which each task has its own of."""

CHANGING = tuple(name for name in FIELDS if FIELDS[name].changes)
"""The fields that a commit writes."""
TEXTS = tuple(name for name in FIELDS if FIELDS[name].longest)
"""The texts that a caller chooses."""
UNCHANGING = tuple(name for name in FIELDS if not FIELDS[name].changes and name != "run_at")
"""The fields of a record that no commit writes."""
NULLABLE = frozenset(
    {"key", "description", "timeout", "execution_profile", "execution_ref", "worker", "progress", "result", "error"}
    | {"expires_at", "started_at", "heartbeat_at", "finished_at", "stale_after", "history"}
)
"""The fields of a record that may hold nothing."""


def _those_of(names: Iterable[str], what: str) -> Iterator[tuple[str, Field]]:
    for name in names:
        if name == "id":
            continue
        if name not in FIELDS:
            raise NoValue(f"{what} has a field {name!r}, for which the suite has no value: give it one in fields.py")
        yield name, FIELDS[name]


def given(**others: Any) -> dict[str, Any]:
    """A value for every field of a new task but its id."""
    return {name: one.value for name, one in _those_of(NewTask.__struct_fields__, "a new task")} | others


def changed(record: TaskRecord) -> TaskRecord:
    """The record after a write of every field that a commit can change: under the next fence, waiting for its time."""
    values = {name: one.value for name, one in _those_of(record.__struct_fields__, "a record") if one.changes}
    late = record.due_at + timedelta(seconds=1)
    return record.evolve(**values | {"fence": record.fence + 1, "state": State.SCHEDULED, "due_at": late})


def otherwise(record: TaskRecord) -> TaskRecord:
    """The record with another value in every field that no commit writes: what is not to be stored.

    The key stays. It decides whether the commit is stored, and a caller hands it on as it was read.
    """
    others = {
        name: one.other
        for name, one in _those_of(record.__struct_fields__, "a record")
        if not one.changes and name != "key"
    }
    return record.evolve(**others)
