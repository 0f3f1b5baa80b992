"""What `docs/how-to/install.md` and the README say of installing works, in environments that have nothing."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from page_lab import ROOT, blocks, commands

INSTALL = [line for block in blocks("docs/how-to/install.md", "console") for line in commands(block)]
[README] = [commands(block) for block in blocks("README.md", "console") if "'.[sqlspec]'" in block]
VENV, ACTIVATE, MAIN = README
UNREACHABLE = re.compile(
    r"NewConnectionError|Could not fetch URL|Temporary failure|No matching distribution|ReadTimeout"
)
SHOWS = "python -m pip show litestar-queues"


def bash(folder: Path, *lines: str) -> str:
    """Run the lines as a reader pastes them, and return what they print; skips where no index can be reached."""
    bare = {key: value for key, value in os.environ.items() if key not in ("VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME")}
    done = subprocess.run(
        ["bash", "-ec", "\n".join(lines)], cwd=folder, env=bare, capture_output=True, text=True, check=False
    )
    if done.returncode and UNREACHABLE.search(done.stderr):
        pytest.skip(f"no index of packages can be reached: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of what the packages are made from, in a path with a space."""
    folder = tmp_path / "a checkout"
    folder.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md"):
        shutil.copy(ROOT / name, folder)
    for name in ("src", "conformance", "docs", "tests"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    return folder


def test_the_readme_and_the_page_have_the_same_lines() -> None:
    assert [line for line in README if line not in INSTALL] == []


def test_from_a_checkout(checkout: Path) -> None:
    (checkout / "app.py").write_text(blocks("README.md", "python")[0])
    shown = bash(checkout, *README, "python -W error -c 'import app'", SHOWS)
    assert f"Version: {version()}" in shown


def test_from_wheels_on_a_machine_without_the_checkout(checkout: Path, tmp_path: Path) -> None:
    [build] = [line for line in INSTALL if "pip wheel" in line]
    with_extra, both = [line for line in INSTALL if re.search(r"pip install.*dist/", line)]
    bash(checkout, VENV, ACTIVATE, build)
    (tmp_path / "app.py").write_text(blocks("README.md", "python")[0])
    shutil.move(checkout / "dist", tmp_path / "dist")
    shutil.rmtree(checkout)
    shown = bash(tmp_path, VENV, ACTIVATE, with_extra, "python -W error -c 'import app'", SHOWS)
    assert f"Version: {version()}" in shown
    shown = bash(tmp_path, ACTIVATE, f"{both} pytest", SHOWS, "python -m pytest --help | grep -- --backend")
    assert f"Version: {version()}" in shown


def test_the_wrong_one_is_removed_as_the_page_says(tmp_path: Path) -> None:
    """With a package of that name in its place: what PyPI has is not ours to run."""
    other = tmp_path / "other"
    (other / "litestar_queues").mkdir(parents=True)
    (other / "litestar_queues" / "__init__.py").touch()
    (other / "pyproject.toml").write_text('[project]\nname = "litestar-queues"\nversion = "0.12.0"\n')
    [remove] = [line for line in INSTALL if "pip uninstall" in line]
    assert SHOWS in INSTALL
    shown = bash(tmp_path, VENV, ACTIVATE, "python -m pip install ./other", SHOWS, remove)
    assert "Version: 0.12.0" in shown
    assert "Successfully uninstalled litestar-queues-0.12.0" in shown


def version() -> str:
    """This project's, from its metadata."""
    found = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert found is not None
    return found[1]
