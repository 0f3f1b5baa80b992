"""`docs/how-to/write-a-backend.md` and the suite's page show the example as it is, and the example is certified by cases."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from litestar_queues_conformance.target import load_target
from queue_in_files import FilesBackend

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "how-to" / "write-a-backend.md").read_text()
EXAMPLE = ROOT / "examples" / "backend"
SOURCES = "\n".join(path.read_text() for path in (EXAMPLE / "src" / "queue_in_files").glob("*.py"))
PROJECT = (EXAMPLE / "pyproject.toml").read_text()


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page, flags=re.MULTILINE | re.DOTALL)


CLAIM, CREATE, APPLICATION = blocks(PAGE, "python")


@pytest.mark.parametrize("code", [CLAIM, CREATE])
def test_the_page_shows_the_example_as_it_is(code: str) -> None:
    assert code in SOURCES


def test_the_pages_entry_points_are_the_examples() -> None:
    suites = blocks((ROOT / "conformance" / "README.md").read_text(), "toml")
    for shown in (*blocks(PAGE, "toml"), *suites):
        assert shown in PROJECT


def test_the_pages_application_has_this_backend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(compile(APPLICATION, "write-a-backend.md", "exec"), names)
    assert isinstance(names["config"].create_backend(), FilesBackend)


def test_the_suites_page_shows_the_examples_target_as_it_is() -> None:
    shown = blocks((ROOT / "conformance" / "README.md").read_text(), "python")[0]
    assert (EXAMPLE / "src" / "queue_in_files" / "conformance.py").read_text().endswith(f'"""\n\n{shown}')


def test_the_command_of_the_page_loads_the_target() -> None:
    [command] = re.findall(r"--backend=(\S+)", PAGE)
    assert load_target(command).distribution == "queue-in-files"


def test_links_lead_somewhere() -> None:
    for page in (ROOT / "docs" / "how-to" / "write-a-backend.md", EXAMPLE / "README.md"):
        for link in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
            assert (page.parent / link).exists(), f"{page.name}: {link}"
