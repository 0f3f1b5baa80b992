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
CASES = "test_lif and not json and not large or test_clm and (step or claimers or by_id) or test_key and not differ"
"""Those about what is stored and who gets it; the rest takes most of the time, and no upgrade changes it."""


@pytest.mark.only_through("aiosqlite", "duckdb", "alchemy", "async")
def test_the_suite_keeps_its_guarantees_on_upgraded_tables(target: str, hosted: Hosted | None) -> None:
    through, _, server = target.partition("@")
    assert through in FOLDERS
    served = {} if hosted is None else {hosted._variable: json.dumps(hosted.place(os.environ))}
    name = f"upgraded:{through.replace('-', '_')}{'@' if server else ''}{server}"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--backend={name}", "-k", CASES],
        cwd=HERE.parents[1],
        env={**os.environ, **served, "PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parent)])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr
    assert "selected guarantees kept" in done.stdout
