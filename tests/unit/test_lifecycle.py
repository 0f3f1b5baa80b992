from __future__ import annotations

import ast
import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from litestar_queues import lifecycle
from litestar_queues.lifecycle import (
    ACTIVE,
    EFFECTS,
    GUARDS,
    TERMINAL,
    TRANSITIONS,
    UNSTARTED,
    WAITING,
    Cancel,
    Claim,
    Complete,
    Dispatch,
    Divert,
    Event,
    EventName,
    Expire,
    Fail,
    IllegalTransition,
    LoseHeartbeat,
    NullHeartbeat,
    Release,
    Requeue,
    Reserve,
    Revive,
    Snooze,
    State,
    entry,
    holds_key,
    step,
)
from litestar_queues.records import TaskRecord

NOW = datetime(2030, 5, 1, 12, 0, 0, 250, tzinfo=UTC)
PAST, LATER = NOW - timedelta(hours=1), NOW + timedelta(hours=1)
TICK = timedelta(microseconds=1)


def make(state: State, **fields: Any) -> TaskRecord:
    """A task in this state, with everything that such a task can carry."""
    given: dict[str, Any] = {
        "id": "t1", "name": "n", "queue": "q", "state": state, "priority": 3, "attempt": 1, "max_attempts": 3, "fence": 7,
        "key": "k", "args": "[1]", "kwargs": '{"a":1}', "metadata": "{}", "description": "d", "timeout": 5.0,
        "execution_backend": "local", "execution_profile": None, "created_at": PAST, "due_at": PAST,
    }  # fmt: skip
    if state is State.SCHEDULED:
        given["due_at"] = LATER
    if state is State.RUNNING:
        given |= {"worker": "w1", "started_at": PAST, "heartbeat_at": PAST, "progress": "{}", "stale_after": 9.5}
    if state is State.DISPATCHED:
        given |= {"worker": "d1", "heartbeat_at": PAST, "stale_after": 60.0}
    if state in TERMINAL:
        given["finished_at"] = PAST
    if state is State.COMPLETED:
        given["result"] = "5"
    if state is State.FAILED:
        given |= {"error": '"why"', "progress": "{}", "worker": "w1", "started_at": PAST}
    return TaskRecord(**{**given, **fields})


OWNED = {"worker": "w2", "started_at": NOW, "heartbeat_at": NOW, "stale_after": None}
CLEARED = {"heartbeat_at": None, "stale_after": None}
RESERVED = {"state": State.DISPATCHED, "worker": "d2", "heartbeat_at": NOW, "stale_after": 30.0, "execution_ref": None}
UNOWNED = {"worker": None, "started_at": None, **CLEARED}
ENDED = {**CLEARED, "finished_at": NOW}
AGAIN = {**CLEARED, "due_at": NOW}
REVIVED = {
    "state": State.PENDING, "attempt": 0, "due_at": NOW, "result": None, "error": None, "progress": None,
    "finished_at": None, "started_at": None, "worker": None, "recoveries": 0,
}  # fmt: skip
REFUSED_THERE = '{"type": "DispatchRefused", "message": "no such job"}'
LOST = '{"type": "HeartbeatLost", "message": "silent", "traceback": null}'
INTERRUPTED = (
    '{"type": "Interrupted", "message": "its worker left before the attempt ended, and the task must not run a second '
    'time", "traceback": null}'
)


def remembered(event: str, attempt: int, type_: str = "Unknown", message: str = '"e"') -> str:
    """A history with one entry."""
    told = {"event": event, "attempt": attempt, "at": NOW.isoformat(), "type": type_, "message": message}
    return json.dumps([told])


CASES: dict[str, tuple[TaskRecord, Event, dict[str, Any]]] = {
    "a pending task is claimed": (
        make(State.PENDING, attempt=0), Claim("w2"), {"state": State.RUNNING, "attempt": 1, **OWNED},
    ),
    "a claim says how long its owner may be silent": (
        make(State.PENDING, recoveries=1), Claim("w2", 7.5), {"state": State.RUNNING, "attempt": 2, **OWNED, "stale_after": 7.5},
    ),
    "a task due at this very moment is claimed": (
        make(State.PENDING, due_at=NOW), Claim("w2"), {"state": State.RUNNING, "attempt": 2, **OWNED},
    ),
    "a scheduled task whose time has come is claimed": (
        make(State.SCHEDULED, due_at=PAST), Claim("w2"), {"state": State.RUNNING, "attempt": 2, **OWNED},
    ),
    "a claim keeps the error of the last attempt": (
        make(State.PENDING, error='"e"'), Claim("w2"), {"state": State.RUNNING, "attempt": 2, "error": '"e"', **OWNED},
    ),
    "a task whose expiry lies ahead is claimed": (
        make(State.PENDING, expires_at=NOW + TICK), Claim("w2"), {"state": State.RUNNING, "attempt": 2, **OWNED},
    ),
    "a claim that brings a reference stores it": (
        make(State.PENDING, execution_ref="old"), Claim("w2", 7.5, "run"),
        {"state": State.RUNNING, "attempt": 2, **OWNED, "stale_after": 7.5, "execution_ref": "run"},
    ),
    "a claim that brings no reference keeps what is stored": (
        make(State.PENDING, execution_ref="old"), Claim("w2"), {"state": State.RUNNING, "attempt": 2, **OWNED},
    ),
    "a pending task is reserved for a dispatch, and its attempts are not counted": (
        make(State.PENDING, attempt=0), Reserve("d2", 30.0), RESERVED,
    ),
    "a reservation clears the reference of the last run, and not when the last attempt started": (
        make(State.PENDING, execution_ref="old", started_at=PAST, error='"e"'), Reserve("d2", 30.0), RESERVED,
    ),
    "a task due at this very moment is reserved": (make(State.PENDING, due_at=NOW), Reserve("d2", 30.0), RESERVED),
    "a scheduled task whose time has come is reserved": (
        make(State.SCHEDULED, due_at=PAST), Reserve("d2", 30.0), RESERVED,
    ),
    "a reserved task gets the reference of its run, once, and the window of the run": (
        make(State.DISPATCHED), Dispatch("run", 900.0),
        {"execution_ref": "run", "heartbeat_at": NOW, "stale_after": 900.0},
    ),
    "a run claims its task before the reference is stored": (
        make(State.DISPATCHED, attempt=0), Claim("r", 7.5, "run"),
        {"state": State.RUNNING, "attempt": 1, **OWNED, "worker": "r", "stale_after": 7.5, "execution_ref": "run"},
    ),
    "a run claims its task after the reference was stored, and keeps it": (
        make(State.DISPATCHED, execution_ref="run"), Claim("w2"),
        {"state": State.RUNNING, "attempt": 2, **OWNED},
    ),
    "a run claims its task in time": (
        make(State.DISPATCHED, expires_at=NOW + TICK), Claim("w2"), {"state": State.RUNNING, "attempt": 2, **OWNED},
    ),
    "a dispatched task that is given back keeps its place, its attempts and its reference": (
        make(State.DISPATCHED, started_at=PAST, execution_ref="run"), Release(), {"state": State.PENDING, **UNOWNED},
    ),
    "a dispatched task that must not run a second time can be given back": (
        make(State.DISPATCHED, max_recoveries=0), Release(), {"state": State.PENDING, **UNOWNED},
    ),
    "a dispatched task that is put off is scheduled, and its attempts stay": (
        make(State.DISPATCHED, recoveries=1), Snooze(LATER), {"state": State.SCHEDULED, "due_at": LATER, **UNOWNED},
    ),
    "a dispatched task that is put off to the past is pending": (
        make(State.DISPATCHED), Snooze(PAST), {"state": State.PENDING, "due_at": NOW, **UNOWNED},
    ),
    "a dispatched task that is put off to this very moment is pending": (
        make(State.DISPATCHED), Snooze(NOW), {"state": State.PENDING, "due_at": NOW, **UNOWNED},
    ),
    "a dispatched task that is diverted goes to the other execution backend, keeps its place, and remembers why": (
        make(State.DISPATCHED, execution_backend="cloudrun", execution_ref="run"), Divert("local", REFUSED_THERE),
        {
            "state": State.PENDING, "execution_backend": "local", "execution_ref": None,
            "history": remembered("divert", 1, "DispatchRefused", "no such job"), **UNOWNED,
        },
    ),
    "a dispatched task that is not heard of is pending, its attempts untouched and its recovery counted": (
        make(State.DISPATCHED, attempt=0, recoveries=2, max_recoveries=3, execution_ref="run"), LoseHeartbeat(LOST),
        {
            "state": State.PENDING, "recoveries": 3, "error": LOST, "due_at": NOW,
            "history": remembered("lose_heartbeat", 0, "HeartbeatLost", "silent"), **UNOWNED,
        },
    ),
    "a dispatched task that is not heard of and has spent its budget fails": (
        make(State.DISPATCHED, recoveries=3, max_recoveries=3), LoseHeartbeat(LOST),
        {"state": State.FAILED, "error": LOST, **ENDED},
    ),
    "a dispatched task that is not heard of and must not run a second time fails": (
        make(State.DISPATCHED, max_recoveries=0), LoseHeartbeat(LOST),
        {"state": State.FAILED, "error": LOST, **ENDED},
    ),
    "a dispatched task is cancelled": (make(State.DISPATCHED), Cancel(), {"state": State.CANCELLED, **ENDED}),
    "a dispatched task expires at its very moment": (
        make(State.DISPATCHED, expires_at=NOW), Expire(), {"state": State.EXPIRED, **ENDED},
    ),
    "a completed task keeps its result and forgets an earlier error": (
        make(State.RUNNING, error='"e"'), Complete("9"),
        {"state": State.COMPLETED, "result": "9", "error": None, **ENDED},
    ),
    "a task completes although its expiry has passed meanwhile": (
        make(State.RUNNING, expires_at=PAST), Complete("9"), {"state": State.COMPLETED, "result": "9", **ENDED},
    ),
    "a retry later is scheduled": (
        make(State.RUNNING, recoveries=2), Fail('"e"', LATER),
        {
            "state": State.SCHEDULED, "error": '"e"', "due_at": LATER, "recoveries": 0, "history": remembered("fail", 1),
            **CLEARED,
        },
    ),
    "a retry in the past is pending, due now": (
        make(State.RUNNING), Fail('"e"', PAST),
        {"state": State.PENDING, "error": '"e"', "history": remembered("fail", 1), **AGAIN},
    ),
    "a retry at this very moment is pending": (
        make(State.RUNNING), Fail('"e"', NOW),
        {"state": State.PENDING, "error": '"e"', "history": remembered("fail", 1), **AGAIN},
    ),
    "a failure without a retry is final": (
        make(State.RUNNING), Fail('"e"'), {"state": State.FAILED, "error": '"e"', **ENDED},
    ),
    "a retry later with a spent budget is final": (
        make(State.RUNNING, attempt=3), Fail('"e"', LATER), {"state": State.FAILED, "error": '"e"', **ENDED},
    ),
    "a retry now with a spent budget is final": (
        make(State.RUNNING, attempt=3), Fail('"e"', PAST), {"state": State.FAILED, "error": '"e"', **ENDED},
    ),
    "a task given back keeps its budget and goes to the back": (
        make(State.RUNNING, attempt=3), Requeue(), {"state": State.PENDING, "attempt": 2, **AGAIN},
    ),
    "a task given back that must not run a second time fails": (
        make(State.RUNNING, max_recoveries=0), Requeue(), {"state": State.FAILED, "error": INTERRUPTED, **ENDED},
    ),
    "a task given back unstarted keeps its budget and its place": (
        make(State.RUNNING, attempt=3, max_recoveries=0), Release(),
        {"state": State.PENDING, "attempt": 2, "worker": None, "started_at": None, **CLEARED},
    ),
    "a task snoozed for later keeps its budget": (
        make(State.RUNNING, attempt=3, recoveries=1), Snooze(LATER),
        {"state": State.SCHEDULED, "attempt": 2, "due_at": LATER, "recoveries": 0, **CLEARED},
    ),
    "a task snoozed to the past is pending": (
        make(State.RUNNING), Snooze(PAST), {"state": State.PENDING, "attempt": 0, **AGAIN},
    ),
    "a task snoozed to this very moment is pending": (
        make(State.RUNNING), Snooze(NOW), {"state": State.PENDING, "attempt": 0, **AGAIN},
    ),
    "a stale task with budget left is pending, its attempt given back and its recovery counted": (
        make(State.RUNNING, attempt=1, max_attempts=1, recoveries=2, max_recoveries=3), LoseHeartbeat(LOST),
        {
            "state": State.PENDING, "attempt": 0, "recoveries": 3, "error": LOST,
            "history": remembered("lose_heartbeat", 1, "HeartbeatLost", "silent"), **AGAIN,
        },
    ),
    "a stale task with a spent budget fails": (
        make(State.RUNNING, attempt=1, max_attempts=9, recoveries=3, max_recoveries=3), LoseHeartbeat(LOST),
        {"state": State.FAILED, "error": LOST, **ENDED},
    ),
    "a stale task that must not run a second time fails": (
        make(State.RUNNING, attempt=1, max_attempts=9, max_recoveries=0), LoseHeartbeat(LOST),
        {"state": State.FAILED, "error": LOST, **ENDED},
    ),
    "a task whose heartbeat is nulled still runs": (
        make(State.RUNNING), NullHeartbeat(), {"state": State.RUNNING, "heartbeat_at": None, "stale_after": None},
    ),
    "a pending task is cancelled": (
        make(State.PENDING), Cancel(), {"state": State.CANCELLED, "finished_at": NOW},
    ),
    "a scheduled task is cancelled": (
        make(State.SCHEDULED), Cancel(), {"state": State.CANCELLED, "finished_at": NOW},
    ),
    "a running task is cancelled": (make(State.RUNNING), Cancel(), {"state": State.CANCELLED, **ENDED}),
    "a pending task expires": (
        make(State.PENDING, expires_at=PAST), Expire(), {"state": State.EXPIRED, "finished_at": NOW},
    ),
    "a scheduled task expires at its very moment": (
        make(State.SCHEDULED, expires_at=NOW), Expire(), {"state": State.EXPIRED, "finished_at": NOW},
    ),
    "a failed task is revived with fresh budgets": (
        make(State.FAILED, attempt=3, recoveries=3), Revive(),
        {**REVIVED, "history": remembered("fail", 3, message='"why"')},
    ),
    "a cancelled task is revived": (make(State.CANCELLED, expires_at=LATER), Revive(), REVIVED),
}  # fmt: skip
"""Written by hand, never derived from the table: what is before, what happens, and every field that differs after."""


@pytest.mark.parametrize(("before", "event", "changes"), CASES.values(), ids=CASES)
def test_an_event_changes_what_is_written_here_and_nothing_else(
    before: TaskRecord, event: Event, changes: dict[str, Any]
) -> None:
    assert step(before, event, NOW) == before.evolve(fence=before.fence + 1, **changes)


def test_every_row_of_the_table_has_a_case() -> None:
    seen = set()
    for before, event, _ in CASES.values():
        rows = [row for row in TRANSITIONS if (row.state, row.event) == (before.state, event.name)]
        seen.add(next(row for row in rows if GUARDS[row.guard][0](before, event, NOW)))
    assert seen == set(TRANSITIONS)


def test_every_guard_and_every_effect_is_used() -> None:
    assert {row.guard for row in TRANSITIONS} == set(GUARDS)
    assert {effect for row in TRANSITIONS for effect in row.effects} == set(EFFECTS)


EXAMPLES: dict[EventName, Event] = {
    event.name: event
    for event in (
        Claim("w2"), Reserve("d2", 30.0), Dispatch("run", 9.0), Divert("far", '"e"'), Complete("1"), Fail('"e"', LATER), Requeue(), Release(), Snooze(LATER), LoseHeartbeat('"e"'), NullHeartbeat(),
        Cancel(), Expire(), Revive(),
    )
}  # fmt: skip
ALLOWED = {
    State.PENDING: {"claim", "reserve", "cancel", "expire"},
    State.SCHEDULED: {"claim", "reserve", "cancel", "expire"},
    State.DISPATCHED: {"claim", "dispatch", "divert", "release", "snooze", "lose_heartbeat", "cancel", "expire"},
    State.RUNNING: {"complete", "fail", "requeue", "release", "snooze", "lose_heartbeat", "null_heartbeat", "cancel"},
    State.COMPLETED: set(),
    State.FAILED: {"revive"},
    State.CANCELLED: {"revive"},
    State.EXPIRED: set(),
}
REFUSED = [(state, name) for state in State for name in EventName if name.value not in ALLOWED[state]]


def test_there_is_an_example_of_every_event() -> None:
    assert set(EXAMPLES) == set(EventName)
    assert len(REFUSED) == len(State) * len(EventName) - 26


@pytest.mark.parametrize(("state", "name"), REFUSED)
def test_an_event_that_the_state_does_not_know_is_refused_by_name(state: State, name: EventName) -> None:
    with pytest.raises(IllegalTransition) as refused:
        step(make(state, expires_at=PAST), EXAMPLES[name], NOW)
    assert str(refused.value) == f"cannot {name.value.replace('_', ' ')} task t1: it is '{state.value}'"
    assert (refused.value.task_id, refused.value.event, refused.value.state) == ("t1", name, state)


@pytest.mark.parametrize(
    ("before", "event", "words"),
    [
        (make(State.SCHEDULED, due_at=NOW + TICK), Claim("w"), "`due_at` has come"),
        (make(State.PENDING, due_at=NOW + TICK), Claim("w"), "`due_at` has come"),
        (make(State.PENDING, expires_at=NOW), Claim("w"), "`expires_at` has not"),
        (make(State.PENDING, due_at=NOW + TICK), Reserve("d", 9.0), "`due_at` has come"),
        (make(State.PENDING, expires_at=NOW), Reserve("d", 9.0), "`expires_at` has not"),
        (make(State.DISPATCHED, expires_at=NOW), Claim("w"), "`expires_at` has not"),
        (make(State.DISPATCHED, execution_ref="run"), Dispatch("another", 9.0), "no reference is stored yet"),
        (make(State.DISPATCHED, expires_at=NOW + TICK), Expire(), "`expires_at` has come"),
        (make(State.PENDING), Expire(), "`expires_at` has come"),
        (make(State.SCHEDULED, expires_at=NOW + TICK), Expire(), "`expires_at` has come"),
        (make(State.FAILED, expires_at=NOW), Revive(), "`expires_at` has not come"),
        (make(State.CANCELLED, expires_at=PAST), Revive(), "`expires_at` has not come"),
    ],
)
def test_an_event_whose_guard_does_not_hold_is_refused_with_what_it_takes(
    before: TaskRecord, event: Event, words: str
) -> None:
    with pytest.raises(IllegalTransition) as refused:
        step(before, event, NOW)
    assert f"it is '{before.state.value}', and that takes: " in str(refused.value)
    assert words in str(refused.value)


def test_no_state_and_no_event_is_missing_from_the_groups() -> None:
    assert {State.PENDING, State.SCHEDULED} == WAITING
    assert {State.PENDING, State.SCHEDULED, State.DISPATCHED} == UNSTARTED
    assert {State.PENDING, State.SCHEDULED, State.DISPATCHED, State.RUNNING} == ACTIVE
    assert {State.COMPLETED, State.FAILED, State.CANCELLED, State.EXPIRED} == TERMINAL
    assert {state for state in State if holds_key(state)} == ACTIVE


@pytest.mark.parametrize("row", [row for row in TRANSITIONS if row.to in TERMINAL])
def test_a_terminal_task_has_an_end_and_no_heartbeat(row: lifecycle.Transition) -> None:
    assert "finish" in row.effects
    assert row.state not in (State.RUNNING, State.DISPATCHED) or "disown" in row.effects


@pytest.mark.parametrize("row", [row for row in TRANSITIONS if row.state is State.DISPATCHED and row.to in WAITING])
def test_a_dispatched_task_that_waits_again_is_nobodys_and_has_its_attempts(row: lifecycle.Transition) -> None:
    assert {"not_started", "disown"} <= set(row.effects)
    assert not {"count_attempt", "return_attempt", "reset_attempts"} & set(row.effects)


@pytest.mark.parametrize(
    ("due_at", "expected"),
    [
        (LATER, (State.SCHEDULED, LATER)),
        (NOW + TICK, (State.SCHEDULED, NOW + TICK)),
        (NOW, (State.PENDING, NOW)),
        (PAST, (State.PENDING, NOW)),
    ],
)
def test_a_task_starts_to_wait_as_pending_unless_its_time_lies_ahead(
    due_at: datetime, expected: tuple[State, datetime]
) -> None:
    assert entry(due_at, NOW) == expected


def test_the_lifecycle_imports_nothing_but_the_standard_library() -> None:
    tree = ast.parse(Path(lifecycle.__file__).read_text(encoding="utf-8"))
    imported: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            imported.add(node.module or "")
    assert imported
    assert {name.split(".")[0] for name in imported} <= sys.stdlib_module_names


def test_the_history_keeps_the_last_entries_in_their_order() -> None:
    task = make(State.RUNNING, max_attempts=99)
    for attempt in range(1, 26):
        task = step(task.evolve(state=State.RUNNING, attempt=attempt), Fail(f'"{attempt}"', NOW), NOW)
    told = json.loads(task.history or "[]")
    assert [entry_["attempt"] for entry_ in told] == list(range(6, 26))
    assert told[-1] == json.loads(remembered("fail", 25, message='"25"'))[0]


@pytest.mark.parametrize("history", ["", "no JSON", '{"a": 1}', "[" * 100_000, "5"])
def test_a_history_that_somebody_edited_is_begun_anew(history: str) -> None:
    after = step(make(State.RUNNING, history=history), Fail('"e"', NOW), NOW)
    assert after.history == remembered("fail", 1)


@pytest.mark.parametrize("error", ["", "no JSON", "[1]", '{"type": 5, "message": ["x"]}', '"' + "x" * 9_999 + '"'])
def test_any_error_can_be_remembered_and_takes_little_room(error: str) -> None:
    after = step(make(State.RUNNING), Fail(error, NOW), NOW)
    assert len(json.loads(after.history or "")) == 1
    assert len(after.history or "") < 900
