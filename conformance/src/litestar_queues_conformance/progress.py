"""Signs of life: what a run says while it runs, on a terminal, in a file, and from a worker of pytest-xdist."""

from __future__ import annotations

import sys
import time
from contextlib import nullcontext
from typing import Any

import pytest

__all__ = ("Progress", "say")

FIRST, PAUSE = 5.0, 15.0
"""Seconds before the first sign of life, and between two of them."""
_WIDTH = 300


def say(config: pytest.Config, text: str, **markup: bool) -> None:
    """Write a line at once, also in the middle of a test."""
    capture: Any = config.pluginmanager.get_plugin("capturemanager")
    terminal: pytest.TerminalReporter | None = config.pluginmanager.get_plugin("terminalreporter")
    with nullcontext() if capture is None else capture.global_and_fixture_disabled():
        if terminal is None or hasattr(config, "workerinput"):
            # What a worker of xdist writes to stderr goes where the run's own stderr goes.
            sys.stderr.write(f"{text}\n")
            sys.stderr.flush()
            return
        terminal.ensure_newline()
        if config.get_terminal_writer().width_of_current_line:  # the letters that xdist's controller writes
            terminal.line("")
        terminal.write_line(text, **markup)
        terminal.flush()


class Progress:
    """How far something is that takes minutes, in a line from time to time.

    Args:
        config: Of the run.
        what: What it is: `LIF-13`.
        of: What is counted: `histories`.
        total: How many there are.
    """

    def __init__(self, config: pytest.Config, what: str, of: str, total: int) -> None:
        self._config, self._what, self._of, self._total = config, what, of, total
        self._began = time.monotonic()
        self._next = self._began + FIRST

    def at(self, done: int, remark: str = "", *, seldom: bool = False) -> None:
        """So many are done. A remark takes the place of the count, and is written at once unless it is to be seldom."""
        now = time.monotonic()
        if now < self._next and (seldom or not remark):
            return
        self._next = now + PAUSE
        took = now - self._began
        more = f", about {took / done * (self._total - done):.0f} s to go" if 0 < done < self._total else ""
        of = f" of {self._total}" if done <= self._total else ""  # Hypothesis draws some again
        text = remark or f"{done}{of} {self._of} in {took:.0f} s{more}"
        say(self._config, f"... {self._what}: {text.splitlines()[0][:_WIDTH]}")
