"""The drill's verdict: each rule is broken by its own account, and by no other, and excuses hold where they are due."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))
from drill import journal  # the drill is no package of the environment
from drill.crew import SHORT, Worker
from drill.journal import Execution, Left, Written
from drill.places import Row
from drill.rules import Account, judge

DONE, FAILED = Row("completed", 2), Row("failed", 2)


def worker(pid: int, **more: Any) -> Worker:
    process: Any = type("Process", (), {"pid": pid})()
    return Worker(process, SHORT, ("default",), None, 0.0, **more)


def broken(row: Row | None, *executions: Execution, workers: tuple[Worker, ...] = (), **more: Any) -> list[str]:
    """The rules that a task `t` broke."""
    account = Account(
        acknowledged=frozenset({"t"}),
        to_fail=more.get("to_fail", frozenset()),
        rows={} if row is None else {"t": row},
        written=Written({"t": list(executions)}, more.get("left", {})),
        workers={one.pid: one for one in (worker(1), worker(2), *workers)},
    )
    return [rule for rule, _ in judge(account)]


def ran(began: float, ended: float, how: str = "ok", *, pid: int = 1, fence: int = 1, kind: str = "wait") -> Execution:
    return Execution("t", fence, pid, kind, began, ended, how)


def test_a_task_that_ran_once_and_is_completed_breaks_no_rule() -> None:
    assert broken(DONE, ran(10, 11)) == []


def test_a_task_that_is_gone_or_goes_on_is_told() -> None:
    assert broken(None, ran(10, 11)) == ["lost"]
    assert broken(Row("pending", 0)) == ["stuck"]


def test_a_result_that_is_not_stored_was_thrown_away() -> None:
    assert broken(Row("completed", 4), ran(10, 11), ran(30, 31, fence=3)) == ["thrown away"]
    assert broken(FAILED, ran(10, 11)) == ["thrown away", "failed though it succeeded"]


@pytest.mark.parametrize(
    ("culprit", "left"),
    [
        (worker(1, ended=12.0, killed=True), {}),
        (worker(1, ended=12.0), {1: Left(12.0, ("t",))}),
        (worker(1, troubles=[[9.0, 20.0]]), {}),
    ],
    ids=["killed", "said so", "frozen"],
)
def test_a_result_may_be_lost_with_its_worker(culprit: Worker, left: dict[int, Left]) -> None:
    again = (ran(10, 11), ran(30, 31, pid=2, fence=3))
    assert broken(Row("completed", 4), *again, workers=(culprit,), left=left) == []


def test_a_worker_that_left_and_did_not_say_so_is_no_excuse() -> None:
    left = {1: Left(12.0, ())}
    assert broken(Row("completed", 4), ran(10, 11), workers=(worker(1, ended=12.0),), left=left) == ["thrown away"]


def test_a_task_fails_by_itself_or_after_its_recoveries_alone() -> None:
    assert broken(FAILED, ran(10, 11, "failed"), to_fail=frozenset({"t"})) == []
    assert broken(FAILED, ran(10, 11, "interrupted")) == ["failed"]
    deaths = [ran(10 * n, 10 * n + 1, "runs", fence=2 * n + 1) for n in range(4)]
    assert broken(Row("failed", 8), *deaths) == []


def test_two_executions_at_once_have_two_owners_unless_the_first_was_disturbed() -> None:
    both = (ran(10, 20, "interrupted"), ran(15, 25, pid=2, fence=3))
    assert broken(Row("completed", 4), *both) == ["two owners"]
    assert broken(Row("completed", 4), *both, workers=(worker(1, troubles=[[11.0, 17.0]]),)) == []
    assert broken(Row("completed", 4), *both, workers=(worker(1, ended=15.2, killed=True),)) == []


def test_the_journal_reads_what_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "journal.jsonl"
    monkeypatch.setenv(journal.PLACE, str(path))
    journal.write("begins", id="t", fence=1, kind="wait")
    journal.write("begins", id="u", fence=1, kind="wait")
    journal.write("ok", id="t", fence=1)
    journal.write("left", unsettled=["u"])
    read = journal.read(path)
    assert {id_: [one.how for one in each] for id_, each in read.executions.items()} == {"t": ["ok"], "u": ["runs"]}
    assert [left.unsettled for left in read.left.values()] == [("u",)]
