"""What a run prints: failures while they happen, signs of life, and a table of what was selected."""

from __future__ import annotations

from typing import Any

import pytest

from litestar_queues_conformance import progress, report, session
from litestar_queues_conformance.cases import CASES
from litestar_queues_conformance.guarantees import GUARANTEES, Profile
from litestar_queues_conformance.harness import Violation
from litestar_queues_conformance.machine import _Seen
from litestar_queues_conformance.outcomes import UNFINISHED
from litestar_queues_conformance.report import CaseResult, Report
from litestar_queues_conformance.target import load_target
from litestar_queues_conformance.terminal import first_line

pytest_plugins = ["pytester"]

HEAD = """
from pathlib import Path
from litestar_queues_conformance import Check, guarantee
"""
BROKEN = """
@guarantee("KEY-01")
async def test_broken(check: Check) -> None:
    check.equal("KEY-01", 1, 2, "the sum")
"""
KEPT = """
@guarantee("KEY-02")
async def test_kept(check: Check) -> None:
    check("KEY-02", True, "of course")
"""


def run(pytester: pytest.Pytester, source: str, *arguments: str) -> pytest.RunResult:
    pytester.makepyfile(test_one=HEAD + source)
    return pytester.runpytest("-p", "no:cacheprovider", "--backend=memory", *arguments, "test_one.py")


@pytest.mark.parametrize("workers", [(), ("-n", "1")], ids=["alone", "xdist"])
@pytest.mark.parametrize("how", ["-q", "-v", "--tb=no"])
def test_a_failure_is_told_before_the_next_case_has_ended(
    pytester: pytest.Pytester, workers: tuple[str, ...], how: str
) -> None:
    result = run(pytester, BROKEN + KEPT, how, *workers)
    lines = result.stdout.lines
    said = lines.index("failed: KEY-01, test_broken: Violation: KEY-01: the sum: is 1, not 2")
    assert said < next(i for i, line in enumerate(lines) if "100%" in line)


@pytest.mark.parametrize("workers", [(), ("-n", "1")], ids=["alone", "xdist"])
def test_a_run_of_a_few_cases_prints_their_guarantees_alone(
    pytester: pytest.Pytester, workers: tuple[str, ...]
) -> None:
    result = run(pytester, BROKEN + KEPT, "-k", "KEY-02", *workers)
    result.stdout.fnmatch_lines(["KEY-02  incomplete * 1 *"])
    result.stdout.fnmatch_lines([f"{len(GUARANTEES) - 1} guarantees were not selected"])
    result.stdout.fnmatch_lines(["0 of 1 selected guarantees kept (--seed=*)"])
    result.stdout.no_fnmatch_line("*KEY-01*")
    assert len(result.stdout.lines) < 20


def test_a_run_without_a_terminal_ends_as_any_other(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_one=HEAD + BROKEN + KEPT)
    result = pytester.runpytest_subprocess(
        "-p", "no:terminal", "--backend=memory", "--report-json=report.json", "test_one.py"
    )
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert '"ended": "complete"' in (pytester.path / "report.json").read_text()


def test_a_run_that_was_stopped_says_that_it_proves_nothing(pytester: pytest.Pytester) -> None:
    result = run(pytester, BROKEN + KEPT, "-x")
    result.stdout.fnmatch_lines(["not run: KEY-02, the run ended before its cases"])
    result.stdout.fnmatch_lines(
        ["the run did not come to its end: stopped (stopping after 1 failures); it proves nothing"]
    )


def test_a_run_of_all_cases_prints_every_guarantee_and_each_profile(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = {f"test_{id_.replace('-', '_')}": (id_,) for id_ in GUARANTEES}
    monkeypatch.setattr(report, "expected", lambda: whole)
    monkeypatch.setattr(session, "key_of", lambda item: item.name)
    every = "".join(
        f"""
@guarantee("{id_}")
async def test_{id_.replace("-", "_")}(check: Check) -> None:
    check("{id_}", True, "of course")
"""
        for id_ in GUARANTEES
    )
    result = run(pytester, every, "--queue-scale=2000")
    for id_ in GUARANTEES:
        result.stdout.fnmatch_lines([f"{id_}  kept * 1 *"])
    for profile in Profile:
        of = sum(one.profile is profile for one in GUARANTEES.values())
        result.stdout.fnmatch_lines([f"{profile.value}: {of} of {of} guarantees kept (--seed=*)"])
    result.stdout.no_fnmatch_line("*not selected*")
    result.stdout.fnmatch_lines([f"conformance: {len(GUARANTEES)} cases"])


class _RunsNothing:
    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self) -> bool:
        return True


def test_the_suites_own_run_says_how_long_it_takes(pytester: pytest.Pytester) -> None:
    result = pytester.runpytest("--backend=memory", "-p", "no:cacheprovider", plugins=[_RunsNothing()])
    result.stdout.fnmatch_lines(["conformance: * cases; on two idle cores all of them take *"])


@pytest.mark.parametrize("workers", [(), ("-n", "1")], ids=["alone", "xdist"])
def test_the_state_machine_says_how_far_it_is(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, workers: tuple[str, ...]
) -> None:
    monkeypatch.setenv("LITESTAR_QUEUES_EXAMPLES", "3")
    pytester.makeconftest("from litestar_queues_conformance import progress\nprogress.FIRST = progress.PAUSE = 0.0")
    result = pytester.runpytest_subprocess(
        "--backend=memory", "-p", "no:cacheprovider", *workers, str(CASES["machine"]),
        f"--rootdir={pytester.path}", "-c", str(pytester.makeini("[pytest]")), f"--confcutdir={pytester.path}",
        "-p", "conftest",
    )  # fmt: skip
    said = result.stderr if workers else result.stdout
    said.fnmatch_lines(
        [
            "... LIF-13, given time: 1 of 3 histories in * s, about * s to go",
            "... LIF-13, store time: 1 of 2 histories in * s, about * s to go",  # half as many, rounded up
        ]
    )


class _Remembers(progress.Progress):
    def __init__(self) -> None:
        self.said: list[str] = []

    def at(self, done: int, remark: str = "", *, seldom: bool = False) -> None:
        self.said.append(remark)


def test_the_state_machine_tells_of_a_difference_before_it_looks_for_the_shortest_history() -> None:
    remembers = _Remembers()
    seen = _Seen(remembers)
    seen.one_more()
    for _ in range(2):
        seen.differing(Violation("LIF-13: find: is 1, not 2"))
        seen.one_more()
    assert remembers.said == [
        "",
        "a history differs from the model's: LIF-13: find: is 1, not 2",
        "looking for the shortest history, 2 so far",
        "looking for the shortest history, 3 so far",
    ]


def test_signs_of_life_are_seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    now, said = [0.0], list[str]()
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(progress, "say", lambda _config, text: said.append(text))
    config: Any = None
    signs = progress.Progress(config, "LIF-13", "histories", 200)
    for done in range(200):
        now[0] += 0.5
        signs.at(done)
    assert said[0] == "... LIF-13: 9 of 200 histories in 5 s, about 106 s to go"
    assert len(said) == 7


@pytest.mark.parametrize(
    ("message", "line"),
    [
        ("a.b.Violation: KEY-01: no\nmore", "Violation: KEY-01: no"),
        ("KEY-01: a b", "KEY-01: a b"),
        ("nothing of the kind: x", "nothing of the kind: x"),
        ("", ""),
        (None, ""),
    ],
)
def test_a_message_is_told_by_its_first_line(message: str | None, line: str) -> None:
    assert first_line(message) == line


def test_a_guarantee_of_which_not_all_cases_ran_is_never_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = dict.fromkeys(("one", "two", "three"), ("KEY-01",))
    monkeypatch.setattr(report, "expected", lambda: whole)
    so_far = Report("memory", load_target("memory"), 1)
    so_far.collected = dict(whole)
    so_far.deselected = {"three"}
    for case, missing in [
        ("one", "2 of its 3 cases did not run: two and 1 more"),
        ("two", "1 of its 3 cases did not run: three"),
    ]:
        so_far.add(CaseResult(case, ("KEY-01",), "passed", {"KEY-01": 1}, 0.1, key=case))
        found = so_far.document()
        assert found["ended"] == UNFINISHED
        assert found["guarantees"]["KEY-01"]["result"] == "incomplete"
        assert found["guarantees"]["KEY-01"]["reason"] == missing
    so_far.add(CaseResult("a project's own", ("KEY-01",), "passed", {"KEY-01": 1}, 0.1))
    assert so_far.document()["guarantees"]["KEY-01"]["result"] == "incomplete"
    so_far.add(CaseResult("three", ("KEY-01",), "passed", {"KEY-01": 1}, 0.1, key="three"))
    found = so_far.document()["guarantees"]["KEY-01"]
    assert (found["result"], found["reason"]) == ("kept", None)
