"""What each statement leaves in memory, counted in a process of its own: what other tests left is none of its business."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from waiting import DEADLINE

TESTS = Path(__file__).parents[1]


def test_no_statement_leaves_anything_in_memory() -> None:
    checks = TESTS / "statements_leave_nothing.py"
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", str(checks)],
        check=False, cwd=TESTS.parent, capture_output=True, text=True, timeout=DEADLINE,
    )  # fmt: skip
    assert ended.returncode == 0, f"{ended.returncode}: {ended.stdout[-4000:]}{ended.stderr[-2000:]}"
    assert " passed" in ended.stdout
