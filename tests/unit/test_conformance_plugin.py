"""The pytest plugin of the conformance suite, run on small suites of its own."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from litestar_queues_conformance.docs import cases_of, guarantees_page, main
from litestar_queues_conformance.examples import EXAMPLES
from litestar_queues_conformance.guarantees import AREAS, GUARANTEES, Profile
from litestar_queues_conformance.harness import T0, guarantee
from litestar_queues_conformance.machine import histories
from litestar_queues_conformance.manifest import expected
from litestar_queues_conformance.target import UnknownTarget, known_targets, load_target
from litestar_queues_conformance.tested import suite

pytest_plugins = ["pytester"]

HEAD = """
import pytest
from litestar_queues_conformance import Check, Store, Violation, guarantee
"""
KEPT = (
    HEAD
    + """
@guarantee("KEY-01")
async def test_kept(store: Store, check: Check) -> None:
    actor = await store.actor()
    record = await store.enqueue(actor, key="k")
    check("KEY-01", (await store.enqueue(actor, key="k")).id == record.id, "one holder")
"""
)
BROKEN = (
    HEAD
    + """
@guarantee("KEY-02")
async def test_broken(store: Store, check: Check) -> None:
    check.equal("KEY-02", 1, 2, "the sum")
"""
)


OF_KEY_01 = [case for case, ids in expected().items() if "KEY-01" in ids]
UNSEEN = f"{len(OF_KEY_01)} of its {len(OF_KEY_01)} cases did not run: {OF_KEY_01[0]} and {len(OF_KEY_01) - 1} more"
"""Why KEY-01 is not kept where none of the suite's own cases for it ran."""


def run(pytester: pytest.Pytester, *arguments: str, backend: str = "memory") -> pytest.RunResult:
    return pytester.runpytest("-p", "no:cacheprovider", f"--backend={backend}", *arguments)


def report(pytester: pytest.Pytester, *arguments: str, backend: str = "memory") -> dict[str, Any]:
    path = pytester.path / "out" / "report.json"
    run(pytester, f"--report-json={path}", *arguments, backend=backend)
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def test_an_unknown_backend_is_refused_with_the_known_ones(pytester: pytest.Pytester) -> None:
    result = run(pytester, backend="nosuch")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*unknown backend 'nosuch'*aiosqlite, *memory, *sqlite*--backend=my_package*"])


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("no.such.module:target", "cannot be loaded: ModuleNotFoundError: No module named 'no'"),
        ("json:nosuch", "cannot be loaded"),
        ("json:dumps", "is no target: it lacks distribution, capabilities"),
    ],
)
def test_what_is_no_target_is_refused_with_the_reason(name: str, says: str) -> None:
    with pytest.raises(UnknownTarget, match=says):
        load_target(name)


def test_a_target_whose_capabilities_are_not_answered_is_refused(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        half="""
from litestar_queues_matrix.memory import MemoryTarget
class Half(MemoryTarget):
    capabilities = {"multi_process": False}
"""
    )
    pytester.syspathinsert()
    with pytest.raises(UnknownTarget, match="must be a Capabilities"):
        load_target("half:Half")


def test_the_targets_of_the_matrix_are_found_by_name() -> None:
    assert {"memory", "aiosqlite", "sqlite"} <= set(known_targets())
    assert load_target("memory") is load_target("litestar_queues_matrix.memory:memory")


def test_a_kept_guarantee_is_reported_as_kept(pytester: pytest.Pytester) -> None:
    result = run(pytester, "-k", "LCK-04")
    result.assert_outcomes(passed=4, deselected=len(expected()) - 4)
    result.stdout.fnmatch_lines(
        ["*conformance: backend memory, --seed=*", "LCK-04  kept      4  `unlock` MUST free a lock*"]
    )
    result.stdout.fnmatch_lines(["1 of 1 selected guarantees kept*"])


def test_a_guarantee_that_a_projects_own_case_checks_is_reported_as_incomplete(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_one=KEPT)
    result = run(pytester, "test_one.py")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(
        ["*conformance: backend memory, --seed=*", "KEY-01  incomplete      2  A backend MUST keep at most one*"]
    )
    result.stdout.fnmatch_lines(
        [f"incomplete: KEY-01, {UNSEEN.replace('[', '[[]')}", "0 of 1 selected guarantees kept*"]
    )


def test_a_broken_guarantee_is_reported_as_broken_with_what_was_wrong(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_one=BROKEN)
    result = run(pytester, "test_one.py")
    result.assert_outcomes(failed=2)
    wrong, present = "Violation: KEY-02: the sum: is 1, not 2", f"where {T0} of the case is the present"
    result.stdout.fnmatch_lines(
        [
            f"failed: KEY-02, test_broken[[]given]: {wrong}",
            f"failed: KEY-02, test_broken[[]store]: {wrong}; {present}, by the store's own time",
        ]
    )
    result.stdout.fnmatch_lines(["KEY-02  broken *", "broken: KEY-02, *KEY-02: the sum: is 1, not 2"])
    assert result.ret == pytest.ExitCode.TESTS_FAILED


def test_a_case_without_evidence_is_an_error(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        test_one=HEAD
        + """
@guarantee("KEY-01", "KEY-02")
async def test_half(store: Store, check: Check) -> None:
    check("KEY-02", True, "of course")

@guarantee("KEY-03")
async def test_nothing() -> None:
    pass
"""
    )
    result = run(pytester, "test_one.py")
    result.assert_outcomes(failed=3)  # the one with a store in both modes of time
    result.stdout.fnmatch_lines(["*NoEvidence: no evidence: the case ended without a check() for KEY-01"])
    result.stdout.fnmatch_lines(["KEY-01  broken *"])
    result.stdout.fnmatch_lines(["KEY-03  broken *"])


def test_a_violation_that_the_case_swallows_still_fails_it(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        test_one=HEAD
        + """
@guarantee("KEY-01")
async def test_swallows(check: Check) -> None:
    try:
        check("KEY-01", False, "was wrong")
    except Violation:
        pass
"""
    )
    result = run(pytester, "test_one.py")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*swallowed by the case: KEY-01: was wrong*"])


def test_a_check_for_another_guarantee_than_the_cases_own_is_refused(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        test_one=HEAD
        + """
@guarantee("KEY-01")
async def test_other(check: Check) -> None:
    check("KEY-02", True, "of another case")
"""
    )
    run(pytester, "test_one.py").stdout.fnmatch_lines(["*not marked for KEY-02*"])


@pytest.mark.parametrize("how", ["pytest.skip('not here')", "pytest.xfail('known')"])
def test_a_case_cannot_be_skipped_or_expected_to_fail(pytester: pytest.Pytester, how: str) -> None:
    pytester.makepyfile(
        test_one=HEAD
        + f"""
@guarantee("KEY-01")
async def test_skips(check: Check) -> None:
    {how}
"""
    )
    found = report(pytester, "test_one.py")
    assert found["guarantees"]["KEY-01"]["result"] == "broken"
    assert "was skipped or expected to fail" in found["guarantees"]["KEY-01"]["reason"]


def test_an_unregistered_id_is_a_collection_error(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        test_one=HEAD
        + """
@guarantee("KEY-99")
async def test_unknown(check: Check) -> None:
    check("KEY-99", True, "of course")
"""
    )
    result = run(pytester, "test_one.py")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*no such guarantee: KEY-99*"])


def test_what_a_case_cannot_find_out_is_not_found_out_though_another_case_checks_it(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        test_one=HEAD
        + """
@guarantee("KEY-01", "KEY-02")
async def test_half(check: Check) -> None:
    check.unknown("KEY-01", "nobody can look")
    check.unknown("KEY-02", "nobody can look here")

@guarantee("KEY-02")
async def test_elsewhere(check: Check) -> None:
    check("KEY-02", True, "of course")
"""
    )
    result = run(pytester, "test_one.py")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(
        [
            "KEY-01  not found out *",
            "KEY-02  not found out *",
            "not found out: KEY-01, nobody can look",
            "not found out: KEY-02, nobody can look here",
            "2 not found out: neither kept nor broken*",
        ]
    )


def test_a_guarantee_must_be_named() -> None:
    with pytest.raises(ValueError, match="none was named"):
        guarantee()


def test_what_a_case_found_is_said_also_where_what_it_opened_cannot_be_closed(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        test_one=HEAD
        + """
from litestar_queues_conformance.harness import Store

# What a case opens is a client that stands before the one that is closed.
@guarantee("KEY-01", time="given")
async def test_finds(store: Store, check: Check) -> None:
    actor = await store.actor()

    async def close() -> None:
        raise OSError("stuck")

    actor.inner.close = close
    check("KEY-01", False, "the key is taken twice")

@guarantee("KEY-01", time="given")
async def test_closes(store: Store, check: Check) -> None:
    actor = await store.actor()

    async def close() -> None:
        raise OSError("stuck")

    actor.inner.close = close
    check("KEY-01", True, "of course")
"""
    )
    result = run(pytester, "test_one.py")
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(
        [
            "*Violation: KEY-01: the key is taken twice*",
            "*and what it had opened was not removed: OSError('stuck')*",
        ]
    )
    result.stdout.fnmatch_lines(["FAILED*test_closes*OSError: stuck*"])


def test_a_timeout_of_the_backends_own_is_no_deadline(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        test_one=HEAD
        + """
@guarantee("KEY-01")
async def test_raises(check: Check) -> None:
    raise TimeoutError("the backend's")
"""
    )
    run(pytester, "test_one.py").stdout.fnmatch_lines(["*TimeoutError: the backend's*"])


def test_every_store_that_is_made_for_a_case_is_removed(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        watched="""
from litestar_queues_matrix.memory import MemoryTarget

made, removed = [], []

class Watched(MemoryTarget):
    def config(self, env):
        made.append(super().config(env))
        return made[-1]
    async def reset(self, config):
        removed.append(config)
        await super().reset(config)
""",
        test_one=HEAD
        + """
import watched

from litestar_queues_conformance import at

@guarantee("KEY-01")
async def test_moments(store: Store, check: Check) -> None:
    actor = await store.actor()
    for second in range(9):
        await store.enqueue(actor, now=at(second))
    check("KEY-01", True, "of course")

@guarantee("KEY-02")
async def test_looks(check: Check) -> None:
    # By given times, and with each of three moments as the present; before that, the suite tries the target.
    left = [one for one in watched.made if one not in watched.removed]
    check.equal("KEY-02", left, [], "what was not removed")
    check("KEY-02", len(watched.made) >= 4, "there were fewer stores than runs")
""",
    )
    run(pytester, "test_one.py", backend="watched:Watched").assert_outcomes(passed=3)


def test_what_a_case_opened_is_closed_and_removed(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        watched="""
from litestar_queues.backends.memory import MemoryBackend
from litestar_queues_matrix.memory import MemoryTarget

log = []

class Backend(MemoryBackend):
    async def close(self):
        log.append("close")

class Watched(MemoryTarget):
    def new_backend(self):
        return Backend()
    async def reset(self, config):
        log.append("reset")
        await super().reset(config)
""",
        test_one=HEAD
        + """
import watched

@guarantee("KEY-01")
async def test_fails(store: Store, check: Check) -> None:
    await store.actors(2)
    await store.another().actor()
    check("KEY-01", False, "on purpose")

@guarantee("KEY-02")
async def test_looks(check: Check) -> None:
    # The case ran twice: once in each mode of time.
    check.equal("KEY-02", watched.log[-10:], ["close", "reset", "close", "close", "reset"] * 2, "what happened")
""",
    )
    pytester.syspathinsert()
    run(pytester, "test_one.py", backend="watched:Watched").assert_outcomes(passed=1, failed=2)


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["alone", "xdist"])
def test_the_report_says_what_was_found_and_what_was_not_run(
    pytester: pytest.Pytester, workers: tuple[str, ...]
) -> None:
    pytester.makepyfile(test_one=KEPT, test_two=BROKEN)
    found = report(pytester, "test_one.py", "test_two.py", "--seed=77", *workers)
    assert found["format"] == 3
    assert found["backend"] == "memory"
    assert found["seed"] == 77
    assert found["tested"]["class"] == "litestar_queues.backends.memory.MemoryBackend"
    assert found["suite"] == {**suite(), "cases": len(expected()), "histories": histories()}
    assert found["options"][:-1] == [  # pytester adds a folder
        *("-p", "no:cacheprovider", "--backend=memory", f"--report-json={pytester.path / 'out' / 'report.json'}"),
        *("test_one.py", "test_two.py", "--seed=77", *workers),
    ]
    began, ended = (datetime.fromisoformat(found[when]) for when in ("started", "finished"))
    assert began <= ended <= began + timedelta(minutes=5)
    assert began.tzinfo == ended.tzinfo == UTC
    assert found["narrowed"] == ["test_one.py and 1 more"]
    assert set(found["versions"]) == {
        *("python", "pytest", "hypothesis", "litestar-queues", "litestar-queues-conformance", "server")
    }
    assert found["capabilities"]["multi_process"] is False
    counts = {"kept": 0, "broken": 1, "not found out": 0, "absent": 0, "incomplete": 1}
    measured = sum(one.profile is Profile.SCALE for one in GUARANTEES.values())
    counts |= {"not run": len(GUARANTEES) - measured - 2, "scales": 0, "grows with the backlog": 0}
    assert found["summary"] == counts
    guarantees = found["guarantees"]
    assert list(guarantees) == list(GUARANTEES)
    assert (guarantees["KEY-01"]["result"], guarantees["KEY-01"]["reason"]) == ("incomplete", UNSEEN)
    assert guarantees["KEY-01"]["must"] == GUARANTEES["KEY-01"].must
    # In the order in which they ended, which nobody knows of two workers.
    assert sorted(guarantees["KEY-01"]["cases"]) == ["test_one.py::test_kept[given]", "test_one.py::test_kept[store]"]
    assert guarantees["KEY-02"]["result"] == "broken"
    assert "the sum: is 1, not 2" in guarantees["KEY-02"]["reason"]
    assert guarantees["CLM-01"] == {
        "id": "CLM-01",
        "must": GUARANTEES["CLM-01"].must,
        "profile": "core",
        "result": "not run",
        "reason": "no case for it was collected",
        "cases": [],
    }
    assert [(case["case"], case["outcome"], case["evidence"]) for case in found["cases"]] == [
        ("test_one.py::test_kept[given]", "passed", {"KEY-01": 1}),
        ("test_one.py::test_kept[store]", "passed", {"KEY-01": 1}),
        ("test_two.py::test_broken[given]", "failed", {"KEY-02": 1}),
        ("test_two.py::test_broken[store]", "failed", {"KEY-02": 1}),
    ]
    # None of them is the suite's own.
    assert [(case["key"], case["absent"], case["partial"]) for case in found["cases"]] == [(None, {}, {})] * 4


def test_a_case_with_a_store_runs_in_both_modes_of_time_and_the_report_says_in_which(
    pytester: pytest.Pytester,
) -> None:
    pytester.makepyfile(
        watched="""
from litestar_queues.backends.memory import MemoryBackend
from litestar_queues_matrix.memory import MemoryTarget

log = []

class Backend(MemoryBackend):
    async def enqueue_many(self, tasks, *, now=None):
        log.append((now, tasks[0].name))
        return await super().enqueue_many(tasks, now=now)

class Watched(MemoryTarget):
    def new_backend(self):
        return Backend()
""",
        test_one=HEAD
        + """
import watched
from litestar_queues_conformance.harness import T0

@guarantee("KEY-01")
async def test_enqueues(store: Store, check: Check) -> None:
    record = await store.enqueue(await store.actor(), now=T0)
    check.equal("KEY-01", record.created_at, T0, "when the case enqueues")

@guarantee("KEY-02")
async def test_looks(check: Check) -> None:
    [(given, one), (store, other)] = watched.log[-2:]
    check("KEY-02", given > T0 and given.microsecond == T0.microsecond, "the time given is not moved by a drawn one")
    check.equal("KEY-02", store, None, "the time given in production's mode")
    check("KEY-02", "conformance.task" not in {one, other}, "the tasks have the suite's own name")
""",
    )
    pytester.syspathinsert()
    found = report(pytester, "test_one.py", backend="watched:Watched")
    assert [(case["case"], case["outcome"], case["time"]) for case in found["cases"]] == [
        ("test_one.py::test_enqueues[given]", "passed", "given"),
        ("test_one.py::test_enqueues[store]", "passed", "store"),
        ("test_one.py::test_looks", "passed", None),
    ]


def test_a_case_for_given_time_runs_in_that_mode_alone(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_one=KEPT.replace('@guarantee("KEY-01")', '@guarantee("KEY-01", time="given")'))
    found = report(pytester, "test_one.py")
    assert [(case["case"], case["outcome"], case["time"]) for case in found["cases"]] == [
        ("test_one.py::test_kept[given]", "passed", "given")
    ]


def test_a_case_that_asks_for_its_mode_of_time_is_given_each_and_sees_to_it_itself(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        test_one=HEAD
        + """
from pathlib import Path

@guarantee("KEY-01")
async def test_asks(store: Store, check: Check, time: str) -> None:
    check("KEY-01", True, "of course")
    with Path("modes").open("a") as file:
        file.write(f"{time} {store.telling} ")
"""
    )
    found = report(pytester, "test_one.py")
    # None: whatever the mode, its times are passed as they are.
    assert (pytester.path / "modes").read_text() == "given None store None "
    assert [(case["case"], case["outcome"], case["time"]) for case in found["cases"]] == [
        ("test_one.py::test_asks[given]", "passed", "given"),
        ("test_one.py::test_asks[store]", "passed", "store"),
    ]


def test_cases_run_in_the_order_of_the_registry(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_one=BROKEN, test_two=KEPT)
    result = run(pytester, "-v", "test_one.py", "test_two.py")
    result.stdout.fnmatch_lines(
        [
            "test_two.py::test_kept[[]given] *",
            "test_two.py::test_kept[[]store] *",
            "test_one.py::test_broken[[]given] *",
            "test_one.py::test_broken[[]store] *",
        ]
    )


def test_one_seed_repeats_what_a_case_draws(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        test_one=HEAD
        + """
from pathlib import Path
from hypothesis import given, strategies as st

@guarantee("KEY-01")
async def test_draws(store: Store, check: Check, seed: str) -> None:
    check("KEY-01", True, "of course")
    with Path("drawn").open("a") as file:
        file.write(f"{store.new_id()}{seed} ")

@guarantee("KEY-02")
@given(number=st.integers(0, 2**60))
def test_draws_by_hypothesis(check: Check, number: int) -> None:
    check("KEY-02", True, "of course")
    with Path("drawn").open("a") as file:
        file.write(f"{number} ")
"""
    )

    def drawn(seed: str, *, ci: str = "") -> str:
        path = pytester.path / "drawn"
        path.unlink(missing_ok=True)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("CI", ci) if ci else patch.delenv("CI", raising=False)
            result = pytester.runpytest_subprocess("--backend=memory", f"--seed={seed}", "test_one.py")
        result.assert_outcomes(passed=3)  # the one with a store in both modes of time
        return path.read_text()

    first = drawn("1")
    assert drawn("1", ci="true") == first
    assert drawn("2", ci="true") != first


def test_without_a_path_the_suites_own_cases_are_collected(pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\ntestpaths = tests\npython_files = check_*.py")
    tests = pytester.mkdir("tests")
    (tests / "check_mine.py").write_text("def test_mine(): pass")
    result = run(pytester, "--collect-only", "-q")
    assert "test_mine" not in result.stdout.str()
    lock = "*cases/test_lck.py::test_a_lock_has_one_owner"
    result.stdout.fnmatch_lines([f"{lock}[[]given]", f"{lock}[[]store]"])
    named = run(pytester, "--collect-only", "-q", "tests")
    named.stdout.fnmatch_lines(["*check_mine.py::test_mine"])
    assert "test_lck" not in named.stdout.str()


def test_without_a_backend_nothing_changes(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        test_mine="""
import pytest

@pytest.fixture
def store():
    return "mine"

def test_mine(store):
    assert store == "mine"

def test_others(request):
    for name in ("check", "rng", "seed", "target_under_test"):
        with pytest.raises(pytest.FixtureLookupError):
            request.getfixturevalue(name)
"""
    )
    result = pytester.runpytest()
    result.assert_outcomes(passed=2)
    result.stdout.no_fnmatch_line("*guarantee*")
    result.stdout.no_fnmatch_line("*conformance:*")


def test_the_cases_are_refused_without_a_backend(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_one=KEPT)
    result = pytester.runpytest("test_one.py")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*conformance cases need a backend: --backend=NAME*"])


def test_a_project_that_has_these_options_keeps_them(pytester: pytest.Pytester) -> None:
    pytester.makeconftest("""
def pytest_addoption(parser):
    parser.addoption("--backend", default="theirs")
    parser.addoption("--seed", default="theirs")
""")
    pytester.makepyfile(
        test_mine="""
def test_mine(request):
    assert request.config.getoption("--backend") == "postgres"
    assert request.config.getoption("--seed") == "theirs"
""",
        test_one=KEPT,
    )
    pytester.runpytest("--backend=postgres", "test_mine.py").assert_outcomes(passed=1)
    result = pytester.runpytest("--queue-backend=memory", "--queue-seed=5", "test_one.py")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["*conformance: backend memory, --seed=5, --queue-time=both"])


def test_every_guarantee_has_a_case_and_an_area() -> None:
    without = [id_ for id_, cases in cases_of().items() if not cases]
    assert without == []
    assert list(dict.fromkeys(one.area for one in GUARANTEES.values())) == list(AREAS)
    assert all(one.must.endswith(".") for one in GUARANTEES.values())


def test_every_guarantee_is_one_promise() -> None:
    counted = {id_: len(re.findall(r"\bMUST\b", one.must)) for id_, one in GUARANTEES.items()}
    assert {id_: n for id_, n in counted.items() if n != 1} == {}


def test_every_guarantee_has_an_example_in_three_clauses() -> None:
    assert set(EXAMPLES) == set(GUARANTEES)
    page = guarantees_page()
    for id_, example in EXAMPLES.items():
        for clause in (example.given, example.when, example.then):
            assert clause == clause.strip() != "", id_
            assert not clause.endswith((".", ",", ";", ":")), f"{id_}: {clause}"
        assert f"    - Given {example.given}, when {example.when}, then {example.then}." in page, id_


def test_a_stale_page_of_guarantees_is_found(tmp_path: Path) -> None:
    page = tmp_path / "guarantees.md"
    assert main([str(page), "--check"]) == 1
    assert main([str(page)]) == 0
    assert main([str(page), "--check"]) == 0
    page.write_text(page.read_text().replace("KEY-01", "KEY-1", 1))
    assert main([str(page), "--check"]) == 1


README = Path(__file__).parents[2] / "conformance" / "README.md"


def test_the_readmes_target_and_case_work_as_they_stand(pytester: pytest.Pytester) -> None:
    target, case = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert len([line for line in target.splitlines() if line.strip()]) < 30
    pytester.makepyfile(target_of_the_readme=target, test_one=case)
    pytester.syspathinsert()
    run(pytester, "test_one.py", backend="target_of_the_readme:Target").assert_outcomes(passed=2)
