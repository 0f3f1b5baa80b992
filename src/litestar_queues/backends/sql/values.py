"""Records as rows, and batches of records as JSON text.

The order of the fields here is the order in the files of statements: `COLUMNS` that of the fragment `columns`, the
others that of the statements of their names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from litestar_queues.lifecycle import State
from litestar_queues.records import Held, TaskRecord

__all__ = (
    "COLUMNS",
    "commit_batch",
    "enqueue_batch",
    "held_batch",
    "json_text",
    "record_of",
    "text_of_time",
    "time_of_text",
)

COLUMNS = (
    "id", "name", "queue", "state", "priority", "attempt", "max_attempts", "fence", "key", "args", "kwargs", "metadata",
    "description", "timeout", "execution_backend", "execution_profile", "execution_ref", "worker", "progress", "result",
    "error", "created_at", "due_at", "expires_at", "started_at", "heartbeat_at", "finished_at",
)  # fmt: skip

_STATES = {state.value: state for state in State}
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


def record_of(row: Sequence[Any], read_time: Callable[[Any], datetime]) -> TaskRecord:
    """The record of a row of `COLUMNS`."""
    (
        id_, name, queue, state, priority, attempt, max_attempts, fence, key, args, kwargs, metadata,
        description, timeout, execution_backend, execution_profile, execution_ref, worker, progress, result,
        error, created_at, due_at, expires_at, started_at, heartbeat_at, finished_at,
    ) = row  # fmt: skip
    return TaskRecord(
        id=id_,
        name=name,
        queue=queue,
        state=_STATES[state],
        priority=priority,
        attempt=attempt,
        max_attempts=max_attempts,
        fence=fence,
        key=key,
        args=args,
        kwargs=kwargs,
        metadata=metadata,
        description=description,
        timeout=timeout,
        execution_backend=execution_backend,
        execution_profile=execution_profile,
        execution_ref=execution_ref,
        worker=worker,
        progress=progress,
        result=result,
        error=error,
        created_at=read_time(created_at),
        due_at=read_time(due_at),
        expires_at=None if expires_at is None else read_time(expires_at),
        started_at=None if started_at is None else read_time(started_at),
        heartbeat_at=None if heartbeat_at is None else read_time(heartbeat_at),
        finished_at=None if finished_at is None else read_time(finished_at),
    )


def _text(value: datetime | None) -> str | None:
    return None if value is None else text_of_time(value)


def enqueue_batch(records: Iterable[TaskRecord]) -> str:
    """New records, for the statement `enqueue`; `created_at` travels beside them, once."""
    return json_text(
        [
            (
                r.id, r.name, r.queue, r.state, r.priority, r.max_attempts, r.key, r.args, r.kwargs, r.metadata,
                r.description, r.timeout, r.execution_backend, r.execution_profile, text_of_time(r.due_at),
                _text(r.expires_at),
            )
            for r in records
        ]
    )  # fmt: skip


def commit_batch(records: Iterable[TaskRecord]) -> str:
    """What a transition can change of records, for the statements `commit` and `write_tasks`."""
    return json_text(
        [
            (
                r.id, r.fence, r.state, None if r.key is None else r.active_key, r.attempt, text_of_time(r.due_at), r.worker, r.progress,
                r.result, r.error, r.execution_ref, r.execution_backend, _text(r.started_at), _text(r.heartbeat_at),
                _text(r.finished_at),
            )
            for r in records
        ]
    )  # fmt: skip


def held_batch(held: Iterable[Held]) -> str:
    """Tasks under their fences, with the progress that travels with a heartbeat."""
    return json_text([(one.id, one.fence, one.progress) for one in held])
