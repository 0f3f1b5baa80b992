"""Looks into built wheels and sdists: what they say of themselves, and whether what they need is in them."""

from __future__ import annotations

import re
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from email.message import Message
from email.parser import Parser
from pathlib import Path

__all__ = ("main", "problems")

SUITE_NEEDS = "litestar-queues>=1.0.0a1"
"""What the suite requires: an older release of that name is another project's."""
AUTHORS = "the litestar-queues authors"
CLASSIFIERS = ("Framework :: Litestar", "Operating System :: POSIX", "Typing :: Typed")
_LINK = re.compile(r"\]\((?!https?://|#|mailto:)|\]:\s+(?!https?://)|(?:href|src)=[\"'](?!https?://)")
"""A link of Markdown or HTML that leads to a file beside the page."""


@dataclass(frozen=True, slots=True)
class Distribution:
    """What has to be in the archives of one distribution."""

    name: str
    wheel: tuple[str, ...]
    sdist: tuple[str, ...]


DISTRIBUTIONS = (
    Distribution(
        "litestar_queues",
        (
            "litestar_queues/py.typed",
            "pytest_litestar_queues/__init__.py",
            "litestar_queues/backends/sql/sqlite.sql",
            "litestar_queues/backends/redis/lua/common.lua",
        ),
        (
            "CHANGELOG.md",
            "CONTRIBUTING.md",
            "LICENSE",
            ".ci/pip_install.py",
            "conformance/pyproject.toml",
            "conformance/src/litestar_queues_conformance/__init__.py",
            "constraints.txt",
            "demo/run.py",
            "dev.py",
            "docs/how-to/databases.md",
            "examples/backend/pyproject.toml",
            "examples/shop/README.md",
            "matrix/pyproject.toml",
            "noxfile.py",
            "tests/acceptance/test_demo.py",
            "tests/conftest.py",
            "tests/servers/conftest.py",
            "tests/unit/test_lifecycle.py",
            "tests/unit/candidates_first.sql",
        ),
    ),
    Distribution(
        "litestar_queues_conformance",
        (
            "litestar_queues_conformance/py.typed",
            "litestar_queues_conformance/manifest.json",
            "litestar_queues_conformance/cases/test_key.py",
        ),
        ("LICENSE", "README.md", "src/litestar_queues_conformance/cases/test_key.py"),
    ),
)


def problems(folder: Path) -> list[str]:
    """What is wrong with the archives in a folder, each in a sentence."""
    found: list[str] = []
    versions: dict[str, str] = {}
    for one in DISTRIBUTIONS:
        for pattern, needed in ((f"{one.name}-*.whl", one.wheel), (f"{one.name}-*.tar.gz", one.sdist)):
            archives = sorted(folder.glob(pattern))
            if len(archives) != 1:
                found.append(f"{len(archives)} archives {pattern} in {folder}, and not one")
                continue
            names, metadata = read(archives[0])
            found += [f"{archives[0].name} lacks {file}" for file in needed if file not in names]
            found += [f"{archives[0].name}: {problem}" for problem in _metadata_problems(one.name, metadata)]
            versions[archives[0].name] = str(metadata["Version"])
    if len(set(versions.values())) > 1:
        found.append(f"the versions differ: {versions}")
    return found


def read(archive: Path) -> tuple[set[str], Message]:
    """The files of a wheel or an sdist, without the sdist's own folder, and its metadata."""
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            names = set(wheel.namelist())
            (metadata,) = (name for name in names if name.endswith(".dist-info/METADATA"))
            return names, Parser().parsestr(wheel.read(metadata).decode())
    with tarfile.open(archive) as sdist:
        files = {member.name.partition("/")[2]: member for member in sdist.getmembers() if member.isfile()}
        content = sdist.extractfile(files["PKG-INFO"])
        return set(files), Parser().parsestr(content.read().decode() if content is not None else "")


def _metadata_problems(name: str, metadata: Message) -> list[str]:
    found: list[str] = []
    author = metadata["Author"]
    if author != AUTHORS:
        found.append(f"its author is {author!r}, and not {AUTHORS!r}")
    classifiers = metadata.get_all("Classifier", [])
    found += [f"no classifier {one!r}" for one in CLASSIFIERS if one not in classifiers]
    if name == "litestar_queues_conformance":
        needs = [line.replace(" ", "") for line in metadata.get_all("Requires-Dist", [])]
        if SUITE_NEEDS not in needs:
            found.append(f"it does not require {SUITE_NEEDS}, but: {', '.join(needs)}")
    page = str(metadata.get_payload())
    if not page.strip():
        found.append("its package page is empty")
    outside_code = re.sub(r"^```.*?^```|`[^`\n]*`", "", page, flags=re.MULTILINE | re.DOTALL)
    found += [f"its package page has a link to a file: {found_link!r}" for found_link in _relative_links(outside_code)]
    return found


def _relative_links(page: str) -> list[str]:
    return [page[max(0, link.start() - 30) : link.end() + 30] for link in _LINK.finditer(page)]


def main(folder: Path) -> int:
    """Print what is wrong; 1 where anything is."""
    found = problems(folder)
    for line in found:
        sys.stderr.write(line + "\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
