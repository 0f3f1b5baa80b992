"""Records as they travel to the scripts and back: times as text that sorts, numbers and users' values as text."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from litestar_queues.backends.redis.keys import FIELDS
from litestar_queues.lifecycle import State
from litestar_queues.records import MUTABLE, Held, NewTask, TaskRecord

__all__ = ("committed", "held_of", "pack", "packed_time", "read_time", "record_of", "submitted", "unpack")

_STATES = {state.value: state for state in State}
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode
_read = datetime.fromisoformat


def pack(value: Any) -> bytes:
    """What a script is asked for."""
    return _encode(value)


def unpack(answer: bytes) -> Any:
    """What a script answered."""
    return _decode(answer)


def packed_time(value: datetime | None) -> str | None:
    """A time as the scripts have it: 26 characters, in UTC, whose order is that of the times."""
    return None if value is None else value.astimezone(UTC).isoformat(timespec="microseconds")[:26]


def read_time(text: str) -> datetime:
    """The time that `packed_time`, or the server, wrote."""
    return _read(text).replace(tzinfo=UTC)


def _time_or_none(text: Any) -> datetime | None:
    return None if text is False else _read(text).replace(tzinfo=UTC)


def _or_none(text: Any) -> Any:
    return None if text is False else text


def submitted(new: NewTask) -> list[Any]:
    """A new task, as `enqueue.lua` takes it."""
    expires_at = packed_time(new.expires_at)
    priority = str(new.priority)
    fields = [
        "name", new.name, "queue", new.queue, "priority", priority, "attempt", "0",
        "max_attempts", str(new.max_attempts), "fence", "0", "args", new.args, "kwargs", new.kwargs,
        "metadata", new.metadata, "execution_backend", new.execution_backend,
    ]  # fmt: skip
    if new.key is not None:
        fields += ("key", new.key)
    if new.description is not None:
        fields += ("description", new.description)
    if new.timeout is not None:
        fields += ("timeout", repr(float(new.timeout)))
    if new.execution_profile is not None:
        fields += ("execution_profile", new.execution_profile)
    if expires_at is not None:
        fields += ("expires_at", expires_at)
    run_at = packed_time(new.run_at)
    return [new.id, new.queue, new.execution_backend, priority, new.key, run_at, expires_at, fields]


def committed(record: TaskRecord) -> list[Any]:
    """A task after a transition, as `commit.lua` takes it."""
    due_at, heartbeat_at = packed_time(record.due_at), packed_time(record.heartbeat_at)
    finished_at = packed_time(record.finished_at)
    values = {
        **{name: getattr(record, name) for name in MUTABLE},
        "state": record.state.value,
        "attempt": str(record.attempt),
        "fence": str(record.fence),
        "due_at": due_at,
        "started_at": packed_time(record.started_at),
        "heartbeat_at": heartbeat_at,
        "finished_at": finished_at,
    }
    set_: list[str] = []
    forgotten: list[str] = []
    for name, value in values.items():
        if value is None:
            forgotten.append(name)
        else:
            set_ += (name, value)
    return [
        record.id, str(record.fence - 1), record.state.value, record.execution_backend, due_at, heartbeat_at,
        finished_at, set_, forgotten,
    ]  # fmt: skip


def held_of(held: Held) -> list[str | None]:
    """The right to write a task, as the scripts take it."""
    return [held.id, str(held.fence), held.progress]


def record_of(row: Sequence[Any]) -> TaskRecord:
    """The record of an answer of a script: the values of `FIELDS`, then the id."""
    (
        name, queue, state, priority, attempt, max_attempts, fence, key, args, kwargs, metadata, description, timeout,
        execution_backend, execution_profile, execution_ref, worker, progress, result, error, created_at, due_at,
        expires_at, started_at, heartbeat_at, finished_at, id_,
    ) = row  # fmt: skip
    return TaskRecord(
        id=id_,
        name=name,
        queue=queue,
        state=_STATES[state],
        priority=int(priority),
        attempt=int(attempt),
        max_attempts=int(max_attempts),
        fence=int(fence),
        key=_or_none(key),
        args=args,
        kwargs=kwargs,
        metadata=metadata,
        description=_or_none(description),
        timeout=None if timeout is False else float(timeout),
        execution_backend=execution_backend,
        execution_profile=_or_none(execution_profile),
        execution_ref=_or_none(execution_ref),
        worker=_or_none(worker),
        progress=_or_none(progress),
        result=_or_none(result),
        error=_or_none(error),
        created_at=read_time(created_at),
        due_at=read_time(due_at),
        expires_at=_time_or_none(expires_at),
        started_at=_time_or_none(started_at),
        heartbeat_at=_time_or_none(heartbeat_at),
        finished_at=_time_or_none(finished_at),
    )


_ORDER = (
    "name", "queue", "state", "priority", "attempt", "max_attempts", "fence", "key", "args", "kwargs", "metadata",
    "description", "timeout", "execution_backend", "execution_profile", "execution_ref", "worker", "progress", "result",
    "error", "created_at", "due_at", "expires_at", "started_at", "heartbeat_at", "finished_at",
)  # fmt: skip
if _ORDER != FIELDS:  # what `record_of` unpacks
    raise ImportError(f"the fields of a record are {FIELDS}, and are read as {_ORDER}")
