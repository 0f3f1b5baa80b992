from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from litestar_queues.errors import InvalidTaskError, QueueConfigurationError
from litestar_queues.execution.base import Started
from litestar_queues.lifecycle import ACTIVE, Claim, Reserve, State
from litestar_queues.records import (
    KEY_MAX,
    NAME_MAX,
    PRIORITY_MAX,
    PRIORITY_MIN,
    QUEUE_MAX,
    REF_MAX,
    WORKER_MAX,
    Dispatched,
    Held,
    NewTask,
    TaskRecord,
    Want,
    admit,
    claim_order,
    first_outcomes,
    is_silent,
    once_held,
)

NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)
NAIVE = datetime(2030, 1, 1)  # noqa: DTZ001  # on purpose


def new(**fields: Any) -> NewTask:
    return NewTask(**{"id": "t1", "name": "n", **fields})


def test_a_new_task_is_admitted_with_everything_that_was_said() -> None:
    given: dict[str, Any] = {
        "queue": "q", "key": "k", "priority": -5, "max_attempts": 4, "args": "[1]", "kwargs": '{"a":1}',
        "metadata": '{"m":1}', "description": "d", "timeout": 2.5, "execution_backend": "immediate",
        "execution_profile": "big", "expires_at": NOW + timedelta(days=1),
    }  # fmt: skip
    assert admit(new(**given), NOW) == TaskRecord(
        id="t1", name="n", state=State.PENDING, attempt=0, fence=0, created_at=NOW, due_at=NOW, **given
    )


@pytest.mark.parametrize(
    ("run_at", "state", "due_at"),
    [
        (None, State.PENDING, NOW),
        (NOW - timedelta(days=1), State.PENDING, NOW),
        (NOW, State.PENDING, NOW),
        (NOW + timedelta(microseconds=1), State.SCHEDULED, NOW + timedelta(microseconds=1)),
    ],
)
def test_a_new_task_is_scheduled_only_where_its_time_lies_ahead(
    run_at: datetime | None, state: State, due_at: datetime
) -> None:
    record = admit(new(run_at=run_at), NOW)
    assert (record.state, record.due_at, record.created_at) == (state, due_at, NOW)


def test_times_of_another_zone_are_admitted_in_utc() -> None:
    zone = timezone(timedelta(hours=5))
    record = admit(new(run_at=datetime(2031, 1, 1, tzinfo=zone), expires_at=datetime(2032, 1, 1, tzinfo=zone)), NOW)
    assert (record.due_at.tzinfo, record.due_at) == (UTC, datetime(2030, 12, 31, 19, tzinfo=UTC))
    assert record.expires_at is not None
    assert (record.expires_at.tzinfo, record.expires_at) == (UTC, datetime(2031, 12, 31, 19, tzinfo=UTC))


LONG = "x" * 1001


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"name": ""}, "the name is empty"),
        ({"name": LONG}, f"the name has 1001 characters, and at most {NAME_MAX}"),
        ({"name": 5}, "the name must be a text, not 5"),
        ({"queue": ""}, "the queue is empty"),
        ({"queue": "x" * (QUEUE_MAX + 1)}, f"the queue has {QUEUE_MAX + 1} characters, and at most {QUEUE_MAX}"),
        ({"key": ""}, "the key is empty: leave it out"),
        ({"key": "x" * (KEY_MAX + 1)}, f"the key has {KEY_MAX + 1} characters, and at most {KEY_MAX}"),
        ({"key": "a\x00b"}, "the key holds a character that not every database can store"),
        ({"key": "\ud800"}, "the key holds a character"),
        ({"key": 7}, "the key must be a text, not 7"),
        ({"description": LONG}, "the description has 1001 characters"),
        ({"execution_profile": "x" * 101}, "the execution profile has 101"),
        ({"execution_backend": "x" * 51}, "the execution backend has 51"),
        ({"priority": PRIORITY_MAX + 1}, f"from {PRIORITY_MIN} to {PRIORITY_MAX}"),
        ({"priority": PRIORITY_MIN - 1}, "the priority must be a whole number"),
        ({"priority": 1.5}, "the priority must be a whole number"),
        ({"priority": True}, "the priority must be a whole number"),
        ({"max_attempts": 0}, "the max_attempts must be a whole number from 1"),
        ({"max_attempts": 2**31}, "the max_attempts must be a whole number"),
        ({"timeout": 0}, "the timeout must be a positive number"),
        ({"timeout": float("nan")}, "the timeout must be a positive number"),
        ({"timeout": float("inf")}, "the timeout must be a positive number"),
        ({"run_at": NAIVE}, r"run_at is a naive datetime \(2030-01-01T00:00:00\): give it a time zone"),
        ({"expires_at": NAIVE}, "expires_at is a naive datetime"),
    ],
)
def test_a_task_that_not_every_backend_could_store_cannot_be_made(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidTaskError, match=words):
        new(**fields)


@pytest.mark.parametrize(
    "fields",
    [
        {"name": "x" * NAME_MAX},
        {"queue": "x" * QUEUE_MAX},
        {"key": "x" * KEY_MAX},
        {"key": " Ü€😀 "},
        {"priority": PRIORITY_MAX},
        {"priority": PRIORITY_MIN},
        {"max_attempts": 2**31 - 1},
        {"description": "x" * 1000},
    ],
)
def test_what_lies_at_the_edge_of_its_range_is_possible(fields: dict[str, Any]) -> None:
    ((name, value),) = fields.items()
    assert getattr(admit(new(**fields), NOW), name) == value


def test_only_an_active_task_keeps_its_key_from_others() -> None:
    record = admit(new(key="k"), NOW)
    assert {state for state in State if record.evolve(state=state).active_key == "k"} == ACTIVE


def test_a_changed_record_leaves_the_first_as_it_was() -> None:
    record = admit(new(), NOW)
    assert record.evolve(fence=9).fence == 9
    assert record.fence == 0


rows = st.tuples(st.integers(PRIORITY_MIN, PRIORITY_MAX), st.integers(0, 10**9), st.uuids().map(str))


@given(st.lists(rows, max_size=8))
@settings(max_examples=50)
def test_tasks_are_claimed_by_priority_then_age_then_id(tasks: list[tuple[int, int, str]]) -> None:
    records = [
        admit(new(id=id_, priority=priority), NOW).evolve(due_at=NOW + timedelta(microseconds=age))
        for priority, age, id_ in tasks
    ]
    expected = sorted(tasks, key=lambda t: t[2])
    expected.sort(key=lambda t: t[1])
    expected.sort(key=lambda t: t[0], reverse=True)
    assert [r.id for r in sorted(records, key=claim_order)] == [t[2] for t in expected]


@pytest.mark.parametrize("fields", [{"reserve": True}, {"reserve": True, "stale_after": 5.0, "execution_ref": "run"}])
def test_a_reservation_without_an_end_or_with_a_reference_cannot_be_made(fields: dict[str, Any]) -> None:
    with pytest.raises(QueueConfigurationError, match="a reservation has a stale_after and no execution_ref"):
        Want(worker="d", limit=1, **fields)


def test_what_a_claimer_asks_for_says_what_happens_to_the_tasks() -> None:
    assert Want(worker="w", limit=1).event == Claim("w")
    assert Want(worker="w", limit=1, stale_after=5.0, execution_ref="run").event == Claim("w", 5.0, "run")
    assert Want(worker="d", limit=1, stale_after=5.0, reserve=True).event == Reserve("d", 5.0)


TICK = timedelta(microseconds=1)


@pytest.mark.parametrize(
    ("fields", "named", "silent"),
    [
        ({}, None, True),
        ({"heartbeat_at": NOW - timedelta(seconds=30)}, None, False),
        ({"heartbeat_at": NOW - timedelta(seconds=30) - TICK}, None, True),
        ({"heartbeat_at": NOW - timedelta(days=1), "stale_after": 1e9}, None, False),
        ({"heartbeat_at": None}, None, True),
        ({"heartbeat_at": NOW, "stale_after": None}, None, True),
        ({"execution_ref": "run"}, None, True),
        ({}, ("cloudrun",), True),
        ({}, ("local", "CloudRun"), False),
        ({}, (), False),
        ({"heartbeat_at": None}, (), False),
        *(({"state": state, "heartbeat_at": None}, None, False) for state in State if state is not State.DISPATCHED),
    ],
)
def test_a_dispatched_task_is_silent_by_its_own_window(
    fields: dict[str, Any], named: tuple[str, ...] | None, *, silent: bool
) -> None:
    dispatched = admit(new(execution_backend="cloudrun"), NOW).evolve(
        state=State.DISPATCHED, worker="d", heartbeat_at=NOW - timedelta(hours=1), stale_after=30.0
    )
    assert is_silent(dispatched.evolve(**fields), Dispatched(at=NOW, execution_backends=named)) is silent


@pytest.mark.parametrize(
    ("beats", "expected"),
    [
        ([], []),
        ([Held("a", 1), Held("b", 1)], [Held("a", 1), Held("b", 1)]),
        ([Held("a", 1, "1"), Held("b", 1), Held("a", 1, "2")], [Held("a", 1, "2"), Held("b", 1)]),
        ([Held("a", 1, "1", 5.0), Held("a", 1), Held("a", 1, None, 6.0)], [Held("a", 1, "1", 6.0)]),
        ([Held("a", 1, "1"), Held("a", 2)], [Held("a", 1, "1"), Held("a", 2)]),
    ],
)
def test_of_several_heartbeats_of_a_task_the_last_that_is_given_counts(beats: list[Held], expected: list[Held]) -> None:
    assert list(once_held(beats)) == expected


def test_of_several_outcomes_of_a_task_the_first_counts() -> None:
    a, b = (admit(NewTask(id=id_, name="n"), NOW) for id_ in "ab")
    outcomes = [a.evolve(fence=3), b, a, b.evolve(fence=2)]
    assert list(first_outcomes(outcomes)) == [a.evolve(fence=3), b]
    assert first_outcomes([a, b]) == [a, b]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"worker": "w" * (WORKER_MAX + 1)}, "the name of the worker has 256 characters, and at most 255 are possible"),
        ({"execution_ref": "r" * (REF_MAX + 1)}, "the reference of the run has 1001 characters"),
        ({"worker": "w\x00"}, "the name of the worker holds a character that not every database can store"),
    ],
)
def test_a_claimer_whose_names_not_every_backend_could_store_is_refused(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(QueueConfigurationError, match=words):
        Want(**{"worker": "w", "limit": 1} | fields)


def test_the_longest_names_of_a_claimer_are_possible() -> None:
    assert Want(worker="\U0001f680" * WORKER_MAX, limit=2**70, execution_ref="\U0001f680" * REF_MAX).limit == 2**70


def test_a_run_whose_reference_cannot_be_stored_was_not_started_as_it_should_be() -> None:
    assert Started("r" * REF_MAX).ref == "r" * REF_MAX
    with pytest.raises(QueueConfigurationError, match="the reference of the run has 1001 characters"):
        Started("r" * (REF_MAX + 1))
