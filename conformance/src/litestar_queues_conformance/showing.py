"""What a failing case prints: where it failed and what differs, on one screen.

Only pytest's own default (`--tb=auto`) is replaced. Any other `--tb` prints what pytest prints.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any, cast

import pytest

from litestar_queues_conformance.compare import shortened

__all__ = ("ShortFailures",)

_LINE, _LINES = 1800, 80
"""The most characters of a line of an error's text, and the most lines. A history of the state machine fits in."""
_FIRST, _LAST = 4, 8
"""The most entries of a traceback from its beginning, and from its end."""
_CAPTURED = 20
"""The most lines of what a case printed or logged; the last ones."""


class ShortFailures:
    """A plugin that shortens the failures of cases."""

    def __init__(self, config: pytest.Config) -> None:
        # With `-p no:terminal`, nobody prints a failure, and pytest lacks both options.
        self._wanted = config.getoption("tbstyle", None) == "auto" and not config.getoption("showlocals", None)

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Describe the failure anew, from the case on."""
        report = yield
        excinfo = call.excinfo
        if not self._wanted or not report.failed or excinfo is None or item.get_closest_marker("guarantee") is None:
            return report

        def entries(info: pytest.ExceptionInfo[BaseException]) -> Any:
            return _essential(info, item)

        longrepr = excinfo.getrepr(style="short", tbfilter=entries)
        for part in getattr(longrepr, "chain", ()):
            _shorten(part)
        report.longrepr = longrepr
        report.sections = [(name, _last_lines(text)) for name, text in report.sections]
        return report


def _essential(info: pytest.ExceptionInfo[BaseException], item: pytest.Item) -> Any:
    """The traceback from the case on, without entries that hide themselves and without the middle of a long one."""
    found = info.traceback.cut(path=item.path).filter(info)
    if len(found) <= _FIRST + _LAST:
        return found or info.traceback[-1:]
    return type(found)([*found[:_FIRST], *found[-_LAST:]])


def _shorten(part: Sequence[Any]) -> None:
    """Shorten one of the exceptions of a chain: its traceback, its message, and what joins it to the next."""
    traceback, crash, _ = part
    for entry in cast("list[Any]", traceback.reprentries):
        entry.lines[:] = _shortened(entry.lines)
    if crash is not None:
        crash.message = "\n".join(_shortened(crash.message.splitlines()))


def _shortened(lines: Sequence[str]) -> list[str]:
    kept = [shortened(line, _LINE) for line in lines[:_LINES]]
    return kept if len(lines) <= _LINES else [*kept, f"E   ... and {len(lines) - _LINES} more lines"]


def _last_lines(text: str) -> str:
    lines = [f"{shortened(line, _LINE)}\n" for line in text.splitlines()]
    before = [f"... {len(lines) - _CAPTURED} lines before\n"] if len(lines) > _CAPTURED else []
    return "".join([*before, *lines[-_CAPTURED:]])
