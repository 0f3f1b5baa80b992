"""MySQL and MariaDB from their own executables."""

from __future__ import annotations

import re
import signal
from collections.abc import Mapping
from pathlib import Path

from litestar_queues_matrix.servers.launcher import Launcher

__all__ = ("MariaDB", "MySQL")

_ACCOUNT = """\
CREATE DATABASE IF NOT EXISTS queues;
CREATE USER IF NOT EXISTS 'queues'@'%';
GRANT ALL ON *.* TO 'queues'@'%' WITH GRANT OPTION;
"""
# Without a password: MySQL 9 lets a client with one in over a plain connection only while its cache of passwords is
# warm, which it is not after a restart, and mysql-connector cannot warm it.


class _Either(Launcher):
    """What both have in common: user `queues` with all rights, on the loopback interface."""

    stop_signal = signal.SIGKILL

    def usual_folders(self, version: str) -> tuple[str, ...]:
        return ("/usr/sbin", "/usr/libexec", "/usr/local/mysql/bin", "/opt/homebrew/bin")

    def prepare(self, folder: Path) -> None:
        (folder / "account.sql").write_text(_ACCOUNT)

    def command(self, binaries: Path, folder: Path, port: int) -> list[str]:
        return [
            str(binaries / self.executable),
            "--no-defaults",
            *_places(binaries, folder),
            f"--port={port}",
            "--bind-address=127.0.0.1",
            f"--socket={folder / 's'}",
            f"--pid-file={folder / 'pid'}",
            f"--init-file={folder / 'account.sql'}",
            "--skip-name-resolve",
        ]

    def options(self, *, durable: bool, settings: Mapping[str, str]) -> list[str]:
        speed = {
            "max-connections": "300",
            "performance-schema": "OFF",
            "innodb-buffer-pool-size": "64M",
            "skip-log-bin": "",
        }
        if not durable:
            speed |= {
                "innodb-flush-log-at-trx-commit": "0",
                "innodb-doublewrite": "OFF",
                "innodb-flush-method": "nosync",
            }
        return _set(speed | dict(settings))

    def url(self, port: int) -> str:
        return f"mysql://queues@127.0.0.1:{port}/queues"


class MySQL(_Either):
    """MySQL."""

    executable = "mysqld"
    packages = "mysql-server (Oracle's repository), mysql (Homebrew)"

    def version_in(self, output: str) -> str | None:
        found = re.search(r"Ver (\d+\.\d+\.\d+)", output)
        return found[1] if found and "MariaDB" not in output else None  # Debian's `mysqld` is MariaDB's

    def initialise(self, binaries: Path, folder: Path) -> list[str]:
        return [
            str(binaries / self.executable),
            "--no-defaults",
            "--initialize-insecure",
            "--skip-log-bin",
            *_places(binaries, folder),
            *self._own,
        ]

    def command(self, binaries: Path, folder: Path, port: int) -> list[str]:
        return [*super().command(binaries, folder, port), "--mysqlx=OFF", *self._own]

    # Debian's build insists on a folder for LOAD DATA that exists only where the package is installed.
    _own: tuple[str, ...] = ("--secure-file-priv=NULL", "--innodb-redo-log-capacity=16M")


class MariaDB(_Either):
    """MariaDB."""

    executable = "mariadbd"
    companions = ("../bin/mariadb-install-db|mariadb-install-db|../scripts/mariadb-install-db",)
    packages = "mariadb-server-core (Debian), mariadb (Homebrew)"

    def version_in(self, output: str) -> str | None:
        found = re.search(r"Ver (\d+\.\d+\.\d+)-MariaDB", output)
        return found and found[1]

    def initialise(self, binaries: Path, folder: Path) -> list[str]:
        script = next(path for one in self.companions[0].split("|") if (path := (binaries / one).resolve()).exists())
        return [
            str(script),
            "--no-defaults",
            f"--basedir={binaries.parent}",
            f"--datadir={folder / 'data'}",
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
            *self._own,
        ]

    def command(self, binaries: Path, folder: Path, port: int) -> list[str]:
        return [*super().command(binaries, folder, port), *self._own]

    _own: tuple[str, ...] = ("--innodb-log-file-size=16M",)


def _places(binaries: Path, folder: Path) -> list[str]:
    base = binaries.parent
    places = [f"--basedir={base}", f"--datadir={folder / 'data'}", f"--tmpdir={folder / 'tmp'}"]
    messages = next((path for path in (base / "share/mysql", base / "share") if (path / "english").is_dir()), None)
    return [*places, f"--lc-messages-dir={messages}"] if messages else places


def _set(settings: Mapping[str, str]) -> list[str]:
    return [f"--{name}={value}" if value else f"--{name}" for name, value in settings.items()]
