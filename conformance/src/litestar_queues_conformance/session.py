"""What the plugin does once a backend is named: fixtures, the running of cases, evidence and results."""

from __future__ import annotations

import inspect
import os
import signal
from collections.abc import Generator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, cast

import hypothesis
import pytest

from litestar_queues_conformance.answers import TYPES, Answers
from litestar_queues_conformance.cases import CASES, FOLDER
from litestar_queues_conformance.guarantees import GUARANTEES
from litestar_queues_conformance.harness import (
    CASE_SECONDS,
    T0,
    Check,
    NoEvidence,
    NotFoundOut,
    Store,
    ToldIn,
    Violation,
)
from litestar_queues_conformance.keeping import Keeper, Terminated, exit_on_sigterm, how_it_ended
from litestar_queues_conformance.manifest import key_of
from litestar_queues_conformance.moments import TIMES, Alias, Present, Shifted, presents
from litestar_queues_conformance.narrowing import narrowed
from litestar_queues_conformance.outcomes import COMPLETE, INCOMPLETE, NOT_FOUND_OUT
from litestar_queues_conformance.progress import say
from litestar_queues_conformance.report import CaseResult, Report, versions
from litestar_queues_conformance.running import run_case
from litestar_queues_conformance.target import Target
from litestar_queues_conformance.terminal import announce, first_line, print_report

__all__ = ("ConformanceSession",)

_PROFILE = "litestar-queues-conformance"
_TIME = "mode_of_time"
_CHECK = pytest.StashKey[Check]()
_STORE = pytest.StashKey[Store]()
_MACHINE, _MOST = "test_machine", 200
_USUAL = (
    "; on two idle cores all of them take half a minute to seven minutes, most of which the state machine takes (LIF-13): it says "
    "how far it is"
)


class ConformanceSession:
    """The plugin of one run; under xdist each worker has one, and the controller's writes the report."""

    def __init__(self, config: pytest.Config, name: str, target: Target, seed: int) -> None:
        self.config = config
        self.target = target
        self.is_worker = hasattr(config, "workerinput")
        self.report = Report(
            backend=name,
            target=target,
            seed=seed,
            narrowed=tuple(narrowed(config)),
            options=tuple(map(str, config.invocation_params.args)),
            started=_utc(),
            backlog=cast("int | None", config.getoption("queue_scale")),
        )
        self._answers = Answers()
        self._time = cast("str", config.getoption("queue_time"))
        path: str | None = config.getoption("queue_report_json")
        self._keeper = None if path is None or self.is_worker else Keeper(self.report, Path(path))
        self._interrupted_by: str | None = None
        self._sigterm_before: Any = None if self.is_worker else exit_on_sigterm()
        # Hypothesis derandomizes itself where CI is set, whatever seed it is given; this profile does not.
        hypothesis.settings.register_profile(
            _PROFILE,
            hypothesis.settings(
                derandomize=False,
                database=None,
                deadline=None,
                print_blob=True,
                suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture],  # `check` is for all examples
            ),
        )
        self._profile_before = hypothesis.settings.get_current_profile_name()
        hypothesis.settings.load_profile(_PROFILE)

    def pytest_unconfigure(self) -> None:
        """Leave Hypothesis and signals as they were found, for a run inside another one."""
        hypothesis.settings.load_profile(self._profile_before)
        if self._sigterm_before is not None:
            signal.signal(signal.SIGTERM, self._sigterm_before)

    # Fixtures

    @pytest.fixture
    def check(self, request: pytest.FixtureRequest) -> Check:
        """Says what must hold; see `harness.Check`."""
        return _check_of(request.node)

    @pytest.fixture
    def store(self, request: pytest.FixtureRequest, rng: Random) -> Store:
        """A new, empty store of the backend; closed and removed by the suite."""
        store = request.node.stash[_STORE] = Store(
            self.report.backend, self.target, os.environ, rng, answers=self._answers
        )
        return store

    @pytest.fixture
    def seed(self, request: pytest.FixtureRequest) -> str:
        """What this case draws from: made from the run's seed and the case's name."""
        return f"{self.report.seed}:{request.node.name}"

    @pytest.fixture
    def rng(self, seed: str) -> Random:
        """This case's own source of randomness."""
        return Random(seed)  # noqa: S311  # repeatable is what it is for

    @pytest.fixture
    def target_under_test(self) -> Target:
        """The target itself."""
        return self.target

    @pytest.fixture
    def backlog(self) -> int:
        """Beside how many tasks a claim is measured."""
        assert self.report.backlog is not None  # noqa: S101  # otherwise the cases are not selected
        return self.report.backlog

    # Collecting

    def pytest_report_header(self) -> list[str]:
        """What is judged, the seed that repeats the run, and the server."""
        lines = [f"conformance: backend {self.report.backend}, --seed={self.report.seed}, --queue-time={self._time}"]
        if not self.config.getoption("collectonly"):
            self.report.versions = versions(self.target)
            lines.append(f"conformance: on {self.report.versions['server']}")
        return lines

    def pytest_report_collectionfinish(self, items: list[pytest.Item]) -> str | None:
        """Say how many cases there are, and how long that takes."""
        cases = sum(bool(_ids(item)) for item in items)
        if self.config.getoption("collectonly") or not cases:
            return None
        machine = any(item.path.stem == _MACHINE for item in items)
        return f"conformance: {cases} cases{_USUAL if machine and cases > _MOST else ''}"

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Give the seed to a worker of xdist."""
        node.workerinput["litestar_queues_seed"] = self.report.seed

    @pytest.hookimpl(wrapper=True)
    def pytest_collect_file(
        self, file_path: Path, parent: pytest.Collector
    ) -> Generator[None, list[pytest.Collector], list[pytest.Collector]]:
        """Collect the suite's cases also where the project's `python_files` has other names in mind."""
        found = yield
        if not found and file_path in CASES.values():
            return [pytest.Module.from_parent(parent, path=file_path)]  # pyright: ignore[reportUnknownMemberType]  # pytest leaves it untyped
        return found

    @pytest.hookimpl(tryfirst=True)
    def pytest_itemcollected(self, item: pytest.Item) -> None:
        """Note the case; refuse one without a guarantee among the suite's own."""
        ids = _ids(item)
        unknown = [id_ for id_ in ids if id_ not in GUARANTEES]
        if unknown:
            raise pytest.UsageError(f"{item.nodeid} names no registered guarantee: {', '.join(unknown)}")
        if not ids:
            if FOLDER in item.path.parents:
                raise pytest.UsageError(f"{item.nodeid} is no case: it needs @guarantee(...)")
            return
        self.report.collected[item.nodeid] = ids
        item.extra_keyword_matches.update(ids)  # `-k KEY-01`

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Run the cases in the order of the registry: what fails first is then the most basic of what fails.

        The types of all answers come before everything else.
        """
        left_out = [item for item in items if (ids := _ids(item)) and not any(map(self.report.asked_for, ids))]
        if left_out:
            items[:] = [item for item in items if item not in left_out]
            self.config.hook.pytest_deselected(items=left_out)
        order = {id_: i for i, id_ in enumerate((TYPES, *GUARANTEES))} | {TYPES: 0}
        items.sort(key=lambda item: min((order[id_] for id_ in _ids(item)), default=len(order)))

    def pytest_deselected(self, items: list[pytest.Item]) -> None:
        """Note what was not selected."""
        self.report.deselected.update(item.nodeid for item in items)

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Have a case run in both modes of time, where it has times."""
        marker = metafunc.definition.get_closest_marker("guarantee")
        if marker is None or not {"store", "time"} & set(metafunc.fixturenames):
            return
        times = [one for one in TIMES if self._time in ("both", one)] or ["store"]
        if "time" in inspect.signature(metafunc.function).parameters:  # the case sees to it itself
            metafunc.parametrize("time", times)
        else:
            metafunc.fixturenames.append(_TIME)
            metafunc.parametrize(_TIME, times if _told_in(marker) != "given" else ["given"])

    # Running

    @pytest.hookimpl(tryfirst=True)
    def pytest_pyfunc_call(self, pyfuncitem: pytest.Function) -> bool | None:
        """Run a case to its end or its deadline, in its mode of time, and ask for its evidence."""
        if not _ids(pyfuncitem):
            return None
        store = pyfuncitem.stash.get(_STORE, None)
        if store is None or _params(pyfuncitem).get(_TIME) != "store":
            # A case that is never told by the store's time may compare its own times with this machine's.
            if store is not None and _TIME in _params(pyfuncitem) and _told_in_both(pyfuncitem):
                store.telling = Shifted.drawn(_random(pyfuncitem))
            self._run(pyfuncitem)
            return True
        alias = Alias.drawn(_random(pyfuncitem))
        store.telling = first = Present(T0, alias=alias)
        self._run(pyfuncitem, first)
        for moment in presents(first) if self._time != "once" else ():
            random = _random(pyfuncitem)
            present = Present(moment, alias=alias)
            store = Store(self.report.backend, self.target, os.environ, random, present, answers=self._answers)
            pyfuncitem.stash[_STORE] = store
            pyfuncitem.funcargs |= {"rng": random, "store": store}
            self._run(pyfuncitem, present)
        return True

    def _run(self, item: pytest.Function, present: Present | None = None) -> None:
        """Run a case once; with one of its moments as the present."""
        try:
            self._run_once(item)
        except Exception as error:
            if present is not None:
                when = f"where {present.moment} of the case is the present, by the store's own time"
                if isinstance(error, Violation) and not str(error).startswith(TYPES):
                    first, *more = str(error).splitlines()
                    error.args = ("\n".join((f"{first}; {when}", *more)),)
                else:
                    error.add_note(when)
            raise

    def _run_once(self, item: pytest.Function) -> None:
        arguments = {name: item.funcargs[name] for name in inspect.signature(item.obj).parameters}
        marker = item.get_closest_marker("guarantee")
        seconds = cast("float", marker.kwargs.get("deadline", CASE_SECONDS) if marker else CASE_SECONDS)
        if hypothesis.is_hypothesis_test(item.obj):  # now: the modes of a case, and its parameters, share one function
            hypothesis.seed(f"{self.report.seed}:{item.name}")(item.obj)
        check = _check_of(item)
        before = dict(check.evidence)
        try:
            run_case(item.name, seconds, partial(item.obj, **arguments), item.stash.get(_STORE, None))
        except NotFoundOut as late:
            if not check.violations:
                raise
            raise Violation(f"{check.violations[0]} (and then: {late})") from late  # what a check says comes first
        if check.violations:
            raise Violation(f"swallowed by the case: {check.violations[0]}")
        unchecked = [
            id_ for id_, checks in check.evidence.items() if checks == before[id_] and id_ not in check.unknowns
        ]
        if unchecked:
            raise NoEvidence(f"no evidence: the case ended without a check() for {', '.join(unchecked)}")
        if (wrong := self._answers.untold()) is not None:
            raise wrong

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Turn a skip into a failure, a deadline into its own outcome, and put the case's evidence on its report."""
        report = yield
        ids = _ids(item)
        if not ids:
            return report
        if report.skipped or hasattr(report, "wasxfail"):
            report.outcome = "failed"
            report.longrepr = (
                f"{item.nodeid} was skipped or expected to fail: a conformance case runs, and passes or fails"
            )
            report.__dict__.pop("wasxfail", None)
        check = _check_of(item)
        case: dict[str, Any] = {
            "ids": list(ids),
            "evidence": dict(check.evidence),
            "unknown": dict(check.unknowns),
            "time": _mode_of(item),
            "key": key_of(item),
            "absent": dict(check.absences),
            "partial": dict(check.parts),
            "figures": {id_: list(figure) for id_, figure in check.figures.items()},
        }
        error = None if call.excinfo is None else call.excinfo.value
        if isinstance(error, NotFoundOut):
            _not_found_out(report, case, str(error))
        if isinstance(error, Violation) and str(error).startswith(TYPES) and TYPES not in ids:
            case["about"] = TYPES
            if not error.complete:
                case["evidence"] = {}
        report.__dict__["litestar_queues_case"] = case
        return report

    @pytest.hookimpl(optionalhook=True)
    def pytest_handlecrashitem(self, crashitem: str, report: pytest.TestReport) -> None:
        """A process of xdist that ended in the middle of a case says nothing about the backend."""
        ids = self.report.collected.get(crashitem, ())
        case: dict[str, Any] = {"ids": list(ids), "evidence": {}, "unknown": {}}
        _not_found_out(report, case, f"the process that ran the case ended: {first_line(str(report.longrepr))}")
        report.__dict__["litestar_queues_case"] = case

    @pytest.hookimpl(tryfirst=True)
    def pytest_report_teststatus(
        self, report: pytest.TestReport
    ) -> tuple[str, str, tuple[str, dict[str, bool]]] | None:
        """Show a case that has not found out anything as what it is."""
        case: dict[str, Any] | None = getattr(report, "litestar_queues_case", None)
        if case is None or "not_found_out" not in case:
            return None
        return "not found out", "?", ("NOT FOUND OUT", {"purple": True})

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep a case's result, and say at once where it has not passed."""
        case: dict[str, Any] | None = getattr(report, "litestar_queues_case", None)
        reason: str | None = None if case is None else case.get("not_found_out")
        if case is None or not (report.when == "call" or report.failed or reason is not None):
            return
        result = CaseResult(
            case=report.nodeid,
            guarantees=tuple(case["ids"]),
            outcome="not found out" if reason is not None else report.outcome,
            evidence=case["evidence"],
            seconds=round(report.duration, 6),
            message=reason or (_last_line(report) if report.failed else None),
            unknown=case["unknown"],
            time=case.get("time"),
            key=case.get("key"),
            absent=case.get("absent", {}),
            partial=case.get("partial", {}),
            about=case.get("about"),
            figures={id_: (word, text) for id_, (word, text) in case.get("figures", {}).items()},
        )
        self.report.add(result)
        if self.is_worker:
            return
        if result.outcome != "passed":
            announce(self.config, result)
        if self._keeper is not None:
            self._keeper.update()

    # Reporting

    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        """Keep what interrupted the run: a user, a signal, or pytest itself."""
        what = str(excinfo.value)
        # Pytest and xdist interrupt a run by subclasses of their own, which say why.
        by_somebody = type(excinfo.value) in (KeyboardInterrupt, Terminated)
        self._interrupted_by = f"by {what or 'Ctrl-C'}" if by_somebody else what

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """Send what was collected to the controller, or write the report and say by the exit code what was found."""
        if self.is_worker:
            output = cast("dict[str, Any]", self.config.workeroutput)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]  # xdist's
            output["litestar_queues"] = {
                "collected": {case: list(ids) for case, ids in self.report.collected.items()},
                "deselected": sorted(self.report.deselected),
            }
            return
        if self.config.getoption("collectonly"):
            return
        report = self.report
        report.finished = _utc()
        report.ended, report.ended_because = how_it_ended(session, exitstatus)
        if self._interrupted_by is not None:
            if report.ended == COMPLETE:  # by somebody who gave the exit code of a success
                report.ended = "interrupted"
            report.ended_because = self._interrupted_by
        if not report.versions:  # nobody asked for a header
            report.versions = versions(self.target)
        if exitstatus == pytest.ExitCode.OK:
            results = {one.result for one in report.guarantees() if report.asked_for(one.id)}
            if "not found out" in results:
                session.exitstatus = NOT_FOUND_OUT
            elif not report.narrowed and results & {"incomplete", "not run"}:
                session.exitstatus = INCOMPLETE
        if self._keeper is not None and (refused := self._keeper.finish()) is not None:
            say(self.config, refused, red=True)
            if session.exitstatus == pytest.ExitCode.OK:
                session.exitstatus = pytest.ExitCode.USAGE_ERROR

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Take what a worker collected."""
        output: dict[str, Any] | None = getattr(node, "workeroutput", {}).get("litestar_queues")
        if output is not None:
            self.report.collected.update({case: tuple(ids) for case, ids in output["collected"].items()})
            self.report.deselected.update(output["deselected"])

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """The table of guarantees."""
        if not self.is_worker and not self.config.getoption("collectonly"):
            print_report(self.report, terminalreporter)


def _not_found_out(report: pytest.TestReport, case: dict[str, Any], reason: str) -> None:
    """Make it a report that pytest does not count as failed; `pytest_report_teststatus` says what it counts as."""
    report.outcome = "skipped"
    report.longrepr = (report.location[0] or "", report.location[1] or 0, reason)
    case["not_found_out"] = reason


def _utc() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _ids(item: pytest.Item) -> tuple[str, ...]:
    marker = item.get_closest_marker("guarantee")
    return () if marker is None else cast("tuple[str, ...]", marker.args)


def _told_in(marker: pytest.Mark | None) -> ToldIn:
    return "both" if marker is None else marker.kwargs.get("time", "both")


def _told_in_both(item: pytest.Item) -> bool:
    return _told_in(item.get_closest_marker("guarantee")) == "both"


def _random(item: pytest.Function) -> Random:
    """What the case draws from, from its beginning."""
    return Random(cast("str", item.funcargs["seed"]))  # noqa: S311  # repeatable is what it is for


def _params(item: pytest.Item) -> dict[str, Any]:
    callspec: Any = getattr(item, "callspec", None)
    return {} if callspec is None else callspec.params


def _mode_of(item: pytest.Item) -> str | None:
    """The mode of time in which the case runs."""
    params = _params(item)
    return params.get(_TIME, params.get("time"))


def _check_of(item: pytest.Item) -> Check:
    return item.stash.setdefault(_CHECK, Check(_ids(item)))


def _last_line(report: pytest.TestReport) -> str:
    crash = getattr(report.longrepr, "reprcrash", None)
    return str(report.longrepr).strip().splitlines()[-1] if crash is None else str(crash.message)
