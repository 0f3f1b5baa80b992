"""What was tested, and with what: found out from what is imported, and not from what a target says of itself."""

from __future__ import annotations

import hashlib
import inspect
import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib.metadata import Distribution, PackageNotFoundError, distributions, packages_distributions, version
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

__all__ = ("hash_of", "suite", "tested")

_SUITE = Path(__file__).parent
_SUFFIXES = (".py", ".json", ".sql", ".lua")


@cache
def suite() -> Mapping[str, Any]:
    """The version of the suite, and the hash of its files as they are installed."""
    return {"version": _version("litestar-queues-conformance"), "sha256": hash_of(_SUITE)}


def tested(backend: type) -> dict[str, Any]:
    """The class of the clients that the suite was given, its file, and the distribution that the file belongs to.

    The hash is that of the whole package: the sources and statements in the folder of its top module.
    """
    module = sys.modules.get(backend.__module__)
    file = None if module is None else inspect.getsourcefile(module)
    top = backend.__module__.partition(".")[0]
    owners = {*packages_distributions().get(top, ()), *(() if file is None else _checkouts(Path(file)))}
    return {
        "class": f"{backend.__module__}.{backend.__qualname__}",
        "file": file,
        "distributions": {name: _version(name) for name in sorted(owners)},
        "sha256": None if file is None else hash_of(_package(Path(file), backend.__module__)),
    }


def _checkouts(file: Path) -> Iterator[str]:
    """The distributions that are installed from a checkout (`pip install -e`) in which the file lies."""
    for one in distributions():
        url: dict[str, Any] = json.loads(one.read_text("direct_url.json") or "{}")
        if url.get("dir_info", {}).get("editable") and file.is_relative_to(unquote(urlsplit(str(url["url"])).path)):
            name = one.metadata["Name"]
            if any(file.is_relative_to(root) for root in _roots(one)):
                yield name


def _roots(distribution: Distribution) -> Iterator[Path]:
    """The folders that an installation from a checkout puts on the path."""
    for path in distribution.files or ():
        if path.suffix == ".pth":
            yield from (Path(line) for line in path.read_text().splitlines() if Path(line).is_dir())


def hash_of(place: Path) -> str:
    """The SHA-256 of a file, or of the names and contents of the sources in a folder."""
    digest = hashlib.sha256()
    for path in _sources(place):
        digest.update(path.relative_to(place if place.is_dir() else place.parent).as_posix().encode())
        digest.update(b"\0")
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def _sources(place: Path) -> Iterable[Path]:
    if place.is_file():
        return [place]
    return sorted(path for path in place.rglob("*") if path.suffix in _SUFFIXES and path.is_file())


def _package(file: Path, module: str) -> Path:
    """The folder of the top package of a module in this file; the file itself, where it is a module by itself."""
    parts = len(module.split(".")) - (0 if file.name == "__init__.py" else 1)
    return file if parts == 0 else file.parents[parts - 1]


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "not installed"
