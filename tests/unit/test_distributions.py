"""Names and versions of the three packages, and what docs/check_wheels.py finds in archives that are wrong."""

from __future__ import annotations

import importlib
import io
import tarfile
import tomllib
import zipfile
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import litestar_queues_conformance

ROOT = Path(__file__).parents[2]
PAGE = "A page with [a link](https://example.org) and `[code](here.md)`."


def project(path: str) -> dict[str, Any]:
    return tomllib.loads((ROOT / path).read_text(encoding="utf-8"))["project"]


@pytest.fixture
def checker(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(ROOT / "docs")
    return importlib.import_module("check_wheels")


def metadata(name: str, *, page: str = PAGE, **changed: str) -> str:
    needs = "Requires-Dist: litestar-queues>=1.0.0a1\n" if name.endswith("conformance") else ""
    fields = {"Version": "1.0.0a1", "Author": "the litestar-queues authors", "Needs": needs} | changed
    kinds = "".join(
        f"Classifier: {kind}\n" for kind in ("Framework :: Litestar", "Operating System :: POSIX", "Typing :: Typed")
    )
    return (
        f"Metadata-Version: 2.4\nName: {name}\nVersion: {fields['Version']}\nAuthor: {fields['Author']}\n"
        f"{kinds}{fields['Needs']}\n{page}\n"
    )


def build(folder: Path, checker: ModuleType, *, without: str = "", **changed: str) -> Path:
    """Archives as they should be, but for what is changed."""
    folder.mkdir()
    for one in checker.DISTRIBUTIONS:
        text = metadata(one.name, **changed)
        with zipfile.ZipFile(folder / f"{one.name}-1-py3-none-any.whl", "w") as wheel:
            for file in {*one.wheel} - {without}:
                wheel.writestr(file, "")
            wheel.writestr(f"{one.name}-1.dist-info/METADATA", text)
        with tarfile.open(folder / f"{one.name}-1.tar.gz", "w:gz") as sdist:
            for file, content in {**dict.fromkeys({*one.sdist} - {without}, ""), "PKG-INFO": text}.items():
                entry = tarfile.TarInfo(f"{one.name}-1/{file}")
                entry.size = len(content.encode())
                sdist.addfile(entry, io.BytesIO(content.encode()))
    return folder


def test_the_packages_have_one_version() -> None:
    core = project("pyproject.toml")["version"]
    assert litestar_queues_conformance.__version__ == core
    assert project("matrix/pyproject.toml")["version"] == core
    assert (
        version("litestar-queues")
        == version("litestar-queues-conformance")
        == version("litestar-queues-matrix")
        == core
    )
    needs = project("matrix/pyproject.toml")["dependencies"]
    assert {f"litestar-queues[sqlspec]=={core}", f"litestar-queues-conformance=={core}"} <= {*needs}


def test_the_suite_requires_a_release_of_this_project() -> None:
    assert "litestar-queues>=1.0.0a1" in project("conformance/pyproject.toml")["dependencies"]


def test_no_package_names_a_url() -> None:
    """None is known to be true."""
    assert [path for path in ("", "conformance/", "matrix/") if "urls" in project(f"{path}pyproject.toml")] == []


def test_archives_as_they_should_be_pass(checker: ModuleType, tmp_path: Path) -> None:
    assert checker.problems(build(tmp_path / "dist", checker)) == []


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"without": "dev.py"}, "lacks dev.py"),
        ({"without": "litestar_queues/py.typed"}, "lacks litestar_queues/py.typed"),
        ({"page": "See [the pages](docs/how-to/redis.md)."}, "link to a file"),
        ({"page": "See [the pages].\n\n[the pages]: docs/how-to/redis.md"}, "link to a file"),
        ({"page": '<img src="logo.png">'}, "link to a file"),
        ({"page": ""}, "package page is empty"),
        ({"Author": "somebody"}, "its author is 'somebody'"),
        ({"Needs": "Requires-Dist: litestar-queues\n"}, "does not require litestar-queues>=1.0.0a1"),
    ],
)
def test_archives_that_are_wrong_are_found(
    checker: ModuleType, tmp_path: Path, changed: dict[str, str], said: str
) -> None:
    assert said in "\n".join(checker.problems(build(tmp_path / "dist", checker, **changed)))


def test_archives_that_are_missing_are_found(checker: ModuleType, tmp_path: Path) -> None:
    assert len(checker.problems(tmp_path)) == 4
