"""Records as they travel to the scripts and back: times as text that sorts, numbers and users' values as text."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from operator import attrgetter
from typing import Any

import msgspec

from litestar_queues.backends.redis.keys import FIELDS
from litestar_queues.columns import BY_NAME, COLUMNS, Column, ColumnKind, names
from litestar_queues.lifecycle import stored_state
from litestar_queues.records import MUTABLE, Held, NewTask, Stale, TaskRecord

__all__ = ("committed", "held_of", "pack", "packed_time", "read_time", "record_of", "silent", "submitted", "unpack")

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


def submitted(new: NewTask) -> list[Any]:
    """A new task, as `enqueue.lua` takes it."""
    expires_at = packed_time(new.expires_at)
    priority = str(new.priority)
    fields: list[str] = [*_INITIAL]
    for name, value in zip(_NEW, _of_new(new), strict=True):
        if value is not None:
            fields += (name, _written(name, value))
    if expires_at is not None:
        fields += ("expires_at", expires_at)
    run_at = packed_time(new.run_at)
    return [new.id, new.queue, new.execution_backend, priority, new.key, run_at, expires_at, fields]


def committed(record: TaskRecord) -> list[Any]:
    """A task after a transition, as `commit.lua` takes it."""
    set_: list[str] = []
    forgotten: list[str] = []
    for name, value in zip(MUTABLE, _changed(record), strict=True):
        if value is None:
            forgotten.append(name)
        else:
            set_ += (name, _written(name, value))
    return [
        record.id, str(record.fence - 1), record.state.value, record.execution_backend, packed_time(record.due_at),
        packed_time(record.heartbeat_at), packed_time(record.finished_at), set_, forgotten,
    ]  # fmt: skip


def held_of(held: Held) -> list[str | None]:
    """The right to write a task, as the scripts take it."""
    window = None if held.stale_after is None else _written("stale_after", held.stale_after)
    return [held.id, str(held.fence), held.progress, window]


def silent(query: Stale) -> dict[str, Any]:
    """The query for stale tasks, as the scripts take it."""
    return {
        "at": packed_time(query.at),
        "window": _microseconds(query.window),
        "own": query.own_windows,
        "longest": None if query.longest is None else _microseconds(query.longest),
    }


def _microseconds(seconds: float) -> int:
    return round(seconds * 1_000_000)


def record_of(row: Sequence[Any]) -> TaskRecord:
    """The record of an answer of a script: the values of `FIELDS`, then the id."""
    values = [read(value) for read, value in zip(_READ, row, strict=True)]
    return TaskRecord(values[-1], *values[:-1])


def _written(name: str, value: Any) -> str:
    """A value as a field of a hash, all of which are texts."""
    return _WRITERS.get(BY_NAME[name].kind, str)(value)


def _as_it_is(text: Any) -> Any:
    return text


def _or(default: int | None, read: Callable[[str], Any]) -> Callable[[Any], Any]:
    return lambda text: default if text is False else read(text)


def _reader(column: Column) -> Callable[[Any], Any]:
    """What reads a field. One that is missing holds nothing, or was not known to the version that wrote the task."""
    read = _READERS.get(column.kind, _as_it_is)
    return _or(column.default, read) if column.nullable or column.default is not None else read


_WRITERS: Mapping[ColumnKind, Callable[[Any], str]] = {
    "time": lambda value: value.astimezone(UTC).isoformat(timespec="microseconds")[:26],
    "float": lambda value: repr(float(value)),
}
_READERS: Mapping[ColumnKind, Callable[[str], Any]] = {
    "state": stored_state, "int": int, "bigint": int, "float": float, "time": read_time,
}  # fmt: skip
_NEW = names(lambda one: one.enqueued and one.name != "id" and one.kind not in ("state", "time"))
_of_new = attrgetter(*_NEW)
_changed = attrgetter(*MUTABLE)
_INITIAL = [text for one in COLUMNS if one.initial is not None for text in (one.name, str(one.initial))]
_READ = [_reader(BY_NAME[name]) for name in (*FIELDS, "id")]
"""What reads each value of an answer."""
