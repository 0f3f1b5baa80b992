"""What a run prints: failures while they happen, the table of guarantees, and what it comes to."""

from __future__ import annotations

import pytest

from litestar_queues_conformance.guarantees import Profile
from litestar_queues_conformance.outcomes import COLOURS, COMPLETE, GOOD
from litestar_queues_conformance.progress import say
from litestar_queues_conformance.report import CaseResult, GuaranteeResult, Report

__all__ = ("announce", "first_line", "print_report")

_NARROWEST = 60
_LINE = 300
_FEW = 3
"""Of how many incomplete guarantees a narrowed run says why: it was asked to leave cases out."""


def first_line(message: str | None) -> str:
    """The first line of a message, without the name of its exception's module."""
    line = (message or "").strip().partition("\n")[0]
    kind, colon, rest = line.partition(": ")
    return f"{kind.rpartition('.')[2]}{colon}{rest}" if " " not in kind else line


def announce(config: pytest.Config, result: CaseResult) -> None:
    """Say at once that a case has failed, or has not found out anything."""
    ids = result.about or ", ".join(result.guarantees)
    case = result.case.rpartition("::")[2]
    line = f"{result.outcome}: {ids}, {case}: {first_line(result.message)}"
    say(config, line if len(line) <= _LINE else f"{line[:_LINE]}...", red=result.outcome == "failed")


def print_report(report: Report, terminal: pytest.TerminalReporter) -> None:
    """Print a line for each guarantee that was selected, and how many were kept."""
    terminal.ensure_newline()
    terminal.section(f"guarantees of {report.backend}", "=")
    results = report.guarantees()
    shown = [one for one in results if report.selected(one.id) or one.cases]
    _table(shown, terminal, most_incomplete=_FEW if report.narrowed else len(shown))
    if left_out := len(results) - len(shown):
        known = report.ended == COMPLETE or report.collected
        terminal.write_line(f"{left_out} guarantees were not {'selected' if known else 'reached'}")
    if report.narrowed:
        terminal.write_line(f"narrowed by {', '.join(report.narrowed)}: it proves nothing of what it leaves out")
    elif missing := sum(one.result in ("incomplete", "not run") and report.asked_for(one.id) for one in results):
        terminal.write_line(f"{missing} guarantees are incomplete: cases of the suite did not run", yellow=True)
    if report.ended != COMPLETE:
        why = f" ({report.ended_because})" if report.ended_because else ""
        terminal.write_line(f"the run did not come to its end: {report.ended}{why}; it proves nothing", yellow=True)
    unsettled = [one for one in results if one.result == "not found out"]
    if unsettled:
        terminal.write_line(
            f"{len(unsettled)} not found out: neither kept nor broken; the reasons stand above", purple=True
        )
    if not left_out or not report.narrowed:
        for profile in Profile:
            of = [one for one in results if one.profile == profile]
            if any(report.asked_for(one.id) for one in of):
                terminal.write_line(f"{profile.value}: {_kept(of)} (--seed={report.seed})")
            else:
                terminal.write_line(f"{profile.value}: not run, without --queue-scale")
    elif shown:
        terminal.write_line(f"{_kept(shown, 'selected guarantees')} (--seed={report.seed})")


def _table(results: list[GuaranteeResult], terminal: pytest.TerminalReporter, *, most_incomplete: int) -> None:
    column = max((len(one.result) for one in results), default=0)
    width = max(terminal.config.get_terminal_writer().fullwidth - column - 19, _NARROWEST)
    for one in results:
        must = one.must if len(one.must) <= width else f"{one.must[: width - 3]}..."
        terminal.write(f"{one.id}  ")
        terminal.write(one.result.ljust(column), **{COLOURS[one.result]: True})
        terminal.write_line(f"  {len(one.cases):>5}  {must}")
    unexplained = [one for one in results if one.result == "incomplete"][most_incomplete:]
    for one in results:
        if one.result not in ("kept", "absent") and one not in unexplained:
            terminal.write_line(f"{one.result}: {one.id}, {first_line(one.reason)}")
    if unexplained:
        terminal.write_line(f"incomplete: {len(unexplained)} more, of which cases were left out, too")


def _kept(results: list[GuaranteeResult], what: str = "guarantees") -> str:
    absent = sum(one.result == "absent" for one in results)
    kept = f"{sum(one.result in GOOD for one in results)} of {len(results) - absent}"
    return f"{kept} {what} kept" + (f", and {absent} absent, as declared" if absent else "")
