"""The page of guarantees, made from the registry and the cases: `python -m litestar_queues_conformance.docs`.

Prints it; with a path, writes it there; with `--check` and a path, fails where what stands there is stale.
"""

from __future__ import annotations

import argparse
import ast
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

from litestar_queues_conformance.capabilities import Capabilities
from litestar_queues_conformance.cases import CASES
from litestar_queues_conformance.examples import EXAMPLES
from litestar_queues_conformance.guarantees import AREAS, GUARANTEES, Profile

__all__ = ("cases_of", "guarantees_page", "main")

INTRODUCTION = """\
# What a queue backend promises

Each promise has an id, which is never given to another, one sentence, and one example. The conformance suite finds out
whether a backend keeps it; below each promise stand the cases that check it. `pytest --backend=NAME` runs them all, and
`pytest --backend=NAME -k KEY-01` those of one promise. The [glossary](glossary.md) explains the words.

A time in an example is the store's, of one day in UTC, unless the example says otherwise. "The answer" is what the method returns.

The suite knows a backend only through the port of `litestar_queues.backends.base`: whoever implements the port is
bound by this page, and can be judged by it.
"""

PROFILES = {
    Profile.CORE: "Every backend keeps them.",
    Profile.BULK: "Every backend keeps them; where a target declares no columns, ARW checks that there are none.",
    Profile.TRANSACTIONAL: "Where a target declares no transactions, each case checks that sessions are refused.",
    Profile.NOTIFICATIONS: "Where a target declares no notifications, each case checks that there are none.",
    Profile.DISPATCH: "Where a target declares no dispatch, each case checks that a reservation is refused by its error.",
    Profile.SCHEDULING: (
        "Every backend keeps them: the cases run the library's own scheduler over the port. Each is checked with times that "
        "are given and, where no time has to pass, with the store's own."
    ),
    Profile.FAULTS: (
        "Every backend keeps them. A target offers ways to provoke the faults; where it offers none, the report says that the "
        "guarantee was not run, and why."
    ),
    Profile.SCALE: (
        "`--queue-scale` measures them. CST-01 is a figure and no verdict: a run reports `scales` or `grows with the backlog`."
    ),
}


def cases_of() -> dict[str, list[str]]:
    """The names of the cases of each guarantee, in the order of the files; read from the sources, without running them."""
    found: dict[str, list[str]] = {id_: [] for id_ in GUARANTEES}
    for path in CASES.values():
        for function in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                for id_ in _marked(function):
                    found[id_].append(function.name)
    return found


def _marked(function: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[str]:
    for decorator in function.decorator_list:
        if (
            isinstance(decorator, ast.Call)
            and isinstance(decorator.func, ast.Name)
            and decorator.func.id == "guarantee"
        ):
            yield from (
                one.value for one in decorator.args if isinstance(one, ast.Constant) and isinstance(one.value, str)
            )


def guarantees_page() -> str:
    """The page, in Markdown."""
    cases = cases_of()
    lines = [INTRODUCTION]
    for profile in Profile:
        of = [one for one in GUARANTEES.values() if one.profile is profile]
        lines += [f"## The {profile} profile", "", f"{len(of)} guarantees. {PROFILES[profile]}", ""]
        for area, title in AREAS.items():
            if not any(one.area == area for one in of):
                continue
            lines += [f"### {title}", ""]
            for one in of:
                if one.area == area:
                    checked = "; ".join(_words(name) for name in cases[one.id]) or "none yet"
                    lines += [f"- **{one.id}** {one.must}", f"    - {EXAMPLES[one.id]}", f"    - Cases: {checked}."]
            lines.append("")
    lines += [
        "## Capabilities",
        "",
        "Beyond the core a target answers, for its backend, yes or no to each of these.",
        "",
    ]
    lines += ["| capability | what it says |", "|---|---|"]
    lines += [f"| `{field.name}` | {field.metadata['says']} |" for field in fields(Capabilities)]
    return "\n".join(lines) + "\n"


def _words(name: str) -> str:
    return name.removeprefix("test_").replace("_", " ")


def main(arguments: list[str] | None = None) -> int:
    """Print, write or compare the page; 1 where it is stale."""
    parser = argparse.ArgumentParser(
        prog="python -m litestar_queues_conformance.docs", description=guarantees_page.__doc__
    )
    parser.add_argument("path", nargs="?", type=Path, help="where the page stands; without it the page is printed")
    parser.add_argument("--check", action="store_true", help="write nothing, and fail where the page is stale")
    given = parser.parse_args(arguments)
    if given.path is None:
        if given.check:
            parser.error("--check needs the path of the page")
        sys.stdout.write(guarantees_page())
    elif not given.check:
        given.path.write_text(guarantees_page(), encoding="utf-8")
    elif not given.path.exists() or given.path.read_text(encoding="utf-8") != guarantees_page():
        sys.stderr.write(f"{given.path} is stale: write it anew with the same command, without --check\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
