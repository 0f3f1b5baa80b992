"""What runs found out: a line for each mutant, the survivors that change nothing, and the summary that is checked in."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mutate.judge import Result, Verdict
from mutate.mutant import Mutant

__all__ = ("EQUIVALENT", "SUMMARY", "Book", "Key", "equivalents", "record", "summary")

SUMMARY = Path(__file__).with_name("results.json")
"""The scores, which the page in the docs shows."""
EQUIVALENT = Path(__file__).with_name("equivalent.json")
"""The survivors of which no test can or should know, each with the reason."""
Key = tuple[str, str, str, str, int]


@dataclass(frozen=True, slots=True)
class Book:
    """Results in a file of JSON lines, written one by one, so that an interrupted run goes on where it was."""

    path: Path

    def write(self, mutant: Mutant, source: str, result: Result) -> None:
        """Add a line."""
        file, where, line, mutation, nth = mutant.key
        entry = {
            "file": file, "where": where, "line": line, "mutation": mutation, "nth": nth, "number": mutant.number,
            "source": _digest(source), "verdict": result.verdict.value, "seconds": result.seconds, "by": result.by,
        }  # fmt: skip
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as book:
            book.write(json.dumps(entry, ensure_ascii=False) + "\n")

    def read(self, source: str) -> dict[Key, Verdict]:
        """The last verdict on each mutant of this very source. A line that was cut off is none."""
        found: dict[Key, Verdict] = {}
        if self.path.exists():
            for line in self.path.read_text(encoding="utf-8").splitlines():
                try:
                    entry = json.loads(line)
                except ValueError:
                    continue
                if entry["source"] == _digest(source):
                    found[_key(entry)] = Verdict(entry["verdict"])
        return found


def equivalents(path: Path = EQUIVALENT) -> dict[Key, str]:
    """The reasons by the mutants' keys."""
    return {_key(entry): entry["reason"] for entry in json.loads(path.read_text(encoding="utf-8"))}


def summary(
    judge: str,
    mutants: Sequence[Mutant],
    verdicts: Mapping[Key, Verdict],
    *,
    of: int,
    seed: int,
    known: Mapping[Key, str],
) -> dict[str, Any]:
    """The score of a file: a survivor that is known to change nothing is counted apart."""
    survivors = [one for one in mutants if verdicts.get(one.key) is Verdict.SURVIVED]
    counts = Counter(verdicts[one.key] for one in mutants if one.key in verdicts)
    unknown = [one for one in survivors if one.key not in known]
    return {
        "judge": judge,
        "mutants": of,
        "seed": seed,
        "sample": len(mutants),
        "run": counts.total(),
        "killed": counts[Verdict.KILLED],
        "timed out": counts[Verdict.TIMED_OUT],
        "not found out": counts[Verdict.NOT_FOUND_OUT],
        "invalid": counts[Verdict.INVALID],
        "equivalent": len(survivors) - len(unknown),
        "survived": [{"where": one.where, "line": one.line, "mutation": one.mutation} for one in unknown],
    }


def record(scores: Mapping[str, Mapping[str, Any]], path: Path = SUMMARY) -> None:
    """Put the scores of these files into the place of their earlier ones."""
    before: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    text = json.dumps(dict(sorted({**before, **scores}.items())), indent=1, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")


def _key(entry: Mapping[str, Any]) -> Key:
    return entry["file"], entry["where"], entry["line"], entry["mutation"], entry.get("nth", 1)


def _digest(source: str) -> str:
    return hashlib.sha256(source.encode()).hexdigest()[:16]
