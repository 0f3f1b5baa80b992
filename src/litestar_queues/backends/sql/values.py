"""Records as rows, and batches of records as JSON text.

The order of the fields here is that in which statements read and unpack them (`sql/lists.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from functools import cache
from itertools import starmap
from operator import attrgetter
from typing import Any

import msgspec

from litestar_queues.columns import ACTIVE_KEY, BY_NAME, names
from litestar_queues.lifecycle import entry, stored_state
from litestar_queues.records import Held, NewTask, TaskRecord

__all__ = (
    "COLUMNS",
    "COMMITTED",
    "ENQUEUED",
    "HELD",
    "Row",
    "batch_text",
    "commit_rows",
    "enqueue_rows",
    "held_rows",
    "json_text",
    "kept_text",
    "loaded_columns",
    "record_of",
    "text_kept",
    "text_of_time",
    "time_of_text",
)

COLUMNS = TaskRecord.__struct_fields__
"""What is read of a task, in the order of the record's fields."""

_encode = msgspec.json.Encoder().encode
_LONG = len("2030-01-01T00:00:00.000001")


def json_text(value: Any) -> str:
    """A value of plain types as JSON."""
    return _encode(value).decode()


def text_of_time(value: datetime) -> str:
    """A time as text of one width in UTC, so that the order of the texts is that of the times."""
    if value.tzinfo is not UTC:
        value = value.astimezone(UTC)
    # A fifth of the time that isoformat() takes, which was half of what a commit's batch cost to write. msgspec leaves
    # out the microseconds where there are none.
    text = json_text(value)[1:-2]
    return f"{text}+00:00" if len(text) == _LONG else f"{text}.000000+00:00"


def time_of_text(value: str) -> datetime:
    """The time that `text_of_time` wrote."""
    return datetime.fromisoformat(value)


def kept_text(text: str) -> str:
    """The text as it is sent to a database to which an empty one is none: one that is not empty, and means the same.

    All but the empty ones, and those that begin with a tilde, are themselves.
    """
    return f"~{text}" if not text or text[0] == "~" else text


def text_kept(value: Any) -> Any:
    """The text that `kept_text` sent; any other value is itself."""
    return value[1:] if isinstance(value, str) and value[:1] == "~" else value


def record_of(row: Sequence[Any], read_time: Callable[[Any], datetime]) -> TaskRecord:
    """The record of a row of `COLUMNS`."""
    values = list(row)
    values[_STATE] = stored_state(values[_STATE])
    for place in _TIMES:
        if (value := values[place]) is not None:
            values[place] = read_time(value)
    for place in _FLOATS:  # SQLite answers RETURNING with an integer where a float is one
        if (value := values[place]) is not None:
            values[place] = float(value)
    return TaskRecord(*values)


_STATE = COLUMNS.index("state")
_TIMES = tuple(place for place, name in enumerate(COLUMNS) if BY_NAME[name].kind == "time")
_FLOATS = tuple(place for place, name in enumerate(COLUMNS) if BY_NAME[name].kind == "float")

_NEW = names(lambda one: one.enqueued and one.kind not in ("state", "time"))
"""What a batch has of a new task as it is."""
_NEW_TIMES = names(lambda one: one.enqueued and one.kind == "time" and one.name != "due_at")
ENQUEUED = (*_NEW, "state", "due_at", *_NEW_TIMES)
"""The fields of a row of `enqueue_rows`."""
_CHANGED = (
    *names(lambda one: (one.name == "id" or one.committed) and one.kind not in ("state", "time")),
    ACTIVE_KEY.name,
)
"""What a batch has of a changed task as it is."""
_CHANGED_TIMES = names(lambda one: one.committed and one.kind == "time")
COMMITTED = (*_CHANGED, "state", *_CHANGED_TIMES)
"""The fields of a row of `commit_rows`."""
HELD = ("id", "fence", "progress", "stale_after")
"""The fields of a row of `held_rows`."""

Row = tuple[str | int | float | datetime | None, ...]
WriteTime = Callable[[datetime], datetime | str]
"""A time inside a batch: as it is, for a database that reads what JSON has for times, or as text of one width."""


@cache
def _object(fields: Sequence[str]) -> Callable[..., Any]:
    return msgspec.defstruct("Row", [(name, Any, None) for name in fields], omit_defaults=True)


def batch_text(fields: Sequence[str], rows: Iterable[Row], *, named: bool) -> str:
    """Rows as one JSON parameter: each an array, or, where they are `named`, an object, without what is None."""
    return json_text(list(starmap(_object(fields), rows)) if named else list(rows))


def enqueue_rows(tasks: Iterable[NewTask], now: datetime | None, write_time: WriteTime = text_of_time) -> Iterator[Row]:
    """New tasks. `created_at` travels beside them, once.

    Without `now` the state is None, and `due_at` what was asked for: the server, which knows the time, makes of them
    what `lifecycle.entry` does.
    """
    for t in tasks:
        if now is None:
            state, due_at = None, t.run_at
        else:
            entered, due_at = entry(now if t.run_at is None else t.run_at, now)
            state = entered.value
        times = (None if (at := getattr(t, name)) is None else write_time(at) for name in _NEW_TIMES)
        yield (*_of_new(t), state, None if due_at is None else write_time(due_at), *times)


def commit_rows(records: Iterable[TaskRecord], write_time: WriteTime = text_of_time) -> Iterator[Row]:
    """What a transition can change of records, for the statements `commit` and `write_tasks`; in the order of ids.

    Two transactions that write the same rows then wait for each other, and never both.
    """
    for r in sorted(records, key=attrgetter("id")):
        times = (None if at is None else write_time(at) for at in _changed_times(r))
        yield (*_of_changed(r), r.state.value, *times)


_of_new = attrgetter(*_NEW)
_of_changed = attrgetter(*_CHANGED)
_changed_times = attrgetter(*_CHANGED_TIMES)


def held_rows(held: Iterable[Held]) -> Iterator[Row]:
    """Tasks under their fences, with what travels with a heartbeat; in the order of ids."""
    for one in sorted(held, key=attrgetter("id")):
        yield (one.id, one.fence, one.progress, one.stale_after)


def loaded_columns(records: Sequence[TaskRecord], bind_time: Callable[[datetime], Any]) -> dict[str, list[Any]]:
    """New records by column, for a bulk load; what a new record never has is left out."""
    columns: dict[str, list[Any]] = {name: [getattr(r, name) for r in records] for name in _LOADED}
    columns["state"] = [r.state.value for r in records]
    columns["active_key"] = [r.active_key for r in records]
    for name in _LOADED_TIMES:
        columns[name] = [None if (at := getattr(r, name)) is None else bind_time(at) for r in records]
    return columns


_LOADED = names(lambda one: (one.enqueued or one.initial is not None) and one.kind not in ("state", "time"))
_LOADED_TIMES = names(lambda one: one.kind == "time" and (one.enqueued or not one.committed))
