"""The verdict of the drill for tasks that run elsewhere: each rule is broken by its own account, and excuses hold."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from math import inf
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))
from drill.dispatch.rules import Account, Wanted, judge  # the drill is no package of the environment
from drill.journal import Execution, Written

from litestar_queues.lifecycle import State
from litestar_queues.records import NewTask, TaskRecord, admit

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LOST = '{"type": "DispatchLost"}'


def record(state: State = State.COMPLETED, id_: str = "t", **changes: Any) -> TaskRecord:
    """A task as it ended; in its first attempt, by the run `a`, under the fence 3 of its claim, unless said."""
    given = {"state": state, "attempt": 1, "fence": 4, "execution_ref": "a", "finished_at": NOW, **changes}
    return admit(NewTask(id=id_, name="t", key=given.pop("key", None)), NOW).evolve(**given)


def ran(began: float, ended: float, how: str = "ok", *, ref: str = "a", fence: int = 3) -> Execution:
    return Execution("t", fence, 1, "report", began, ended, how, 1, ref)


def run(name: str, *exits: int, state: str = "succeeded", kill_at: str | None = None) -> Any:
    return SimpleNamespace(
        name=name, exits=list(exits), state=state, log="", fault=SimpleNamespace(kill_at=kill_at, start="now")
    )


A, B = run("a", 0), run("b", 0)


def account(*records: TaskRecord, executions: tuple[Execution, ...] = (), **more: Any) -> Account:
    runs = more.pop("runs", (A,))
    box: Any = SimpleNamespace(
        runs={one.name: one for one in runs}, killed=more.pop("killed", set()), ended_by_hand=set(),
        paused=more.pop("paused", {}), ends=more.pop("ends", {}),
    )  # fmt: skip
    wanted = more.pop("wanted", None) or {one.id: Wanted(one.id, {"completed"}, 1) for one in records}
    return Account(
        wanted, {one.id: one for one in records}, Written({"t": list(executions)}), box,
        more.pop("left", []), 5.0, more.pop("odd", []),
    )  # fmt: skip


def broken(*records: TaskRecord, **more: Any) -> list[str]:
    return [rule for rule, _ in judge(account(*records, **more))]


def test_a_task_that_ran_once_in_one_execution_breaks_no_rule() -> None:
    assert broken(record(), executions=(ran(1, 2),)) == []


def test_a_task_that_is_gone_or_dispatched_is_told() -> None:
    nobody = {"runs": (), "wanted": {"t": Wanted("t", {"completed"}, 1)}}
    assert broken(**nobody) == ["lost"]
    assert broken(record(State.DISPATCHED, execution_ref=None), **nobody) == ["stuck"]


def test_a_task_ends_as_its_options_have_it() -> None:
    gone = record(State.FAILED, attempt=0, error=LOST, recoveries=2)
    assert broken(gone, runs=(run("a", 6),)) == ["wrong end"]
    doomed = {"t": Wanted("t", {"failed"}, 0, recoveries=2)}
    assert broken(gone, runs=(run("a", 6),), wanted=doomed) == []
    assert broken(gone.evolve(recoveries=1), runs=(run("a", 6),), wanted=doomed) == ["wrong end"]
    assert broken(gone.evolve(error="{}"), runs=(run("a", 6),), wanted=doomed) == ["wrong end"]


def test_attempts_are_counted_once_and_a_fence_runs_once() -> None:
    assert broken(record(attempt=2), executions=(ran(1, 2),)) == ["attempts"]
    assert broken(record(), executions=(ran(1, 2), ran(3, 4))) == ["attempts"]


def test_the_reference_is_the_execution_that_ran_the_task() -> None:
    assert broken(record(execution_ref="b"), runs=(A, run("b", 6)), executions=(ran(1, 2),)) == ["reference"]
    assert broken(record(), executions=(ran(1, 2), ran(0, 1, "runs", ref="z", fence=1))) == ["reference"]
    assert broken(record(State.EXPIRED, execution_ref="z"), wanted={"t": Wanted("t", {"expired"}, 1)}, runs=()) == [
        "reference"
    ]


def test_two_owners_are_told_unless_the_first_one_was_paused() -> None:
    both = {"runs": (A, B), "executions": (ran(1, 9, ref="b", fence=1), ran(6, 8))}
    assert set(broken(record(), **both)) == {"thrown away", "two owners"}
    assert broken(record(), **both, paused={"b": [[1.5, 8.0]]}) == []
    late = {"runs": (A, B), "executions": (ran(1, 9, ref="b", fence=1), ran(20, 21))}
    assert broken(record(), **late) == ["thrown away"]


def test_a_container_that_was_killed_owns_nothing_after_its_end() -> None:
    dead = run("b", -9, state="failed", kill_at="before_commit")
    both = {"runs": (A, dead), "executions": (ran(1, inf, "runs", ref="b", fence=1), ran(8, 9))}
    assert broken(record(), **both, ends={"b": 2.0}) == []


@pytest.mark.parametrize("code", [0, 1, 2, 3, 4, 5, 8, -9])
def test_an_execution_that_neither_ran_nor_lost_its_claim_is_told(code: int) -> None:
    assert broken(record(), runs=(A, run("b", code)), executions=(ran(1, 2),)) == ["unexplained execution"]
    assert broken(record(), runs=(A, run("b", 6)), executions=(ran(1, 2),)) == []


def test_an_execution_that_goes_on_after_its_task_is_told() -> None:
    assert broken(record(), executions=(ran(1, 2),), left=["a"]) == ["still runs"]


def test_two_tasks_of_one_key_follow_each_other() -> None:
    ran_first = Execution("u", 3, 1, "report", 1.0, 2.0, "ok", 1, "a")
    both = record(id_="u", key="k"), record(key="k")
    for acknowledged, rules in ((2.5, []), (1.5, ["two with one key"])):
        wanted = {
            "u": Wanted("u", {"completed"}, 1, acknowledged=0.5),
            "t": Wanted("t", {"completed"}, 1, acknowledged=acknowledged),
        }
        given = account(*both, executions=(ran(3, 4),), wanted=wanted)
        given.written.executions["u"] = [ran_first]
        assert [rule for rule, _ in judge(given)] == rules


def test_a_zombie_of_an_earlier_owner_does_not_hold_the_key_of_its_task() -> None:
    zombie = Execution("u", 1, 1, "report", 1.0, 9.0, "ok", 1, "a")
    wanted = {
        "u": Wanted("u", {"completed"}, 1, acknowledged=0.5),
        "t": Wanted("t", {"completed"}, 1, acknowledged=3.0),
    }
    given = account(record(id_="u", key="k"), record(key="k"), executions=(ran(4, 5),), wanted=wanted)
    given.written.executions["u"] = [zombie, Execution("u", 3, 1, "report", 1.5, 2.0, "ok", 1, "a")]
    assert "two with one key" not in [rule for rule, _ in judge(given)]
