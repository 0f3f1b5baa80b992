"""A run that left out cases of the suite, or in which something was wrong, never looks like one that was whole and right.

In most of these runs the suite is small: it consists of the cases of locks, and the registry of their guarantees.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from _pytest.runner import runtestprotocol

from litestar_queues.backends.memory import MemoryBackend
from litestar_queues_conformance import installed, manifest, report, tested
from litestar_queues_conformance.cases import CASES, FOLDER
from litestar_queues_conformance.guarantees import GUARANTEES
from litestar_queues_conformance.harness import Check
from litestar_queues_conformance.outcomes import INCOMPLETE, NOT_FOUND_OUT, RESULTS, UNFINISHED
from litestar_queues_conformance.report import CaseResult, Report
from litestar_queues_conformance.saboteurs import SABOTEURS
from litestar_queues_conformance.target import load_target
from litestar_queues_conformance.tested import hash_of

pytest_plugins = ["pytester"]

Run = Callable[..., tuple[pytest.RunResult, dict[str, Any]]]
"""Runs the suite, and gives its result and its report."""

WHOLE = manifest.expected()
LOCKS, TRANSACTIONS, STORES, MACHINE = "test_lck.py::", "test_txn.py::", "test_scm.py::", "test_machine.py::"
PASSES_OVER = "test_clm.py::test_a_claim_passes_over_what_another_has_not_finished_with"
FORMER = "test_a_former_owner_frees_nothing"
"""One of the two cases for LCK-04. Each runs in two modes of time."""
LACKING = f"2 of its 4 cases did not run: {LOCKS}{FORMER}[given] and 1 more"
NARROWED = "*: it proves nothing of what it leaves out"


class Part:
    """Leaves of the suite what a test takes for all of it, and of its registry the guarantees of that."""

    def __init__(self, cases: Sequence[str]) -> None:
        self.cases, self.files = cases, {case.partition("::")[0] for case in cases}

    def pytest_ignore_collect(self, collection_path: Path) -> bool | None:
        return True if collection_path.parent == FOLDER and collection_path.name not in self.files else None

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = [item for item in items if manifest.key_of(item) in {None, *self.cases}]


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Run:
    path = pytester.path / "report.json"

    def run(
        *arguments: str, of: tuple[str, ...] = (LOCKS,), backend: str = "memory", plugins: Sequence[object] = ()
    ) -> tuple[pytest.RunResult, dict[str, Any]]:
        cases = {case: ids for case, ids in WHOLE.items() if case.startswith(of)}
        listed = {id_ for ids in cases.values() for id_ in ids}
        for module in (manifest, report):
            monkeypatch.setattr(module, "expected", lambda: cases)
        monkeypatch.setattr(report, "GUARANTEES", {id_: one for id_, one in GUARANTEES.items() if id_ in listed})
        result = pytester.runpytest_inprocess(
            f"--backend={backend}", f"--report-json={path}", *arguments, plugins=[Part([*cases]), *plugins]
        )
        return result, json.loads(path.read_text())

    return run


def results(found: dict[str, Any]) -> dict[str, str]:
    return {id_: one["result"] for id_, one in found["guarantees"].items()}


def counts(**found: int) -> dict[str, int]:
    """The summary: what is not named is zero."""
    return dict.fromkeys(RESULTS, 0) | {result.replace("_", " "): count for result, count in found.items()}


def literally(line: str) -> str:
    """A pattern that matches this text alone."""
    return line.replace("[", "[[]")


def check_that_one_lacks_cases(result: pytest.RunResult, found: dict[str, Any]) -> None:
    """In the table, the lines below it, the report and the exit code."""
    assert result.ret == INCOMPLETE
    result.stdout.fnmatch_lines(
        [
            "LCK-03  kept            4  *",
            "LCK-04  incomplete      2  `unlock` MUST free a lock at once if its owner*",
            literally(f"incomplete: LCK-04, {LACKING}"),
            "1 guarantees are incomplete: cases of the suite did not run",
            "core: 3 of 4 guarantees kept (--seed=*)",
        ],
        consecutive=True,
    )
    result.stdout.no_fnmatch_line("narrowed by *")
    assert results(found) == {"LCK-01": "kept", "LCK-02": "kept", "LCK-03": "kept", "LCK-04": "incomplete"}
    assert found["guarantees"]["LCK-04"]["reason"] == LACKING
    assert found["summary"] == counts(kept=3, incomplete=1)
    assert found["narrowed"] == []


def test_a_run_in_which_every_case_of_the_suite_passed_has_kept_everything(run: Run) -> None:
    result, found = run()
    assert result.ret == pytest.ExitCode.OK
    result.assert_outcomes(passed=16)
    result.stdout.fnmatch_lines(["LCK-04  kept      4  *", "core: 4 of 4 guarantees kept (--seed=*)"], consecutive=True)
    for word in ("*incomplete*", "narrowed by *", "*not selected*"):
        result.stdout.no_fnmatch_line(word)
    assert results(found) == dict.fromkeys(("LCK-01", "LCK-02", "LCK-03", "LCK-04"), "kept")
    assert {one["reason"] for one in found["guarantees"].values()} == {None}
    assert found["summary"] == counts(kept=4)
    assert (found["ended"], found["narrowed"], found["suite"]["cases"]) == ("complete", [], 16)
    assert {case["key"] for case in found["cases"]} == {case for case in WHOLE if case.startswith(LOCKS)}


# What leaves out cases that nobody asked to leave out


@pytest.mark.parametrize(
    "arguments",
    [
        ("-k", f"not {FORMER}"),
        (f"-knot {FORMER}",),
        ("-k", f"LCK and not {FORMER}"),
        (f"--deselect=cases/{LOCKS}{FORMER}",),
    ],
)
def test_a_case_that_is_left_out_on_the_command_line_makes_its_guarantee_incomplete(
    run: Run, arguments: tuple[str, ...]
) -> None:
    result, found = run(*arguments)
    check_that_one_lacks_cases(result, found)
    result.assert_outcomes(passed=14, deselected=2)


@pytest.mark.parametrize(
    "addopts",
    [
        f'-k "not {FORMER}"',
        f"--deselect=cases/{LOCKS}{FORMER}",
        '-k "one_owner or different or at_once or run_out or prolongs or late or alone"',
    ],
)
@pytest.mark.parametrize("where", ["ini", "environment"])
def test_a_case_that_settings_leave_out_makes_its_guarantee_incomplete(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, run: Run, addopts: str, where: str
) -> None:
    if where == "ini":
        pytester.makeini(f"[pytest]\naddopts = {addopts}")
    else:
        monkeypatch.setenv("PYTEST_ADDOPTS", addopts)
    check_that_one_lacks_cases(*run())


@pytest.mark.parametrize("also", ["", "\n    config.hook.pytest_deselected(items=left_out)"])
def test_a_case_that_a_conftest_drops_makes_its_guarantee_incomplete(
    pytester: pytest.Pytester, run: Run, also: str
) -> None:
    pytester.makeconftest(f"""
def pytest_collection_modifyitems(config, items):
    left_out = [item for item in items if item.originalname == "{FORMER}"]
    items[:] = [item for item in items if item not in left_out]{also}
""")
    check_that_one_lacks_cases(*run())


def test_a_case_that_a_plugin_passes_over_makes_its_guarantee_incomplete(run: Run) -> None:
    class PassesOver:
        @pytest.hookimpl(tryfirst=True)
        def pytest_runtest_protocol(self, item: pytest.Item) -> bool | None:
            return True if item.name.startswith(FORMER) else None

    check_that_one_lacks_cases(*run(plugins=[PassesOver()]))


def test_of_a_case_that_did_not_run_in_one_mode_of_time_alone_that_one_is_named(run: Run) -> None:
    result, found = run("-k", f"not ({FORMER} and store)")
    assert result.ret == INCOMPLETE
    assert results(found)["LCK-04"] == "incomplete"
    assert found["guarantees"]["LCK-04"]["reason"] == f"1 of its 4 cases did not run: {LOCKS}{FORMER}[store]"


class PassesOverAFile:
    def pytest_ignore_collect(self, collection_path: Path) -> bool | None:
        return True if collection_path == CASES["lck"] else None


class CollectsNothingOfAFile:
    @pytest.hookimpl(wrapper=True)
    def pytest_pycollect_makemodule(self, module_path: Path) -> Any:
        module = yield
        if module_path == CASES["lck"]:
            module.collect = list
        return module


@pytest.mark.parametrize(
    ("arguments", "plugins"),
    [
        ([f"--ignore={CASES['lck']}"], []),
        ([f"--ignore-glob={FOLDER}/*lck*"], []),
        ([], [PassesOverAFile()]),
        ([], [CollectsNothingOfAFile()]),
    ],
    ids=["--ignore", "--ignore-glob", "ignored by a plugin", "emptied by a plugin"],
)
def test_guarantees_whose_file_was_not_collected_were_not_run(
    run: Run, arguments: list[str], plugins: list[object]
) -> None:
    result, found = run(*arguments, of=(LOCKS, TRANSACTIONS), plugins=plugins)
    assert result.ret == INCOMPLETE
    result.stdout.fnmatch_lines(
        [
            "4 guarantees were not selected",
            "4 guarantees are incomplete: cases of the suite did not run",
            "core: 0 of 4 guarantees kept (--seed=*)",
        ],
        consecutive=True,
    )
    result.stdout.no_fnmatch_line("narrowed by *")
    of_locks = {id_: one for id_, one in found["guarantees"].items() if id_.startswith("LCK")}
    assert [one["result"] for one in of_locks.values()] == ["not run"] * 4
    assert {one["reason"] for one in of_locks.values()} == {"no case for it was collected"}
    assert found["summary"] == counts(absent=7, not_run=4)


def test_guarantees_that_a_projects_settings_do_not_select_were_not_run(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makeini("[pytest]\naddopts = -k LCK-04")
    result, found = run()
    assert result.ret == INCOMPLETE
    result.stdout.fnmatch_lines(["3 guarantees were not selected", "3 guarantees are incomplete: *"], consecutive=True)
    result.stdout.fnmatch_lines(["core: 1 of 4 guarantees kept (--seed=*)"])
    result.stdout.no_fnmatch_line("narrowed by *")
    assert found["guarantees"]["LCK-01"]["reason"] == "its cases were not selected"
    assert found["summary"] == counts(kept=1, not_run=3)


def test_a_project_in_which_no_case_is_left_is_no_success(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makeconftest("def pytest_collection_modifyitems(items): items.clear()")
    result, found = run()
    assert result.ret == pytest.ExitCode.NO_TESTS_COLLECTED
    assert found["summary"] == counts(not_run=4)
    assert found["ended"] == "error"


def test_histories_that_a_plugin_saves_make_their_guarantee_incomplete(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Saves:
        def pytest_runtest_setup(self) -> None:
            monkeypatch.setenv("LITESTAR_QUEUES_EXAMPLES", "3")

    monkeypatch.delenv("LITESTAR_QUEUES_EXAMPLES", raising=False)
    result, found = run(of=(MACHINE,), plugins=[Saves()])
    assert result.ret == INCOMPLETE
    why = "3 histories were drawn in the mode of time 'given', of the 200 of a whole run"
    result.stdout.fnmatch_lines(["LIF-13  incomplete      2  *", f"incomplete: LIF-13, {why}"], consecutive=True)
    assert (found["guarantees"]["LIF-13"]["result"], found["guarantees"]["LIF-13"]["reason"]) == ("incomplete", why)
    assert [case["partial"]["LIF-13"].partition(" histories")[0] for case in found["cases"]] == ["3", "2"]


def test_the_cases_that_a_process_of_xdist_ran_are_counted_as_the_suites(pytester: pytest.Pytester) -> None:
    result = pytester.runpytest(
        "--backend=memory", "--report-json=report.json", "-n1", "-k", f"(LCK-03 or LCK-04) and not {FORMER}"
    )
    assert result.ret == INCOMPLETE
    result.stdout.fnmatch_lines(["LCK-03  kept            4  *", literally(f"incomplete: LCK-04, {LACKING}")])
    found = json.loads((pytester.path / "report.json").read_text())
    assert (results(found)["LCK-03"], results(found)["LCK-04"]) == ("kept", "incomplete")
    assert found["guarantees"]["LCK-04"]["reason"] == LACKING


# What somebody asks for on the command line


@pytest.mark.parametrize(
    ("arguments", "by", "of_one"),
    [
        (["-k", "LCK-04"], "-k 'LCK-04'", "kept"),
        (["-kLCK-04"], "-k 'LCK-04'", "kept"),
        (["-k", FORMER], f"-k {FORMER!r}", "incomplete"),
        (["-k", "LCK-03"], "-k 'LCK-03'", "not run"),
        (["-m", "guarantee"], "-m 'guarantee'", "kept"),
        (["--lf"], "--lf", "kept"),
        (["--stepwise"], "--stepwise", "kept"),
        ([str(CASES["lck"])], str(CASES["lck"]), "kept"),
        ([f"{CASES['lck']}::{FORMER}"], f"{CASES['lck']}::{FORMER}", "incomplete"),
        (
            [f"{CASES['lck']}::{FORMER}[given]", f"{CASES['lck']}::test_a_lock_has_one_owner"],
            f"{CASES['lck']}::{FORMER}[given] and 1 more",
            "incomplete",
        ),
        (["--queue-time=given"], "--queue-time=given", "incomplete"),
        (["--queue-time=store"], "--queue-time=store", "incomplete"),
        (["--queue-time=once"], "--queue-time=once", "incomplete"),
        (["-k", FORMER, "--queue-time=given"], f"-k {FORMER!r}, --queue-time=given", "incomplete"),
    ],
)
def test_a_run_that_was_asked_for_a_part_says_so_and_ends_as_pytest_does(
    pytester: pytest.Pytester, run: Run, arguments: list[str], by: str, of_one: str
) -> None:
    ini = pytester.makeini("[pytest]")
    result, found = run("-c", str(ini), *arguments)
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines([literally(f"narrowed by {by}: it proves nothing of what it leaves out")])
    result.stdout.no_fnmatch_line("*guarantees are incomplete*")
    assert ", ".join(found["narrowed"]) == by
    assert results(found)["LCK-04"] == of_one


def test_a_run_with_fewer_histories_says_so_and_has_not_kept_what_they_are_for(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LITESTAR_QUEUES_EXAMPLES", "3")
    result, found = run(of=(MACHINE,))
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(["LIF-13  incomplete *", f"narrowed by LITESTAR_QUEUES_EXAMPLES=3{NARROWED}"])
    assert results(found) == {"LIF-13": "incomplete"}
    assert found["suite"]["histories"] == 3


@pytest.mark.parametrize(
    "arguments",
    [
        [str(FOLDER)],
        [str(FOLDER.parent)],
        [str(FOLDER.parent.parent)],
        ["--pyargs", "litestar_queues_conformance"],
        ["--queue-time=both"],
        ["-v", "-x", "--seed=1", "--ff"],
    ],
)
def test_who_names_the_whole_suite_asks_for_no_part(pytester: pytest.Pytester, run: Run, arguments: list[str]) -> None:
    ini = pytester.makeini("[pytest]")
    result, found = run("-c", str(ini), *arguments)
    assert result.ret == pytest.ExitCode.OK
    result.stdout.no_fnmatch_line("narrowed by *")
    assert found["summary"] == counts(kept=4)
    assert found["narrowed"] == []


def test_a_part_in_which_there_is_nothing_ends_as_pytest_does(run: Run) -> None:
    result, found = run("-k", "nosuch")
    assert result.ret == pytest.ExitCode.NO_TESTS_COLLECTED
    result.stdout.fnmatch_lines([f"narrowed by -k 'nosuch'{NARROWED}"])
    assert found["summary"] == counts(not_run=4)


# What is wrong, or absent


@pytest.mark.parametrize("arguments", [("-k", f"not {FORMER}"), ("-k", f"{FORMER} or LCK-02")])
def test_a_failure_in_a_run_in_which_cases_are_missing_is_a_failure(run: Run, arguments: tuple[str, ...]) -> None:
    result, found = run(*arguments, backend=SABOTEURS["LockRunsOutLate"].target.name)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert (results(found)["LCK-02"], results(found)["LCK-04"]) == ("broken", "incomplete")
    result.stdout.fnmatch_lines(
        ["LCK-02  broken *", "LCK-04  incomplete *", "broken: LCK-02, *", "incomplete: LCK-04, 2 of its 4 cases *"]
    )


def test_a_declared_absence_is_absent_and_counted_apart(run: Run) -> None:
    result, found = run(of=(LOCKS, TRANSACTIONS))
    assert result.ret == pytest.ExitCode.OK
    result.assert_outcomes(passed=28)
    result.stdout.fnmatch_lines(
        [
            "LCK-04  kept        4  *",
            "TXN-01  absent      2  *",
            "TXN-30  absent      4  *",
            *(f"TXN-0{i}  absent      2  *" for i in range(2, 6)),
            "TXN-31  absent      2  *",
            "core: 4 of 4 guarantees kept (--seed=*)",
        ],
        consecutive=True,
    )
    result.stdout.fnmatch_lines(["transactional: 0 of 0 guarantees kept, and 7 absent, as declared (--seed=*)"])
    of_transactions = {id_: one for id_, one in found["guarantees"].items() if id_.startswith("TXN")}
    assert {one["result"] for one in of_transactions.values()} == {"absent"}
    assert {one["reason"] for one in of_transactions.values()} == {"transactional is declared absent, and is absent"}
    assert found["summary"] == counts(kept=4, absent=7)
    assert {tuple(case["absent"]) == tuple(case["guarantees"]) for case in found["cases"] if "TXN" in str(case)} == {
        True
    }


def test_a_narrowed_run_does_not_explain_each_guarantee_of_which_it_left_cases_out(run: Run) -> None:
    result, _ = run("--queue-time=once", of=(LOCKS, TRANSACTIONS))
    lines = [line for line in result.outlines if line.startswith("incomplete: ")]
    assert len(lines) == 4
    assert (
        lines[-1]
        == f"incomplete: {sum('  incomplete  ' in line for line in result.outlines) - 3} more, of which cases were left out, too"
    )


def test_an_absence_that_not_every_case_looked_for_is_incomplete(run: Run) -> None:
    case = "test_what_is_enqueued_in_a_transaction_never_was_when_it_rolls_back"
    result, found = run("-k", f"not ({case} and store)", of=(TRANSACTIONS,))
    assert result.ret == INCOMPLETE
    assert found["guarantees"]["TXN-02"]["result"] == "incomplete"
    assert found["guarantees"]["TXN-02"]["reason"] == f"1 of its 2 cases did not run: {TRANSACTIONS}{case}[store]"
    assert found["summary"] == counts(absent=6, incomplete=1)


def test_a_selected_absence_is_not_counted_as_kept(run: Run) -> None:
    result, _ = run("-k", "TXN-02 or LCK-04", of=(LOCKS, TRANSACTIONS))
    result.stdout.fnmatch_lines(["1 of 1 selected guarantees kept, and 1 absent, as declared (--seed=*)"])


def test_a_guarantee_of_which_some_cases_found_no_absence_is_judged_by_them(run: Run) -> None:
    _, found = run("-k", "SCM-30", of=(STORES,))
    assert [case["absent"] for case in found["cases"] if "outlives_all" in case["case"]] == [
        {"SCM-30": "durable is declared absent, and is absent"}
    ] * 2
    assert results(found)["SCM-30"] == "kept"


def test_nothing_is_absent_before_a_check_found_that() -> None:
    check = Check(("TXN-01", "TXN-02"))
    check("TXN-02", True, "of course")
    with pytest.raises(ValueError, match="TXN-01 cannot be absent before a check found that"):
        check.absent("TXN-01", "transactional")
    assert check.absences == {}
    check.absent("TXN-02", "transactional")
    assert check.absences == {"TXN-02": "transactional is declared absent, and is absent"}


@pytest.mark.parametrize("say", [Check.absent, Check.partial, Check.unknown])
def test_a_case_says_nothing_of_a_guarantee_that_is_not_its_own(say: Callable[[Check, str, str], None]) -> None:
    with pytest.raises(Exception, match="not marked for KEY-02"):
        say(Check(("KEY-01",)), "KEY-02", "something")


def test_what_is_broken_or_not_found_out_is_no_absence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "expected", lambda: dict.fromkeys(("one", "two"), ("TXN-01",)))
    absent = {"TXN-01": "transactional is declared absent, and is absent"}

    def judged(**second: Any) -> str:
        so_far = Report("memory", load_target("memory"), 1)
        so_far.add(CaseResult("one", ("TXN-01",), "passed", {"TXN-01": 1}, 0.1, key="one", absent=absent))
        given: dict[str, Any] = {"outcome": "passed", "evidence": {"TXN-01": 1}, "absent": absent} | second
        so_far.add(CaseResult("two", ("TXN-01",), seconds=0.1, key="two", **given))
        return results(so_far.document())["TXN-01"]

    assert judged() == "absent"
    assert judged(absent={}) == "kept"
    assert judged(partial={"TXN-01": "half of it"}) == "incomplete"
    assert judged(unknown={"TXN-01": "nobody can look"}) == "not found out"
    assert judged(outcome="not found out", message="late") == "not found out"
    assert judged(outcome="failed", message="wrong") == "broken"


# The report of an earlier run

WRONG = """
from contextlib import contextmanager
from litestar_queues_matrix.memory import MemoryTarget

class Opens(MemoryTarget):
    async def open(self, config):
        return None

class Serves(MemoryTarget):
    @contextmanager
    def serve(self, env):
        raise LookupError("no server to be had")
        yield
"""


@pytest.fixture
def yesterday(pytester: pytest.Pytester) -> Path:
    """A report that looks as good as any."""
    path = pytester.path / "report.json"
    path.write_text(json.dumps({"format": 3, "ended": "complete", "summary": counts(kept=157)}))
    pytester.makepyfile(wrong=WRONG)
    pytester.syspathinsert()
    return path


def is_gone(yesterday: Path) -> bool:
    """A run that has begun may have left a report of its own, which says that it did not come to its end."""
    return not yesterday.exists() or json.loads(yesterday.read_text())["ended"] == UNFINISHED


@pytest.mark.parametrize("backend", ["nosuch", "json:dumps", "wrong:nosuch", "wrong:Opens", "wrong:Serves"])
def test_the_report_of_yesterday_is_gone_after_a_run_that_could_not_begin(
    pytester: pytest.Pytester, yesterday: Path, backend: str
) -> None:
    result = pytester.runpytest(f"--backend={backend}", "--report-json=report.json")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert is_gone(yesterday)


def test_the_report_of_yesterday_is_gone_where_the_suite_cannot_be_imported(
    pytester: pytest.Pytester, yesterday: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(installed, "problem", lambda: "there is no litestar-queues")
    result = pytester.runpytest("--backend=memory", "--report-json=report.json")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: there is no litestar-queues"])
    assert is_gone(yesterday)


def test_a_report_of_yesterday_that_cannot_be_removed_is_told(
    pytester: pytest.Pytester, yesterday: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unlink = Path.unlink

    def refuses(path: Path, *, missing_ok: bool = False) -> None:
        if path == yesterday:
            raise PermissionError("read-only")
        unlink(path, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", refuses)
    result = pytester.runpytest("--backend=memory", "--report-json=report.json")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        ["ERROR: --report-json=report.json: the report that is there cannot be removed: read-only"]
    )
    result.stdout.no_fnmatch_line("*guarantees*")


def test_without_a_backend_a_report_is_left_alone(pytester: pytest.Pytester, yesterday: Path) -> None:
    pytester.makepyfile(test_mine="def test_mine(): pass")
    pytester.runpytest("--report-json=report.json").assert_outcomes(passed=1)
    assert json.loads(yesterday.read_text())["ended"] == "complete"


# What was tested

MINE = """
from litestar_queues.backends.memory import MemoryBackend
from litestar_queues_matrix.memory import MemoryTarget

class Backend(MemoryBackend):
    pass

class Target(MemoryTarget):
    distribution = "litestar-queues"

    def new_backend(self):
        return Backend()
"""


def test_the_report_names_what_was_tested_as_it_is_imported(run: Run) -> None:
    _, found = run("-k", "LCK-02")
    file = Path(sys.modules[MemoryBackend.__module__].__file__ or "")
    assert found["tested"] == {
        "class": "litestar_queues.backends.memory.MemoryBackend",
        "file": str(file),
        "distributions": {"litestar-queues": version("litestar-queues")},
        "sha256": hash_of(file.parents[1]),
    }
    assert found["suite"]["sha256"] == hash_of(FOLDER.parent)
    assert found["suite"]["version"] == version("litestar-queues-conformance")


def test_the_hash_of_what_was_tested_changes_with_its_file_whatever_the_target_says_of_it(
    pytester: pytest.Pytester, run: Run
) -> None:
    file = pytester.makepyfile(mine=MINE)
    pytester.syspathinsert()
    _, first = run("-k", "LCK-02", backend="mine:Target")
    assert first["tested"] == {
        "class": "mine.Backend", "file": str(file), "distributions": {}, "sha256": hash_of(file),
    }  # fmt: skip
    _, same = run("-k", "LCK-02", backend="mine:Target")
    assert same["tested"] == first["tested"]
    file.write_text(f"{MINE}\n# Changed.\n")
    _, changed = run("-k", "LCK-02", backend="mine:Target")
    assert changed["tested"]["sha256"] == hash_of(file) != first["tested"]["sha256"]
    assert changed["tested"]["class"] == "mine.Backend"


def test_of_a_class_in_an_installed_package_the_whole_package_is_hashed() -> None:
    found = tested.tested(hypothesis.settings)
    package = Path(hypothesis.__file__).parent
    assert found["class"] == f"{hypothesis.settings.__module__}.settings"
    assert Path(found["file"]).is_relative_to(package)
    assert found["distributions"] == {"hypothesis": version("hypothesis")}
    assert found["sha256"] == hash_of(package)


@pytest.fixture
def package(tmp_path: Path) -> Path:
    folder = tmp_path / "mine"
    (folder / "sql").mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    (folder / "backend.py").write_text("one = 1\n")
    (folder / "sql" / "claim.sql").write_text("SELECT 1\n")
    return folder


def test_a_hash_is_of_names_and_contents_and_not_of_the_place(package: Path, tmp_path: Path) -> None:
    before = hash_of(package)
    moved = package.rename(tmp_path / "elsewhere")
    assert hash_of(moved) == before
    (moved / "notes.txt").write_text("not run by anybody")
    (moved / "sql" / "__pycache__").mkdir()
    (moved / "sql" / "__pycache__" / "backend.pyc").write_bytes(b"\0")
    assert hash_of(moved) == before


@pytest.mark.parametrize("file", ["backend.py", "sql/claim.sql"])
def test_a_hash_changes_with_each_source(package: Path, file: str) -> None:
    before = hash_of(package)
    (package / file).write_text((package / file).read_text() + " ")
    changed = hash_of(package)
    (package / file).rename(package / f"other{Path(file).suffix}")
    renamed = hash_of(package)
    (package / f"other{Path(file).suffix}").unlink()
    assert len({before, changed, renamed, hash_of(package)}) == 4


@pytest.mark.parametrize("name", ["later.py", "statements.json", "sql/more.sql", "sql/common.lua"])
def test_a_hash_changes_with_a_source_that_is_added(package: Path, name: str) -> None:
    before = hash_of(package)
    (package / name).write_text("")
    assert hash_of(package) != before


def test_the_hash_of_a_single_file_is_of_that_alone(package: Path) -> None:
    before = hash_of(package / "backend.py")
    (package / "later.py").write_text("")
    assert hash_of(package / "backend.py") == before
    (package / "backend.py").write_text("one = 2\n")
    assert hash_of(package / "backend.py") != before


# The list of cases


def test_the_list_of_cases_is_that_of_the_suite_as_it_is() -> None:
    code = "from litestar_queues_conformance.manifest import make, PATH; assert make() == PATH.read_text()"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_list_has_a_case_for_every_guarantee() -> None:
    assert {id_ for ids in WHOLE.values() for id_ in ids} == {*GUARANTEES}
    assert {case.partition("::")[0] for case in WHOLE} == {path.name for path in CASES.values()}


# Holes: each of these is wrong in the package as it is


def test_a_run_in_which_a_guarantee_was_not_found_out_says_so_by_its_exit_code(
    pytester: pytest.Pytester, run: Run
) -> None:
    pytester.makepyfile(mine=MINE + "\n    holding = None\n")
    pytester.syspathinsert()
    result, found = run(of=(PASSES_OVER,), backend="mine:Target")
    assert results(found) == {"CLM-12": "not found out"}
    assert result.ret == NOT_FOUND_OUT


FLAKY = """
from litestar_queues.backends.memory import MemoryBackend
from litestar_queues_matrix.memory import MemoryTarget

calls = []

class Backend(MemoryBackend):
    async def unlock(self, *args, **kwargs):
        calls.append(args)
        if len(calls) == 1:
            raise RuntimeError("the first call of all")
        return await super().unlock(*args, **kwargs)

class Target(MemoryTarget):
    def new_backend(self):
        return Backend()
"""


class RunsAgain:
    """Runs a case that failed again, as pytest-rerunfailures does with `--reruns`."""

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> bool:
        for again in (False, True):
            reports = runtestprotocol(item, nextitem=nextitem, log=False)
            failed = [one for one in reports if one.failed]
            for one in reports:
                if one in failed and not again:
                    one.outcome = "rerun"  # type: ignore[assignment]
                item.ihook.pytest_runtest_logreport(report=one)
            if not failed:
                break
        return True


def test_a_case_that_passes_when_it_is_run_again_has_not_kept_its_guarantee(
    pytester: pytest.Pytester, run: Run
) -> None:
    pytester.makepyfile(flaky=FLAKY)
    pytester.syspathinsert()
    result, found = run(backend="flaky:Target", plugins=[RunsAgain()])
    assert results(found)["LCK-02"] != "kept"  # whose case is the first that unlocks anything
    assert result.ret != pytest.ExitCode.OK


def test_a_case_that_a_conftest_empties_has_not_kept_its_guarantee(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makeconftest(f"""
def pytest_collection_modifyitems(items):
    for item in items:
        if item.originalname == "{FORMER}":
            item.runtest = lambda: None
""")
    result, found = run()
    assert results(found)["LCK-04"] != "kept"
    assert result.ret != pytest.ExitCode.OK


def test_a_guarantee_for_which_the_list_has_no_case_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "expected", dict)
    so_far = Report("memory", load_target("memory"), 1)
    so_far.add(CaseResult("a project's own", ("KEY-01",), "passed", {"KEY-01": 1}, 0.1))
    assert results(so_far.document())["KEY-01"] != "kept"


@pytest.mark.parametrize("addopts", ["--queue-time=given", "--lf", "--stepwise", "mine"])
def test_what_a_projects_settings_say_narrows_nothing(pytester: pytest.Pytester, run: Run, addopts: str) -> None:
    pytester.makeini(f"[pytest]\naddopts = {addopts}")
    pytester.mkdir("mine").joinpath("test_mine.py").write_text("def test_mine(): pass")
    result, found = run("-k", f"not {FORMER}")
    assert found["narrowed"] == []
    assert result.ret == INCOMPLETE


def test_a_suite_that_is_installed_behind_a_symbolic_link_is_whole(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    (pytester.path / "link").symlink_to(FOLDER.parents[1], target_is_directory=True)
    monkeypatch.setenv("PYTHONPATH", str(pytester.path / "link"))
    result = pytester.runpytest_subprocess("--backend=memory", "-k", "not not LCK-02")
    result.stdout.fnmatch_lines(["LCK-02  kept *"])
    result.stdout.no_fnmatch_line("narrowed by *")
    assert result.ret == INCOMPLETE


@pytest.mark.parametrize("wrong", ["an option", "a conftest"])
def test_the_report_of_yesterday_is_gone_after_a_run_that_pytest_did_not_begin(
    pytester: pytest.Pytester, yesterday: Path, wrong: str
) -> None:
    if wrong == "a conftest":
        pytester.makeconftest("raise RuntimeError('oh')")
    arguments = ["--nosuch"] if wrong == "an option" else []
    result = pytester.runpytest_subprocess("--backend=memory", "--report-json=report.json", *arguments)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert is_gone(yesterday)


def test_the_reports_of_yesterday_on_targets_that_are_not_run_are_gone(
    pytester: pytest.Pytester, yesterday: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("litestar_queues_conformance.target.known_targets", lambda: ["wrong:nosuch"])
    on_it = yesterday.rename(yesterday.with_name("report-wrong-nosuch.json"))
    result = pytester.runpytest("--backend=auto", "--report-json=report.json")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert is_gone(on_it)


@pytest.mark.parametrize("backend", ["wrong:Opens", "wrong:Serves"])
@pytest.mark.usefixtures("yesterday")
def test_a_run_that_could_not_begin_leaves_signals_and_hypothesis_as_they_were_found(
    pytester: pytest.Pytester, backend: str
) -> None:
    before = signal.getsignal(signal.SIGTERM), hypothesis.settings.get_current_profile_name()
    try:
        result = pytester.runpytest(f"--backend={backend}")
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        assert (signal.getsignal(signal.SIGTERM), hypothesis.settings.get_current_profile_name()) == before
    finally:
        signal.signal(signal.SIGTERM, before[0])
        hypothesis.settings.load_profile(before[1])


def test_a_run_that_a_plugin_ends_with_a_code_of_its_own_did_not_come_to_its_end(run: Run) -> None:
    class Ends:
        def pytest_runtest_logfinish(self) -> None:
            pytest.exit("enough", returncode=0)

    result, found = run(plugins=[Ends()])
    assert result.ret == INCOMPLETE
    assert found["ended"] != "complete"


@pytest.mark.parametrize("examples", ["many", ""])
def test_a_number_of_histories_that_is_none_is_refused(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, examples: str
) -> None:
    monkeypatch.setenv("LITESTAR_QUEUES_EXAMPLES", examples)
    result = pytester.runpytest_subprocess("--backend=memory", "-k", "LCK-02")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: *LITESTAR_QUEUES_EXAMPLES*"])
