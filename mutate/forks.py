"""Runs pytest in a fork of a process that has imported the third-party modules: `python mutate/forks.py`.

Each line of standard input is a request, and each line of standard output its answer. The imports of a run take two seconds,
and most mutants die in less. The first run shows which modules they are. The package under test is imported in the fork alone.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import signal
import sys
import time
from contextlib import suppress
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import FrameType
from typing import Any

__all__ = ("ELSEWHERE", "TIMED_OUT", "main")

TIMED_OUT = -1
"""Takes the place of an exit code that there is none of."""
ELSEWHERE = 99
"""The exit code of a run that would have tested another copy of the package."""
_MEMORY = 4 * 2**30
"""Bytes of address space: a mutant that never stops gathering must not take the machine's."""
_LOOK = 0.5
"""Seconds between two looks at whether the tests go on."""


class _Progress:
    """A plugin of pytest: writes down each test that ended, and those that failed."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", encoding="utf-8", buffering=1)

    def pytest_runtest_logreport(self, report: Any) -> None:
        self._file.write(f"{'FAILED' if report.failed else report.when} {report.nodeid}\n")

    def pytest_collectreport(self, report: Any) -> None:
        self._file.write(f"{'FAILED' if report.failed else 'collected'} {report.nodeid}\n")


def _run(request: dict[str, Any]) -> None:
    """In the fork: the run itself. Its exit code is pytest's."""
    os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for to, descriptor in ((0, nothing), (1, log), (2, log)):
        os.dup2(descriptor, to)
    sys.stdout = os.fdopen(os.dup(1), "w", encoding="utf-8")
    sys.stderr = os.fdopen(os.dup(2), "w", encoding="utf-8")
    code = ELSEWHERE
    spec = find_spec(request["package"])
    if spec is not None and spec.origin is not None and Path(spec.origin).is_relative_to(request["copy"]):
        code = int(import_module("pytest").main(request["arguments"], plugins=[_Progress(Path(request["progress"]))]))
    Path(request["modules"]).write_text("\n".join(_installed()), encoding="utf-8")
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _installed() -> list[str]:
    """The modules that this process has imported from the environment or the standard library."""
    places = tuple({sys.prefix, sys.base_prefix})
    modules = [(name, getattr(module, "__file__", None)) for name, module in sys.modules.items()]
    return [name for name, file in modules if isinstance(file, str) and file.startswith(places)]


def _import(names: list[str], package: str) -> None:
    """Import what the runs import, except what belongs to the package.

    Raises:
        RuntimeError: The package was imported with it: a fork would not test its own copy.
    """
    for name in names:
        if package not in name and name != "__main__":
            with suppress(Exception):
                import_module(name)
    if package in sys.modules:
        raise RuntimeError(f"{package} was imported before the fork")


def _judged(request: dict[str, Any]) -> dict[str, Any]:
    """Run it, and end it where it takes too long, or where no test ends for too long."""
    progress = Path(request["progress"])
    progress.write_text("")
    started = moved = time.monotonic()
    child = multiprocessing.get_context("fork").Process(target=_run, args=(request,))
    child.start()
    size, gap = 0, 0.0
    try:
        while child.is_alive():
            child.join(_LOOK)
            now = time.monotonic()
            gap = max(gap, now - moved)
            if (grown := progress.stat().st_size) != size:
                size, moved = grown, now
            if now - started > request["deadline"] or now - moved > request["stall"]:
                break
        code = TIMED_OUT if child.is_alive() else child.exitcode
    finally:
        with suppress(ProcessLookupError):  # what it started ends with it
            os.killpg(child.pid or 0, signal.SIGKILL)
        child.kill()
        child.join()
    return {"code": code, "seconds": round(time.monotonic() - started, 2), "gap": round(gap, 2)}


def _stop(number: int, frame: FrameType | None) -> None:
    """End by the way of all `finally`s."""
    signal.signal(number, signal.SIG_IGN)
    sys.exit(1)


def main() -> int:
    """Answer requests until there are no more."""
    signal.signal(signal.SIGTERM, _stop)
    imported = False
    for line in sys.stdin:
        request = json.loads(line)
        answer = _judged(request)
        modules = Path(request["modules"])
        if not imported and modules.exists():
            _import(modules.read_text(encoding="utf-8").split(), request["package"])
            imported = True
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    return 0


if __name__ == "__main__":
    sys.exit(main())
