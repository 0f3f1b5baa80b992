"""How the conformance suite compares answers: whatever differs must be seen."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from itertools import permutations
from typing import Any

import pytest

from litestar_queues.lifecycle import State
from litestar_queues.records import Enqueued, NewTask, TaskRecord, admit
from litestar_queues_conformance.compare import JSON_FIELDS, difference
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
