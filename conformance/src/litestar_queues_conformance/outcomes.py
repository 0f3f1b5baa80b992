"""What can become of a case, a guarantee and a run, in the words of tables and reports; imports nothing of the suite."""

from __future__ import annotations

from typing import Literal

__all__ = ("COLOURS", "COMPLETE", "INCOMPLETE", "NOT_FOUND_OUT", "RESULTS", "UNFINISHED", "Outcome", "Result")

Outcome = Literal["passed", "failed", "not found out", "incomplete", "not run"]
"""What became of the run on a target."""
Result = Literal["kept", "broken", "not found out", "absent", "incomplete", "not run"]
"""What a run found out about a guarantee. It is `kept` only if every case of the suite for it ran and passed; `absent`, if
they found that it is absent, as the target declares; `incomplete`, if some of them did not run."""
RESULTS: tuple[Result, ...] = ("kept", "broken", "not found out", "absent", "incomplete", "not run")
COLOURS: dict[Result, str] = {
    "kept": "green",
    "broken": "red",
    "not found out": "purple",
    "absent": "cyan",
    "incomplete": "yellow",
    "not run": "yellow",
}
NOT_FOUND_OUT = 7
"""The exit code of a run in which nothing failed, and something was not found out. pytest's own are 0 to 5."""
INCOMPLETE = 8
"""The exit code of a run in which nothing failed, and cases of the suite are missing that nobody asked to leave out."""
COMPLETE = "complete"
"""How a run ended that came to its end."""
UNFINISHED = "unfinished"
"""How a run ended that could not say so: its process was killed, for example."""
