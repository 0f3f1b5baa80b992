"""How the conformance suite compares answers: whatever differs must be seen."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from itertools import permutations
from typing import Any

import pytest

from litestar_queues.lifecycle import State
from litestar_queues.records import Enqueued, NewTask, TaskRecord, admit
from litestar_queues_conformance.compare import JSON_FIELDS, LONGEST, difference
from litestar_queues_conformance.harness import Check, Violation

NOW = datetime(2031, 1, 1, tzinfo=UTC)
RECORD = admit(NewTask(id="a", name="n", key="k", metadata='{"a": 1, "b": [2]}'), NOW)
DIFFERENT = ("1", "1.0", "true", '"1"', "null", '""', "[]", "{}", "[1]", "[1.0]", '{"a": null}', '{"a": ""}', "0")


def test_equal_records_do_not_differ() -> None:
    assert difference(RECORD, RECORD.evolve()) is None
    assert difference([Enqueued(RECORD, True)], [Enqueued(RECORD.evolve(), True)]) is None


def test_json_is_compared_as_a_value() -> None:
    assert difference(RECORD.evolve(metadata='{"b":[2],"a":1}'), RECORD) is None


@pytest.mark.parametrize("field", JSON_FIELDS)
def test_json_values_differ_by_type(field: str) -> None:
    for one, other in permutations(DIFFERENT, 2):
        found = difference(RECORD.evolve(**{field: one}), RECORD.evolve(**{field: other}))
        assert found is not None, (one, other)
        assert field in found
    assert difference(RECORD.evolve(**{field: None}), RECORD.evolve(**{field: "null"})) is not None


@pytest.mark.parametrize("field", TaskRecord.__struct_fields__)
def test_a_difference_in_any_field_is_seen_and_named(field: str) -> None:
    others: dict[str, Any] = {
        "state": State.RUNNING,
        **dict.fromkeys(("priority", "attempt", "max_attempts", "fence"), 77),
        **dict.fromkeys(("timeout",), 0.5),
        **dict.fromkeys(("created_at", "due_at", "expires_at", "started_at"), NOW + timedelta(microseconds=1)),
        **dict.fromkeys(("heartbeat_at", "finished_at"), NOW + timedelta(microseconds=1)),
    }
    found = difference(RECORD.evolve(**{field: others.get(field, '"other"')}), RECORD)
    assert found is not None
    assert field in found


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (State.PENDING, "pending"),
        (1, True),
        (1, 1.0),
        (None, ""),
        ([], ()),
        ({"a"}, set()),
        ({"a": 1}, {"a": 2}),
        ({"a": 1}, {"b": 1}),
        ([1], [1, 2]),
        (NOW, NOW.astimezone(timezone(timedelta(hours=1)))),
        (NOW, None),
        (Enqueued(RECORD, True), Enqueued(RECORD, False)),
        (Enqueued(RECORD, True), Enqueued(RECORD.evolve(fence=1), True)),
    ],
)
def test_values_of_another_type_or_content_differ(one: Any, other: Any) -> None:
    if isinstance(one, list) and not one:  # a list and a tuple of the same are the same answer
        assert difference(one, other) is None
    else:
        assert difference(one, other) is not None
        assert difference(other, one) is not None


def records(*ids: str) -> list[TaskRecord]:
    return [RECORD.evolve(id=id_) for id_ in ids]


MANY = [f"task{number:02}" for number in range(22)]


@pytest.mark.parametrize(
    ("one", "other", "says"),
    [
        (records("a", "b"), records("a", "b", "c"), "has 2 entries, not 3: missing: 'c'"),
        (records("a", "x"), records("a", "b"), "has 2 entries, not 2: missing: 'b'; not expected: 'x'"),
        (records("a", "a", "b"), records("a", "b"), "has 3 entries, not 2: given more than once: 'a'"),
        ([], records("a"), "has 0 entries, not 1: missing: 'a'"),
        (records(*MANY[:14]), records(*MANY), "missing: 'task14', 'task15', 'task16', 'task17', 'task18' and 3 more"),
        (
            records("a", "c", "b"),
            records("a", "b", "c"),
            ("has the 3 expected entries in another order: [1] is c (priority 0, due 2031-01-01 00:00:00+00:00, created "
            "2031-01-01 00:00:00+00:00), not b (priority 0,"),
        ),
        (
            [RECORD.evolve(id="a"), RECORD.evolve(id="b", state=State.RUNNING, fence=3)],
            records("a", "b"),
            "[1] state of b is <State.RUNNING: 'running'>, not <State.PENDING: 'pending'>; fence is 3, not 0",
        ),
        (
            [RECORD.evolve(id=id_, fence=1) for id_ in MANY],
            records(*MANY),
            ("22 entries differ: [0] fence of task00 is 1, not 0; [1] fence of task01 is 1, not 0; [2] fence of task02 is "
            "1, not 0 (and 19 more)"),
        ),
        ([Enqueued(RECORD, True)], [Enqueued(RECORD.evolve(id="b"), True)], "missing: 'b'; not expected: 'a'"),
        ([(True, RECORD)], [(False, RECORD)], "[0] [0] is True, not False"),
        ({"a", "b"}, {"b", "c"}, "has 2 entries, not 2: missing: 'c'; not expected: 'a'"),
        ({"a": RECORD}, {"b": RECORD}, "has 1 keys, not 1: missing: 'b'; not expected: 'a'"),
        ({"a": RECORD.evolve(fence=1)}, {"a": RECORD}, "['a'] fence of a is 1, not 0"),
        ([1, 2], [1, 3, 4], "has 2 entries, not 3: the first difference: [1] is 2, not 3"),
        ([1, 2, 3], [1], "has 3 entries, not 1: not expected: 2, 3"),
        (["b", "a"], ["a", "b"], "in another order: [0] is 'b', not 'a'"),
        (RECORD.evolve(result="not JSON"), RECORD.evolve(result='"JSON"'), "result of a is 'not JSON', not '\"JSON\"'"),
    ],
)  # fmt: skip
def test_a_difference_names_the_tasks_and_the_fields(one: Any, other: Any, says: str) -> None:
    found = difference(one, other)
    assert found is not None
    assert says in found


def test_long_values_are_told_by_their_lengths_and_where_they_part() -> None:
    expected = '"' + "x" * 2**20 + '"'
    actual = expected[:5000] + "y" + expected[5001:]
    found = difference(RECORD.evolve(result=actual), RECORD.evolve(result=expected))
    assert found == (
        "result of a has 1,048,578 characters, not 1,048,578, and differs from position 5,000 on: "
        f"{'x' * 10 + 'y' + 'x' * 29!r}, not {'x' * 40!r}"
    )
    found = difference(expected[:-1], expected)
    assert found is not None
    assert "has 1,048,577 characters, not 1,048,578, and differs from position 1,048,577 on" in found


def test_however_much_differs_the_text_stays_short() -> None:
    def big(text: str) -> list[TaskRecord]:
        long = f'"{text * 2**20}"'
        fields = dict.fromkeys(("args", "kwargs", "metadata", "result", "error", "description", "worker"), long)
        return [RECORD.evolve(id=id_, **fields) for id_ in MANY]

    for one, other in ((big("x"), big("y")), (big("x"), []), ({"x" * 5000}, {"y" * 5000}), ("x" * 9000, 5)):
        found = difference(one, other)
        assert found is not None
        assert len(found) <= LONGEST + 30


def test_a_check_counts_and_raises_with_the_id() -> None:
    check = Check(("KEY-01", "KEY-02"))
    check("KEY-01", 1, "fine")
    check.equal("KEY-01", [1], [1], "fine")
    with pytest.raises(Violation, match="KEY-02: the answer: is 1, not 2"):
        check.equal("KEY-02", 1, 2, "the answer")
    assert check.evidence == {"KEY-01": 2, "KEY-02": 1}
    assert check.violations == ["KEY-02: the answer: is 1, not 2"]


def test_what_is_to_work_is_evidence_where_it_does_and_a_violation_where_it_raises() -> None:
    check = Check(("KEY-07",))
    with check.works("KEY-07", "enqueueing"):
        pass
    assert check.evidence == {"KEY-07": 1}
    with pytest.raises(Violation, match="KEY-07: enqueueing raised KeyError: 'k'"), check.works("KEY-07", "enqueueing"):
        raise KeyError("k")
    with pytest.raises(Violation, match="KEY-07: the answer"), check.works("KEY-07", "enqueueing"):
        check("KEY-07", False, "the answer")
    assert check.violations == ["KEY-07: enqueueing raised KeyError: 'k'", "KEY-07: the answer"]
