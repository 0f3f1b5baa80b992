"""Wall clocks that are wrong, in real processes: a library that is loaded before all others adds an error to them."""

from __future__ import annotations

import shutil
import struct
import subprocess
import sys
from pathlib import Path
from typing import Self

__all__ = ("Clocks",)

_SOURCE = Path(__file__).with_name("wrong_clock.c")


class Clocks:
    """The wall clocks of a drill's processes.

    Args:
        folder: Where the library and the errors of the clocks are kept.
        compiler: Makes the library.
    """

    def __init__(self, folder: Path, compiler: str) -> None:
        self._folder = folder
        self._library = folder / "wrong_clock.so"
        command = [compiler, "-O1", "-shared", "-fPIC", "-o", str(self._library), str(_SOURCE)]
        subprocess.run(command, check=True)  # noqa: S603  # our own source

    @classmethod
    def of(cls, folder: Path) -> Self | None:
        """The clocks; None where no compiler is, so that every clock stays right."""
        compiler = shutil.which("cc") if sys.platform == "linux" else None
        return None if compiler is None else cls(folder, compiler)

    def environment(self, number: int, error: int) -> dict[str, str]:
        """The environment of a process whose wall clock is wrong by `error` seconds."""
        self.put_wrong(number, error)
        return {"LD_PRELOAD": str(self._library), "DRILL_CLOCK": str(self._file(number))}

    def put_wrong(self, number: int, error: int) -> None:
        """Set the wall clock of process `number`, from this moment on."""
        file = self._file(number)
        with file.open("r+b" if file.exists() else "wb", buffering=0) as opened:
            opened.write(struct.pack("=q", error))

    def _file(self, number: int) -> Path:
        return self._folder / f"clock-{number}"
