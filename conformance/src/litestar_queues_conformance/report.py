"""A run's result, guarantee by guarantee: what is printed, and what `--report-json` writes."""

from __future__ import annotations

import asyncio
import json
import os
import platform
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

import pytest

from litestar_queues_conformance.guarantees import GUARANTEES, Profile
from litestar_queues_conformance.target import Target

__all__ = ("CaseResult", "GuaranteeResult", "Report", "versions")

Outcome = Literal["passed", "failed", "not run"]
_COLOURS = {"passed": "green", "failed": "red", "not run": "yellow"}
_SHORT = 60


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
    """Why it failed."""
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
    """Why it failed, or was not run."""
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

    def add(self, result: CaseResult) -> None:
        """Keep a result; a failure is never replaced."""
        known = self.cases.get(result.case)
        if known is None or known.outcome == "passed":
            self.cases[result.case] = result

    def guarantees(self) -> list[GuaranteeResult]:
        """The result of every registered guarantee, in the order of the registry."""
        return [self._judge(id_) for id_ in GUARANTEES]

    def _judge(self, id_: str) -> GuaranteeResult:
        ran = [case for case in self.cases.values() if id_ in case.guarantees]
        failed = [case for case in ran if case.outcome != "passed"]
        result: Outcome
        if failed:
            # A case can be there for several guarantees: the one that it names in its message comes first.
            failed.sort(key=lambda case: not (case.message or "").partition("Violation: ")[2].startswith(id_))
            result, reason = "failed", failed[0].message
        elif any(case.evidence.get(id_) for case in ran):
            result, reason = "passed", None
        else:
            unknown = (case.unknown[id_] for case in ran if id_ in case.unknown)
            result, reason = "not run", next(unknown, None) or self._absence(id_)
        registered = GUARANTEES[id_]
        names = tuple(case.case for case in ran)
        return GuaranteeResult(id_, registered.must, registered.profile.value, result, reason, names)

    def _absence(self, id_: str) -> str:
        cases = {case for case, ids in self.collected.items() if id_ in ids}
        if not cases:
            return "no case for it was collected"
        if cases <= self.deselected:
            return "its cases were not selected"
        return "the run ended before its cases"

    def document(self) -> dict[str, Any]:
        """The report as `--report-json` writes it."""
        results = self.guarantees()
        return {
            "format": 1,
            "backend": self.backend,
            "capabilities": asdict(self.target.capabilities),
            "seed": self.seed,
            "versions": self.versions,
            "summary": {name: sum(one.result == name for one in results) for name in _COLOURS},
            "guarantees": {one.id: asdict(one) for one in results},
            "cases": [asdict(case) for case in sorted(self.cases.values(), key=lambda case: case.case)],
        }

    def write(self, path: Path) -> None:
        """Write the report, creating the folder."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(self.document(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")

    def print(self, terminal: pytest.TerminalReporter) -> None:
        """Print the table of guarantees, and how many were kept."""
        terminal.section(f"guarantees of {self.backend}", "=")
        results = self.guarantees()
        width = max(terminal.config.get_terminal_writer().fullwidth - 26, _SHORT)
        for one in results:
            must = one.must if len(one.must) <= width else f"{one.must[: width - 3]}..."
            terminal.write(f"{one.id}  ")
            terminal.write(f"{one.result:<7}", **{_COLOURS[one.result]: True})
            terminal.write_line(f"  {len(one.cases):>5}  {must}")
        for one in results:
            if one.result != "passed":
                terminal.write_line(
                    f"{one.result}: {one.id}, {(one.reason or '').splitlines()[0] if one.reason else ''}"
                )
        for profile in Profile:
            of = [one for one in results if one.profile == profile]
            kept = sum(one.result == "passed" for one in of)
            terminal.write_line(f"{kept} of {len(of)} {profile.value} guarantees kept (--seed={self.seed})")


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
        async with asyncio.timeout(10):
            return await target.server_version(config)
    finally:
        await target.reset(config)
