"""What the suite requires of tasks, claims and keys holds on tables that were the first version's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from golden import FOLDERS

from litestar_queues_matrix.hosted import Hosted

HERE = Path(__file__).parent
GUARANTEES = {
    "LIF": (1, 2, 3, 4, 5, 8, 11, 17, 18, 19, 20),
    "CLM": (1, 2, 9, 10),
    "KEY": (1, 2, 3, 4, 5, 6, 8, 9, 10, 11),
}
"""Those about what is stored and who gets it; the rest takes most of the time, and no upgrade changes it."""


@pytest.mark.only_through("aiosqlite", "duckdb", "alchemy", "async")
def test_the_suite_keeps_its_guarantees_on_upgraded_tables(target: str, hosted: Hosted | None) -> None:
    through, _, server = target.partition("@")
    assert through in FOLDERS
    served = {} if hosted is None else {hosted._variable: json.dumps(hosted.place(os.environ))}
    name = f"upgraded:{through.replace('-', '_')}{'@' if server else ''}{server}"
    ids = [f"{area}-{number:02}" for area, numbers in GUARANTEES.items() for number in numbers]
    options = (f"--backend={name}", "--queue-time=once", "-k", " or ".join(ids))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options],
        cwd=HERE.parents[1],
        env={**os.environ, **served, "PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parent)])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr
    ran = [each for each in ids if f"\n{each}  incomplete" in done.stdout]  # each case ran, by one of the two times
    assert ran == ids, done.stdout
