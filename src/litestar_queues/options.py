"""What can be said of a task beside its arguments: once with `@task`, and again at each enqueue."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from typing import Any, Literal, TypedDict

import msgspec
import uuid_utils

from litestar_queues.codec import encode
from litestar_queues.errors import InvalidTaskError
from litestar_queues.records import (
    ATTEMPTS_MAX,
    BACKEND_MAX,
    DESCRIPTION_MAX,
    KEY_MAX,
    PRIORITY_MAX,
    PRIORITY_MIN,
    PROFILE_MAX,
    QUEUE_MAX,
    RECOVERIES,
    NewTask,
    check_aware,
    check_int,
    check_text,
    seconds,
)

__all__ = (
    "OPTION_NAMES",
    "Duration",
    "EnqueueOptions",
    "TaskOptions",
    "UniqueBy",
    "make_options",
    "new_id",
    "option_hint",
)

UniqueBy = Literal["task", "arguments"]
Duration = float | timedelta


class EnqueueOptions(TypedDict, total=False):
    """The options of a task as keyword arguments, for type checkers: the fields of `TaskOptions`, each of them optional."""

    queue: str | None
    priority: int | None
    retries: int | None
    max_recoveries: int | None
    requeue_on_stale: bool | None
    timeout: Duration | None
    key: str | None
    unique_by: UniqueBy | None
    delay: Duration | None
    run_after: datetime | Duration | None
    expires_in: Duration | None
    expires_at: datetime | None
    metadata: Mapping[str, Any] | None
    description: str | None
    execution_backend: str | None
    execution_profile: str | None


_TEXTS = {
    "queue": ("queue", QUEUE_MAX),
    "key": ("key", KEY_MAX),
    "description": ("description", DESCRIPTION_MAX),
    "execution_backend": ("execution backend", BACKEND_MAX),
    "execution_profile": ("execution profile", PROFILE_MAX),
}


class TaskOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The options of a task; None means not said.

    Attributes:
        queue: The queue; "default" unless said.
        priority: Higher first; 0 unless said.
        retries: How many attempts may follow the first; 0 unless said.
        max_recoveries: How often the task is given to another worker after its worker went silent, before it fails;
            `QueueConfig.max_recoveries` unless said. The count starts again when an attempt ends by itself.
        requeue_on_stale: False: the task must not run a second time because its worker went silent, or left before the
            attempt ended; it fails instead. The same as `max_recoveries=0`.
        timeout: The longest that one attempt may take, in seconds.
        key: At most one task with this key is active at a time; enqueuing another one answers with the active one.
        unique_by: Makes the key: from the task's name, or from its name and its arguments.
        delay: How long to wait before the task may start, in seconds or as a timedelta.
        run_after: When the task may start: a time with its zone, or the same as `delay`.
        expires_in: How long after the enqueue the task may still start, in seconds or as a timedelta.
        expires_at: Until when the task may still start, with its time zone.
        metadata: What others should know of the task; a mapping that JSON can write.
        description: A sentence for people.
        execution_backend: Where it runs: "local", "immediate", or the name of one that is configured or registered.
        execution_profile: A name that the execution backend understands: how large a machine, for example.
    """

    queue: str | None = None
    priority: int | None = None
    retries: int | None = None
    max_recoveries: int | None = None
    requeue_on_stale: bool | None = None
    timeout: Duration | None = None
    key: str | None = None
    unique_by: UniqueBy | None = None
    delay: Duration | None = None
    run_after: datetime | Duration | None = None
    expires_in: Duration | None = None
    expires_at: datetime | None = None
    metadata: Mapping[str, Any] | None = None
    description: str | None = None
    execution_backend: str | None = None
    execution_profile: str | None = None

    def __post_init__(self) -> None:
        for one, other in _EXCLUSIVE:
            self._exclude(one, other)
        if self.unique_by is not None and self.unique_by not in ("task", "arguments"):  # pyright: ignore[reportUnnecessaryContains]  # callers without a type checker
            raise InvalidTaskError(f"unique_by is 'task' or 'arguments', not {self.unique_by!r}")
        for field, (what, longest) in _TEXTS.items():
            if (text := getattr(self, field)) is not None:
                check_text(what, text, longest)
        if self.retries is not None:
            check_int("number of retries (the attempts after the first)", self.retries, 0, ATTEMPTS_MAX - 1)
        if self.max_recoveries is not None:
            check_int("max_recoveries", self.max_recoveries, 0, ATTEMPTS_MAX)
        if self.requeue_on_stale is not None and not isinstance(self.requeue_on_stale, bool):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers without a type checker
            raise InvalidTaskError(f"requeue_on_stale is True or False, not {self.requeue_on_stale!r}")
        said = self.requeue_on_stale, self.max_recoveries
        if None not in said and bool(said[0]) != bool(said[1]):
            raise InvalidTaskError(f"requeue_on_stale={said[0]} and max_recoveries={said[1]} contradict each other")
        if self.priority is not None:
            check_int("priority", self.priority, PRIORITY_MIN, PRIORITY_MAX)
        if self.metadata is not None and not isinstance(self.metadata, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers without a type checker
            raise InvalidTaskError(f"metadata is a mapping of names to values, not {self.metadata!r}")
        check_duration("the delay", self.delay)
        check_duration("expires_in", self.expires_in)
        if isinstance(self.run_after, datetime):
            check_aware("run_after", self.run_after)
        else:
            check_duration("run_after", self.run_after)
        check_aware("expires_at", self.expires_at)
        check_duration("the timeout", self.timeout)
        if self.timeout is not None and seconds(self.timeout) == timedelta(0):
            raise InvalidTaskError(f"the timeout must be a positive number of seconds, not {self.timeout!r}")

    def _exclude(self, one: str, other: str) -> None:
        if getattr(self, one) is not None and getattr(self, other) is not None:
            raise InvalidTaskError(f"{one} and {other} contradict each other: give one of them")

    def over(self, base: TaskOptions) -> TaskOptions:
        """These options where they say something, else `base`'s; metadata is merged.

        Raises:
            InvalidTaskError: Together they contradict each other.
        """
        said = {name: value for name in OPTION_NAMES if (value := getattr(self, name)) is not None}
        for one, other in (*_EXCLUSIVE, ("max_recoveries", "requeue_on_stale")):
            if one in said:
                base = msgspec.structs.replace(base, **{other: None})
            elif other in said:
                base = msgspec.structs.replace(base, **{one: None})
        if "metadata" in said and base.metadata is not None:
            said["metadata"] = {**base.metadata, **said["metadata"]}
        return msgspec.structs.replace(base, **said) if said else base

    def new_task(
        self,
        name: str,
        arguments: tuple[str, str],
        *,
        same_call: str,
        now: datetime,
        execution_backend: str = "local",
        max_recoveries: int = RECOVERIES,
    ) -> NewTask:
        """The task to enqueue.

        Args:
            name: The task's name.
            arguments: Its arguments and keyword arguments as JSON text.
            same_call: A text that is the same for two calls with the same arguments, for `unique_by="arguments"`.
            now: The store's time, from which durations count.
            execution_backend: Where it is to run unless the options say so.
            max_recoveries: How often it may be recovered unless the options say so.

        Raises:
            InvalidTaskError: An option is out of its range, or it expires before it may start.
        """
        run_at, expires_at = self._run_at(now), self._expires_at(now)
        if expires_at is not None and expires_at <= max(now, run_at or now):
            raise InvalidTaskError(
                f"task {name!r} would expire ({expires_at.isoformat()}) before it may start "
                f"({max(now, run_at or now).isoformat()}): give it more time, or a shorter delay"
            )
        return NewTask(
            id=new_id(),
            name=name,
            queue="default" if self.queue is None else self.queue,
            key=self._key(name, same_call),
            priority=self.priority or 0,
            max_attempts=(self.retries or 0) + 1,
            args=arguments[0],
            kwargs=arguments[1],
            metadata="{}" if self.metadata is None else encode(dict(self.metadata), f"the metadata of task {name!r}"),
            description=self.description,
            timeout=None if self.timeout is None else seconds(self.timeout).total_seconds(),
            run_at=run_at,
            expires_at=expires_at,
            execution_backend=self.execution_backend or execution_backend,
            execution_profile=self.execution_profile,
            max_recoveries=self._max_recoveries(max_recoveries),
        )

    def _max_recoveries(self, default: int) -> int:
        if self.max_recoveries is not None:
            return self.max_recoveries
        if self.requeue_on_stale is None:
            return default
        # Whoever wants the task to be requeued wants it where the default is never, too.
        return (default or RECOVERIES) if self.requeue_on_stale else 0

    def _run_at(self, now: datetime) -> datetime | None:
        if isinstance(self.run_after, datetime):
            return self.run_after.astimezone(UTC)
        wait = self.delay if self.delay is not None else self.run_after
        return after(now, wait, "the delay") if wait else None

    def _expires_at(self, now: datetime) -> datetime | None:
        if self.expires_at is not None:
            return self.expires_at.astimezone(UTC)
        return None if self.expires_in is None else after(now, self.expires_in, "expires_in")

    def _key(self, name: str, same_call: str) -> str | None:
        match self.unique_by:
            case "task":
                return f"task:{name}"
            case "arguments":
                return f"arguments:{hashlib.sha256(f'{name}:{same_call}'.encode()).hexdigest()}"
            case _:
                return self.key


def new_id() -> str:
    """An id for a new task."""
    return str(uuid_utils.uuid7())


_EXCLUSIVE = (("key", "unique_by"), ("delay", "run_after"), ("expires_in", "expires_at"))
OPTION_NAMES = TaskOptions.__struct_fields__
_ELSEWHERE = {
    "backoff": "@task takes it",
    "registry": "@task takes it",
    "session": "QueueService.enqueue and enqueue_many take it",
    **dict.fromkeys(
        ("cron", "interval", "timezone", "anchor", "jitter", "catch_up", "catch_up_limit", "overlap", "misfire_grace"),
        "@task, schedule and QueueService.schedules take it",
    ),
}


def make_options(given: Mapping[str, Any], *, beside: Sequence[str] = ()) -> TaskOptions:
    """Options by name.

    Args:
        given: The options.
        beside: What else the caller takes by keyword, for the error's text.

    Raises:
        InvalidTaskError: One does not exist, is out of its range, or contradicts another one.
    """
    if unknown := sorted(given.keys() - set(OPTION_NAMES)):
        known = (*OPTION_NAMES, *beside)
        named = ", ".join(f"{name!r}{hint and f' ({hint})'}" for name in unknown for hint in [option_hint(name, known)])
        raise InvalidTaskError(f"unknown option {named}: the options are {', '.join(known)}")
    return TaskOptions(**given)


def option_hint(name: str, known: Sequence[str] = OPTION_NAMES, parameters: Collection[str] = ()) -> str:
    """What the writer of this unknown name probably meant; empty where nothing is close, or a parameter is closer."""
    if name in _ELSEWHERE:
        return _ELSEWHERE[name]
    near = get_close_matches(name, [*parameters, *known], n=1)
    return f"did you mean the option {near[0]!r}?" if near and near[0] not in parameters else ""


def after(now: datetime, wait: Duration, what: str) -> datetime:
    """So long after now.

    Raises:
        InvalidTaskError: No calendar reaches so far.
    """
    try:
        return now + seconds(wait)
    except OverflowError:
        raise InvalidTaskError(f"{what} reaches beyond the year 9999: {wait!r}") from None


def check_duration(what: str, value: Duration | None) -> None:
    """Refuse what is neither None nor a duration from nothing upwards.

    Raises:
        InvalidTaskError: `value` is not one.
    """
    if value is None:
        return
    try:
        negative = seconds(value) < timedelta(0)
    except (OverflowError, ValueError, TypeError):
        raise InvalidTaskError(f"{what} must be a number of seconds or a timedelta, not {value!r}") from None
    if negative:
        raise InvalidTaskError(f"{what} cannot be negative: {value!r}")
