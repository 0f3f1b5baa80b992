"""The built wheels in an empty environment: no checkout on the path, no driver, and a backend of somebody else.

Needs a package index for hatchling, pytest and Litestar, and a Python that makes virtual environments. Where one of them
is missing, the tests are reported as not run.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CASES = "KEY-01 or LCK-01 or CLM-02"
"""Few, and one of them starts other processes."""
FOREIGN = '''
"""A backend in memory, and its target, in one file of the working directory."""

import uuid

from litestar_queues.backends.memory import MemoryBackend
from litestar_queues_conformance import Capabilities, NobodyWaits


class Target(NobodyWaits):
    distribution = "mine"
    capabilities = Capabilities(
        multi_process=False, durable=False, server_clock=False, notifications=False, transactional=False, columns=False,
        dispatch=True,
    )

    def __init__(self):
        self.stores = {}

    def config(self, env):
        return {"store": uuid.uuid4().hex}

    async def open(self, config):
        return self.stores.setdefault(config["store"], MemoryBackend())

    async def reset(self, config):
        self.stores.pop(config["store"], None)

    async def server_version(self, config):
        return "mine 1"


target = Target()
'''


class Environment:
    """A virtual environment, and what runs in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        made = subprocess.run([sys.executable, "-m", "venv", str(folder)], check=False, capture_output=True, text=True)
        if made.returncode:
            said = (made.stderr + made.stdout).strip().splitlines()
            pytest.skip(f"not run, because this Python makes no virtual environments: {said[0] if said else made.args}")

    def run(
        self, program: str, *arguments: str, cwd: Path, env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        variables = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PYTEST"))}
        return subprocess.run(
            [str(self.folder / "bin" / program), *arguments],
            cwd=cwd,
            env={**variables, **(env or {})},
            capture_output=True,
            text=True,
            check=False,
        )

    def pip(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.run("python", "-m", "pip", "--disable-pip-version-check", "-q", *arguments, cwd=self.folder)


def succeeded(result: subprocess.CompletedProcess[str]) -> str:
    assert result.returncode == 0, f"{result.args}\n{result.stdout}{result.stderr}"
    return result.stdout


def build(folder: Path, projects: Sequence[Path]) -> list[str]:
    """The wheels of these projects."""
    builder = Environment(folder / "builder")
    found = builder.pip(
        "install", "-c", str(ROOT / "constraints.txt"), "hatchling>=1.27", "hatch-fancy-pypi-readme>=24"
    )
    if found.returncode:
        pytest.skip(f"not run, because no package index can be reached: {found.stderr.strip().splitlines()[-1]}")
    for project in projects:
        succeeded(builder.pip("wheel", "--no-deps", "--no-build-isolation", "-w", str(folder / "wheels"), str(project)))
    return sorted(map(str, (folder / "wheels").glob("*.whl")))


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """An environment that holds our wheels and what they require."""
    folder = tmp_path_factory.mktemp("wheels")
    wheels = build(folder, [ROOT, ROOT / "conformance", ROOT / "examples" / "backend"])
    assert len(wheels) == 3
    environment = Environment(folder / "empty")
    succeeded(environment.pip("install", "-c", str(ROOT / "constraints.txt"), *wheels))
    return environment


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "mine.py").write_text(FOREIGN)
    (tmp_path / "test_mine.py").write_text("def test_mine():\n    pass\n")
    return tmp_path


def test_nothing_comes_from_the_checkout_and_no_driver_is_there(empty: Environment, project: Path) -> None:
    code = (
        "import importlib.util as u, litestar_queues, litestar_queues_conformance, queue_in_files; "
        "print(litestar_queues.__file__, litestar_queues_conformance.__file__, queue_in_files.__file__); "
        "print(*(n for n in ('sqlspec', 'sqlalchemy', 'advanced_alchemy', 'aiosqlite', 'redis') if u.find_spec(n)))"
    )
    files, drivers = succeeded(empty.run("python", "-c", code, cwd=project)).splitlines()
    assert all(file.startswith(str(empty.folder)) for file in files.split())
    assert drivers == ""


@pytest.mark.parametrize("backend", ["files", "mine:target", "mine:Target"])
def test_the_suite_runs_on_a_backend_that_is_not_ours(empty: Environment, project: Path, backend: str) -> None:
    output = succeeded(
        empty.run("pytest", "--pyargs", "litestar_queues_conformance", f"--backend={backend}", "-k", CASES, cwd=project)
    )
    assert f"conformance: backend {backend}, --seed=" in output
    assert " passed" in output
    assert "failed" not in output


def test_an_unknown_backend_lists_the_installed_one(empty: Environment, project: Path) -> None:
    result = empty.run("pytest", "--backend=nosuch", cwd=project)
    assert result.returncode == pytest.ExitCode.USAGE_ERROR
    assert "unknown backend 'nosuch'. Known: files." in result.stderr


def test_other_tests_are_as_they_were(empty: Environment, project: Path) -> None:
    output = succeeded(empty.run("pytest", cwd=project))
    assert "1 passed" in output
    assert "conformance:" not in output


def test_the_backend_has_a_name_for_applications(empty: Environment, project: Path) -> None:
    code = (
        "from litestar_queues import QueueConfig; "
        "print(type(QueueConfig(queue_backend='files').create_backend()).__module__)"
    )
    env = {"QUEUE_FOLDER": str(project / "queue")}
    assert succeeded(empty.run("python", "-c", code, cwd=project, env=env)) == "queue_in_files.backend\n"
    result = empty.run("python", "-c", code, cwd=project, env={"QUEUE_FOLDER": ""})
    assert result.stderr.splitlines()[-1].endswith("the environment variable QUEUE_FOLDER, which is not set")


def test_the_page_of_guarantees_is_made_there(empty: Environment, project: Path) -> None:
    assert "**KEY-01**" in succeeded(empty.run("python", "-m", "litestar_queues_conformance.docs", cwd=project))
