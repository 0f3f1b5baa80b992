"""Runs the demo: `python demo/run.py [--tasks N] [--out DIR] [--skip-conformance]`, or `nox -s demo`."""

from __future__ import annotations

import sys
from pathlib import Path


def run() -> int:
    """The demo's exit code; 2 where a package is missing."""
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from demo.needs import PACKAGES, told_what_is_missing  # noqa: PLC0415  # the path is set only now

    if (missing := told_what_is_missing(*PACKAGES)) is not None:
        sys.stderr.write(missing)
        return 2
    from demo.main import main  # noqa: PLC0415  # it imports those packages

    return main()


if __name__ == "__main__":
    sys.exit(run())
