"""Runs the bench: `python bench/run.py [--server postgresql] [options]`, or `nox -s bench -- ...`; `--help` lists them."""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path


def run() -> int:
    """The bench's exit code."""
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from bench import on_server, sqlite  # noqa: PLC0415  # the path is set only now

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--server", help="a server, or a kind of server: postgresql15, postgresql, valkey; SQLite unless given"
    )
    parser.add_argument("--adapter", action="append", help="an adapter of SQLSpec, or a client; may be repeated")
    parser.add_argument("--tasks", type=int, help="tasks per round, a multiple of 1,000")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--backlogs", type=int, nargs="*", help="sizes of backlogs for the claim; the first is the measure"
    )
    parser.add_argument("--only", choices=on_server.PARTS, action="append", help="of a server: these tables alone")
    parser.add_argument("--json", type=Path, help="write the figures there as well")
    args = parser.parse_args()
    return asyncio.run(sqlite.main(args) if args.server is None else on_server.main(args))


if __name__ == "__main__":
    sys.exit(run())
