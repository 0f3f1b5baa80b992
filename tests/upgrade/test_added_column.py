"""What a new column of a task takes: a row of the table, a field of each struct, one of the mixin, and a value in the suite.

The column is added to a copy of the sources, as CONTRIBUTING says, and the suite runs on the copy.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from waiting import DEADLINE

import litestar_queues
import litestar_queues_conformance

EDITS = {
    "litestar_queues/columns.py": [
        (
            '    Column(name="history"',
            '    Column(name="tags", kind="text", nullable=True, enqueued=True, since=4),\n    Column(name="history"',
        ),
        ("VERSION = 3", "VERSION = 4"),
    ],
    "litestar_queues/records.py": [
        (
            "    max_recoveries: int = RECOVERIES\n\n",
            "    max_recoveries: int = RECOVERIES\n    tags: str | None = None\n\n",
        ),
        ("    history: str | None = None\n", "    history: str | None = None\n    tags: str | None = None\n"),
    ],
    "litestar_queues/backends/advanced_alchemy/model.py": [
        (
            "    history: Mapped[str | None]",
            "    tags: Mapped[str | None] = mapped_column(text())\n    history: Mapped[str | None]",
        ),
    ],
    "litestar_queues_conformance/fields.py": [
        (
            '    "history": Field(',
            '    "tags": Field(value="red, blue", other="green", longest=1000),\n    "history": Field(',
        ),
        ('"stale_after", "history"}', '"stale_after", "history", "tags"}'),
    ],
}
"""The files that a column is added to, and what stands there before and after."""

FORGETS = (
    "litestar_queues/backends/sql/lists.py",
    "return (column.enqueued or column.initial is not None)",
    'return column.name != "tags" and (column.enqueued or column.initial is not None)',
)
"""A backend that does not store the column."""


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sources with one column more."""
    folder = tmp_path_factory.mktemp("column")
    for package in (litestar_queues, litestar_queues_conformance):
        [path] = package.__path__
        shutil.copytree(path, folder / package.__name__, ignore=shutil.ignore_patterns("__pycache__"))
    for name, edits in EDITS.items():
        for edit in edits:
            edited(folder / name, *edit)
    return folder


def edited(path: Path, before: str, after: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count(before) == 1, f"{path.name}: {before!r}"
    path.write_text(text.replace(before, after), encoding="utf-8")


def suite(copy: Path, backend: str) -> subprocess.CompletedProcess[str]:
    cases = copy / "litestar_queues_conformance" / "cases"
    options = (f"--backend={backend}", "-q", "-p", "no:cacheprovider", f"--rootdir={copy}")
    environment = {**os.environ, "PYTHONPATH": str(copy), "LITESTAR_QUEUES_EXAMPLES": "5"}
    return subprocess.run(  # the sources come before the installed ones
        [sys.executable, "-m", "pytest", str(cases), *options, "-k", "LIF-01"],
        cwd=copy,
        env=environment,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )


@pytest.mark.parametrize("backend", ["memory", "aiosqlite", "duckdb", "alchemy-aiosqlite"])
def test_every_backend_stores_a_column_that_was_added(copy: Path, backend: str) -> None:
    ended = suite(copy, backend)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "\nLIF-01  kept" in ended.stdout, ended.stdout


def test_the_suite_notices_a_backend_that_does_not_store_it(copy: Path, tmp_path: Path) -> None:
    forgetful = tmp_path / "forgetful"
    shutil.copytree(copy, forgetful)
    name, before, after = FORGETS
    edited(forgetful / name, before, after)
    ended = suite(forgetful, "aiosqlite")
    assert ended.returncode == 1, ended.stdout + ended.stderr
    assert "\nLIF-01  broken" in ended.stdout, ended.stdout
    assert "tags" in ended.stdout
