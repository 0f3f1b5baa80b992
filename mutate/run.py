"""Runs the mutants: `python mutate/run.py [--file F] [--sample N] [--seed S]`, or `nox -s mutants -- ...`."""

from __future__ import annotations

import sys
from pathlib import Path


def run() -> int:
    """The exit code of the run."""
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from mutate.main import main  # noqa: PLC0415  # the path is set only now

    return main()


if __name__ == "__main__":
    sys.exit(run())
