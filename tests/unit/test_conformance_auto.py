"""`--backend=auto`, and targets that have a server to be served, run on small suites with targets made for it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from litestar_queues_conformance.auto import TargetRun, _judge, exit_code, summary
from litestar_queues_conformance.outcomes import INCOMPLETE, NOT_FOUND_OUT

pytest_plugins = ["pytester"]

CASE = """
from litestar_queues_conformance import Check, Store, guarantee

@guarantee("SCM-05")
async def test_case(store: Store, check: Check) -> None:
    check("SCM-05", store.target_name != "stubs:bad", "it is not the bad one")
"""
STUBS = """
import os
from contextlib import contextmanager
from litestar_queues_matrix.memory import MemoryTarget

class Absent(MemoryTarget):
    def unavailable(self, env):
        return "there is no such server"

class Served(MemoryTarget):
    def config(self, env):
        return {**super().config(env), "server": env["STUB_SERVER"]}

    async def server_version(self, config):
        return config["server"]

    @contextmanager
    def serve(self, env):
        with open("log", "a") as log:
            log.write("start ")
        yield {"STUB_SERVER": "Stub 1.0"}
        with open("log", "a") as log:
            log.write("stop ")

class Broken(MemoryTarget):
    @contextmanager
    def serve(self, env):
        raise LookupError("no server to be had: install one")
        yield

good, bad, absent, served, broken = MemoryTarget(), MemoryTarget(), Absent(), Served(), Broken()
"""


@pytest.fixture
def suite(pytester: pytest.Pytester) -> pytest.Pytester:
    pytester.makepyfile(stubs=STUBS, test_one=CASE)
    pytester.syspathinsert()
    return pytester


def auto(suite: pytest.Pytester, known: list[str], *arguments: str) -> pytest.RunResult:
    suite.makeconftest(f"from litestar_queues_conformance import target\ntarget.known_targets = lambda: {known}")
    return suite.runpytest_subprocess("--backend=auto", "-p", "no:cacheprovider", *arguments, "test_one.py")


def test_auto_runs_every_target_that_can_be_had_and_lists_the_others(suite: pytest.Pytester) -> None:
    result = auto(suite, ["stubs:absent", "stubs:good", "stubs:served"])
    assert result.ret == 0
    result.stdout.fnmatch_lines(
        [
            "== stubs:good",
            "*2 passed*",  # the case, in both modes of time
            "== stubs:served",
            "conformance: backend stubs:served, *",
            "conformance: on Stub 1.0",
            "| backend*| result*| guarantees*| server*| seconds |",
            "|-*",
            "| stubs:good*| passed | 1 incomplete, * not run | CPython *|",
            "| stubs:served | passed | 1 incomplete, * not run | Stub 1.0 *|",
            "not run: stubs:absent: there is no such server",
        ]
    )
    result.stdout.no_fnmatch_line("== stubs:absent")


def test_auto_fails_where_a_target_fails_and_still_runs_the_others(suite: pytest.Pytester) -> None:
    result = auto(suite, ["stubs:bad", "stubs:nosuch", "stubs:good"])
    assert result.ret == 1
    result.stdout.fnmatch_lines(
        [
            "| stubs:bad*| failed | 1 broken, *",
            "| stubs:nosuch | failed | *cannot be loaded*",
            "| stubs:good*| passed *",
        ]
    )


def test_auto_tells_of_a_run_in_which_cases_are_missing(suite: pytest.Pytester) -> None:
    suite.makeconftest("from litestar_queues_conformance import target\ntarget.known_targets = lambda: ['stubs:good']")
    missing = "LCK-04 and not test_a_former_owner_frees_nothing"
    result = suite.runpytest_subprocess("--backend=auto", "-p", "no:cacheprovider", "-k", missing)
    assert result.ret == INCOMPLETE
    result.stdout.fnmatch_lines(["| stubs:good | incomplete | 1 incomplete, * not run | CPython *|"])


def test_auto_writes_a_report_for_each_target(suite: pytest.Pytester) -> None:
    auto(suite, ["stubs:good", "stubs:served"], "--report-json=out/report.json")
    found = {path.name: json.loads(path.read_text())["backend"] for path in (suite.path / "out").iterdir()}
    assert found == {"report-stubs-good.json": "stubs:good", "report-stubs-served.json": "stubs:served"}


def test_a_run_in_which_nothing_ran_is_no_success() -> None:
    absent = TargetRun("a", "not run", "no server")
    assert exit_code([absent]) == 5
    assert exit_code([absent, TargetRun("b", "passed", "")]) == 0
    short = TargetRun("e", "incomplete", "")
    assert exit_code([absent, TargetRun("b", "passed", ""), short]) == INCOMPLETE
    late = TargetRun("d", "not found out", "")
    assert exit_code([TargetRun("b", "passed", ""), short, late]) == NOT_FOUND_OUT
    assert exit_code([TargetRun("b", "passed", ""), short, late, TargetRun("c", "failed", "")]) == 1
    assert summary([absent]).splitlines()[-1] == "not run: a: no server"


@pytest.mark.parametrize(
    ("code", "ended", "broken", "outcome"),
    [
        (0, "complete", 0, "passed"),
        (0, "unfinished", 0, "failed"),
        (1, "complete", 1, "failed"),
        (2, "interrupted", 0, "not found out"),
        (2, "interrupted", 1, "failed"),
        (-9, "unfinished", 1, "failed"),
        (NOT_FOUND_OUT, "complete", 0, "not found out"),
        (INCOMPLETE, "complete", 0, "incomplete"),
        (INCOMPLETE, "complete", 1, "failed"),
        (4, "error", 0, "failed"),
    ],
)
def test_a_run_is_judged_by_its_exit_code_and_its_report(
    tmp_path: Path, code: int, ended: str, broken: int, outcome: str
) -> None:
    document = {"versions": {}, "summary": {"kept": 3, "broken": broken}, "ended": ended, "ended_because": None}
    path = tmp_path / "report.json"
    path.write_text(json.dumps(document))
    assert _judge("a", code, path, 1.0).outcome == outcome


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["alone", "xdist"])
def test_a_server_is_started_once_for_a_run_and_known_in_all_its_processes(
    suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, workers: tuple[str, ...]
) -> None:
    monkeypatch.delenv("STUB_SERVER", raising=False)
    monkeypatch.setenv("PYTHONPATH", str(suite.path))
    # xdist's workers are given the path that the process began with, so it has to begin with the targets on it.
    run = suite.runpytest_subprocess if workers else suite.runpytest
    result = run("--backend=stubs:served", "-p", "no:cacheprovider", *workers, "test_one.py")
    result.assert_outcomes(passed=2)  # in both modes of time
    result.stdout.fnmatch_lines(["conformance: on Stub 1.0"])
    assert (suite.path / "log").read_text() == "start stop "
    assert "STUB_SERVER" not in os.environ


def test_a_server_that_cannot_be_had_is_a_usage_error(suite: pytest.Pytester) -> None:
    result = suite.runpytest("--backend=stubs:broken", "test_one.py")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*no server to be had: install one"])


def test_nothing_is_started_to_collect_only(suite: pytest.Pytester) -> None:
    suite.runpytest("--backend=stubs:served", "--collect-only", "test_one.py")
    assert not (suite.path / "log").exists()
