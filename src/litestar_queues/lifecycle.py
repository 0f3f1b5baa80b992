"""The life of a task: every state, every event and every transition.

Everything that affects a transition lives in this file, and this file imports only the standard library. What the
worker, the service and the reaper do, the CHECK constraint of the tables, the diagram and the table in the docs, and
the model that the conformance suite compares a backend with, are all made from `TRANSITIONS`.

Two numbers, never the same: `attempt` says how often a task was claimed and counted; `fence` says who may write. Every
event adds one to the fence, no event ever takes one away, and a write is stored only over the fence that it saw. A
promotion (a scheduled task whose time has come is stored as pending) is bookkeeping of a backend's indexes, no event: it
changes nobody's right to write, and therefore leaves the fence alone.
"""

from __future__ import annotations

import copyreg
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar, Protocol, Self, TypeVar, cast

__all__ = (
    "ACTIVE",
    "EFFECTS",
    "GUARDS",
    "TERMINAL",
    "TRANSITIONS",
    "UNSTARTED",
    "WAITING",
    "Cancel",
    "Claim",
    "Complete",
    "Dispatch",
    "Divert",
    "Event",
    "EventName",
    "Expire",
    "Fail",
    "IllegalTransition",
    "LifecycleTask",
    "LoseHeartbeat",
    "NullHeartbeat",
    "Release",
    "Requeue",
    "Reserve",
    "Revive",
    "Snooze",
    "State",
    "Transition",
    "entry",
    "holds_key",
    "step",
    "stored_state",
)


class State(StrEnum):
    """Where a task is in its life, as it is stored."""

    PENDING = "pending"
    """May be claimed now."""
    SCHEDULED = "scheduled"
    """May be claimed from `due_at` on."""
    DISPATCHED = "dispatched"
    """Reserved by a dispatcher for a run elsewhere, or handed over to that run, which has not claimed it yet."""
    RUNNING = "running"
    """Claimed by a worker, which owns it under its fence."""
    COMPLETED = "completed"
    """Ran to its end."""
    FAILED = "failed"
    """Its last attempt failed, or it must not be retried."""
    CANCELLED = "cancelled"
    """Somebody cancelled it."""
    EXPIRED = "expired"
    """Its `expires_at` passed before it started."""


_OF_OTHERS: dict[str, State] = {}


def stored_state(text: str) -> State:
    """The state of a task as it is stored.

    One that this version does not know, a newer one has written: it is a state by that name, which keeps the task's key, and
    no event leads away from it. So such a task can be read and counted, and is left alone.
    """
    known = _KNOWN.get(text) or _OF_OTHERS.get(text)
    if known is None:
        known = str.__new__(State, text)
        known._name_, known._value_ = text.upper(), text
        _OF_OTHERS[text] = known
    return known


_KNOWN = {state.value: state for state in State}
WAITING = frozenset({State.PENDING, State.SCHEDULED})
UNSTARTED = WAITING | {State.DISPATCHED}
"""The states of a task whose next attempt has not begun: it can expire."""
ACTIVE = UNSTARTED | {State.RUNNING}
TERMINAL = frozenset(State) - ACTIVE


class EventName(StrEnum):
    """What can happen to a task."""

    CLAIM = "claim"
    RESERVE = "reserve"
    DISPATCH = "dispatch"
    DIVERT = "divert"
    COMPLETE = "complete"
    FAIL = "fail"
    REQUEUE = "requeue"
    RELEASE = "release"
    SNOOZE = "snooze"
    LOSE_HEARTBEAT = "lose_heartbeat"
    NULL_HEARTBEAT = "null_heartbeat"
    CANCEL = "cancel"
    EXPIRE = "expire"
    REVIVE = "revive"


@dataclass(frozen=True, slots=True)
class Claim:
    """A worker takes the task, and may be silent for `stale_after` seconds before others take it over.

    `execution_ref` is the claimer's own reference where it is the run that the task was dispatched to. None leaves what is
    stored.
    """

    worker: str
    stale_after: float | None = None
    execution_ref: str | None = None
    name: ClassVar[EventName] = EventName.CLAIM


@dataclass(frozen=True, slots=True)
class Reserve:
    """A dispatcher takes the task, to start a run for it elsewhere. The reservation lasts for `stale_after` seconds.

    No attempt is counted: that is done by the claim of the run.
    """

    worker: str
    stale_after: float
    name: ClassVar[EventName] = EventName.RESERVE


@dataclass(frozen=True, slots=True)
class Dispatch:
    """The dispatcher has started the run `execution_ref`, which may be silent for `stale_after` seconds."""

    execution_ref: str
    stale_after: float
    name: ClassVar[EventName] = EventName.DISPATCH


@dataclass(frozen=True, slots=True)
class Divert:
    """The dispatcher hands the task to another execution backend; `error`, as JSON text, says why."""

    execution_backend: str
    error: str
    name: ClassVar[EventName] = EventName.DIVERT


@dataclass(frozen=True, slots=True)
class Complete:
    """The attempt ended well; `result` is JSON text."""

    result: str
    name: ClassVar[EventName] = EventName.COMPLETE


@dataclass(frozen=True, slots=True)
class Fail:
    """The attempt failed; `error` is JSON text, and `retry_at` is None where no retry is wanted."""

    error: str
    retry_at: datetime | None = None
    name: ClassVar[EventName] = EventName.FAIL


@dataclass(frozen=True, slots=True)
class Requeue:
    """The worker gives the task back unfinished, through no fault of the task.

    A task that must not run a second time (`max_recoveries` is 0) fails instead.
    """

    name: ClassVar[EventName] = EventName.REQUEUE


@dataclass(frozen=True, slots=True)
class Release:
    """The worker or the dispatcher gives back a task that it did not start. The task keeps its place."""

    name: ClassVar[EventName] = EventName.RELEASE


@dataclass(frozen=True, slots=True)
class Snooze:
    """The task asks to be run again later, or its dispatcher puts it off."""

    until: datetime
    name: ClassVar[EventName] = EventName.SNOOZE


@dataclass(frozen=True, slots=True)
class LoseHeartbeat:
    """The owner has not been heard of for longer than the stale window, or the run ended without a claim.

    `error` is JSON text.
    """

    error: str
    name: ClassVar[EventName] = EventName.LOSE_HEARTBEAT


@dataclass(frozen=True, slots=True)
class NullHeartbeat:
    """The owner declares itself gone: the task counts as stale from now on."""

    name: ClassVar[EventName] = EventName.NULL_HEARTBEAT


@dataclass(frozen=True, slots=True)
class Cancel:
    """Somebody wants the task not to run, or to stop."""

    name: ClassVar[EventName] = EventName.CANCEL


@dataclass(frozen=True, slots=True)
class Expire:
    """The task's `expires_at` has passed."""

    name: ClassVar[EventName] = EventName.EXPIRE


@dataclass(frozen=True, slots=True)
class Revive:
    """An operator wants a failed or cancelled task to run again, with a fresh budget of attempts."""

    name: ClassVar[EventName] = EventName.REVIVE


Event = (
    Claim | Reserve | Dispatch | Divert | Complete | Fail | Requeue | Release | Snooze | LoseHeartbeat | NullHeartbeat | Cancel
    | Expire | Revive
)  # fmt: skip


class LifecycleTask(Protocol):
    """What the lifecycle reads of a task, and the one way in which it makes a changed one."""

    @property
    def id(self) -> str: ...
    @property
    def state(self) -> State: ...
    @property
    def attempt(self) -> int: ...
    @property
    def max_attempts(self) -> int: ...
    @property
    def fence(self) -> int: ...
    @property
    def due_at(self) -> datetime: ...
    @property
    def expires_at(self) -> datetime | None: ...
    @property
    def heartbeat_at(self) -> datetime | None: ...
    @property
    def execution_ref(self) -> str | None: ...
    @property
    def recoveries(self) -> int: ...
    @property
    def max_recoveries(self) -> int: ...
    @property
    def error(self) -> str | None: ...
    @property
    def history(self) -> str | None: ...
    def evolve(self, **changes: Any) -> Self:
        """The same task with these fields changed."""
        ...


T = TypeVar("T", bound=LifecycleTask)
Guard = Callable[[LifecycleTask, Any, datetime], bool]
Effect = Callable[[LifecycleTask, Any, datetime], dict[str, Any]]


class IllegalTransition(Exception):
    """The event cannot happen to a task in this state; the text names the task, the event and the state."""

    def __init__(self, task: LifecycleTask, event: EventName, reason: str) -> None:
        super().__init__(f"cannot {event.replace('_', ' ')} task {task.id}: {reason}")
        self.task_id = task.id
        self.event = event
        self.state = task.state

    def __reduce__(self) -> tuple[Any, ...]:
        """By its text and attributes: it is not made again, for it does not keep the task."""
        return copyreg.__newobj__, (type(self), *self.args), vars(self)  # type: ignore[attr-defined]


def entry(due_at: datetime, now: datetime) -> tuple[State, datetime]:
    """The state and the `due_at` of a task that starts to wait: a time in the past means pending, due since now."""
    return (State.SCHEDULED, due_at) if due_at > now else (State.PENDING, now)


def holds_key(state: State) -> bool:
    """Whether a task in this state keeps its key from others."""
    return state not in TERMINAL


def _overdue(task: LifecycleTask, now: datetime) -> bool:
    return task.expires_at is not None and task.expires_at <= now


_REMEMBERED = 20
"""The most entries of a task's history."""
_MESSAGE_MAX = 500
_INTERRUPTED = json.dumps(
    {
        "type": "Interrupted",
        "message": "its worker left before the attempt ended, and the task must not run a second time",
        "traceback": None,
    }
)


def _remembered(task: LifecycleTask, what: EventName, error: str | None, now: datetime) -> dict[str, Any]:
    """The history with one entry more. A history or an error that somebody edited is no reason to fail."""
    entries, told = _loaded(task.history), _loaded(error)
    if not isinstance(told, dict):
        told = {"type": "Unknown", "message": "" if error is None else error}
    described = cast("dict[str, Any]", told)
    added: dict[str, Any] = {
        "event": what.value,
        "attempt": task.attempt,
        "at": now.isoformat(),
        "type": str(described.get("type"))[:_MESSAGE_MAX],
        "message": str(described.get("message") or "")[:_MESSAGE_MAX],
    }
    kept: list[Any] = list(entries) if isinstance(entries, list) else []  # pyright: ignore[reportUnknownArgumentType]
    return {"history": json.dumps([*kept[-(_REMEMBERED - 1) :], added])}


def _loaded(text: str | None) -> Any:
    try:
        return None if text is None else json.loads(text)
    except (ValueError, RecursionError):
        return None


def _has_budget(task: LifecycleTask, _event: Any, _now: datetime) -> bool:
    return task.attempt < task.max_attempts


GUARDS: dict[str, tuple[Guard, str]] = {
    "always": (lambda t, e, now: True, "in every case"),
    "due": (
        lambda t, e, now: t.due_at <= now and not _overdue(t, now),
        "`due_at` has come, and `expires_at` has not",
    ),
    "retry_now": (
        lambda t, e, now: e.retry_at is not None and e.retry_at <= now and _has_budget(t, e, now),
        "a retry is wanted, its time has come, and the budget of attempts is not spent",
    ),
    "retry_later": (
        lambda t, e, now: e.retry_at is not None and e.retry_at > now and _has_budget(t, e, now),
        "a retry is wanted for later, and the budget of attempts is not spent",
    ),
    "until_past": (lambda t, e, now: e.until <= now, "the time asked for has come"),
    "until_future": (lambda t, e, now: e.until > now, "the time asked for lies ahead"),
    "recoverable": (
        lambda t, e, now: t.recoveries < t.max_recoveries,
        "the budget of recoveries is not spent",
    ),
    "unreferenced": (lambda t, e, now: t.execution_ref is None, "no reference is stored yet"),
    "repeatable": (lambda t, e, now: t.max_recoveries > 0, "the task may run a second time"),
    "overdue": (lambda t, e, now: _overdue(t, now), "`expires_at` has come"),
    "not_overdue": (lambda t, e, now: not _overdue(t, now), "`expires_at` has not come"),
}
"""Each guard's name: the condition, and the condition in words. The first row whose guard holds is the transition."""

EFFECTS: dict[str, tuple[Effect, str]] = {
    "own": (
        lambda t, e, now: (
            {
                "worker": e.worker,
                "started_at": now,
                "heartbeat_at": now,
                "stale_after": e.stale_after,
            }
            | ({} if e.execution_ref is None else {"execution_ref": e.execution_ref})
        ),
        "the worker owns it; `started_at` and `heartbeat_at` are now, `stale_after` and `execution_ref` (if any) are the claim's",
    ),
    "reserve": (
        lambda t, e, now: {
            "worker": e.worker,
            "heartbeat_at": now,
            "stale_after": e.stale_after,
            "execution_ref": None,
        },
        "the dispatcher has reserved it since now, for `stale_after` seconds; an earlier reference is cleared",
    ),
    "refer": (
        lambda t, e, now: {"execution_ref": e.execution_ref, "heartbeat_at": now, "stale_after": e.stale_after},
        "the reference is stored; `heartbeat_at` is now, and `stale_after` says how long the run may be silent",
    ),
    "divert": (
        lambda t, e, now: {"execution_backend": e.execution_backend, "execution_ref": None},
        "`execution_backend` is the other one; the reference is cleared",
    ),
    "count_attempt": (lambda t, e, now: {"attempt": t.attempt + 1}, "`attempt` grows by one"),
    "return_attempt": (lambda t, e, now: {"attempt": t.attempt - 1}, "the attempt is given back"),
    "reset_attempts": (lambda t, e, now: {"attempt": 0}, "`attempt` is 0"),
    "count_recovery": (lambda t, e, now: {"recoveries": t.recoveries + 1}, "`recoveries` grows by one"),
    "reset_recoveries": (lambda t, e, now: {"recoveries": 0}, "`recoveries` is 0"),
    "not_started": (
        lambda t, e, now: {"worker": None, "started_at": None},
        "`worker` and `started_at` are cleared",
    ),
    "disown": (
        lambda t, e, now: {"heartbeat_at": None, "stale_after": None},
        "the heartbeat is cleared, and how long its owner may be silent",
    ),
    "null_heartbeat": (
        lambda t, e, now: {"heartbeat_at": None, "stale_after": None},
        "the heartbeat is cleared, so that it counts as stale",
    ),
    "due_now": (lambda t, e, now: {"due_at": now}, "`due_at` is now: to the back of its priority"),
    "due_at_retry": (lambda t, e, now: {"due_at": e.retry_at}, "`due_at` is the time of the retry"),
    "due_at_until": (lambda t, e, now: {"due_at": e.until}, "`due_at` is the time asked for"),
    "keep_result": (
        lambda t, e, now: {"result": e.result, "error": None},
        "the result is stored, an earlier error cleared",
    ),
    "keep_error": (lambda t, e, now: {"error": e.error}, "the error is stored"),
    "keep_interruption": (lambda t, e, now: {"error": _INTERRUPTED}, "the error says that the attempt was interrupted"),
    "remember": (
        lambda t, e, now: _remembered(t, e.name, e.error, now),
        f"`history` gets an entry: event, attempt, time, and the error's type and message; the last {_REMEMBERED} stay",
    ),
    "remember_outcome": (
        lambda t, e, now: {} if t.error is None else _remembered(t, EventName.FAIL, t.error, now),
        "`history` gets an entry of the error that was stored",
    ),
    "forget_outcome": (
        lambda t, e, now: {
            "result": None,
            "error": None,
            "progress": None,
            "finished_at": None,
            "started_at": None,
            "worker": None,
        },
        "what the earlier attempts left is cleared",
    ),
    "finish": (lambda t, e, now: {"finished_at": now}, "`finished_at` is now; the key is free"),
}
"""Each effect's name: the fields that it sets, and that in words."""


@dataclass(frozen=True, slots=True)
class Transition:
    """One row of the table: in `state`, on `event`, where `guard` holds, the task goes to `to` with `effects`."""

    state: State
    event: EventName
    guard: str
    to: State
    effects: tuple[str, ...]


_S, _E = State, EventName
_PENDING_AGAIN = ("disown", "due_now")
_REVIVED = ("remember_outcome", "reset_attempts", "reset_recoveries", "forget_outcome", "due_now")
_SNOOZED = ("return_attempt", "reset_recoveries")
_NOT_OWNED = ("not_started", "disown")
_TRIED = ("keep_error", "remember", "reset_recoveries")

TRANSITIONS: tuple[Transition, ...] = (
    Transition(_S.PENDING, _E.CLAIM, "due", _S.RUNNING, ("own", "count_attempt")),
    Transition(_S.SCHEDULED, _E.CLAIM, "due", _S.RUNNING, ("own", "count_attempt")),
    Transition(_S.PENDING, _E.RESERVE, "due", _S.DISPATCHED, ("reserve",)),
    Transition(_S.SCHEDULED, _E.RESERVE, "due", _S.DISPATCHED, ("reserve",)),
    Transition(_S.DISPATCHED, _E.DISPATCH, "unreferenced", _S.DISPATCHED, ("refer",)),
    Transition(_S.DISPATCHED, _E.CLAIM, "due", _S.RUNNING, ("own", "count_attempt")),
    Transition(_S.DISPATCHED, _E.RELEASE, "always", _S.PENDING, _NOT_OWNED),
    Transition(_S.DISPATCHED, _E.SNOOZE, "until_future", _S.SCHEDULED, (*_NOT_OWNED, "due_at_until")),
    Transition(_S.DISPATCHED, _E.SNOOZE, "until_past", _S.PENDING, (*_NOT_OWNED, "due_now")),
    Transition(_S.DISPATCHED, _E.DIVERT, "always", _S.PENDING, ("divert", "remember", *_NOT_OWNED)),
    Transition(
        _S.DISPATCHED,
        _E.LOSE_HEARTBEAT,
        "recoverable",
        _S.PENDING,
        ("count_recovery", "keep_error", "remember", *_NOT_OWNED, "due_now"),
    ),
    Transition(_S.DISPATCHED, _E.LOSE_HEARTBEAT, "always", _S.FAILED, ("keep_error", "disown", "finish")),
    Transition(_S.DISPATCHED, _E.CANCEL, "always", _S.CANCELLED, ("disown", "finish")),
    Transition(_S.DISPATCHED, _E.EXPIRE, "overdue", _S.EXPIRED, ("disown", "finish")),
    Transition(_S.RUNNING, _E.COMPLETE, "always", _S.COMPLETED, ("keep_result", "disown", "finish")),
    Transition(_S.RUNNING, _E.FAIL, "retry_later", _S.SCHEDULED, (*_TRIED, "disown", "due_at_retry")),
    Transition(_S.RUNNING, _E.FAIL, "retry_now", _S.PENDING, (*_TRIED, *_PENDING_AGAIN)),
    Transition(_S.RUNNING, _E.FAIL, "always", _S.FAILED, ("keep_error", "disown", "finish")),
    Transition(_S.RUNNING, _E.REQUEUE, "repeatable", _S.PENDING, ("return_attempt", *_PENDING_AGAIN)),
    Transition(_S.RUNNING, _E.REQUEUE, "always", _S.FAILED, ("keep_interruption", "disown", "finish")),
    Transition(_S.RUNNING, _E.RELEASE, "always", _S.PENDING, ("return_attempt", "not_started", "disown")),
    Transition(_S.RUNNING, _E.SNOOZE, "until_future", _S.SCHEDULED, (*_SNOOZED, "disown", "due_at_until")),
    Transition(_S.RUNNING, _E.SNOOZE, "until_past", _S.PENDING, (*_SNOOZED, *_PENDING_AGAIN)),
    Transition(
        _S.RUNNING,
        _E.LOSE_HEARTBEAT,
        "recoverable",
        _S.PENDING,
        ("return_attempt", "count_recovery", "keep_error", "remember", *_PENDING_AGAIN),
    ),
    Transition(_S.RUNNING, _E.LOSE_HEARTBEAT, "always", _S.FAILED, ("keep_error", "disown", "finish")),
    Transition(_S.RUNNING, _E.NULL_HEARTBEAT, "always", _S.RUNNING, ("null_heartbeat",)),
    Transition(_S.PENDING, _E.CANCEL, "always", _S.CANCELLED, ("finish",)),
    Transition(_S.SCHEDULED, _E.CANCEL, "always", _S.CANCELLED, ("finish",)),
    Transition(_S.RUNNING, _E.CANCEL, "always", _S.CANCELLED, ("disown", "finish")),
    Transition(_S.PENDING, _E.EXPIRE, "overdue", _S.EXPIRED, ("finish",)),
    Transition(_S.SCHEDULED, _E.EXPIRE, "overdue", _S.EXPIRED, ("finish",)),
    Transition(_S.FAILED, _E.REVIVE, "not_overdue", _S.PENDING, _REVIVED),
    Transition(_S.CANCELLED, _E.REVIVE, "not_overdue", _S.PENDING, _REVIVED),
)

_Row = tuple[Transition, Guard, tuple[Effect, ...]]
_ROWS: dict[tuple[State, EventName], tuple[_Row, ...]] = {}
for _row in TRANSITIONS:
    _looked_up = (_row, GUARDS[_row.guard][0], tuple(EFFECTS[effect][0] for effect in _row.effects))
    _ROWS[_row.state, _row.event] = (*_ROWS.get((_row.state, _row.event), ()), _looked_up)


def step(task: T, event: Event, now: datetime) -> T:
    """The task after the event, with a fence one higher; nothing is stored by this.

    Args:
        task: The task as its owner, or the reader, knows it.
        event: What happens to it.
        now: The store's time.

    Raises:
        IllegalTransition: The table has no row for this event in this state, or no guard of such a row holds.
    """
    rows = _ROWS.get((task.state, event.name))
    if rows is None:
        raise IllegalTransition(task, event.name, f"it is {task.state.value!r}")
    for row, guard, effects in rows:
        if guard(task, event, now):
            changes: dict[str, Any] = {"state": row.to, "fence": task.fence + 1}
            for effect in effects:
                changes |= effect(task, event, now)
            return task.evolve(**changes)
    wanted = " or ".join(GUARDS[row.guard][1] for row, _, _ in rows)
    raise IllegalTransition(task, event.name, f"it is {task.state.value!r}, and that takes: {wanted}")
