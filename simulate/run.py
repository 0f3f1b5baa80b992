"""Runs the simulation: `python simulate/run.py [--seeds N] [--from S] [--jobs J]`, or `nox -s simulate -- ...`."""

from __future__ import annotations

import sys
from pathlib import Path


def run() -> int:
    """The simulation's exit code."""
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from simulate.main import main  # noqa: PLC0415  # the path is set only now

    return main()


if __name__ == "__main__":
    sys.exit(run())
