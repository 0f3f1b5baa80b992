"""The adapter of `docs/how-to/add-an-adapter.md`: registered from outside, by public names only, and held to cases."""

from __future__ import annotations

import ast
import importlib
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from page_lab import ROOT, blocks

ADAPTER, TARGET = blocks("docs/how-to/add-an-adapter.md", "python")
CASES = "LIF-05 or KEY-04 or CLM-07 or OWN-02 or HBT-01 or REC-02 or RET-01 or LCK-02 or SCM-01 or TXN-01"
"""One of each area, without cases that take minutes."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "made_up.py").write_text(f"{ADAPTER}\n{TARGET}")
    return tmp_path


def suite(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--backend=made_up:Target", *options]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_the_page_uses_public_names_only() -> None:
    taken = [node for node in ast.walk(ast.parse(ADAPTER + TARGET)) if isinstance(node, ast.ImportFrom)]
    ours = [node for node in taken if (node.module or "").startswith("litestar_queues")]
    private = [
        f"{node.module}.{alias.name}"
        for node in ours
        for alias in node.names
        if alias.name not in importlib.import_module(node.module or "").__all__ or "._" in f"{node.module}.{alias.name}"
    ]
    assert (len(ours), private) == (4, [])


def test_the_adapter_keeps_what_the_suite_asks_of_it(folder: Path) -> None:
    done = suite(folder, "-k", CASES)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"made up, on SQLite {sqlite3.sqlite_version}" in done.stdout


def test_without_its_row_the_adapter_is_taken_for_the_one_it_inherits_from(folder: Path) -> None:
    """What shows that the suite above ran on the row of the page."""
    (folder / "made_up.py").write_text(f"{ADAPTER.replace('SQLITE', 'POSTGRES')}\n{TARGET}")
    done = suite(folder, "-k", "LCK-01")
    assert done.returncode != 0
    assert "made-up database" in done.stdout + done.stderr


def test_the_page_names_every_family() -> None:
    page = (ROOT / "docs/how-to/add-an-adapter.md").read_text()
    sqlspec = importlib.import_module("litestar_queues.backends.sqlspec")
    families = [name for name in sqlspec.__all__ if isinstance(getattr(sqlspec, name), sqlspec.Family)]
    assert len(families) == 6
    assert [name for name in families if f"`{name}`" not in page] == []
