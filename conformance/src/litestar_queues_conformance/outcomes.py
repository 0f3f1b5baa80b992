"""What can become of a case, a guarantee and a run, in the words of tables and reports; imports nothing of the suite."""

from __future__ import annotations

from typing import Literal

__all__ = (
    "COLOURS",
    "COMPLETE",
    "GOOD",
    "GROWS",
    "INCOMPLETE",
    "NOT_FOUND_OUT",
    "RESULTS",
    "SCALES",
    "UNFINISHED",
    "Outcome",
    "Result",
    "Violation",
)

Outcome = Literal["passed", "failed", "not found out", "incomplete", "not run"]
"""What became of the run on a target."""
Result = Literal[
    "kept", "broken", "not found out", "absent", "incomplete", "not run", "scales", "grows with the backlog"
]
"""What a run found out about a guarantee. It is `kept` only if every case of the suite for it ran and passed; `absent`, if
they found that it is absent, as the target declares; `incomplete`, if some of them did not run. `scales` and `grows with the
backlog` say what was measured: they are figures, and no verdicts."""
SCALES: Result = "scales"
GROWS: Result = "grows with the backlog"
RESULTS: tuple[Result, ...] = (
    "kept",
    "broken",
    "not found out",
    "absent",
    "incomplete",
    "not run",
    SCALES,
    GROWS,
)
GOOD: tuple[Result, ...] = ("kept", SCALES)
"""Those that count as kept in a sum."""
COLOURS: dict[Result, str] = {
    "kept": "green",
    "broken": "red",
    "not found out": "purple",
    "absent": "cyan",
    "incomplete": "yellow",
    "not run": "yellow",
    "scales": "green",
    "grows with the backlog": "purple",
}
NOT_FOUND_OUT = 7
"""The exit code of a run in which nothing failed, and something was not found out. pytest's own are 0 to 5."""
INCOMPLETE = 8
"""The exit code of a run in which nothing failed, and cases of the suite are missing that nobody asked to leave out."""
COMPLETE = "complete"
"""How a run ended that came to its end."""
UNFINISHED = "unfinished"
"""How a run ended that could not say so: its process was killed, for example."""


class Violation(AssertionError):
    """A guarantee was not kept; the text begins with its id."""

    complete: bool = False
    """Whether its case came to its end, and had checked everything else."""
