"""What the demo's user sees: short sections, one bar, one table, a verdict. Plain lines where there is no terminal."""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

__all__ = ("Show", "described")

_IDS = 5
_PLAIN_WIDTH = 120
_LOOK, _SAY = 0.2, 2.0
"""Seconds between two looks at the store, and between two lines where there is no terminal."""
_STATES = ("running", "pending", "scheduled")
_STYLE = {
    "kept": "green",
    "absent": "green",
    "incomplete": "green",
    "broken": "bold red",
    "not found out": "magenta",
    "not run": "yellow",
}
_VERDICTS = {"PASSED": "green", "NOT FOUND OUT": "magenta", "FAILED": "red"}


def described(ids: Sequence[str]) -> str:
    """The first few ids, and how many more there are."""
    more = f" and {len(ids) - _IDS} more" if len(ids) > _IDS else ""
    return "\n".join(ids[:_IDS]) + more


class Show:
    """Writes to the terminal, or to whatever stdout is."""

    def __init__(self) -> None:
        plain = not sys.stdout.isatty()
        self.console = Console(highlight=False, soft_wrap=True, width=_PLAIN_WIDTH if plain else None)
        self.started = time.monotonic()
        self._sections = 0

    @property
    def seconds(self) -> float:
        """How long the demo has run."""
        return time.monotonic() - self.started

    def section(self, title: str) -> None:
        self._sections += 1
        self.console.print(f"\n[bold]{self._sections}. {escape(title)}[/]")

    def say(self, text: str) -> None:
        """A paragraph of the section."""
        for line in text.splitlines():
            self.console.print(f"   {escape(line)}")

    def verdict(self, word: str, text: str) -> None:
        self.console.print(f"\n[bold {_VERDICTS[word]}]{word}[/]  {escape(text)}")

    @asynccontextmanager
    async def progress(self, total: int, states: Callable[[], Counter[str]]) -> AsyncGenerator[None]:
        """Show how many tasks have ended, out of `total`, for as long as the block runs."""
        bar = Progress(
            TextColumn("  "),
            SpinnerColumn(),
            TextColumn("{task.completed:,.0f} of {task.total:,.0f} ended"),
            BarColumn(),
            TextColumn("{task.description}"),
            TimeElapsedColumn(),
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,
        )
        shown = bar.add_task("", total=total)

        async def follow() -> None:
            said_at = time.monotonic()
            while True:
                counts = await asyncio.to_thread(states)
                waiting = ", ".join(f"{counts[state]} {state}" for state in _STATES)
                ended = counts.total() - sum(counts[state] for state in _STATES)
                bar.update(shown, completed=ended, description=waiting)
                if not self.console.is_terminal and time.monotonic() - said_at >= _SAY:
                    said_at = time.monotonic()
                    self.console.print(f"   ... {ended:,} of {total:,} ended; {waiting}")
                await asyncio.sleep(_LOOK)

        with bar:
            following = asyncio.ensure_future(follow())
            try:
                yield
            finally:
                following.cancel()
                await asyncio.wait({following})
        if following.done() and not following.cancelled() and (error := following.exception()):
            raise error

    @asynccontextmanager
    async def waiting(self, what: str, how_far: Callable[[], str]) -> AsyncGenerator[None]:
        """Show that something takes a while, and how far it is, for as long as the block runs."""
        if not self.console.is_terminal:
            self.say(f"... {what}")
            yield
            return
        with self.console.status(escape(what)) as status:

            async def follow() -> None:
                while True:
                    status.update(escape(f"{what} {how_far()}"))
                    await asyncio.sleep(_LOOK)

            following = asyncio.ensure_future(follow())
            try:
                yield
            finally:
                following.cancel()

    def guarantees(self, report: Mapping[str, Any]) -> None:
        """The table of guarantees, from the suite's report."""
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
        table.add_column("   guarantee")
        table.add_column("result")
        table.add_column("cases", justify="right")
        table.add_column(
            "what must hold", no_wrap=True, overflow="ellipsis", max_width=max(self.console.width - 36, 40)
        )
        for id_, one in report["guarantees"].items():
            said = "held" if one["result"] == "incomplete" else one["result"]  # each of its cases, once
            result = f"[{_STYLE[one['result']]}]{said}[/]"
            table.add_row(f"   {id_}", result, str(len(one["cases"])), escape(one["must"]))
        self.console.print(table, soft_wrap=False)
