"""What says nothing about the backend, such as a deadline or a lost process, is `not found out`: never kept, never broken."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from litestar_queues_conformance import patience
from litestar_queues_conformance.outcomes import NOT_FOUND_OUT
from litestar_queues_conformance.running import CaseDeadline, run_case

pytest_plugins = ["pytester"]

HEAD = """
import asyncio, os, signal, threading
import pytest
from litestar_queues.errors import BackendUnavailableError
from litestar_queues_conformance import Check, NotFoundOut, Store, Violation, guarantee, harness
"""
LATE = (
    HEAD
    + """
@guarantee("KEY-01", deadline=0.05)
async def test_waits(check: Check) -> None:
    await asyncio.Event().wait()
"""
)
KEPT = """
@guarantee("KEY-01")
async def test_kept(check: Check) -> None:
    check("KEY-01", True, "of course")

@guarantee("KEY-02")
async def test_kept_too(check: Check) -> None:
    check("KEY-02", True, "of course")
"""
BROKEN = """
@guarantee("KEY-02")
async def test_broken(check: Check) -> None:
    check("KEY-02", False, "is broken")
"""


def run(pytester: pytest.Pytester, source: str, *arguments: str) -> tuple[pytest.RunResult, dict[str, Any]]:
    pytester.makepyfile(test_one=source)
    path = pytester.path / "report.json"
    result = pytester.runpytest(
        "-p", "no:cacheprovider", "--backend=memory", f"--report-json={path}", *arguments, "test_one.py"
    )
    return result, json.loads(path.read_text())


@pytest.mark.parametrize("workers", [(), ("-n", "1")], ids=["alone", "xdist"])
def test_a_deadline_is_not_found_out_with_its_own_count_and_exit_code(
    pytester: pytest.Pytester, workers: tuple[str, ...]
) -> None:
    result, report = run(pytester, LATE + KEPT, *workers)
    assert result.ret == NOT_FOUND_OUT
    result.stdout.fnmatch_lines(
        ["not found out: KEY-01, test_waits: test_waits did not end within 0.05 s, but ran for *"]
    )
    result.stdout.fnmatch_lines(["KEY-01  not found out * 2 *", "KEY-02  incomplete * 1 *"])
    result.stdout.fnmatch_lines(["not found out: KEY-01, test_waits did not end within 0.05 s*"])
    result.stdout.fnmatch_lines(["1 not found out: neither kept nor broken*", "0 of 2 selected guarantees kept*"])
    result.stdout.fnmatch_lines(["*2 passed, 1 not found out in *"])
    assert report["summary"]["not found out"] == 1
    assert report["summary"]["broken"] == 0
    assert report["guarantees"]["KEY-01"]["result"] == "not found out"
    assert {case["outcome"] for case in report["cases"]} == {"passed", "not found out"}


def test_a_run_with_a_failure_ends_as_failed_whatever_else_was_not_found_out(pytester: pytest.Pytester) -> None:
    result, report = run(pytester, LATE + BROKEN)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert (report["summary"]["broken"], report["summary"]["not found out"]) == (1, 1)


def test_a_guarantee_that_one_case_breaks_is_broken_though_another_found_out_nothing(pytester: pytest.Pytester) -> None:
    result, report = run(pytester, LATE + BROKEN.replace("KEY-02", "KEY-01"))
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert report["guarantees"]["KEY-01"]["result"] == "broken"


def test_a_violation_before_the_deadline_is_a_violation(pytester: pytest.Pytester) -> None:
    source = """
@guarantee("KEY-01", deadline=0.05)
async def test_swallows_and_waits(check: Check) -> None:
    with pytest.raises(Violation):
        check("KEY-01", False, "two holders")
    await asyncio.Event().wait()
"""
    result, report = run(pytester, HEAD + source)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert "KEY-01: two holders" in report["guarantees"]["KEY-01"]["reason"]


def test_dash_x_does_not_stop_at_what_was_not_found_out(pytester: pytest.Pytester) -> None:
    result, _ = run(pytester, LATE + KEPT, "-x")
    result.stdout.fnmatch_lines(["*2 passed, 1 not found out in *"])


@pytest.mark.parametrize(
    "raises",
    [
        "raise NotFoundOut('nobody could look')",
        "raise ExceptionGroup('both', [NotFoundOut('nobody could look'), NotFoundOut('nor here')])",
        "from concurrent.futures.process import BrokenProcessPool; raise BrokenProcessPool('nobody could look')",
    ],
)
def test_what_says_nothing_about_the_backend_is_not_found_out(pytester: pytest.Pytester, raises: str) -> None:
    source = f"""
@guarantee("KEY-01")
async def test_raises(check: Check) -> None:
    {raises}
"""
    result, report = run(pytester, HEAD + source)
    assert result.ret == NOT_FOUND_OUT
    assert "nobody could look" in report["guarantees"]["KEY-01"]["reason"]


@pytest.mark.parametrize(
    "error",
    [
        "KeyError('of the backend')",
        "TimeoutError('of the backend')",
        "ExceptionGroup('of the backend', [NotFoundOut('nothing'), KeyError()])",
    ],
)
def test_an_error_of_the_backends_is_a_failure_however_slow_the_machine_is(
    pytester: pytest.Pytester, error: str
) -> None:
    source = f"""
@guarantee("KEY-01")
async def test_raises(check: Check, monkeypatch) -> None:
    monkeypatch.setattr(harness, "slowness_so_far", lambda: 50.0)
    raise {error}

@guarantee("KEY-02")
async def test_works(check: Check, monkeypatch) -> None:
    monkeypatch.setattr(harness, "slowness_so_far", lambda: 50.0)
    with check.works("KEY-02", "an enqueue"):
        raise {error}
"""
    result, report = run(pytester, HEAD + source)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert report["summary"]["broken"] == 2
    assert "of the backend" in report["guarantees"]["KEY-01"]["reason"]


@pytest.mark.parametrize(("slowness", "found"), [(1.0, "broken"), (9.0, "not found out")])
def test_a_store_that_is_not_available_is_wrong_unless_the_machine_was_slow(
    pytester: pytest.Pytester, slowness: float, found: str
) -> None:
    source = f"""
@pytest.fixture(autouse=True)
def slow(monkeypatch) -> None:
    monkeypatch.setattr(harness, "slowness_so_far", lambda: {slowness})

@guarantee("KEY-01")
async def test_raises(check: Check) -> None:
    raise BackendUnavailableError("locked")

@guarantee("KEY-02")
async def test_works(check: Check) -> None:
    with check.works("KEY-02", "an enqueue"):
        raise BackendUnavailableError("locked")
"""
    _, report = run(pytester, HEAD + source)
    assert {report["guarantees"][id_]["result"] for id_ in ("KEY-01", "KEY-02")} == {found}
    assert "locked" in report["guarantees"]["KEY-01"]["reason"]


def test_a_process_of_xdist_that_is_killed_says_nothing_about_the_backend(pytester: pytest.Pytester) -> None:
    source = """
@guarantee("KEY-03")
async def test_killed(check: Check) -> None:
    os.kill(os.getpid(), signal.SIGKILL)
"""
    result, report = run(pytester, HEAD + source + KEPT, "-n", "1")
    assert result.ret == NOT_FOUND_OUT
    assert report["guarantees"]["KEY-03"]["result"] == "not found out"
    assert "ended" in report["guarantees"]["KEY-03"]["reason"]
    assert report["guarantees"]["KEY-01"]["result"] == "incomplete"


def test_clients_that_do_not_close_are_not_found_out(pytester: pytest.Pytester) -> None:
    source = """
from litestar_queues_conformance import running

@guarantee("KEY-01", time="given")
async def test_closes(store: Store, check: Check, monkeypatch) -> None:
    monkeypatch.setattr(running, "CASE_SECONDS", 0.05)
    actor = await store.actor()
    actor.inner.close = asyncio.Event().wait
    check("KEY-01", True, "of course")
"""
    result, report = run(pytester, HEAD + source)
    assert result.ret == NOT_FOUND_OUT
    assert "did not close within 0.05 s" in report["guarantees"]["KEY-01"]["reason"]


async def _block() -> None:
    threading.Event().wait()


def _block_without_a_loop() -> None:
    threading.Event().wait()


@pytest.mark.parametrize("case", [_block, _block_without_a_loop])
def test_a_case_that_blocks_is_ended(case: Callable[[], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("litestar_queues_conformance.running._GRACE", 0.05)
    with pytest.raises(CaseDeadline, match=r"test_blocks did not end within 0.05 s, and blocks, after \d"):
        run_case("test_blocks", 0.05, case, None)


def test_a_fair_second_takes_longer_on_a_slow_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    pace = patience._Pace()
    monkeypatch.setattr(patience, "_pace", pace)
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(pace, "_thread", threading.current_thread())
    pace._measured_at, pace._usual = now[0], 0.05
    watch = patience.Stopwatch()
    for _ in range(10):
        now[0] += 2.5
        pace._note(now[0], took=0.5, cpu=0.05)
    assert watch.seconds == 25
    assert watch.slowness == pytest.approx(10)
    assert str(watch) == "25 s; the machine was 10 times slower than usual"


def test_time_in_which_nothing_ran_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    pace = patience._Pace()
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(pace, "_thread", threading.current_thread())
    pace._measured_at, pace._usual = now[0], 0.05
    before = pace.time()
    now[0] += 86_400  # a night
    pace._note(now[0], took=0.05, cpu=0.05)
    assert pace.time() - before < 3
