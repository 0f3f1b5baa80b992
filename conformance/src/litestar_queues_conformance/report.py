"""A run's result, guarantee by guarantee: what `--report-json` writes."""

from __future__ import annotations

import asyncio
import json
import os
import platform
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from litestar_queues_conformance.guarantees import GUARANTEES
from litestar_queues_conformance.outcomes import COMPLETE, OUTCOMES, UNFINISHED, Outcome
from litestar_queues_conformance.patience import within
from litestar_queues_conformance.target import Target

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


@dataclass(frozen=True, slots=True)
class GuaranteeResult:
    """What a run found out about one guarantee."""

    id: str
    must: str
    profile: str
    result: Outcome
    reason: str | None
    """Why it failed, was not found out, or was not run."""
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
        ran = [case for case in self.cases.values() if id_ in (case.guarantees or self.collected.get(case.case, ()))]
        failed = [case for case in ran if case.outcome == "failed"]
        unsettled = [case for case in ran if case.outcome == "not found out"]
        result: Outcome
        if failed:
            # A case can be there for several guarantees: the one that it names in its message comes first.
            failed.sort(key=lambda case: not (case.message or "").partition("Violation: ")[2].startswith(id_))
            result, reason = "failed", failed[0].message
        elif unsettled:
            result, reason = "not found out", unsettled[0].message
        elif missing := self._missing(id_) if ran else 0:
            result, reason = "not run", f"the run ended before {missing} of its {missing + len(ran)} cases"
        elif any(case.evidence.get(id_) for case in ran):
            result, reason = "passed", None
        else:
            unknown = (case.unknown[id_] for case in ran if id_ in case.unknown)
            result, reason = "not run", next(unknown, None) or self._absence(id_)
        registered = GUARANTEES[id_]
        names = tuple(case.case for case in ran)
        return GuaranteeResult(id_, registered.must, registered.profile.value, result, reason, names)

    def _missing(self, id_: str) -> int:
        """How many of its cases were selected and have no result."""
        return sum(
            id_ in ids and case not in self.deselected | self.cases.keys() for case, ids in self.collected.items()
        )

    def _absence(self, id_: str) -> str:
        cases = {case for case, ids in self.collected.items() if id_ in ids}
        if not cases:
            return "no case for it was collected" if self.ended == COMPLETE else "the run ended before its cases"
        if cases <= self.deselected:
            return "its cases were not selected"
        return "the run ended before its cases"

    def selected(self, id_: str) -> bool:
        """Whether the run was to find out something about the guarantee."""
        return any(id_ in ids and case not in self.deselected for case, ids in self.collected.items())

    def count(self) -> dict[str, int]:
        """How many guarantees have each of the results."""
        results = self.guarantees()
        return {outcome: sum(one.result == outcome for one in results) for outcome in OUTCOMES}

    def document(self) -> dict[str, Any]:
        """The report as `--report-json` writes it."""
        return {
            "format": 2,
            "backend": self.backend,
            "capabilities": asdict(self.target.capabilities),
            "seed": self.seed,
            "versions": self.versions,
            "ended": self.ended,
            "ended_because": self.ended_because,
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
