"""Runs the drill: `python drill/run.py [--on STORES] [--minutes N] [--seed S]`, or `nox -s drill -- ...`.

With `--dispatch` as the first argument, runs the one for tasks that run elsewhere: `--dispatch --help` lists its options.
With `--schedules`, runs the one for schedules, whose leaders are lost.
"""

from __future__ import annotations

import sys
from pathlib import Path


def run() -> int:
    """The drill's exit code."""
    sys.path.insert(0, str(Path(__file__).parents[1]))
    if sys.argv[1:2] == ["--dispatch"]:
        from drill.dispatch.main import main as dispatch  # noqa: PLC0415  # the path is set only now

        return dispatch(sys.argv[2:])
    if sys.argv[1:2] == ["--schedules"]:
        from drill.schedules.main import main as schedules  # noqa: PLC0415

        return schedules(sys.argv[2:])
    from drill.main import main  # noqa: PLC0415

    return main()


if __name__ == "__main__":
    sys.exit(run())
