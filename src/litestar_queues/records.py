"""The values that pass through the port: immutable, typed, with times in UTC and users' values as JSON text.

Users' values stay text from `enqueue` to the task's function, so that no backend re-encodes them and no reader shares a
live object with another.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from typing import Any, Self

import msgspec

from litestar_queues.columns import COLUMNS, names
from litestar_queues.errors import InvalidTaskError, QueueConfigurationError
from litestar_queues.lifecycle import Claim, Reserve, State, entry, holds_key

__all__ = (
    "KEY_MAX",
    "LIMIT_MAX",
    "LOCK_MAX",
    "MUTABLE",
    "NAME_MAX",
    "PRIORITY_MAX",
    "PRIORITY_MIN",
    "QUEUE_MAX",
    "REF_MAX",
    "WORKER_MAX",
    "Count",
    "Dispatched",
    "Enqueued",
    "Finished",
    "Held",
    "Matching",
    "NamedRecord",
    "NewTask",
    "Overdue",
    "Query",
    "Stale",
    "TaskRecord",
    "Want",
    "admit",
    "beaten",
    "claim_order",
    "first_outcomes",
    "is_silent",
    "is_stale",
    "once_held",
)

NAME_MAX = 200
"""Longest name of a task, in characters: a key can be made from it."""
KEY_MAX = 255
"""Longest key, in characters: what every database of the matrix can index under utf-8."""
QUEUE_MAX = 100
"""Longest name of a queue, in characters."""
WORKER_MAX, REF_MAX = 255, 1000
"""Longest name of a worker, and longest reference of a run, in characters."""
LOCK_MAX = 255
"""Longest name and longest owner of a lock, and longest name of a named record, in characters."""
LIMIT_MAX = 2**31 - 1
"""As many tasks as one call can return: a larger limit means the same."""
BACKEND_MAX, PROFILE_MAX, DESCRIPTION_MAX = 50, 100, 1000
"""Longest name of an execution backend and of an execution profile, and longest description, in characters."""
PRIORITY_MIN, PRIORITY_MAX = -(2**31), 2**31 - 1
ATTEMPTS_MAX = 2**31 - 1
RECOVERIES = 3
"""How often a task whose worker went silent is given to another one, unless said."""
WINDOW_MAX = 1e9
"""Longest time that an owner may be silent, in seconds: what every database can add to a time."""
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
"""NUL, and halves of surrogate pairs."""


class NewTask(msgspec.Struct, frozen=True, kw_only=True):
    """A task that is to be enqueued; one that exists is legal for every backend.

    Times are absolute; a `run_at` in the past means now. `args`, `kwargs` and `metadata` are JSON text.

    Raises:
        InvalidTaskError: A field is out of its range. The text names it.
    """

    id: str
    name: str
    queue: str = "default"
    key: str | None = None
    priority: int = 0
    max_attempts: int = 1
    args: str = "[]"
    kwargs: str = "{}"
    metadata: str = "{}"
    description: str | None = None
    timeout: float | None = None
    run_at: datetime | None = None
    expires_at: datetime | None = None
    execution_backend: str = "local"
    execution_profile: str | None = None
    max_recoveries: int = RECOVERIES

    def __post_init__(self) -> None:
        check_text("id", self.id, 36)
        check_text("name", self.name, NAME_MAX)
        check_text("queue", self.queue, QUEUE_MAX)
        check_text("execution backend", self.execution_backend, BACKEND_MAX)
        if self.key is not None:
            check_text("key", self.key, KEY_MAX)
        if self.execution_profile is not None:
            check_text("execution profile", self.execution_profile, PROFILE_MAX)
        if self.description is not None:
            check_text("description", self.description, DESCRIPTION_MAX)
        check_int("priority", self.priority, PRIORITY_MIN, PRIORITY_MAX)
        check_int("max_attempts", self.max_attempts, 1, ATTEMPTS_MAX)
        check_int("max_recoveries", self.max_recoveries, 0, ATTEMPTS_MAX)
        if self.timeout is not None and not 0 < self.timeout < float("inf"):
            raise InvalidTaskError(f"the timeout must be a positive number of seconds, not {self.timeout!r}")
        check_aware("run_at", self.run_at)
        check_aware("expires_at", self.expires_at)


def check_text(what: str, value: str, longest: int) -> None:
    """Refuse a text that is empty, too long, or holds a character that not every database stores.

    Raises:
        InvalidTaskError: `value` is such a text, or no text.
    """
    if not isinstance(value, str):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers without a type checker
        raise InvalidTaskError(f"the {what} must be a text, not {value!r}")
    if not value:
        raise InvalidTaskError(f"the {what} is empty: leave it out or give it at least one character")
    if len(value) > longest:
        raise InvalidTaskError(
            f"the {what} has {len(value)} characters, and at most {longest} are possible: {value[:40]!r}..."
        )
    if _UNSTORABLE.search(value):
        raise InvalidTaskError(f"the {what} holds a character that not every database can store: {value[:40]!r}")


def check_name(what: str, value: str | None, longest: int) -> None:
    """Refuse a name that is too long, or holds a character that not every database stores. None is no name.

    Raises:
        QueueConfigurationError: `value` is such a name.
    """
    if value:
        try:
            check_text(what, value, longest)
        except InvalidTaskError as error:
            raise QueueConfigurationError(str(error)) from None


def check_int(what: str, value: int, least: int, most: int) -> None:
    """Refuse what is no whole number, or lies outside the range.

    Raises:
        InvalidTaskError: `value` is not one.
    """
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:  # pyright: ignore[reportUnnecessaryIsInstance]  # callers without a type checker
        raise InvalidTaskError(f"the {what} must be a whole number from {least} to {most}, not {value!r}")


def check_aware(what: str, value: datetime | None) -> None:
    """Refuse a datetime that does not say its time zone.

    Raises:
        InvalidTaskError: `value` is naive, no datetime, or outside the years that UTC has.
    """
    if value is None:
        return
    if not isinstance(value, datetime):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers without a type checker
        raise InvalidTaskError(f"{what} must be a datetime with its time zone, not {value!r}")
    if value.utcoffset() is None:
        raise InvalidTaskError(
            f"{what} is a naive datetime ({value.isoformat()}): give it a time zone, for example datetime.now(UTC)"
        )
    try:
        value.astimezone(UTC)
    except OverflowError:
        raise InvalidTaskError(f"{what} lies outside the years 1 to 9999 in UTC: {value.isoformat()}") from None


class TaskRecord(msgspec.Struct, frozen=True):
    """A task as it is stored. `args`, `kwargs`, `metadata`, `progress`, `result`, `error` and `history` are JSON text.

    `recoveries` counts how often stale recovery requeued it since an attempt ended by itself, and `max_recoveries` limits
    that. `stale_after` is the number of seconds for which its owner may be silent: the owner's claim and heartbeats set it.
    `history` is a list of what went wrong in earlier attempts.

    Construct it by keywords: versions to come add fields, each with a default.
    """

    id: str
    name: str
    queue: str
    state: State
    priority: int
    attempt: int
    max_attempts: int
    fence: int
    key: str | None
    args: str
    kwargs: str
    metadata: str
    description: str | None
    timeout: float | None
    execution_backend: str
    execution_profile: str | None
    created_at: datetime
    due_at: datetime
    expires_at: datetime | None = None
    execution_ref: str | None = None
    worker: str | None = None
    progress: str | None = None
    result: str | None = None
    error: str | None = None
    started_at: datetime | None = None
    heartbeat_at: datetime | None = None
    finished_at: datetime | None = None
    recoveries: int = 0
    max_recoveries: int = RECOVERIES
    stale_after: float | None = None
    history: str | None = None

    def evolve(self, **changes: Any) -> Self:
        """The same record with these fields changed."""
        return msgspec.structs.replace(self, **changes)

    @property
    def active_key(self) -> str | None:
        """The key while this task keeps it from others, else None: what the unique index of a database holds."""
        return self.key if holds_key(self.state) else None

    @property
    def held(self) -> Held:
        """The name of the right to write this record."""
        return Held(self.id, self.fence)


MUTABLE = names(lambda column: column.committed)
"""The fields that a commit writes; the others stay as they were enqueued."""


class Held(msgspec.Struct, frozen=True):
    """A task under the fence that the holder knows.

    `progress` (JSON text) and `stale_after` (seconds) travel with a heartbeat; None leaves what is stored.
    """

    id: str
    fence: int
    progress: str | None = None
    stale_after: float | None = None


def once_held(held: Sequence[Held]) -> Sequence[Held]:
    """The same rights, each once: of several heartbeats of one, the last progress and the last `stale_after` count."""
    once: dict[tuple[str, int], Held] = {}
    for one in held:
        before = once.get((one.id, one.fence))
        if before is None:
            once[one.id, one.fence] = one
            continue
        progress = before.progress if one.progress is None else one.progress
        window = before.stale_after if one.stale_after is None else one.stale_after
        once[one.id, one.fence] = Held(one.id, one.fence, progress, window)
    return held if len(once) == len(held) else tuple(once.values())


class Enqueued(msgspec.Struct, frozen=True):
    """What became of one task of a batch: its own record, or the active holder of its key as it stands."""

    record: TaskRecord
    is_new: bool


class Want(msgspec.Struct, frozen=True, kw_only=True):
    """What a claimer asks for. None means any; an empty tuple means none.

    Raises:
        QueueConfigurationError: A reservation has no `stale_after` or an `execution_ref`; or `worker` or `execution_ref` is too
            long, or cannot be stored.
    """

    worker: str
    limit: int
    """How many tasks at most; there is no largest number."""
    queues: tuple[str, ...] | None = None
    tasks: tuple[Held, ...] | None = None
    """Only these, and each only under the fence given. One that is named several times is claimed once."""
    execution_backends: tuple[str, ...] | None = None
    stale_after: float | None = None
    """How many seconds the claimer may be silent before others take its tasks over; above 0, at most `WINDOW_MAX`. None
    leaves that to whoever recovers them. A reservation needs it."""
    reserve: bool = False
    """Whether the tasks are reserved for a dispatch, instead of run by the claimer. Only waiting tasks can be."""
    execution_ref: str | None = None
    """The claimer's own reference, where it is the run that the tasks were dispatched to. A reservation has none."""

    def __post_init__(self) -> None:
        check_name("name of the worker", self.worker, WORKER_MAX)
        check_name("reference of the run", self.execution_ref, REF_MAX)
        if self.reserve and (self.stale_after is None or self.execution_ref is not None):
            raise QueueConfigurationError("a reservation has a stale_after and no execution_ref")

    @property
    def event(self) -> Claim | Reserve:
        """What happens to each task that is taken."""
        if self.reserve and self.stale_after is not None:
            return Reserve(self.worker, self.stale_after)
        return Claim(self.worker, self.stale_after, self.execution_ref)


class Stale(msgspec.Struct, frozen=True, kw_only=True):
    """Running tasks that have no heartbeat, or whose owner has been silent for longer than its window at the time `at`.

    The tasks with the oldest heartbeat come first. A task without a heartbeat is stale whatever its window.
    """

    at: datetime
    window: float
    """Seconds, for a task whose claim stored no window of its own."""
    own_windows: bool = True
    """Whether a window that a claim stored counts. If not, `window` counts for every task."""
    longest: float | None = None
    """Only tasks whose window is shorter than this number of seconds; None means any. The others get a grace: the time for
    which the store has been in service since an outage is shorter than their window."""

    @classmethod
    def since(cls, before: datetime) -> Self:
        """Running tasks without a heartbeat at or after this time, whatever windows their owners have."""
        return cls(at=before, window=0.0, own_windows=False)


class Dispatched(msgspec.Struct, frozen=True, kw_only=True):
    """Dispatched tasks that were not heard of for longer than their own `stale_after` at the time `at`.

    The tasks with the oldest heartbeat come first. A task without a heartbeat or a `stale_after` is found at any time.
    """

    at: datetime
    execution_backends: tuple[str, ...] | None = None
    """Only tasks of these. None means any; an empty tuple means none."""


class Overdue(msgspec.Struct, frozen=True):
    """Waiting and dispatched tasks whose `expires_at` is `at` or earlier; the earliest first."""

    at: datetime


class Finished(msgspec.Struct, frozen=True):
    """Terminal tasks that finished before `before` (exclusive), and at `since` or later; the earliest first."""

    before: datetime
    since: datetime | None = None
    """None means since ever."""


class Matching(msgspec.Struct, frozen=True, kw_only=True):
    """Tasks for people to look at, the newest first. None means any."""

    states: tuple[State, ...] | None = None
    queues: tuple[str, ...] | None = None
    names: tuple[str, ...] | None = None
    key: str | None = None


Query = Stale | Dispatched | Overdue | Finished | Matching


def beaten(record: TaskRecord, held: Held, now: datetime) -> TaskRecord:
    """The record after a heartbeat."""
    return record.evolve(
        heartbeat_at=now,
        progress=record.progress if held.progress is None else held.progress,
        stale_after=record.stale_after if held.stale_after is None else held.stale_after,
    )


def first_outcomes(tasks: Sequence[TaskRecord]) -> Sequence[TaskRecord]:
    """The records of a commit, each task once: of several outcomes of one task, the first counts."""
    first: dict[str, TaskRecord] = {}
    for task in tasks:
        first.setdefault(task.id, task)
    return tasks if len(first) == len(tasks) else tuple(first.values())


def is_stale(record: TaskRecord, query: Stale) -> bool:
    """Whether the query finds the record."""
    if record.state is not State.RUNNING:
        return False
    if record.heartbeat_at is None:
        return True
    window = query.window if record.stale_after is None or not query.own_windows else record.stale_after
    if query.longest is not None and window >= query.longest:
        return False
    return record.heartbeat_at + timedelta(seconds=window) < query.at


def is_silent(record: TaskRecord, query: Dispatched) -> bool:
    """Whether the query finds the record."""
    if record.state is not State.DISPATCHED:
        return False
    if query.execution_backends is not None and record.execution_backend not in query.execution_backends:
        return False
    if record.heartbeat_at is None or record.stale_after is None:
        return True
    return record.heartbeat_at + timedelta(seconds=record.stale_after) < query.at


class NamedRecord(msgspec.Struct, frozen=True):
    """A small value under a name, for the queue's own use. `value` is JSON text; the first version is 1."""

    name: str
    version: int
    value: str


class Count(msgspec.Struct, frozen=True):
    """How many tasks of one queue are in one state."""

    queue: str
    state: State
    tasks: int


def admit(new: NewTask, now: datetime) -> TaskRecord:
    """The record of a new task, as every backend is to store it."""
    state, due_at = entry(now if new.run_at is None else new.run_at.astimezone(UTC), now)
    fields: dict[str, Any] = {**_INITIAL, **dict(zip(_BROUGHT, _brought(new), strict=True))}
    return TaskRecord(
        **fields,
        state=state,
        created_at=now,
        due_at=due_at,
        expires_at=None if new.expires_at is None else new.expires_at.astimezone(UTC),
    )


_BROUGHT = names(lambda column: column.enqueued and column.kind not in ("state", "time"))
_brought = attrgetter(*_BROUGHT)
_INITIAL = {column.name: column.initial for column in COLUMNS if column.initial is not None}


def claim_order(record: TaskRecord) -> tuple[int, datetime, str]:
    """The order in which tasks are claimed: higher priority, then longer due, then id."""
    return (-record.priority, record.due_at, record.id)


def seconds(value: float | timedelta) -> timedelta:
    """A duration that may be given in seconds."""
    return value if isinstance(value, timedelta) else timedelta(seconds=value)


def queue_names(queues: Iterable[str] | None) -> tuple[str, ...] | None:
    """The queues of a filter, each once, in a stable order.

    Raises:
        QueueConfigurationError: `queues` is one text, whose letters would be the names.
    """
    if isinstance(queues, str):
        raise QueueConfigurationError(f"queues is a list of names, not the text {queues!r}: write [{queues!r}]")
    return None if queues is None else tuple(sorted(set(queues)))
