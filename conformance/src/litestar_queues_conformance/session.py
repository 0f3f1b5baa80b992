"""What the plugin does once a backend is named: fixtures, the running of cases, evidence and results."""

from __future__ import annotations

import asyncio
import inspect
import os
import signal
import threading
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from types import FrameType
from typing import Any, cast

import hypothesis
import pytest

from litestar_queues_conformance.guarantees import GUARANTEES
from litestar_queues_conformance.harness import CASE_SECONDS, Check, NoEvidence, Store, Violation
from litestar_queues_conformance.plugin import CASES
from litestar_queues_conformance.report import CaseResult, Report, versions
from litestar_queues_conformance.target import Target

__all__ = ("ConformanceSession",)

_PROFILE = "litestar-queues-conformance"
_CHECK = pytest.StashKey[Check]()
_STORE = pytest.StashKey[Store]()


class CaseDeadline(Exception):
    """A case did not end in its time."""


class ConformanceSession:
    """The plugin of one run; under xdist each worker has one, and the controller's writes the report."""

    def __init__(self, config: pytest.Config, name: str, target: Target, seed: int) -> None:
        self.config = config
        self.target = target
        self.is_worker = hasattr(config, "workerinput")
        self.report = Report(backend=name, target=target, seed=seed)
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
        """Leave Hypothesis as it was found, for a run inside another one."""
        hypothesis.settings.load_profile(self._profile_before)

    # Fixtures

    @pytest.fixture
    def check(self, request: pytest.FixtureRequest) -> Check:
        """Says what must hold; see `harness.Check`."""
        return _check_of(request.node)

    @pytest.fixture
    def store(self, request: pytest.FixtureRequest, rng: Random) -> Store:
        """A new, empty store of the backend; closed and removed by the suite."""
        store = request.node.stash[_STORE] = Store(self.report.backend, self.target, os.environ, rng)
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

    # Collecting

    def pytest_report_header(self) -> list[str]:
        """What is judged, the seed that repeats the run, and the server."""
        lines = [f"conformance: backend {self.report.backend}, --seed={self.report.seed}"]
        if not self.config.getoption("collectonly"):
            self.report.versions = versions(self.target)
            lines.append(f"conformance: on {self.report.versions['server']}")
        return lines

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
        if not found and file_path.parent == CASES and file_path.match("test_*.py"):
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
            if CASES in item.path.parents:
                raise pytest.UsageError(f"{item.nodeid} is no case: it needs @guarantee(...)")
            return
        self.report.collected[item.nodeid] = ids
        item.extra_keyword_matches.update(ids)  # `-k KEY-01`
        function: Any = getattr(item, "obj", None)
        if hypothesis.is_hypothesis_test(function):
            hypothesis.seed(f"{self.report.seed}:{item.name}")(function)

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Run the cases in the order of the registry: what fails first is then the most basic of what fails."""
        order = {id_: i for i, id_ in enumerate(GUARANTEES)}
        items.sort(key=lambda item: min((order[id_] for id_ in _ids(item)), default=len(order)))

    def pytest_deselected(self, items: list[pytest.Item]) -> None:
        """Note what was not selected."""
        self.report.deselected.update(item.nodeid for item in items)

    # Running

    @pytest.hookimpl(tryfirst=True)
    def pytest_pyfunc_call(self, pyfuncitem: pytest.Function) -> bool | None:
        """Run a case to its end or its deadline, remove what it opened, and ask for its evidence."""
        if not _ids(pyfuncitem):
            return None
        arguments = {name: pyfuncitem.funcargs[name] for name in inspect.signature(pyfuncitem.obj).parameters}
        marker = pyfuncitem.get_closest_marker("guarantee")
        seconds = cast("float", marker.kwargs.get("deadline", CASE_SECONDS) if marker else CASE_SECONDS)
        store = pyfuncitem.stash.get(_STORE, None)
        with _alarm(pyfuncitem.name, seconds + 10):
            if inspect.iscoroutinefunction(pyfuncitem.obj):
                asyncio.run(_bounded(pyfuncitem.name, seconds, lambda: pyfuncitem.obj(**arguments), store))
            else:
                try:
                    pyfuncitem.obj(**arguments)
                finally:
                    if store is not None:
                        asyncio.run(store.aclose())
        check = _check_of(pyfuncitem)
        if check.violations:
            raise Violation(f"swallowed by the case: {check.violations[0]}")
        if unchecked := [id_ for id_, checks in check.evidence.items() if not checks and id_ not in check.unknowns]:
            raise NoEvidence(f"no evidence: the case ended without a check() for {', '.join(unchecked)}")
        return True

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Turn a skip into a failure, and put the case's evidence on its report, for the controller to read."""
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
        case = {"ids": list(ids), "evidence": dict(check.evidence), "unknown": dict(check.unknowns)}
        report.__dict__["litestar_queues_case"] = case
        return report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep a case's result."""
        case: dict[str, Any] | None = getattr(report, "litestar_queues_case", None)
        if case is None or not (report.when == "call" or report.failed):
            return
        self.report.add(
            CaseResult(
                case=report.nodeid,
                guarantees=tuple(case["ids"]),
                outcome=report.outcome,
                evidence=case["evidence"],
                seconds=round(report.duration, 6),
                message=_last_line(report) if report.failed else None,
                unknown=case["unknown"],
            )
        )

    # Reporting

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self) -> None:
        """Send what was collected to the controller, or write the report."""
        if self.is_worker:
            output = cast("dict[str, Any]", self.config.workeroutput)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]  # xdist's
            output["litestar_queues"] = {
                "collected": {case: list(ids) for case, ids in self.report.collected.items()},
                "deselected": sorted(self.report.deselected),
            }
            return
        if not self.report.versions:  # nobody asked for a header
            self.report.versions = versions(self.target)
        path: str | None = self.config.getoption("queue_report_json")
        if path is not None:
            self.report.write(Path(path))

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
            self.report.print(terminalreporter)


def _ids(item: pytest.Item) -> tuple[str, ...]:
    marker = item.get_closest_marker("guarantee")
    return () if marker is None else cast("tuple[str, ...]", marker.args)


def _check_of(item: pytest.Item) -> Check:
    return item.stash.setdefault(_CHECK, Check(_ids(item)))


async def _bounded(name: str, seconds: float, case: Callable[[], Awaitable[None]], store: Store | None) -> None:
    deadline = asyncio.timeout(seconds)
    try:
        async with deadline:
            await case()
    except BaseException as error:  # noqa: BLE001  # it is raised again
        late = isinstance(error, TimeoutError) and deadline.expired()
        ended = CaseDeadline(f"{name} did not end within {seconds:g} s") if late else error
        try:
            await _remove(name, store)
        except Exception as another:  # noqa: BLE001  # what the case found comes first
            ended.add_note(f"and what it had opened was not removed: {another!r}")
        raise ended from (None if late else error.__cause__)
    await _remove(name, store)


async def _remove(name: str, store: Store | None) -> None:
    """Close and remove what the case opened."""
    if store is None:
        return
    deadline = asyncio.timeout(CASE_SECONDS)
    try:
        async with deadline:
            await store.aclose()
    except TimeoutError:
        if deadline.expired():
            raise CaseDeadline(f"the clients of {name} did not close within {CASE_SECONDS:g} s") from None
        raise


@contextmanager
def _alarm(name: str, seconds: float) -> Generator[None]:
    """End what blocks the event loop, or never had one, where the platform can."""
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def ring(_signal: int, _frame: FrameType | None) -> None:
        raise CaseDeadline(f"{name} did not end within {seconds:g} s, and blocks")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _last_line(report: pytest.TestReport) -> str:
    crash = getattr(report.longrepr, "reprcrash", None)
    return str(report.longrepr).strip().splitlines()[-1] if crash is None else str(crash.message)
