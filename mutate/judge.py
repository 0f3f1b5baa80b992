"""Who judges a mutant: a copy of the package with one file changed, and the tests that run against it."""

from __future__ import annotations

import compileall
import json
import os
import py_compile
import shutil
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from mutate.forks import ELSEWHERE, TIMED_OUT

__all__ = ("ROOT", "Court", "Judge", "NoCourt", "Result", "Verdict")

ROOT = Path(__file__).resolve().parents[1]
_PACKAGE = "litestar_queues"
_NOT_FOUND_OUT = 7
"""The suite's exit code where nothing failed, and a case has not found out what it is there for."""
_NOT_LOADED = ("Error compiling script", "syntax error", "SyntaxError: ", "SQLParsingError")
"""Words of servers that do not take a text at all: such a mutant proves nothing."""
_STALL = 25.0
"""Seconds without the end of a test after which a run hangs: the slowest test takes three."""
_FIRST = 300.0
"""The same for the first run, which compiles and imports everything."""


class Verdict(StrEnum):
    """What became of a mutant."""

    KILLED = "killed"
    TIMED_OUT = "timed out"
    SURVIVED = "survived"
    NOT_FOUND_OUT = "not found out"
    INVALID = "invalid"
    """The server takes its text for no statement, or no script: it counts for nothing."""


class NoCourt(Exception):
    """The tests do not pass on the package as it is, so that they can judge no mutant of it."""


@dataclass(frozen=True, slots=True)
class Result:
    """What a run said of a mutant."""

    verdict: Verdict
    seconds: float
    by: str
    """The test that killed it."""
    gap: float = 0.0
    """The most seconds between the ends of two tests."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judge:
    """Tests, in the order in which they run.

    Attributes:
        tests: Files, from the root of the checkout.
        target: What the conformance suite runs on; empty for tests of the project.
        options: More words for pytest.
    """

    tests: tuple[str, ...]
    target: str = ""
    options: tuple[str, ...] = ()

    @property
    def words(self) -> str:
        """For the page of results."""
        if self.target:
            return f"the suite on `{self.target}`{', each case once' if '--queue-time=once' in self.options else ''}"
        return ", ".join(f"`{Path(test).name}`" for test in self.tests)

    def arguments(self, folder: Path, root: Path) -> list[str]:
        """The arguments of pytest."""
        common = ["-x", "-q", "--tb=short", "-p", "no:cacheprovider", f"--basetemp={folder / 'tmp'}", *self.options]
        if not self.target:
            quiet = ["-W", "ignore::pytest.PytestAssertRewriteWarning"]  # modules that were imported before the fork
            plugins = ["-p", "anyio.pytest_plugin", *quiet]
            return ["-c", str(root / "pyproject.toml"), f"--rootdir={root}", *plugins, *common, *self._paths(root)]
        ini = folder / "pytest.ini"
        ini.write_text("[pytest]\n", encoding="utf-8")
        plugin = ["-p", "litestar_queues_conformance.plugin", "-W", "ignore"]
        suite = [f"--queue-backend={self.target}", "--queue-seed=1"]
        return ["-c", str(ini), *plugin, *common, *suite, *self._paths(root)]

    def environment(self, folder: Path, root: Path) -> dict[str, str]:
        """The variables of a run."""
        paths = [folder / "src", root / "conformance" / "src", root / "matrix" / "src"]
        given = {
            "PYTHONPATH": os.pathsep.join(map(str, paths)),
            "PYTHONDONTWRITEBYTECODE": "1",  # nothing is written into the checkout
            "HYPOTHESIS_STORAGE_DIRECTORY": str(folder / "hypothesis"),
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        }
        if self.target:
            given |= {"LITESTAR_QUEUES_EXAMPLES": "10", "LITESTAR_QUEUES_SHRINK": "0"}
        return given

    def _paths(self, root: Path) -> list[str]:
        return [str(root / test) for test in self.tests]


class Court:
    """Judges mutants of one file, one after another, with a copy of the package that nobody else uses.

    Args:
        judge: The tests.
        file: The file to change, from the root of the checkout.
        folder: An empty folder for the copy and for all that a run writes.
        root: Of the checkout.
        package: What is copied, from the root.
        environment: More variables for the runs.
        stall: Seconds without the end of a test after which a run is ended.
    """

    def __init__(
        self,
        judge: Judge,
        file: str,
        folder: Path,
        *,
        root: Path = ROOT,
        package: str = _PACKAGE,
        environment: Mapping[str, str] | None = None,
        stall: float = _STALL,
    ) -> None:
        self._judge, self._folder, self._root, self._package, self._stall = judge, folder, root, package, _FIRST
        self._later = stall
        self._source = (root / file).read_text(encoding="utf-8")
        self._file = folder / file
        self._environment = {**os.environ, **judge.environment(folder, root), **(environment or {})}
        self._deadline = 600.0
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        shutil.copytree(self._root / "src", self._folder / "src", ignore=shutil.ignore_patterns("__pycache__"))
        # A compiled module counts while its source has the same hash: two mutants can have the same size and time.
        checked = py_compile.PycInvalidationMode.CHECKED_HASH
        compileall.compile_dir(self._folder / "src", quiet=2, invalidation_mode=checked)
        command = [sys.executable, str(Path(__file__).with_name("forks.py"))]
        self._process = subprocess.Popen(  # noqa: S603  # the words are our own
            command,
            cwd=self._folder if self._judge.target else self._root,
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.end()

    def end(self) -> None:
        """End what runs. Nothing can be judged afterwards."""
        process = self._process
        if process is not None:
            process.terminate()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                with suppress(OSError):
                    _pipe(pipe).close()

    def convene(self) -> float:
        """Run the tests on the package as it is, and take the deadline of a mutant from that; returns the seconds.

        Raises:
            NoCourt: They do not pass.
        """
        passed = self.judge(self._source)
        if passed.verdict is not Verdict.SURVIVED:
            raise NoCourt(f"{passed.verdict.value} by {passed.by or 'nothing'}: {self._log().strip()[-2000:]}")
        seconds = passed.seconds
        self._deadline = 10 + 3 * seconds
        self._stall = max(self._later, 4 * passed.gap)
        return seconds

    def judge(self, text: str) -> Result:
        """Run the tests with this text in the place of the file's own.

        Raises:
            NoCourt: The run would have tested another copy of the package.
        """
        self._file.write_text(text, encoding="utf-8")
        answer = self._ask()
        progress = self._path("progress").read_text(encoding="utf-8").splitlines()
        failed = [line.partition(" ")[2] for line in progress if line.startswith("FAILED ")]
        by = failed[0].rpartition("/")[2] if failed else ""
        code = answer["code"]
        if code == ELSEWHERE:
            raise NoCourt(f"the package does not come from {self._folder}")
        if code == 0:
            verdict = Verdict.SURVIVED
        elif code == TIMED_OUT:
            verdict, by = Verdict.TIMED_OUT, progress[-1] if progress else ""
        elif code == _NOT_FOUND_OUT and self._judge.target:
            verdict = Verdict.NOT_FOUND_OUT
        elif self._file.suffix != ".py" and any(words in self._log() for words in _NOT_LOADED):
            verdict = Verdict.INVALID
        else:
            verdict = Verdict.KILLED
        return Result(verdict, answer["seconds"], by, answer["gap"])

    def _ask(self) -> dict[str, float]:
        process = self._process
        if process is None:
            raise NoCourt("it has not begun")
        request = {
            "arguments": self._judge.arguments(self._folder, self._root),
            "package": self._package,
            "copy": str(self._folder),
            "log": str(self._path("log")),
            "progress": str(self._path("progress")),
            "modules": str(self._path("modules")),
            "deadline": self._deadline,
            "stall": self._stall,
        }
        pipe = _pipe(process.stdin)
        pipe.write(json.dumps(request) + "\n")
        pipe.flush()
        line = _pipe(process.stdout).readline()
        if not line:
            raise NoCourt("the process that runs the tests has ended")
        answer: dict[str, float] = json.loads(line)
        return answer

    def _path(self, name: str) -> Path:
        return self._folder / name

    def _log(self) -> str:
        return self._path("log").read_text(encoding="utf-8", errors="replace")


def _pipe(pipe: IO[str] | None) -> IO[str]:
    if pipe is None:
        raise NoCourt("the process that runs the tests has no pipe")
    return pipe
