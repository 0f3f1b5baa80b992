"""The conformance suite on every backend and every server that can be had: `python -m litestar_queues_matrix`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path

from litestar_queues_conformance.auto import TargetRun, exit_code, report_path, run_targets, summary
from litestar_queues_conformance.target import UnknownTarget, known_targets, load_target
from litestar_queues_matrix.hosted import Hosted

__all__ = ("main", "pairs", "selected")


def pairs() -> list[str]:
    """Every backend on every server that it runs on: `asyncpg@postgresql18`; one that needs no server stands alone."""
    found: list[str] = []
    for name in known_targets():
        try:
            target = load_target(name)
        except UnknownTarget:
            found.append(name)  # the run will say why
            continue
        servers = target.rows if isinstance(target, Hosted) else ()
        found += [f"{name}@{row.name}" for row in servers] or [name]
    return found


def selected(patterns: Sequence[str]) -> list[str]:
    """The pairs that one of the patterns names: whole (`asyncpg@postgresql15`), by a backend, or with `*`.

    Raises:
        UnknownTarget: A pattern names none; lists the pairs.
    """
    known = pairs()
    found: list[str] = []
    for pattern in patterns:
        matching = [name for name in known if fnmatchcase(name, pattern) or name.partition("@")[0] == pattern]
        if not matching:
            raise UnknownTarget(f"{pattern!r} names nothing of: {', '.join(known)}")
        found += [name for name in matching if name not in found]
    return found or known


def main(arguments: Sequence[str] | None = None) -> int:
    """Run them one after another; print and write what became of each. 1 if one failed, or was named and not run."""
    parser = argparse.ArgumentParser(prog="python -m litestar_queues_matrix", description=__doc__)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="asyncpg@postgresql15, asyncpg, *@mysql9; default: all"
    )
    parser.add_argument("--out", type=Path, default=Path("build/matrix"), help="folder of the reports (%(default)s)")
    parser.add_argument("--list", action="store_true", help="print the names and run nothing")
    given = list(sys.argv[1:] if arguments is None else arguments)
    split = given.index("--") if "--" in given else len(given)
    options = parser.parse_args(given[:split])
    try:
        names = selected(options.names)
    except UnknownTarget as error:
        parser.error(str(error))
    if options.list:
        sys.stdout.write("\n".join(names) + "\n")
        return 0
    out: Path = options.out
    out.mkdir(parents=True, exist_ok=True)
    runs = run_targets(names, given[split + 1 :], report=partial(report_path, out / "report.json"), cwd=Path.cwd())
    write(out, runs)
    sys.stdout.write(f"\n{summary(runs)}")
    return exit_code(runs) or int(any(_missing(name, runs) for name in options.names))


def _missing(name: str, runs: Sequence[TargetRun]) -> bool:
    """Whether somebody asked for just this, and nothing of it was run."""
    of_it = [run for run in runs if name in (run.target, run.target.partition("@")[0])]
    return bool(of_it) and all(run.outcome == "not run" for run in of_it)


def write(out: Path, runs: Sequence[TargetRun]) -> None:
    """Write `matrix.md` and `matrix.json` into the folder."""
    (out / "matrix.md").write_text(summary(runs), encoding="utf-8")
    document = {"format": 1, "runs": [run.document() for run in runs]}
    (out / "matrix.json").write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
