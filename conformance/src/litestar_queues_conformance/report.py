"""A run's result, guarantee by guarantee: what `--report-json` writes."""

from __future__ import annotations

import asyncio
import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from litestar_queues_conformance.guarantees import GUARANTEES, Profile
from litestar_queues_conformance.machine import histories
from litestar_queues_conformance.manifest import expected
from litestar_queues_conformance.outcomes import COMPLETE, GROWS, RESULTS, UNFINISHED, Result
from litestar_queues_conformance.patience import within
from litestar_queues_conformance.target import Target, unprovoked
from litestar_queues_conformance.tested import suite

__all__ = ("CaseResult", "GuaranteeResult", "Report", "versions")

_ASKING = 10.0
"""Fair seconds that the question for the server's version may take."""


@dataclass(frozen=True, slots=True)
class CaseResult:
    """What became of one case."""

    case: str
    guarantees: tuple[str, ...]
    outcome: str
    evidence: dict[str, int]
    """How often each of its guarantees was checked."""
    seconds: float
    message: str | None = None
    """Why it failed, or has not found out anything."""
    unknown: dict[str, str] = field(default_factory=dict[str, str])
    """Why nothing could be found out about one of its guarantees."""
    time: str | None = None
    """The mode of time in which it ran; None where it has no times."""
    key: str | None = None
    """What the manifest calls it; None for a case that is not the suite's own."""
    absent: dict[str, str] = field(default_factory=dict[str, str])
    """The guarantees that it found absent, as the target declares, each with the capability."""
    partial: dict[str, str] = field(default_factory=dict[str, str])
    """The guarantees that it checked in part only, as it was told, each with the part."""
    about: str | None = None
    """The guarantee that it found broken, where that is none of those that it is there for; the others count as far as it
    checked them."""

    def of(self, collected: Sequence[str]) -> tuple[str, ...]:
        """The guarantees that it says something of."""
        ids = self.guarantees or tuple(collected)
        return ids if self.about is None else (*ids, self.about)

    def says(self, id_: str) -> str:
        """Its outcome, for one of its guarantees."""
        return self.outcome if self.about in (None, id_) else "passed"

    figures: dict[str, tuple[Result, str]] = field(default_factory=dict[str, "tuple[Result, str]"])
    """What it measured of its guarantees: a word, and the figures in words."""


@dataclass(frozen=True, slots=True)
class GuaranteeResult:
    """What a run found out about one guarantee."""

    id: str
    must: str
    profile: str
    result: Result
    reason: str | None
    """Why it is not kept."""
    cases: tuple[str, ...]
    """Those that ran."""


@dataclass(slots=True)
class Report:
    """Everything that a run found out."""

    backend: str
    target: Target
    seed: int
    versions: dict[str, str] = field(default_factory=dict[str, str])
    collected: dict[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    """Every case that was collected, and its guarantees."""
    deselected: set[str] = field(default_factory=set[str])
    cases: dict[str, CaseResult] = field(default_factory=dict[str, CaseResult])
    options: tuple[str, ...] = ()
    """What pytest was given on its command line."""
    started: str = ""
    """When the run began, in UTC."""
    finished: str | None = None
    tested: dict[str, Any] = field(default_factory=dict[str, Any])
    """The class of the backend's clients, its file, and the distribution that owns it; see `tested`."""
    narrowed: tuple[str, ...] = ()
    """By what the run was told to leave out cases."""
    backlog: int | None = None
    """Beside how many tasks the scale profile measures; None where nobody asked for it."""
    ended: str = UNFINISHED
    """`COMPLETE`, or in what other way the run ended."""
    ended_because: str | None = None

    def add(self, result: CaseResult) -> None:
        """Keep a result; a failure is never replaced."""
        known = self.cases.get(result.case)
        if known is None or known.outcome == "passed" or result.outcome == "failed":
            self.cases[result.case] = result

    def guarantees(self) -> list[GuaranteeResult]:
        """The result of every registered guarantee, in the order of the registry."""
        return [self._judge(id_) for id_ in GUARANTEES]

    def _judge(self, id_: str) -> GuaranteeResult:
        ran = [case for case in self.cases.values() if id_ in case.of(self.collected.get(case.case, ()))]
        registered = GUARANTEES[id_]
        result, reason = self._result(id_, ran)
        names = tuple(case.case for case in ran)
        return GuaranteeResult(id_, registered.must, registered.profile.value, result, reason, names)

    def _result(self, id_: str, ran: list[CaseResult]) -> tuple[Result, str | None]:
        """What its cases that ran say of a guarantee, and why it is not kept."""
        failed = [case for case in ran if case.says(id_) == "failed"]
        unsettled = [case.message for case in ran if case.says(id_) == "not found out"]
        unsettled += [case.unknown[id_] for case in ran if id_ in case.unknown]
        if failed:
            # A case can be there for several guarantees: the one that it names in its message comes first.
            failed.sort(key=lambda case: not (case.message or "").partition("Violation: ")[2].startswith(id_))
            return "broken", failed[0].message
        if unsettled:
            return "not found out", unsettled[0]
        if not ran:
            return "not run", self._absence(id_) if self.asked_for(id_) else self._why_not(id_)
        of_suite = [case for case, ids in expected().items() if id_ in ids]
        if not of_suite:
            return "incomplete", "the manifest of the suite has no case for it"
        passed = {case.key for case in ran if case.says(id_) == "passed" and case.evidence.get(id_)}
        missing = [case for case in of_suite if case not in passed]
        if missing:
            return (
                "incomplete",
                f"{len(missing)} of its {len(of_suite)} cases did not run: {missing[0]}{_more(missing)}",
            )
        partial = [case.partial[id_] for case in ran if id_ in case.partial]
        if partial:
            return "incomplete", partial[0]
        figures = [case.figures[id_] for case in ran if id_ in case.figures]
        if figures:
            return min(figures, key=lambda figure: figure[0] != GROWS)
        absent = [case.absent.get(id_) for case in ran]
        if absent[0] is not None and None not in absent:
            return "absent", absent[0]
        return "kept", None

    def _absence(self, id_: str) -> str:
        cases = {case for case, ids in self.collected.items() if id_ in ids}
        if not cases:
            return "no case for it was collected" if self.ended == COMPLETE else "the run ended before its cases"
        if cases <= self.deselected:
            return "its cases were not selected"
        return "the run ended before its cases"

    def asked_for(self, id_: str) -> bool:
        """Whether a run without further options is to find out something about the guarantee, or this one was asked to."""
        registered = GUARANTEES.get(id_)
        if registered is not None and registered.profile is Profile.SCALE:
            return self.backlog is not None
        return id_ not in unprovoked(self.target)

    def _why_not(self, id_: str) -> str:
        return unprovoked(self.target).get(id_, "only --queue-scale measures it")

    def selected(self, id_: str) -> bool:
        """Whether the run was to find out something about the guarantee."""
        found = any(case.about == id_ for case in self.cases.values())
        return found or any(id_ in ids and case not in self.deselected for case, ids in self.collected.items())

    def count(self) -> dict[str, int]:
        """How many guarantees have each of the results, without those that only an option asks for."""
        results = [one for one in self.guarantees() if self.asked_for(one.id)]
        return {result: sum(one.result == result for one in results) for result in RESULTS}

    def document(self) -> dict[str, Any]:
        """The report as `--report-json` writes it."""
        return {
            "format": 3,
            "backend": self.backend,
            "capabilities": asdict(self.target.capabilities),
            "tested": self.tested,
            "suite": {**suite(), "cases": len(expected()), "histories": histories()},
            "options": list(self.options),
            "started": self.started,
            "finished": self.finished,
            "seed": self.seed,
            "versions": self.versions,
            "ended": self.ended,
            "ended_because": self.ended_because,
            "narrowed": list(self.narrowed),
            "backlog": self.backlog,
            "summary": self.count(),
            "guarantees": {one.id: asdict(one) for one in self.guarantees()},
            "cases": [asdict(case) for case in sorted(self.cases.values(), key=lambda case: case.case)],
        }

    def write(self, path: Path) -> None:
        """Write the report, creating the folder; a reader sees the old report or the new one, never a part.

        Raises:
            OSError: It cannot be written.
        """
        text = json.dumps(self.document(), indent=2, ensure_ascii=False) + "\n"
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and not path.is_file():  # a pipe, a terminal
            path.write_text(text, encoding="utf-8")
            return
        part = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            part.write_text(text, encoding="utf-8")
            part.replace(path)
        except OSError:
            part.unlink(missing_ok=True)
            raise


def _more(missing: Sequence[str]) -> str:
    return f" and {len(missing) - 1} more" if missing[1:] else ""


def versions(target: Target) -> dict[str, str]:
    """The versions of everything that took part."""
    found = {"python": platform.python_version()}
    for distribution in ("litestar-queues-conformance", "litestar-queues", target.distribution, "pytest", "hypothesis"):
        try:
            found[distribution] = version(distribution)
        except PackageNotFoundError:
            found[distribution] = "not installed"
    try:
        found["server"] = asyncio.run(_server_version(target))
    except Exception as error:  # noqa: BLE001  # third parties' code: the report says what it raised
        found["server"] = f"unknown: {type(error).__name__}: {error}"
    return found


async def _server_version(target: Target) -> str:
    config = target.config(os.environ)
    try:
        async with within(_ASKING):
            return await target.server_version(config)
    finally:
        await target.reset(config)
