"""The report is written however the run ends, and says how it ended."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest_plugins = ["pytester"]

HEAD = """
import asyncio, os, signal
from pathlib import Path
from litestar_queues_conformance import Check, guarantee

@guarantee("KEY-01")
async def test_kept(check: Check) -> None:
    check("KEY-01", True, "of course")
"""
BROKEN = """
@guarantee("KEY-02")
async def test_broken(check: Check) -> None:
    check("KEY-02", False, "is broken")
"""
LATER = """
@guarantee("KEY-03")
async def test_later(check: Check) -> None:
    check("KEY-03", True, "of course")
"""
"""A guarantee is incomplete at best in these runs: what they run is not the suite's own."""


def run(pytester: pytest.Pytester, source: str, *arguments: str) -> tuple[pytest.RunResult, dict[str, Any]]:
    pytester.makepyfile(test_one=HEAD + source)
    path = pytester.path / "out" / "report.json"
    result = pytester.runpytest_subprocess(
        "-p", "no:cacheprovider", "--backend=memory", f"--report-json={path}", *arguments, "test_one.py"
    )
    return result, json.loads(path.read_text())


def results(report: dict[str, Any], *ids: str) -> list[str]:
    return [report["guarantees"][id_]["result"] for id_ in ids]


def test_a_run_that_comes_to_its_end_is_complete(pytester: pytest.Pytester) -> None:
    _, report = run(pytester, BROKEN + LATER)
    assert (report["format"], report["ended"], report["ended_because"]) == (3, "complete", None)
    assert results(report, "KEY-01", "KEY-02", "KEY-03") == ["incomplete", "broken", "incomplete"]


@pytest.mark.parametrize("workers", [(), ("-n", "1")], ids=["alone", "xdist"])
def test_a_run_that_stops_at_a_failure_says_so(pytester: pytest.Pytester, workers: tuple[str, ...]) -> None:
    _, report = run(pytester, BROKEN + LATER, "-x", *workers)
    assert (report["ended"], report["ended_because"]) == ("stopped", "stopping after 1 failures")
    assert results(report, "KEY-01", "KEY-02") == ["incomplete", "broken"]


@pytest.mark.parametrize(
    ("ends", "ended", "because"),
    [
        ("raise KeyboardInterrupt", "interrupted", "by Ctrl-C"),
        ("os.kill(os.getpid(), signal.SIGINT); await asyncio.Event().wait()", "interrupted", "by Ctrl-C"),
        ("os.kill(os.getpid(), signal.SIGTERM); await asyncio.Event().wait()", "interrupted", "by SIGTERM"),
        (
            "os.kill(os.getpid(), signal.SIGTERM); import threading; threading.Event().wait()",
            "interrupted",
            "by SIGTERM",
        ),
        ("os.kill(os.getpid(), signal.SIGKILL)", "unfinished", None),
        ("os._exit(0)", "unfinished", None),
    ],
    ids=["KeyboardInterrupt", "SIGINT", "SIGTERM", "SIGTERM while it blocks", "SIGKILL", "_exit"],
)
def test_a_run_that_is_ended_in_a_case_leaves_a_report_that_says_so(
    pytester: pytest.Pytester, ends: str, ended: str, because: str | None
) -> None:
    source = f"""
@guarantee("KEY-02")
async def test_ends(check: Check) -> None:
    {ends}
"""
    result, report = run(pytester, source + LATER)
    assert (report["ended"], report["ended_because"]) == (ended, because)
    assert results(report, "KEY-02", "KEY-03") == ["not run", "not run"]
    assert report["summary"]["broken"] == 0
    if ended == "interrupted":
        assert result.ret == pytest.ExitCode.INTERRUPTED
        assert results(report, "KEY-01") == ["incomplete"]


def test_an_internal_error_of_pytest_leaves_a_report_that_says_so(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(
        "def pytest_runtest_setup(item):\n    pass\ndef pytest_runtestloop():\n    raise RuntimeError('oh')"
    )
    result, report = run(pytester, LATER)
    assert result.ret == pytest.ExitCode.INTERNAL_ERROR
    assert report["ended"] == "error"
    assert report["summary"]["kept"] == report["summary"]["incomplete"] == 0


def test_an_error_while_cases_are_collected_leaves_a_report_that_says_so(pytester: pytest.Pytester) -> None:
    result, report = run(pytester, "raise RuntimeError('oh')")
    assert result.ret == pytest.ExitCode.INTERRUPTED
    assert (report["ended"], report["ended_because"]) == ("interrupted", "1 error during collection")
    assert report["summary"]["kept"] == report["summary"]["incomplete"] == 0


def test_a_killed_process_of_xdist_leaves_a_report(pytester: pytest.Pytester) -> None:
    source = """
@guarantee("KEY-02")
async def test_ends(check: Check) -> None:
    os.kill(os.getpid(), signal.SIGKILL)
"""
    _, report = run(pytester, source + LATER, "-n", "1")
    assert report["ended"] == "complete"
    assert results(report, "KEY-01", "KEY-02", "KEY-03") == ["incomplete", "not found out", "incomplete"]


@pytest.fixture
def locked(tmp_path: Path) -> Path:
    """A file where a folder would have to be."""
    (tmp_path / "file").write_text("")
    return tmp_path / "file" / "report.json"


@pytest.mark.parametrize("where", ["below a file", "a folder"])
def test_a_path_that_cannot_be_written_is_told_before_the_run(
    pytester: pytest.Pytester, locked: Path, where: str
) -> None:
    path = locked if where == "below a file" else pytester.path
    pytester.makepyfile(test_one=HEAD)
    result = pytester.runpytest("--backend=memory", f"--report-json={path}", "test_one.py")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*--report-json={path}: the report cannot be written there: *"])
    result.stdout.no_fnmatch_line("*passed*")


def test_a_report_that_can_no_longer_be_written_in_the_end_is_no_success(pytester: pytest.Pytester) -> None:
    source = """
import shutil

@guarantee("KEY-02")
async def test_removes(check: Check) -> None:
    check("KEY-02", True, "of course")
    shutil.rmtree("gone")
    Path("gone").write_text("")
"""
    pytester.makepyfile(test_one=HEAD + source)
    result = pytester.runpytest_subprocess("--backend=memory", "--report-json=gone/report.json", "test_one.py")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stdout.fnmatch_lines(["--report-json=gone/report.json: the report could not be written: *"])


def test_a_report_can_go_to_a_pipe(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_one=HEAD)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--backend=memory", "-p", "no:cacheprovider", "--report-json=/dev/stderr", "test_one.py"],
        cwd=pytester.path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done
    assert '"ended": "complete"' in done.stderr


def test_a_second_sigterm_ends_a_run_at_once(pytester: pytest.Pytester) -> None:
    source = """
@guarantee("KEY-02")
async def test_ends(check: Check) -> None:
    try:
        os.kill(os.getpid(), signal.SIGTERM)
    finally:
        os.kill(os.getpid(), signal.SIGTERM)
"""
    result, report = run(pytester, source)
    assert result.ret == -signal.SIGTERM
    assert report["ended"] == "unfinished"


def test_signals_are_left_as_they_were_found(pytester: pytest.Pytester) -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGALRM)
    pytester.makepyfile(test_one=HEAD)
    pytester.runpytest("--backend=memory", "test_one.py").assert_outcomes(passed=1)
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGALRM)) == before
