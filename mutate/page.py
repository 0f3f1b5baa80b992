"""The page of the docs: what the mutants showed, from what is checked in."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from mutate.results import Key
from mutate.table import TABLE, name_of

__all__ = ("page",)

_INTRODUCTION = """\
# Mutants

After reading this page you know how much the tests notice. A mutant is the reference implementation with one small
mechanical change: `<` becomes `<=`, a condition of a `WHERE` is dropped, a call is left out. The tests run against it. If one
fails, the mutant is *killed*. If all pass, it *survived*, and either a test is missing or the change means nothing.

The backends' files are judged by the conformance suite alone, and the worker's files by the unit tests. A sample of the mutants
of each file is run: `nox -s mutants -- --file memory.py --sample 100 --seed 1` draws the same mutants again.
[Decision 28](../decisions/0028-mutants-of-our-own.md) says why the mutators are our own, and what they leave alone.

- **run**: a run that was interrupted has fewer than its sample, and from the beginning of the file on.
- **timed out**: the tests took too long, or hung. It counts as killed.
- **not found out**: no case failed, and a case of the suite could not find out what it is there for.
- **equivalent**: it survived, and no test can or should know it. The reasons stand below.
- **invalid**: the server refuses the text. It counts for nothing.
"""


def page(scores: Mapping[str, Mapping[str, Any]], known: Mapping[Key, str]) -> str:
    """The page, without the note that it is made."""
    lines = [
        _INTRODUCTION,
        "| file | mutants | run | killed | timed out | not found out | equivalent | survived |",
        "|---|---|---|---|---|---|---|---|",
        *(
            f"| `{name}` | {one['mutants']} | {one['run']} | {one['killed']} | {one['timed out']} | {one['not found out']} "
            f"| {one['equivalent']} | {len(one['survived'])} |"
            for name, one in scores.items()
        ),
        "",
        "| file | judged by | sample | seed | invalid |",
        "|---|---|---|---|---|",
        *(
            f"| `{name}` | {one['judge']} | {one['sample']} of {one['mutants']} | {one['seed']} | {one['invalid']} |"
            for name, one in scores.items()
        ),
    ]
    not_run = [name for name in map(name_of, TABLE) if name not in scores]
    if not_run:
        lines += ["", f"Not run yet: {', '.join(f'`{name}`' for name in not_run)}."]
    survived = [(name, one) for name, score in scores.items() for one in score["survived"]]
    if survived:
        lines += ["", "## Survived", "", "| file | where | line | change |", "|---|---|---|---|"]
        lines += [
            f"| `{name}` | {one['where']} | {_code(one['line'])} | {_code(one['mutation'])} |" for name, one in survived
        ]
    reasons: dict[str, list[tuple[Key, str]]] = defaultdict(list)
    for key, reason in known.items():
        reasons[reason].append((key, reason))
    if reasons:
        lines += [
            "",
            "## Equivalent",
            "",
            "| file | where | line | change | why no test knows it |",
            "|---|---|---|---|---|",
        ]
        for same in reasons.values():
            for (file, where, line, mutation, _), reason in same:
                lines.append(f"| `{name_of(file)}` | {where} | {_code(line)} | {_code(mutation)} | {reason} |")
    return "\n".join([*lines, ""])


def _code(text: str) -> str:
    """A text as code in a cell of a table."""
    escaped = text.replace("|", "\\|")
    return f"`` {escaped} ``" if "`" in escaped else f"`{escaped}`"
