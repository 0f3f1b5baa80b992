"""Runs the drill: `python drill/run.py [--on STORES] [--minutes N] [--seed S]`, or `nox -s drill -- ...`."""

from __future__ import annotations

import sys
from pathlib import Path


def run() -> int:
    """The drill's exit code."""
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from drill.main import main  # noqa: PLC0415  # the path is set only now

    return main()


if __name__ == "__main__":
    sys.exit(run())
