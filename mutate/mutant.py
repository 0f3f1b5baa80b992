"""A mutant: a source text with one small change, and the name under which it is found again."""

from __future__ import annotations

import difflib
import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

__all__ = ("Edit", "Mutant", "made", "sampled")

_SHOWN = 70
"""The most characters of a change that are shown."""


@dataclass(frozen=True, slots=True)
class Edit:
    """A change of a text: the characters from `start` to `end` become `new`."""

    start: int
    end: int
    new: str
    operator: str
    """The kind of change."""
    where: str
    """The function, statement or script that the change is in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """A source text with one change.

    No line number identifies it: it is the same mutant after an edit elsewhere in the file.

    Attributes:
        file: The path of the source, from the root of the checkout.
        where: The function, statement or script that the change is in.
        line: The first line that changes, stripped.
        mutation: The kind of change, and the change.
        nth: Which one it is of those that are alike in all of these.
        number: The number of the line, for readers.
        text: The whole changed source.
    """

    file: str
    where: str
    line: str
    mutation: str
    nth: int
    number: int = field(compare=False)
    text: str = field(compare=False, repr=False)

    @property
    def key(self) -> tuple[str, str, str, str, int]:
        """What identifies it."""
        return self.file, self.where, self.line, self.mutation, self.nth

    def diff(self, source: str) -> str:
        """The change as a unified diff."""
        return "".join(
            difflib.unified_diff(
                source.splitlines(keepends=True), self.text.splitlines(keepends=True), self.file, "mutant", n=2
            )
        )


def made(file: str, source: str, edits: Iterable[Edit]) -> list[Mutant]:
    """The mutants, in the order of the source; of several edits with one result, the first counts."""
    seen = {source}
    alike: Counter[tuple[str, str, str]] = Counter()
    found: list[Mutant] = []
    for edit in sorted(edits, key=lambda one: (one.start, one.end, one.new)):
        text = source[: edit.start] + edit.new + source[edit.end :]
        if text in seen:
            continue
        seen.add(text)
        first = source.rfind("\n", 0, edit.start) + 1
        line = source[first : source.find("\n", first)].strip()
        mutation = f"{edit.operator}: {_short(source[edit.start : edit.end])} -> {_short(edit.new)}"
        alike[edit.where, line, mutation] += 1
        found.append(
            Mutant(
                file=file,
                where=edit.where,
                line=line,
                mutation=mutation,
                nth=alike[edit.where, line, mutation],
                number=source.count("\n", 0, edit.start) + 1,
                text=text,
            )
        )
    return found


def sampled(mutants: Sequence[Mutant], size: int, *, seed: int) -> list[Mutant]:
    """So many of them, drawn by the seed; all of them where there are fewer. The order stays."""
    if size >= len(mutants):
        return list(mutants)
    drawn = random.Random(f"{seed}:{mutants[0].file}").sample(range(len(mutants)), size)
    return [mutants[place] for place in sorted(drawn)]


def _short(text: str) -> str:
    words = " ".join(text.split()) or "nothing"
    return words if len(words) <= _SHOWN else f"{words[: _SHOWN - 3]}..."
