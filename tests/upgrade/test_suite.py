"""What the suite requires of tasks, claims and keys holds on tables that were the first version's."""

from __future__ import annotations

import json
import os
import re
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
ONCE = ("LIF-19",)
"""Those of them whose cases run with given times alone."""


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
    # Each case ran by one of the two times, and the guarantee is kept where there is no other time to run it by.
    results = {id_: re.search(rf"^{id_}  (\w+)", done.stdout, re.MULTILINE) for id_ in ids}
    assert {id_: found and found[1] for id_, found in results.items()} == {
        id_: "kept" if id_ in ONCE else "incomplete" for id_ in ids
    }, done.stdout
