"""How the executables of a product are found and run on this machine."""

from __future__ import annotations

import signal
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

__all__ = ("Launcher",)


class Launcher(ABC):
    """Runs the executables of a product on this machine."""

    executable: str
    """The server's own."""
    companions: tuple[str, ...] = ()
    """Executables that are needed beside it, as paths from its folder; one of each group separated by `|`."""
    packages: str
    """What to install, for the error of somebody who has none; `{version}` stands for the version."""
    wheels: Mapping[str, str] = MappingProxyType({})
    """Distributions on PyPI that carry it, and the package that each installs."""
    in_wheel: str = "*/bin"
    """The folder of the executables in such a package."""
    stop_signal: signal.Signals
    """Ends it at once, leaving no shared memory behind; its data are going to be deleted."""

    @abstractmethod
    def usual_folders(self, version: str) -> tuple[str, ...]:
        """Where packages put the executables of this version, apart from PATH."""

    @abstractmethod
    def version_in(self, output: str) -> str | None:
        """The version in the output of `--version`, or None for another product."""

    @abstractmethod
    def initialise(self, binaries: Path, folder: Path) -> list[str]:
        """The command that makes `folder/data`."""

    @abstractmethod
    def prepare(self, folder: Path) -> None:
        """Write what `command` needs into the folder, which holds the data already."""

    @abstractmethod
    def command(self, binaries: Path, folder: Path, port: int) -> list[str]:
        """The command that serves `folder/data`; `options` come after it."""

    @abstractmethod
    def options(self, *, durable: bool, settings: Mapping[str, str]) -> list[str]:
        """Speed, or durability, and these settings of the server's own."""

    @abstractmethod
    def url(self, port: int) -> str:
        """The address of the server that `command` starts."""
