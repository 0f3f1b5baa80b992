"""The suite notices, under the guarantee that says so, when any one field of a task is forgotten."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable

import msgspec
import pytest

from litestar_queues.records import NewTask, TaskRecord
from litestar_queues_conformance import fields
from litestar_queues_conformance.cases import test_lif
from litestar_queues_conformance.fields import CHANGING, FIELDS, NULLABLE, TEXTS, UNCHANGING, Field, NoValue
from litestar_queues_conformance.harness import Check, Store, Violation
from litestar_queues_conformance.saboteurs.base import InProcessTarget
from litestar_queues_conformance.saboteurs.fields import DEFECTS

pytestmark = pytest.mark.anyio

Case = Callable[[Store, Check], Awaitable[None]]
WHOLE: Case = test_lif.test_every_field_of_a_new_task_is_stored_as_it_was_given
CLAIMED: Case = test_lif.test_a_claim_answers_with_every_field_as_it_was_given
COMMITTED: Case = test_lif.test_a_commit_stores_and_clears_every_field_that_can_change
HAVE_DEFAULTS = [one.name for one in msgspec.structs.fields(NewTask) if one.default is not msgspec.NODEFAULT]
LEFT_ALONE = [name for name in UNCHANGING if name in NULLABLE or name in ("metadata", "args", "kwargs")]


async def longest(store: Store, check: Check) -> None:
    await test_lif.test_the_longest_texts_are_stored_whole(store, check, "x")


TRIALS = [
    *(("ForgetsOnEnqueue", name, "LIF-01", WHOLE) for name in HAVE_DEFAULTS),
    *(("CutsOnEnqueue", name, "LIF-01", longest) for name in TEXTS),
    *(("LeavesOutOfClaims", name, "LIF-01", CLAIMED) for name in LEFT_ALONE),
    *(("KeepsOnCommit", name, "LIF-03", COMMITTED) for name in CHANGING if name not in ("state", "fence")),
    *(("CannotClear", name, "LIF-03", COMMITTED) for name in CHANGING if name in NULLABLE),
]


@pytest.mark.parametrize(("defect", "field", "id_", "case"), TRIALS, ids=[f"{one[0]}-{one[1]}" for one in TRIALS])
async def test_a_field_that_is_forgotten_is_noticed(defect: str, field: str, id_: str, case: Case) -> None:
    base, _ = DEFECTS[defect]
    target = InProcessTarget(type("_Forgetful", (base,), {"field": field}))
    with pytest.raises(Violation, match=rf"^{id_}: (?s:.*)\b{'due_at' if field == 'run_at' else field}\b"):
        await case(Store("forgetful", target, {}, random.Random(1)), Check([id_]))


def test_every_field_has_a_value() -> None:
    names = {*NewTask.__struct_fields__, *TaskRecord.__struct_fields__} - {"id"}
    assert set(FIELDS) == names
    hints = msgspec.structs.fields(TaskRecord)
    assert {one.name for one in hints if "None" in str(one.type)} == NULLABLE


def test_a_value_is_no_default() -> None:
    for one in msgspec.structs.fields(NewTask):
        if one.name != "id" and one.default is not msgspec.NODEFAULT:
            assert FIELDS[one.name].value != one.default, one.name


def test_a_field_without_a_value_fails_the_cases(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {name: one for name, one in FIELDS.items() if name != "metadata"}
    monkeypatch.setattr(fields, "FIELDS", known)
    with pytest.raises(NoValue, match="a new task has a field 'metadata'"):
        fields.given()
    monkeypatch.setattr(fields, "FIELDS", {**known, "metadata": Field(value="{}")})
    assert fields.given()["metadata"] == "{}"
