"""Running the suite against backends that are wrong on purpose, or odd but legal, and judging what it said of them.

What is found out about a saboteur: every guarantee that a check of the suite, by name, found broken. It is *caught*
where its own guarantee is among them, and *first*: before all others of them in `saboteurs.ORDER`, in which the special
stand before the general, so that the id names the reason. A case that ended otherwise (an exception, its deadline)
says that something is wrong, but not what: it is reported, and catches nothing. Where cases have not found out anything, a
saboteur that survives them has not survived for certain, and a benign backend is not refused: it has to be run again.
"""

from __future__ import annotations

import contextlib
import io
import json
import multiprocessing
import os
import re
import tempfile
import time
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest

from litestar_queues_conformance.cases import CASES
from litestar_queues_conformance.guarantees import GUARANTEES, Profile
from litestar_queues_conformance.machine import EXAMPLES_VARIABLE, SHRINK_VARIABLE
from litestar_queues_conformance.outcomes import GROWS, NOT_FOUND_OUT
from litestar_queues_conformance.saboteurs.order import first

__all__ = ("SEED", "Suspect", "Verdict", "document", "examine", "examine_all", "judge", "line", "markdown")

SEED = 1
_EXAMPLES = 50
"""How many histories the state machine draws for each backend that it is run on."""
_BACKLOG = 20_000
"""Beside how many tasks a claim is measured, for a saboteur."""
_APART = frozenset({Profile.DISPATCH, Profile.SCHEDULING})
"""Profiles whose cases meet everything that the core promises, of tasks of their own."""
_NAMED = re.compile(r"\bViolation: ([A-Z]{3}-\d{2}): ")


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspect:
    """A backend that the suite has to say something of.

    Attributes:
        name: What it is called.
        target: What `--backend` takes.
        defect: What is wrong with it, or odd, in a sentence.
        guarantee: The one that has to catch it first; None where nothing may be broken.
        areas: The files of cases that are run, as in `test_key.py` for "key".
        ids: The guarantees whose cases of these are run; None means all.
        time: The mode of time in which they are run: "given", "store", or "both".
    """

    name: str
    target: str
    defect: str
    guarantee: str | None
    areas: tuple[str, ...]
    ids: tuple[str, ...] | None = None
    time: str = "both"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a run against one backend found out."""

    name: str
    defect: str
    guarantee: str | None
    """The one that has to be first; None where nothing may be broken."""
    broken: tuple[str, ...]
    """The guarantees that a check found broken, in the order of `saboteurs.ORDER`."""
    otherwise: tuple[str, ...]
    """The cases that ended in another way than by a check."""
    example: str
    """What the first check said."""
    passed: int
    seconds: float
    server: str = ""
    """What the backend ran on, in its target's words."""
    not_found_out: tuple[str, ...] = ()
    """The cases that have not found out anything."""
    times: tuple[str, ...] = ()
    """The modes of time in which its guarantee was found broken."""

    @property
    def first(self) -> str | None:
        """The guarantee that names the reason: a defect of the core is not named by what it does to a profile of its own kind."""
        if self.guarantee is not None:
            # What is wrong with every task is wrong with dispatched ones and with occurrences, which says nothing of those.
            others = _APART - {GUARANTEES[self.guarantee].profile}
            if near := [id_ for id_ in self.broken if GUARANTEES[id_].profile not in others]:
                return first(near)
        return first(self.broken)

    @property
    def right(self) -> bool:
        """Whether the suite said of this backend what it has to say."""
        if self.guarantee is None:
            return not self.broken and not self.otherwise and not self.not_found_out and self.passed > 0
        return self.first == self.guarantee

    @property
    def open(self) -> bool:
        """Whether the run has not found out what it was there for, and nothing is wrong for certain."""
        return bool(self.not_found_out) and not self.broken and not self.otherwise

    @property
    def words(self) -> str:
        """The verdict for people."""
        if self.open:
            return f"not found out: {self.not_found_out[0]}"
        if self.guarantee is None:
            return "passed" if self.right else f"refused: {', '.join(self.broken) or 'cases ended otherwise'}"
        if self.right:
            return "caught"
        if self.first is None:
            return "survived" if not self.otherwise else "survived: no check named what ended its cases"
        return f"caught under {self.first}, not {self.guarantee}"


def examine(suspect: Suspect, *, seed: int = SEED) -> Verdict:
    """Run the suite, as far as the suspect says, in this process."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="saboteur-") as folder:
        report = _suite(suspect, Path(folder), seed=seed)
    failed = [case for case in report["cases"] if case["outcome"] == "failed"]
    late = [case for case in report["cases"] if case["outcome"] == "not found out"]
    named = {case["case"]: found[1] for case in failed if (found := _NAMED.search(case["message"] or ""))}
    grown = {id_: one["reason"] for id_, one in report["guarantees"].items() if one["result"] == GROWS}
    broken = tuple(_ordered({*named.values(), *(grown if suspect.guarantee is not None else ())}))
    times = {case["time"] for case in failed if named.get(case["case"]) == suspect.guarantee} - {None}
    example = next(
        (case["message"] for case in failed if case["case"] in named and named[case["case"]] == broken[0]), ""
    )
    figure = grown.get(broken[0], "") if broken else ""
    return Verdict(
        name=suspect.name,
        defect=suspect.defect,
        guarantee=suspect.guarantee,
        broken=broken,
        otherwise=tuple(f"{case['case']}: {case['message']}" for case in failed if case["case"] not in named),
        example=example.partition("Violation: ")[2].splitlines()[0] if example else figure,
        passed=len(report["cases"]) - len(failed) - len(late),
        seconds=round(time.monotonic() - started, 1),
        server=report["versions"].get("server", ""),
        not_found_out=tuple(f"{case['case']}: {case['message']}" for case in late),
        times=tuple(sorted(times)),
    )


def examine_all(suspects: Sequence[Suspect], *, jobs: int, seed: int = SEED) -> Iterator[Verdict]:
    """The verdicts as they come, from so many processes."""
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        try:
            for done in as_completed([pool.submit(examine, suspect, seed=seed) for suspect in suspects]):
                yield done.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)  # where one could not be run, the others are not waited for


def judge(verdicts: Iterable[Verdict]) -> list[str]:
    """Everything that is not as it has to be, in words."""
    return [f"{verdict.name}: {verdict.words}" for verdict in verdicts if not verdict.right]


def line(verdict: Verdict) -> str:
    """The verdict in a line of the terminal."""
    mark = "ok   " if verdict.right else "?????" if verdict.open else "WRONG"
    broken = " ".join(verdict.broken)
    more = f" and {len(verdict.otherwise)} cases otherwise" if verdict.otherwise else ""
    return f"{mark} {verdict.guarantee or 'benign'}  {verdict.name:<32} {verdict.words}: {broken}{more} ({verdict.seconds} s)"


def document(verdicts: Iterable[Verdict], *, seed: int, exempt: Mapping[str, str]) -> dict[str, Any]:
    """The verdicts as plain data."""
    return {
        "format": 1,
        "seed": seed,
        "verdicts": [{**asdict(one), "first": one.first, "right": one.right} for one in verdicts],
        "exempt": dict(exempt),
    }


def markdown(verdicts: Sequence[Verdict], exempt: Mapping[str, str]) -> str:
    """The kill matrix as a table; with the servers, where there are any."""
    servers = any(one.server for one in verdicts if "Python" not in one.server)

    def row(*cells: str, server: str) -> str:
        return f"| {' | '.join([*cells, *([server] if servers else [])])} |"

    lines = [
        row("Guarantee", "Saboteur", "What is wrong with it", "Caught by time", "Also broken by it", server="On"),
        row(*("---",) * 5, server="---"),
        *(
            row(
                one.guarantee,
                f"`{one.name}`",
                one.defect,
                " and ".join(one.times) or "-",
                ", ".join(one.broken[1:]) or "-",
                server=one.server,
            )
            for one in verdicts
            if one.guarantee is not None
        ),
        "",
        row("Benign backend", "What is odd about it", "Verdict", server="On"),
        row(*("---",) * 3, server="---"),
        *(row(f"`{one.name}`", one.defect, one.words, server=one.server) for one in verdicts if one.guarantee is None),
    ]
    if exempt:
        lines += ["", "| Without a saboteur | Why |", "|---|---|", *(f"| {k} | {v} |" for k, v in exempt.items())]
    return "\n".join(lines) + "\n"


def _suite(suspect: Suspect, folder: Path, *, seed: int) -> dict[str, Any]:
    """The report of a run of the suite, in this process and with no other plugin."""
    ini = folder / "pytest.ini"
    ini.write_text("[pytest]\n")
    report = folder / "report.json"
    options = [
        "-c",
        str(ini),
        "-p",
        "no:cacheprovider",
        "-p",
        "litestar_queues_conformance.plugin",
        "-W",
        "ignore",
        "-q",
        "--tb=short",
    ]
    options += [f"--queue-backend={suspect.target}", f"--queue-seed={seed}", f"--report-json={report}"]
    options += [f"--queue-time={suspect.time}"]
    if suspect.guarantee is not None and GUARANTEES[suspect.guarantee].profile is Profile.SCALE:
        options += [f"--queue-scale={_BACKLOG}"]
    if suspect.ids is not None:
        options += ["-k", " or ".join(suspect.ids)]
    said = io.StringIO()
    with _environment(), contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        code = pytest.main([*options, *(str(CASES[area]) for area in suspect.areas)])
    if code not in {pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED, NOT_FOUND_OUT}:
        raise RuntimeError(f"the suite did not run against {suspect.target} ({code}):\n{said.getvalue()}")
    loaded: dict[str, Any] = json.loads(report.read_text(encoding="utf-8"))
    return loaded


def _ordered(ids: Iterable[str]) -> list[str]:
    left, ordered = set(ids), list[str]()
    while (least := first(left)) is not None:
        ordered.append(least)
        left.remove(least)
    return ordered


@contextlib.contextmanager
def _environment() -> Generator[None]:
    """Set what the run is to find in the environment, and leave it as it was."""
    settings = {
        SHRINK_VARIABLE: os.environ.get(SHRINK_VARIABLE, "0"),
        EXAMPLES_VARIABLE: os.environ.get(EXAMPLES_VARIABLE, str(_EXAMPLES)),
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
    }
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
