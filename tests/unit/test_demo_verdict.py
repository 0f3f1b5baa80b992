"""The demo's verdict: a slow machine is told from a broken promise and from a lost task."""

from __future__ import annotations

import json
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))
from demo import patience as demo_patience  # the demo is no package of the environment
from demo.audit import Account, Store, judge
from demo.main import Demo, promises
from demo.patience import Patience


def report(**results: str) -> dict[str, Any]:
    outcomes = ("kept", "broken", "not found out", "absent", "incomplete", "not run")
    guarantees = {
        id_: {"id": id_, "result": result, "reason": "late", "profile": "scale" if id_ == "CST" else "core"}
        for id_, result in results.items()
    }
    return {
        "ended": "complete",
        "summary": {one: sum(result == one for result in results.values()) for one in outcomes},
        "guarantees": guarantees,
    }


def account(**changed: Any) -> Account:
    fields: dict[str, Any] = {
        "enqueued": 60, "completed": 58, "failed": 2, "recovered": [], "fence_losses": 0, "refused_outcomes": 0,
        "lost": [], "retried": 0, "starved": [],
    }  # fmt: skip
    return Account(**fields | changed)


VERDICTS = {0: "PASSED", 1: "FAILED", 7: "NOT FOUND OUT"}


@pytest.mark.parametrize(
    ("results", "problems", "late", "code", "says"),
    [
        (
            {"A": "incomplete", "B": "kept"},
            [],
            [],
            0,
            "PASSED  0 of 60 tasks lost, 0 recovered, 0 fence losses, 2 of 2 ",
        ),
        (
            {"A": "incomplete", "B": "not found out"},
            [],
            ["B not found out: late"],
            7,
            "0 recovered, 0 fence losses, 1 of 2 guarantees held, 1 not found out: the machine was too slow (",
        ),
        (
            {"A": "broken", "B": "not found out"},
            ["A broken: no"],
            ["B not found out: late"],
            1,
            "FAILED  0 of 60 tasks lost, 0 recovered, 0 fence losses, 0 of 2 guarantees held, 1 broken, 1 not found out",
        ),
    ],
)
def test_the_verdict_tells_what_was_broken_from_what_was_not_found_out(  # noqa: PLR0917  # a table and two fixtures
    results: dict[str, str],
    problems: list[str],
    late: list[str],
    code: int,
    says: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    demo = Demo(60, tmp_path, tmp_path)
    demo.problems, demo.not_found_out = problems, late
    assert demo._conclude(account(), report(**results)) == code
    said = capsys.readouterr().out
    assert said.strip().startswith(("A broken", "B not", VERDICTS[code]))
    assert f"\n{VERDICTS[code]}  0 of 60 tasks lost, " in said
    assert says in said
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert (summary["problems"], summary["not_found_out"]) == (problems, late)


@pytest.mark.parametrize(
    ("results", "code", "problems", "late"),
    [
        ({"A": "incomplete", "B": "absent", "CST": "not run"}, 0, [], []),
        ({"A": "incomplete", "B": "not run"}, 0, ["B not run: late (see log)"], []),
        ({"A": "broken", "B": "not found out"}, 1, ["A broken: late (see log)"], ["B not found out: late"]),
        ({"A": "incomplete"}, 3, ["pytest ended with exit code 3: see log"], []),
    ],
)
def test_a_guarantee_that_is_measured_with_an_option_alone_is_no_problem(
    results: dict[str, str], code: int, problems: list[str], late: list[str], tmp_path: Path
) -> None:
    demo = Demo(60, tmp_path, tmp_path)
    demo.judge(report(**results), code, Path("log"))
    assert (demo.problems, demo.not_found_out) == (problems, late)


def test_what_became_of_all_guarantees_is_said() -> None:
    results = {"A": "incomplete", "B": "broken", "C": "not found out", "D": "not run"}
    assert promises(report(**results)) == "1 of 4 guarantees held, 1 broken, 1 not found out, 1 not looked at"


def test_a_task_that_has_not_ended_is_lost_only_where_all_had_their_time(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "queues.db")) as connection, connection:
        connection.execute(
            "CREATE TABLE litestar_queue_task (id, name, state, attempt, fence, worker, result, error)",
        )
        rows = [
            ("stuck", "running", None),
            ("starved", "failed", '{"type": "HeartbeatLost"}'),
            ("broken", "failed", "{}"),
        ]
        connection.executemany(
            "INSERT INTO litestar_queue_task VALUES (?, 'mail.send', ?, 1, 1, 'h:7:x', NULL, ?)", rows
        )
    tasks = dict.fromkeys(["stuck", "starved", "broken", "gone"], "mail.send")
    slow, idle = judge(Store(tmp_path), tasks, all_ended=False), judge(Store(tmp_path), tasks)
    assert (slow.lost, idle.lost) == (["gone"], ["gone", "stuck"])
    assert slow.starved == ["starved"]
    assert [one for one in slow.wrong if "should have" in one] == [
        "task broken (mail.send) should have completed, and is failed: {}"
    ]


def test_patience_lasts_as_long_as_something_moves_and_longer_on_a_slow_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now, moved, slow = [0.0], [0], [1.0]
    monkeypatch.setattr(demo_patience.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(demo_patience, "slowness", lambda: slow[0])
    patience = Patience(60, lambda: moved[0])
    for _ in range(100):
        now[0] += 50
        moved[0] += 1
        assert not patience.is_over()
    slow[0] = 9.0
    now[0] += 500
    assert not patience.is_over()
    now[0] += 50
    assert patience.is_over()
    assert str(patience) == "5550 s; the machine is 9 times slower than usual"
