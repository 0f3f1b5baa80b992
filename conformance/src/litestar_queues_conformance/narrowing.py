"""By what a run was told, on its command line, to run a part of the suite: work on a backend, which proves nothing.

What leaves out cases without naming those that it wants is no such thing: `-k "not KEY-05"`, `--deselect`, the settings of
a project, a conftest, another plugin. The run is incomplete then, and its exit code says so.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import cast

import pytest

from litestar_queues_conformance.cases import FOLDER
from litestar_queues_conformance.machine import EXAMPLES, EXAMPLES_VARIABLE, histories

__all__ = ("narrowed",)

_PACKAGE = "litestar_queues_conformance"


def narrowed(config: pytest.Config) -> Iterator[str]:
    """What narrows the run, in words for people."""
    said = list(config.invocation_params.args)
    keyword, marks, time = (cast("str", config.getoption(name)) for name in ("keyword", "markexpr", "queue_time"))
    if keyword and _said(said, "-k") and not re.search(r"\bnot\b", keyword):
        yield f"-k {keyword!r}"
    if marks and _said(said, "-m") and not re.search(r"\bnot\b", marks):
        yield f"-m {marks!r}"
    for option, name in (("--lf", "lf"), ("--stepwise", "stepwise")):
        if config.getoption(name, False) and _said(said, option):
            yield option
    if time != "both" and _said(said, "--queue-time"):
        yield f"--queue-time={time}"
    if histories() < EXAMPLES:
        yield f"{EXAMPLES_VARIABLE}={os.environ[EXAMPLES_VARIABLE]}"
    if config.args_source is pytest.Config.ArgsSource.ARGS:
        paths = [arg for arg in config.args if arg in said and not _is_whole(arg, config)]
        if paths:
            yield f"{paths[0]} and {len(paths) - 1} more" if paths[1:] else paths[0]


def _said(arguments: list[str], option: str) -> bool:
    return any(str(one).startswith(option) for one in arguments)


def _is_whole(argument: str, config: pytest.Config) -> bool:
    """Whether the argument names the suite as a whole."""
    if argument == _PACKAGE:
        return True
    place, folder = (config.invocation_params.dir / argument).resolve(), FOLDER.resolve()
    return place == folder or (place.is_dir() and place in folder.parents)
