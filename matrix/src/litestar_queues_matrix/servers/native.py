"""A server started from executables, in a folder of its own, under the eyes of a guardian process."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from litestar_queues_matrix.servers import guardian
from litestar_queues_matrix.servers.errors import ServerUnavailable
from litestar_queues_matrix.servers.launchers import LAUNCHERS
from litestar_queues_matrix.servers.running import Server, free_port, wait_until_answering
from litestar_queues_matrix.servers.sources import Executables
from litestar_queues_matrix.servers.templates import copy_template

__all__ = ("NativeServer",)

_NOBODY = 65534
_PORTS_TRIED = 5


class NativeServer(Server):
    """Started by the constructor, on data that nobody used before."""

    def __init__(
        self, source: Executables, env: Mapping[str, str], *, durable: bool, settings: Mapping[str, str]
    ) -> None:
        self.row, self.origin = source.row, source.origin
        self._launcher = LAUNCHERS[source.row.product]
        self._binaries = source.folder
        self._options = self._launcher.options(durable=durable, settings=settings)
        # Short, and in a folder of its own: a socket's path has 107 bytes, and two servers must not share a TMPDIR.
        prefix = f"lq-{source.row.name}-"
        self._folder = Path(tempfile.mkdtemp(prefix=prefix, dir=env.get("LITESTAR_QUEUES_MATRIX_TMP"))).resolve()
        (self._folder / "tmp").mkdir()
        self._log = self._folder / "log"
        self._environment = {**env, "TMPDIR": str(self._folder / "tmp"), "LC_ALL": "C"}
        self._guard = _Guard(self._folder, self._log, self._environment, int(self._launcher.stop_signal))
        try:
            self._fill(env)
            self._start_somewhere()
        except BaseException:
            self.stop()
            raise

    def kill(self) -> None:
        self._guard.ask("kill")

    def restart(self) -> None:
        if self._guard.ask("poll") is None:
            raise RuntimeError(f"{self.row.name} runs: restart() comes after kill()")
        self._start()

    def pause(self) -> None:
        self._guard.ask("pause")

    def resume(self) -> None:
        self._guard.ask("resume")

    def stop(self) -> None:
        self._guard.end()

    def log(self) -> str:
        """What the server wrote, the end of it."""
        return self._log.read_text(errors="replace")[-3000:] if self._log.exists() else ""

    def _fill(self, env: Mapping[str, str]) -> None:
        command = self._launcher.initialise(self._binaries, self._folder)

        def make() -> None:
            _give_away(self._folder)
            done = subprocess.run(  # noqa: S603  # found on PATH or named by the user
                [*_unprivileged_by(), *command],
                cwd=self._folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                check=False,
                user=_unprivileged_user(),
                group=_unprivileged_user(),
            )
            if done.returncode:
                said = f"{done.stdout}{done.stderr}".strip()[-2000:]
                raise ServerUnavailable(f"{self.row.name} cannot be set up by {' '.join(command)}:\n{said}")

        recipe = " ".join(command).replace(str(self._folder), "")
        copy_template(self._binaries / self._launcher.executable, recipe, self._folder / "data", env, make=make)
        self._launcher.prepare(self._folder)
        _give_away(self._folder)

    def _start_somewhere(self) -> None:
        """Start on a free port, on another one if somebody took it meanwhile."""
        for left in reversed(range(_PORTS_TRIED)):
            self._port = free_port()
            self.url = self._launcher.url(self._port)
            try:
                self._start()
            except ServerUnavailable:
                if not left or "ddress already in use" not in self.log():
                    raise
            else:
                return

    def _start(self) -> None:
        command = self._launcher.command(self._binaries, self._folder, self._port)
        self._guard.ask("start", [*_unprivileged_by(), *command, *self._options])

        def gone() -> str | None:
            code = self._guard.ask("poll")
            return None if code is None else f"{self.row.name} ended with {code} when started:\n{self.log()}"

        wait_until_answering(self.url, gone=gone)


class _Guard:
    """The guardian process, seen from here. It ends with this process, or with `end`."""

    def __init__(self, folder: Path, log: Path, environment: Mapping[str, str], stop_signal: int) -> None:
        self._lock = threading.Lock()
        self._owner = os.getpid()
        self._process = subprocess.Popen(  # noqa: S603  # our own program
            [sys.executable, "-I", "-S", guardian.__file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # the terminal's Ctrl-C is not for it
        )
        plan = {
            "folder": str(folder),
            "log": str(log),
            "env": dict(environment),
            "stop_signal": stop_signal,
            "user": _unprivileged_user(),
        }
        self._write(plan)
        atexit.register(self.end)

    def ask(self, verb: str, *arguments: Any) -> Any:
        """Let the guardian do something, and wait until it is done."""
        with self._lock:
            assert self._process.stdout is not None  # noqa: S101  # for the type checkers
            try:
                self._write([verb, arguments])
                line = self._process.stdout.readline()
            except (OSError, ValueError):
                line = ""
        if not line:
            raise ServerUnavailable(f"cannot {verb}: the server was stopped")
        answer = json.loads(line)
        if isinstance(answer, dict):
            raise ServerUnavailable(f"cannot {verb}: {answer['error']}")
        return answer

    def end(self) -> None:
        """End the server and the guardian, and remove the folder."""
        if os.getpid() != self._owner:  # a forked child is not the one that the server is for
            return
        with self._lock:
            if self._process.poll() is None:
                with contextlib.suppress(OSError, ValueError):
                    self._write(["end", []])
                self._process.communicate()
        atexit.unregister(self.end)

    def _write(self, message: Any) -> None:
        assert self._process.stdin is not None  # noqa: S101  # for the type checkers
        self._process.stdin.write(json.dumps(message) + "\n")
        self._process.stdin.flush()


@cache
def _unprivileged_by() -> tuple[str, ...]:
    """What a command has to be put behind, for servers that refuse to be run by root.

    In a user namespace they see another user while the kernel leaves root its rights: nothing has to change hands.
    """
    if os.geteuid() != 0:
        return ()
    command = ("unshare", "--user", f"--map-user={_NOBODY}", f"--map-group={_NOBODY}")
    try:
        done = subprocess.run([*command, "true"], capture_output=True, check=False)  # noqa: S603  # as it stands
    except OSError:
        return ()
    return command if done.returncode == 0 else ()


def _unprivileged_user() -> int | None:
    """The user to become, where root has no user namespaces."""
    return _NOBODY if os.geteuid() == 0 and not _unprivileged_by() else None


def _give_away(folder: Path) -> None:
    """Make that user the owner of a folder and all that is in it."""
    user = _unprivileged_user()
    if user is not None:
        for path in (folder, *folder.rglob("*")):
            os.chown(path, user, user, follow_symlinks=False)
