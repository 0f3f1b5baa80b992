"""Answers of wrong types: one finding under LIF-21, and every other guarantee judged by the values."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from litestar_queues.backends.base import ApartBackend, DispatchingBackend, TransactionalBackend
from litestar_queues.backends.memory import MemoryBackend
from litestar_queues.lifecycle import State
from litestar_queues.records import Count, Enqueued, Matching, NamedRecord, NewTask, Want, admit
from litestar_queues_conformance.answers import Answers, typed, wrong_type
from litestar_queues_conformance.outcomes import Violation

pytest_plugins = ["pytester"]
NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)
RECORD = admit(NewTask(id="a", name="n"), NOW)


class Fixed(MemoryBackend):
    """Whatever it is asked, the answer is the one that it was given."""

    answer: Any = None

    async def _answer(self, *args: Any, **kwargs: Any) -> Any:
        return self.answer

    now = next_due = enqueue_many = claim = touch_heartbeats = commit = get = find = count = delete = _answer
    lock = unlock = read_records = write_records = _answer


async def answered(method: str, answer: Any) -> tuple[Any, list[str]]:
    """What a client answers, and what is said of it."""
    answers, fixed = Answers(), Fixed()
    fixed.answer = answer
    client = typed(fixed, answers)
    arguments: dict[str, tuple[Any, ...]] = {
        "now": (),
        "count": (),
        "next_due": (),
        "claim": (Want(worker="w", limit=1),),
        "find": (Matching(), 1),
        "lock": ("l", "w", timedelta(seconds=1)),
        "unlock": ("l", "w"),
        "read_records": ("l",),
    }
    return await getattr(client, method)(*arguments.get(method, ([],))), list(answers.wrong)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("method", "answer", "expected", "says"),
    [
        ("touch_heartbeats", ["a"], {"a"}, "touch_heartbeats answers a list, and promises a set"),
        ("commit", frozenset({"a"}), {"a"}, "commit answers a frozenset, and promises a set"),
        ("delete", {b"a"}, {"a"}, "delete answers with an entry that is a bytes, and promises a str"),
        ("claim", (RECORD,), [RECORD], "claim answers a tuple, and promises a list"),
        (
            "find",
            [RECORD.evolve(due_at=NOW.replace(tzinfo=None))],
            [RECORD],
            "find answers with a due_at that is a naive datetime, and promises a datetime with a time zone",
        ),
        (
            "get",
            {"a": RECORD.evolve(fence="0")},
            {"a": RECORD},
            "get answers with a fence that is a str, and promises an int",
        ),
        (
            "claim",
            [RECORD.evolve(attempt=False)],
            [RECORD],
            "claim answers with an attempt that is a bool, and promises an int",
        ),
        (
            "find",
            [RECORD.evolve(timeout=5)],
            [RECORD.evolve(timeout=5.0)],
            "find answers with a timeout that is an int, and promises a float",
        ),
        (
            "find",
            [RECORD.evolve(state="pending")],
            [RECORD],
            "find answers with a state that is a str, and promises a State",
        ),
        (
            "enqueue_many",
            [Enqueued(RECORD, 1)],  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  # on purpose
            [Enqueued(RECORD, True)],
            "enqueue_many answers with an is_new that is an int, and promises a bool",
        ),
        (
            "count",
            [Count("q", State.PENDING, "3")],  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  # on purpose
            [Count("q", State.PENDING, 3)],
            "count answers with a tasks that is a str, and promises an int",
        ),
        (
            "read_records",
            {"l": NamedRecord("l", "1", "[]")},  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  # on purpose
            {"l": NamedRecord("l", 1, "[]")},
            "read_records answers with a version that is a str, and promises an int",
        ),
        ("lock", 1, True, "lock answers an int, and promises a bool"),
        ("next_due", NOW.replace(tzinfo=None), NOW, "next_due answers a naive datetime, and promises a datetime with a time zone"),
    ],
)  # fmt: skip
async def test_a_wrong_type_is_said_and_turned_into_the_promised_one(
    method: str, answer: Any, expected: Any, says: str
) -> None:
    found, said = await answered(method, answer)
    assert found == expected
    assert type(found) is type(expected)
    assert said == [says]


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("method", "answer", "says"),
    [
        ("commit", None, "commit answers None, and promises a set"),
        ("commit", "a", "commit answers a str, and promises a set"),
        ("claim", [{"id": "a"}], "claim answers a dict, and promises a TaskRecord"),
        ("get", [RECORD], "get answers a list, and promises a dict"),
        ("find", [RECORD.evolve(fence="x")], "find answers with a fence that is a str, and promises an int"),
        ("find", [RECORD.evolve(name=None)], "find answers with a name that is None, and promises a str"),
    ],
)
async def test_what_cannot_be_turned_ends_the_case(method: str, answer: Any, says: str) -> None:
    with pytest.raises(Violation, match=f"^LIF-21: {says}$"):
        await answered(method, answer)


class Ids(set[str]):
    """A set."""


@pytest.mark.anyio
@pytest.mark.parametrize("answer", [{"a"}, Ids({"a"}), set[str]()])
async def test_a_right_answer_is_handed_on_as_it_is(answer: Any) -> None:
    found, said = await answered("commit", answer)
    assert found is answer
    assert said == []


def test_a_client_keeps_what_it_has_beyond_the_port() -> None:
    client = typed(MemoryBackend(), Answers())
    assert isinstance(client, DispatchingBackend)
    assert not isinstance(client, (ApartBackend, TransactionalBackend))


def test_what_another_process_met_is_told_as_what_it_is() -> None:
    said = str(wrong_type("Traceback ...\nlitestar_queues_conformance.outcomes.Violation: LIF-21: a, and promises b\n"))
    assert said == "LIF-21: a, and promises b"
    assert wrong_type("Traceback ...\nValueError: no\n") is None


BACKEND = """
from litestar_queues.backends.memory import MemoryBackend
from litestar_queues_conformance.saboteurs.base import InProcessTarget

class Lists(MemoryBackend):
    async def touch_heartbeats(self, held, *, now=None):
        return sorted(await super().touch_heartbeats(held, now=now))

target = InProcessTarget(Lists)
target.name = "lists:target"
"""
SAYS = "LIF-21: touch_heartbeats answers a list, and promises a set"


def suite(pytester: pytest.Pytester, selection: str, *more: str) -> tuple[pytest.RunResult, dict[str, Any]]:
    pytester.makepyfile(lists=BACKEND)
    path = pytester.path / "report.json"
    result = pytester.runpytest_subprocess(
        *("-p", "no:cacheprovider", "--pyargs", "litestar_queues_conformance", "--backend=lists:target"),
        *("--queue-time=given", f"--report-json={path}", "-k", selection, *more),
    )
    found: dict[str, Any] = json.loads(path.read_text())
    return result, found


def test_a_wrong_type_is_one_finding_of_a_whole_run(pytester: pytest.Pytester) -> None:
    result, report = suite(pytester, "LIF-21 or HBT")
    result.assert_outcomes(failed=1, passed=len(report["cases"]) - 1)
    broken = {id_: one["reason"] for id_, one in report["guarantees"].items() if one["result"] == "broken"}
    assert list(broken) == ["LIF-21"]
    assert broken["LIF-21"].endswith(SAYS)


def test_a_wrong_type_is_found_in_a_run_of_other_cases_too(pytester: pytest.Pytester) -> None:
    result, report = suite(pytester, "HBT-02 or HBT-03")
    result.assert_outcomes(failed=1, passed=len(report["cases"]) - 1)
    result.stdout.fnmatch_lines([f"failed: LIF-21, *{SAYS}", "LIF-21  broken *"])
    broken = [id_ for id_, one in report["guarantees"].items() if one["result"] == "broken"]
    assert broken == ["LIF-21"]
