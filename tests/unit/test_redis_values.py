from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise

import hypothesis.strategies as st
import pytest
from hypothesis import given

from litestar_queues.backends.redis.keys import EXPIRING, FIELDS, INDEX, OWNED, Namespace, tables
from litestar_queues.backends.redis.scripts import SCRIPTS, scripts
from litestar_queues.backends.redis.values import committed, pack, packed_time, read_time, record_of, submitted, unpack
from litestar_queues.lifecycle import TERMINAL, UNSTARTED, WAITING, State, holds_key
from litestar_queues.records import NewTask, TaskRecord, admit

T0 = datetime(2031, 5, 17, 10, 20, 30, 123_456, tzinfo=UTC)
ENDS = (datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC))
times = st.datetimes(timezones=st.just(UTC))


def row_of(record: TaskRecord) -> list[object]:
    """What a script answers with, of what was sent to it."""
    sent = dict(zip(*[iter(committed(record)[7])] * 2, strict=True))
    new = NewTask(
        id=record.id, name=record.name, queue=record.queue, key=record.key, priority=record.priority,
        max_attempts=record.max_attempts, args=record.args, kwargs=record.kwargs, metadata=record.metadata,
        description=record.description, timeout=record.timeout, expires_at=record.expires_at,
        execution_backend=record.execution_backend, execution_profile=record.execution_profile,
    )  # fmt: skip
    stored = (
        dict(zip(*[iter(submitted(new)[7])] * 2, strict=True)) | {"created_at": packed_time(record.created_at)} | sent
    )
    return [*(stored.get(name, False) for name in FIELDS), record.id]


@given(times, times)
def test_packed_times_sort_as_the_times_do_and_come_back(a: datetime, b: datetime) -> None:
    texts = packed_time(a), packed_time(b)
    assert (texts[0] < texts[1]) == (a < b)
    assert [len(text) for text in texts] == [26, 26]
    assert [read_time(text) for text in texts] == [a, b]


def test_times_at_both_ends_and_of_other_zones_are_packed_in_utc() -> None:
    assert [packed_time(one) for one in ENDS] == ["0001-01-01T00:00:00.000000", "9999-12-31T23:59:59.999999"]
    local = T0.astimezone(timezone(timedelta(hours=5, minutes=45)))
    assert packed_time(local) == packed_time(T0) == "2031-05-17T10:20:30.123456"
    assert packed_time(None) is None


@pytest.mark.parametrize("full", [False, True])
def test_every_field_comes_back_as_it_was(full: bool) -> None:  # noqa: FBT001  # a parameter
    plain = admit(NewTask(id="1", name="x"), T0)
    record = plain.evolve(
        state=State.RUNNING, attempt=2**31 - 1, fence=2**53 + 1, priority=-(2**31), key=" k", queue="é\U0001f389:", name="n",
        args='"9007199254740993"', kwargs='{"a": [], "b": {}, "c": ""}', metadata="null", description=" ", timeout=0.1 + 0.2,
        execution_profile="p", execution_ref="r", worker="", progress="0", result='""', error="{}", due_at=ENDS[0],
        expires_at=ENDS[1], started_at=T0, heartbeat_at=T0, finished_at=ENDS[1],
    )  # fmt: skip
    wanted = record if full else plain
    assert record_of(unpack(pack(row_of(wanted)))) == wanted


def test_where_a_task_is_indexed_follows_from_its_state() -> None:
    assert {state: INDEX[state] for state in State} == {
        State.PENDING: "ready",
        State.SCHEDULED: "later",
        State.DISPATCHED: "dispatched",
        State.RUNNING: "running",
        **dict.fromkeys(TERMINAL, "finished"),
    }
    assert set(EXPIRING) == UNSTARTED
    assert {state for state, index in EXPIRING.items() if index == "expiring"} == WAITING
    assert frozenset({State.DISPATCHED, State.RUNNING}) == OWNED
    text = tables()
    sets = {"ACTIVE": [s for s in State if holds_key(s)], "WAITING": WAITING, "UNSTARTED": UNSTARTED, "OWNED": OWNED}
    for name, states in sets.items():
        inside = text.partition(f"local {name} = {{ ")[2].partition(" }")[0]
        assert inside.split(", ") == [f"{state.value} = true" for state in sorted(states)]


def test_every_script_begins_with_what_it_declares_and_only_an_enqueue_may_be_refused_for_memory() -> None:
    first = {name: script.text.partition("\n")[0] for name, script in scripts().items()}
    assert set(first) == set(SCRIPTS)
    reads = {"count", "find", "find_dispatched", "find_stale", "get", "next_due", "now", "read_named", "scan"}
    assert {name for name, line in first.items() if line == "#!lua flags=no-writes"} == reads
    assert {name for name, line in first.items() if line == "#!lua flags=allow-oom"} == set(SCRIPTS) - reads - {
        "enqueue"
    }
    assert first["enqueue"] == "#!lua"
    assert len({script.digest for script in scripts().values()}) == len(SCRIPTS)


def test_nothing_of_the_users_passes_through_cjson() -> None:
    assert not [name for name, script in scripts().items() if "cjson" in script.text]


def test_a_namespace_has_one_hash_tag() -> None:
    assert Namespace("mail:1").space == "{mail:1}:"
    names = [Namespace(prefix).space for prefix in ("a", "a:", "a:task", "A")]
    assert all(not one.startswith(other) for one, other in pairwise(sorted(names)))
