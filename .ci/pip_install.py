"""`pip install`, with a line for each phase: `python .ci/pip_install.py LABEL ARGUMENTS...`.

pip prints a line for each package and then nothing until all of them are unpacked. This prints what pip is at: on a
terminal in one line that changes, in a log every few seconds. Errors and retries are shown as pip prints them; other
warnings only where pip fails.
"""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from collections import deque
from importlib import import_module
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import IO

EVERY = 5.0
"""Seconds between two lines of a log while pip is busy."""
TAIL = 30
"""Lines of pip's output that are shown where it fails."""
_CLEAR = "\r\033[K"
Line = tuple[str, str] | None
"""Which stream, and what; None at a stream's end."""


class Progress:
    """What pip is at, in a line."""

    def __init__(self, label: str, site: Path | None) -> None:
        self.label = label
        self.began = time.monotonic()
        self.phase = "looking for packages"
        self.found = 0
        self.total = 0
        self._site = site
        self._before = self._installed()
        self._shown = self.began
        self._terminal = sys.stdout.isatty()

    def _installed(self) -> int:
        return sum(1 for _ in self._site.glob("*.dist-info/RECORD")) if self._site is not None else 0

    def read(self, line: str) -> None:
        """Learn from a line of pip's standard output."""
        text = line.strip()
        if text.startswith(("Collecting ", "Obtaining ")):
            self.found += 1
            self.phase = f"looking for packages, {self.found} so far ({text.split()[1].rpartition('/')[2]})"
        elif text.startswith("Downloading "):
            self.phase = text[0].lower() + text[1:]
        elif (amount := re.fullmatch(r"Progress (\d+) of (\d+)", text)) is not None:
            done, whole = (int(number) / 1e6 for number in amount.groups())
            self.phase = f"{self.phase.partition(':')[0]}: {done:.1f} of {whole:.1f} MB"
        elif text.startswith(("Building ", "Preparing ", "Getting requirements ", "Installing build ")):
            self.phase = text.partition(":")[0][0].lower() + text.partition(":")[0][1:]
        elif text.startswith("Installing collected packages: "):
            names = text.partition(": ")[2].split(", ")
            self.total = len(names)
            self.phase = ""
            self.show(f"{self.total} packages to install: {', '.join(names)}")

    def beat(self) -> None:
        """Show the phase, if it is time."""
        now = time.monotonic()
        done = f"{min(self._installed() - self._before, self.total)} of " if self._site is not None else ""
        text = self.phase or f"installing packages: {done}{self.total}"
        text = f"{self.label}: {text} ({now - self.began:.0f} s)"
        if self._terminal:
            sys.stdout.write(f"{_CLEAR}{text[: shutil.get_terminal_size().columns - 1]}")
            sys.stdout.flush()
        elif now - self._shown >= EVERY:
            self.show(text.removeprefix(f"{self.label}: "))

    def show(self, text: str) -> None:
        """Print a line that stays."""
        self._shown = time.monotonic()
        sys.stdout.write(f"{_CLEAR if self._terminal else ''}{self.label}: {text}\n")
        sys.stdout.flush()

    def end(self) -> None:
        """Say how it ended."""
        seconds = time.monotonic() - self.began
        did = f"{self.total} packages installed" if self.total else "nothing to install"
        self.show(f"{did} in {seconds:.0f} s")


def _follow(name: str, stream: IO[str] | None, lines: SimpleQueue[Line]) -> None:
    for line in stream or ():
        lines.put((name, line))
    lines.put(None)


def main(label: str, arguments: list[str]) -> int:
    """Install; the exit code is pip's."""
    bar = "raw" if tuple(map(int, import_module("pip").__version__.split(".")[:2])) >= (24, 1) else "off"
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--disable-pip-version-check",
        f"--progress-bar={bar}",
        *arguments,
    ]
    # Into a target, pip moves everything at the end: there is nothing to count before.
    progress = Progress(label, None if "--target" in arguments else Path(sysconfig.get_path("purelib")))
    progress.show("looking for packages")
    tail: deque[str] = deque(maxlen=TAIL)
    lines: SimpleQueue[Line] = SimpleQueue()
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8", errors="replace"
    ) as pip:
        signal.signal(signal.SIGTERM, lambda *_: pip.terminate())
        for name, stream in (("stdout", pip.stdout), ("stderr", pip.stderr)):
            Thread(target=_follow, args=(name, stream, lines), daemon=True).start()
        open_streams = 2
        while open_streams:
            try:
                line = lines.get(timeout=0.5)
            except Empty:
                progress.beat()
                continue
            if line is None:
                open_streams -= 1
            elif (line[0] == "stderr" and not line[1].startswith("WARNING: ")) or "Retrying" in line[1]:
                progress.show(line[1].rstrip())
            else:
                tail.append(line[1])
                progress.read(line[1])
                progress.beat()
    if pip.returncode:
        if tail:
            sys.stdout.writelines(["The end of pip's output:\n", *(f"    {line}" for line in tail)])
        progress.show(
            f"pip ended with exit code {pip.returncode}; the reason stands above. Without a network, or with another "
            "package index: set PIP_INDEX_URL, or PIP_FIND_LINKS to a folder of wheels, and run this again"
        )
        return pip.returncode
    progress.end()
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1], sys.argv[2:]))
    except KeyboardInterrupt:
        sys.exit(130)
