"""Keeps the report on disk up to date while the suite runs, so that there is one however the run ends."""

from __future__ import annotations

import signal
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from litestar_queues_conformance.outcomes import COMPLETE
from litestar_queues_conformance.report import Report

__all__ = ("Keeper", "Terminated", "exit_on_sigterm", "how_it_ended")

_PAUSE = 2.0
"""Seconds between two versions of the report: writing it takes a few milliseconds."""


class Terminated(KeyboardInterrupt):
    """The run was told to end. No `Exception`, so that no case takes it for an error of the backend's."""


class Keeper:
    """Writes a run's report: before its first case, from time to time, and at its end.

    Args:
        report: What is written.
        path: Where.

    Raises:
        pytest.UsageError: It cannot be written there.
    """

    def __init__(self, report: Report, path: Path) -> None:
        self._report, self._path = report, path
        try:
            if path.is_dir():
                raise IsADirectoryError(f"{path} is a folder")
            report.write(path)
        except OSError as error:
            raise pytest.UsageError(f"--report-json={path}: the report cannot be written there: {error}") from None
        self._repeats = path.is_file()
        self._written_at = time.monotonic()

    def update(self) -> None:
        """Write what is known now, unless that was done a moment ago. A failure shows at the end, if it lasts."""
        if self._repeats and time.monotonic() - self._written_at >= _PAUSE:
            self._written_at = time.monotonic()
            try:
                self._report.write(self._path)
            except OSError:
                return

    def finish(self) -> str | None:
        """Write the report for the last time; why that failed, or None."""
        try:
            self._report.write(self._path)
        except OSError as error:
            return f"--report-json={self._path}: the report could not be written: {error}"
        return None


def how_it_ended(session: pytest.Session, exitstatus: int) -> tuple[str, str | None]:
    """How a run ended, in a word for the report, and why, where it did not come to its end."""
    stopped = session.shouldfail or session.shouldstop
    match exitstatus:
        case pytest.ExitCode.INTERRUPTED:
            return ("stopped" if stopped else "interrupted"), str(stopped) if stopped else None
        case pytest.ExitCode.INTERNAL_ERROR:
            return "error", "an internal error of pytest"
        case pytest.ExitCode.USAGE_ERROR:
            return "error", "pytest was given something that it cannot do"
        case pytest.ExitCode.NO_TESTS_COLLECTED:
            return "error", "no case was selected"
        case _:
            return ("stopped", str(stopped)) if stopped else (COMPLETE, None)


def exit_on_sigterm() -> Any:
    """End the run in order at SIGTERM, as at Ctrl-C; gives what to hand to `signal.signal` afterwards.

    A second SIGTERM ends the process at once.
    """
    if threading.current_thread() is not threading.main_thread():
        return None

    def terminate(_signal: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        raise Terminated("SIGTERM")

    return signal.signal(signal.SIGTERM, terminate)
