"""The pytest plugin where `litestar_queues` is missing, too old, or another project of that name."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from litestar_queues_conformance.installed import distribution_problem, problem

IMPORTED = "import sys; {}; print(*sorted(n for n in ('litestar_queues', 'hypothesis', 'msgspec') if n in sys.modules))"


def pytest_in(
    folder: Path, *arguments: str, path: Path | None = None, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    variables = {**os.environ, "PYTHONPATH": "" if path is None else str(path), **(env or {})}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments],
        cwd=folder,
        env=variables,
        capture_output=True,
        text=True,
        check=False,
    )


def refused(result: subprocess.CompletedProcess[str]) -> str:
    assert result.returncode == pytest.ExitCode.USAGE_ERROR, result.stdout + result.stderr
    assert "Traceback" not in result.stdout + result.stderr
    [line] = [line for line in result.stderr.splitlines() if line.strip()]
    return line


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "test_mine.py").write_text("def test_mine():\n    pass\n")
    return folder


@pytest.fixture
def another(tmp_path: Path) -> Path:
    """A path on which another project has our import name."""
    package = tmp_path / "path" / "litestar_queues"
    (package / "backends").mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('nobody may import this')\n")
    (package / "backends" / "__init__.py").touch()
    (package / "backends" / "base.py").touch()
    return package.parent


@pytest.mark.parametrize("module", ["litestar_queues_conformance", "litestar_queues_conformance.plugin"])
def test_the_plugin_imports_nothing_before_a_backend_is_named(module: str) -> None:
    code = IMPORTED.format(f"import {module}")
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "\n"


def test_the_names_of_the_suite_are_there_when_they_are_used() -> None:
    import litestar_queues_conformance as suite

    assert all(getattr(suite, name) is not None for name in suite.__all__)
    assert set(suite.__all__) <= set(dir(suite))
    with pytest.raises(AttributeError, match="has no attribute 'nosuch'"):
        _ = suite.nosuch


def test_pytest_starts_beside_another_project_of_the_name(project: Path, another: Path) -> None:
    result = pytest_in(project, path=another)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "1 passed" in result.stdout


@pytest.mark.parametrize("how", ["--backend=memory", "--queue-backend=auto"])
def test_another_project_of_the_name_is_named_and_not_imported(project: Path, another: Path, how: str) -> None:
    says = refused(pytest_in(project, how, path=another))
    assert f"the package 'litestar_queues' at {another}" in says
    assert (
        "is another project, or an incomplete copy: it has no litestar_queues.lifecycle, litestar_queues.records"
        in says
    )
    assert "install 'litestar-queues" in says


def test_a_single_file_of_the_name_is_another_project_too(project: Path) -> None:
    (project / "litestar_queues.py").touch()
    assert "is another project" in refused(pytest_in(project, "--backend=memory"))


def test_a_copy_that_is_too_old_is_refused_with_what_it_lacks(project: Path, tmp_path: Path) -> None:
    package = tmp_path / "old" / "litestar_queues"
    (package / "backends").mkdir(parents=True)
    for name in ("__init__", "lifecycle", "records", "codec", "errors", "backends/__init__", "backends/base"):
        (package / f"{name}.py").touch()
    says = refused(pytest_in(project, "--backend=memory", path=package.parent))
    assert "the conformance suite cannot be imported here (ImportError: cannot import name" in says
    assert "pip check" in says


def test_a_missing_package_of_the_suite_is_named(project: Path, tmp_path: Path) -> None:
    (tmp_path / "path").mkdir()
    (tmp_path / "path" / "hypothesis.py").write_text("raise ModuleNotFoundError(\"No module named 'hypothesis'\")\n")
    alone = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    arguments = ("-p", "litestar_queues_conformance.plugin")
    assert pytest_in(project, *arguments, path=tmp_path / "path", env=alone).returncode == 0
    says = refused(pytest_in(project, *arguments, "--backend=memory", path=tmp_path / "path", env=alone))
    assert "No module named 'hypothesis'" in says


def test_without_plugins_loaded_by_themselves_the_suite_is_one_option_away(project: Path) -> None:
    alone = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    result = pytest_in(
        project,
        *("-p", "litestar_queues_conformance.plugin", "--pyargs", "litestar_queues_conformance"),
        *("--backend=memory", "-k", "LCK-01"),
        env=alone,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert " passed" in result.stdout
    result = pytest_in(project, "-p", "no:litestar_queues_conformance")
    assert result.returncode == 0
    assert "1 passed" in result.stdout


def test_the_suites_own_cases_are_refused_without_a_backend_and_not_imported(project: Path, another: Path) -> None:
    says = refused(pytest_in(project, "-q", "--pyargs", "litestar_queues_conformance", path=another))
    assert says == "ERROR: conformance cases need a backend: --backend=NAME, or --backend=module:attribute"


def test_the_page_of_guarantees_is_made_beside_another_project(project: Path, another: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "litestar_queues_conformance.docs"],
        cwd=project,
        env={**os.environ, "PYTHONPATH": str(another)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "**KEY-01**" in result.stdout


@pytest.mark.parametrize(
    ("installed", "needed", "wrong"),
    [
        ("1.0.0a1", ">=1.0.0a1", False),
        ("1.0.0", ">=1.0.0a1", False),
        ("1.0.0.dev3", ">=1.0.0a1", True),
        ("0.12.0", ">=1.0.0a1", True),
        ("2.0", ">=1.0.0a1,<2", True),
        (None, ">=1.0.0a1", False),
        ("1.0.0a1", None, False),
        ("not a version", ">=1.0.0a1", True),
    ],
)
def test_a_version_that_the_suite_does_not_work_with_is_refused_with_both(
    installed: str | None, needed: str | None, wrong: object
) -> None:
    says = distribution_problem(installed, needed)
    assert (says is not None) is wrong
    if says is not None:
        assert f"needs litestar-queues {needed}, and litestar-queues {installed} is installed here" in says
        assert "are another project" in says


def test_here_nothing_is_wrong() -> None:
    assert problem() is None
