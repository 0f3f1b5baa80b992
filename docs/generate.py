"""Makes what is made from code and from results: pages of the reference, and the manifest of the suite's cases.

`--check` fails where one is stale.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

from litestar_queues.lifecycle import ACTIVE, EFFECTS, GUARDS, TERMINAL, TRANSITIONS, State
from litestar_queues_conformance import manifest
from litestar_queues_conformance.docs import guarantees_page
from litestar_queues_conformance.examine import Verdict
from litestar_queues_conformance.examine import markdown as kill_matrix

sys.path.insert(0, str(Path(__file__).parents[1]))
from mutate.page import page as mutants  # the mutants are no package of the environment
from mutate.results import SUMMARY, equivalents

REFERENCE = Path(__file__).parent / "reference"
MATRIX = Path(__file__).parent / "kill-matrix.json"
"""The results of a whole run of the saboteurs."""
NOTE = "<!-- Made by `nox -s docs`; do not edit. -->\n"
INTRODUCTION = (
    "A task is always in one of these states. Active ones "
    f"({', '.join(sorted(ACTIVE))}) hold their key; terminal ones ({', '.join(sorted(TERMINAL))}) do not."
)
RULES = (
    "Every transition adds one to the task's fence, and is stored only over the fence that its writer saw. Of several "
    "rows for one state and event, the first whose condition holds is taken; where none holds, the event is refused."
)


def lifecycle_page() -> str:
    """The states, the diagram and the table, from `lifecycle.py`."""
    arrows = dict.fromkeys(
        f"    {row.state} --> {row.to}: {row.event.replace('_', ' ')}" for row in TRANSITIONS if row.state is not row.to
    )
    rows = [
        f"| {row.state} | {row.event.replace('_', ' ')} | {GUARDS[row.guard][1]} | {row.to} | "
        f"{'; '.join(EFFECTS[effect][1] for effect in row.effects)} |"
        for row in TRANSITIONS
    ]
    ends = [f"    {state} --> [*]" for state in State if state in TERMINAL]
    return "\n".join(
        [
            NOTE,
            "# The life of a task",
            "",
            INTRODUCTION,
            "",
            "```mermaid",
            "stateDiagram-v2",
            "    [*] --> pending: enqueue",
            "    [*] --> scheduled: enqueue for later",
            *arrows,
            *ends,
            "```",
            "",
            RULES,
            "",
            "| state | event | where | becomes | and |",
            "|---|---|---|---|---|",
            *rows,
            "",
            "A scheduled task whose time has come may be shown as pending: that is bookkeeping, no transition.",
            "",
        ]
    )


def kill_matrix_page(document: dict[str, Any]) -> str:
    """Which saboteur the suite catches under which guarantee, from the results of `nox -s saboteurs -- --json PATH`."""
    names = {field.name for field in fields(Verdict)}
    found = [
        Verdict(**{name: _frozen(value) for name, value in one.items() if name in names})
        for one in document["verdicts"]
    ]
    wrong = [f"- {one.name}: {one.words}" for one in found if not one.right]
    return "\n".join(
        [
            NOTE,
            "# The kill matrix",
            "",
            "After reading this page you know which defect each guarantee is there for. A saboteur is a backend with one defect:",
            "the suite has to catch it, and its own guarantee has to be the first of those that it breaks. A benign backend is odd",
            "and legal: it has to pass.",
            "",
            f"The results are those of a whole run with the seed {document['seed']}. `nox -s saboteurs -- --json",
            "docs/kill-matrix.json` makes them again, and `nox -s docs` this page from them.",
            "",
            *(["Not as it has to be:", "", *wrong, ""] if wrong else []),
            kill_matrix(found, document["exempt"]),
        ]
    )


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]


MADE: dict[Path, Callable[[], str]] = {
    REFERENCE / "lifecycle.md": lifecycle_page,
    REFERENCE / "guarantees.md": lambda: NOTE + "\n" + guarantees_page(),
    REFERENCE / "mutants.md": lambda: NOTE + "\n" + mutants(json.loads(SUMMARY.read_text()), equivalents()),
    manifest.PATH: manifest.make,
}
if MATRIX.exists():  # a run of all saboteurs takes an hour, so that its results are checked in
    MADE[REFERENCE / "kill-matrix.md"] = lambda: kill_matrix_page(json.loads(MATRIX.read_text()))


def main() -> int:
    """Write them, or compare them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, and fail where something is stale")
    check = parser.parse_args().check
    stale: list[str] = []
    REFERENCE.mkdir(exist_ok=True)
    for path, make in MADE.items():
        text = make()
        if not check:
            path.write_text(text)
        elif not path.exists() or path.read_text() != text:
            stale.append(path.name)
    if stale:
        sys.stderr.write(f"stale: {', '.join(stale)}; run `nox -s docs` and commit the result\n")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
