"""Runs of pytest for many targets, one after another, and what became of each: `--backend=auto`."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from litestar_queues_conformance.outcomes import COMPLETE, INCOMPLETE, NOT_FOUND_OUT, Outcome
from litestar_queues_conformance.target import Target, UnknownTarget, load_target

__all__ = ("TargetRun", "exit_code", "report_path", "run_targets", "summary")

_INTERRUPTED = 2
_NO_TESTS = 5
_KILLED = (-9, -15)
"""Of SIGKILL, which is also what a machine without memory sends, and of SIGTERM."""


@dataclass(frozen=True, slots=True)
class TargetRun:
    """What became of one target."""

    target: str
    outcome: Outcome
    reason: str
    """Why it was not run, failed or was not found out, or how many guarantees were kept."""
    server: str = ""
    """What it ran on, in the target's words."""
    seconds: float = 0.0

    def document(self) -> dict[str, Any]:
        """The same as plain data."""
        return asdict(self)


def run_targets(
    names: Iterable[str], arguments: Sequence[str], *, report: Callable[[str], Path] | None = None, cwd: Path
) -> list[TargetRun]:
    """Run pytest in a process of its own for each target that can be had here, its output going where ours goes.

    Args:
        names: The targets.
        arguments: What pytest is given; the backend is added, and replaces one that is among them.
        report: Where each target's report is written, if anywhere.
        cwd: Where pytest is run.
    """
    runs: list[TargetRun] = []
    interrupted = False
    with tempfile.TemporaryDirectory(prefix="litestar-queues-") as folder:
        for name in names:
            path = (report_path(Path(folder) / "report.json", name) if report is None else report(name)).absolute()
            path.unlink(missing_ok=True)  # of an earlier run, whatever becomes of this one
            if interrupted:
                runs.append(TargetRun(name, "not run", "the run was interrupted"))
                continue
            if (absent := _absent(name)) is not None:
                runs.append(absent)
                continue
            code, seconds = _run(name, arguments, path, cwd)
            interrupted = code == _INTERRUPTED
            runs.append(_judge(name, code, path, seconds))
    return runs


def exit_code(runs: Sequence[TargetRun]) -> int:
    """What the command ends with.

    1 if any target failed, else 7 if something was not found out, else 8 if a run was incomplete; 5 if no target was run, as
    pytest says it; else 0.
    """
    outcomes = {run.outcome for run in runs}
    if "failed" in outcomes:
        return 1
    if "not found out" in outcomes:
        return NOT_FOUND_OUT
    if "incomplete" in outcomes:
        return INCOMPLETE
    return 0 if "passed" in outcomes else _NO_TESTS


def report_path(path: Path, name: str) -> Path:
    """Where the report on one of several targets goes: `report-asyncpg.json` for `report.json`."""
    return path.with_name(f"{path.stem}-{re.sub(r'[^A-Za-z0-9@.]+', '-', name)}{path.suffix}")


def summary(runs: Sequence[TargetRun]) -> str:
    """A table in markdown of what ran, and a list of what did not, with the reason."""
    ran = [("backend", "result", "guarantees", "server", "seconds")]
    ran += [
        (run.target, run.outcome, run.reason, run.server, f"{run.seconds:.0f}")
        for run in runs
        if run.outcome != "not run"
    ]
    widths = [max(len(row[i]) for row in ran) for i in range(len(ran[0]))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in ran
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    lines += [""] + [f"not run: {run.target}: {run.reason}" for run in runs if run.outcome == "not run"]
    return "\n".join(lines).rstrip() + "\n"


def _absent(name: str) -> TargetRun | None:
    """Why the target cannot be run: a missing server is one thing, a target that is broken another."""
    try:
        target: Target = load_target(name)
    except UnknownTarget as error:
        return TargetRun(name, "failed", str(error))
    unavailable = getattr(target, "unavailable", None)
    reason: str | None = unavailable(os.environ) if unavailable is not None else None
    return None if reason is None else TargetRun(name, "not run", reason)


def _run(name: str, arguments: Sequence[str], report: Path, cwd: Path) -> tuple[int, float]:
    command = [sys.executable, "-m", "pytest", *arguments, f"--queue-backend={name}", f"--report-json={report}"]
    sys.stdout.write(f"\n== {name}\n")
    sys.stdout.flush()
    began = time.monotonic()
    try:
        code = subprocess.run(command, cwd=cwd, check=False).returncode  # noqa: S603  # pytest, as we were run ourselves
    except KeyboardInterrupt:
        code = _INTERRUPTED
    return code, time.monotonic() - began


def _judge(name: str, code: int, path: Path, seconds: float) -> TargetRun:
    """What became of a run. One that was killed or interrupted says nothing about a backend that has not failed yet."""
    server, kept, failed, complete = "", f"pytest ended with {code} and no report", False, False
    if path.exists():
        document = json.loads(path.read_text(encoding="utf-8"))
        server = document["versions"].get("server", "")
        kept = ", ".join(f"{count} {outcome}" for outcome, count in document["summary"].items() if count)
        failed, complete = document["summary"]["broken"] > 0, document["ended"] == COMPLETE
        if not complete:
            why = f": {document['ended_because']}" if document["ended_because"] else ""
            kept = f"the run did not come to its end ({document['ended']}{why}); {kept}"
    cut_short = code in {_INTERRUPTED, *_KILLED}
    outcome: Outcome
    if failed:
        outcome = "failed"
    elif code == NOT_FOUND_OUT or cut_short:
        outcome = "not found out"
    elif code == INCOMPLETE:
        outcome = "incomplete"
    else:
        outcome = "passed" if code == 0 and complete else "failed"
    return TargetRun(name, outcome, kept, server, round(seconds, 1))
