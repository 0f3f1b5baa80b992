"""The cases that a whole run consists of, frozen: what a run is judged against, and not by what it happened to collect.

`manifest.json` is made from the suite's own files by `nox -s docs`, which also says where it is stale.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType

import pytest

from litestar_queues_conformance.cases import CASES, FOLDER

__all__ = ("PATH", "expected", "key_of", "make")

PATH = Path(__file__).parent / "manifest.json"
_TARGET = "litestar_queues_conformance.saboteurs.benign:NeverPromotes.target"
"""No case is run: any target will do."""


@cache
def expected() -> Mapping[str, tuple[str, ...]]:
    """Every case of the suite, by file, name and parameters, and its guarantees."""
    found: dict[str, str] = json.loads(PATH.read_text(encoding="utf-8"))
    return MappingProxyType({case: tuple(ids.split()) for case, ids in found.items()})


def key_of(item: pytest.Item) -> str | None:
    """What the manifest calls a case; None for one that is not the suite's own."""
    return f"{item.path.name}::{item.name}" if item.path in CASES.values() else None


def make() -> str:
    """The manifest as its file has it, from the cases as they are now.

    Raises:
        RuntimeError: They could not be collected.
    """
    seen = _Seen()
    options = ["-c", os.devnull, "-p", "no:cacheprovider", "--collect-only", "-qq", f"--queue-backend={_TARGET}"]
    with contextlib.redirect_stdout(io.StringIO()):
        code = pytest.main([*options, str(FOLDER)], [seen])
    if code != pytest.ExitCode.OK:
        raise RuntimeError(f"the cases could not be collected ({code})")
    return json.dumps(dict(sorted(seen.cases.items())), indent=1, ensure_ascii=True) + "\n"


class _Seen:
    def __init__(self) -> None:
        self.cases: dict[str, str] = {}

    def pytest_itemcollected(self, item: pytest.Item) -> None:
        marker = item.get_closest_marker("guarantee")
        key = key_of(item)
        if marker is not None and key is not None:
            self.cases[key] = " ".join(marker.args)
