"""What can become of a case, a guarantee and a run, in the words of tables and reports; imports nothing of the suite."""

from __future__ import annotations

from typing import Literal

__all__ = ("COLOURS", "COMPLETE", "NOT_FOUND_OUT", "OUTCOMES", "UNFINISHED", "Outcome")

Outcome = Literal["passed", "failed", "not found out", "not run"]
OUTCOMES: tuple[Outcome, ...] = ("passed", "failed", "not found out", "not run")
COLOURS: dict[Outcome, str] = {"passed": "green", "failed": "red", "not found out": "purple", "not run": "yellow"}
NOT_FOUND_OUT = 7
"""The exit code of a run in which nothing failed, and something was not found out. pytest's own are 0 to 5."""
COMPLETE = "complete"
"""How a run ended that came to its end."""
UNFINISHED = "unfinished"
"""How a run ended that could not say so: its process was killed, for example."""
