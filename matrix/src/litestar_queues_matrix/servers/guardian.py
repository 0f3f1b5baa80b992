"""Runs one server for another process, and ends it when that process is gone, whatever it died of.

It is run as a program of its own, by its path, and imports the standard library only. Its standard input is a pipe from
the process that wants the server: the first line is the plan, each following one a verb, each answered by one line. The
verb `end`, or the end of the input, which means that the other process is no more: the server is ended and its folder
removed. (The verb is there as well because a forked child of that process keeps the pipe open.)
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Any

STOP_SECONDS = 15.0
PAUSE = 0.005


class Guardian:
    """One server, and its folder."""

    def __init__(self, plan: dict[str, Any]) -> None:
        self.plan = plan
        self.server: subprocess.Popen[bytes] | None = None
        self.paused = False

    def start(self, command: list[str]) -> int:
        """Start the server; answers with its process id."""
        with Path(self.plan["log"]).open("ab") as log:
            self.server = subprocess.Popen(  # noqa: S603  # the plan's own
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.plan["folder"],
                env=self.plan["env"],
                start_new_session=True,
                user=self.plan["user"],
                group=self.plan["user"],
                extra_groups=None if self.plan["user"] is None else [],
            )
        self.paused = False
        return self.server.pid

    def poll(self) -> int | None:
        """The exit code of the server, or None while it runs."""
        return None if self.server is None else self.server.poll()

    def kill(self) -> None:
        """SIGKILL for the server and every process of its own; returns when all are gone."""
        if self.server is None or self.server.poll() is not None:
            return
        family = self._halt()
        self._signal(family, signal.SIGKILL)
        self.server.wait()
        while any(_birth(pid) == birth for pid, birth in family.items()):
            time.sleep(PAUSE)

    def pause(self) -> None:
        """SIGSTOP for the server and every process of its own."""
        if self.server is not None and self.server.poll() is None:
            self._halt()
            self.paused = True

    def resume(self) -> None:
        """SIGCONT for all of them."""
        if self.server is not None and self.server.poll() is None:
            self._signal(_family(self.server.pid), signal.SIGCONT)
            self.paused = False

    def stop(self) -> None:
        """End the server at once, in the way that leaves nothing behind."""
        if self.server is None or self.server.poll() is not None:
            return
        if self.paused:
            self.resume()
        self.server.send_signal(self.plan["stop_signal"])
        try:
            self.server.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()

    def clear(self) -> None:
        """Stop the server and remove its folder."""
        self.stop()
        shutil.rmtree(self.plan["folder"], ignore_errors=True)

    def _halt(self) -> dict[int, str]:
        """Stop all processes of the server, the first one first, so that it starts no more of them meanwhile."""
        assert self.server is not None  # noqa: S101  # for the type checkers
        self.server.send_signal(signal.SIGSTOP)
        while _state(self.server.pid) not in ("T", "t", "Z", ""):
            time.sleep(PAUSE)
        family = _family(self.server.pid)
        self._signal(family, signal.SIGSTOP)
        return family

    @staticmethod
    def _signal(family: dict[int, str], number: signal.Signals) -> None:
        for pid, birth in family.items():
            if _birth(pid) == birth:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)


def _processes() -> dict[int, tuple[int, str, str]]:
    """Of every process: its parent, its state, and when it was born, which tells it from a later one of its number."""
    found: dict[int, tuple[int, str, str]] = {}
    if Path("/proc/self/stat").exists():
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
                    found[int(entry.name)] = (int(fields[1]), fields[0], fields[19])
        return found
    listed = subprocess.run(["ps", "-axo", "pid=,ppid=,state=,lstart="], capture_output=True, text=True, check=True)  # noqa: S607  # where there is no /proc
    for line in listed.stdout.splitlines():
        pid, parent, state, birth = line.split(None, 3)
        found[int(pid)] = (int(parent), state[0], birth)
    return found


def _family(root: int) -> dict[int, str]:
    """The process and all that descend from it, and when each was born."""
    processes = _processes()
    family = {root} & set(processes)
    while more := {pid for pid, (parent, _, _) in processes.items() if parent in family} - family:
        family |= more
    return {pid: processes[pid][2] for pid in family}


def _state(pid: int) -> str:
    return _processes().get(pid, (0, "", ""))[1]


def _birth(pid: int) -> str | None:
    """When the process was born, or None if it is gone, or has ended and nobody took note."""
    _, state, birth = _processes().get(pid, (0, "Z", ""))
    return None if state == "Z" else birth


def _leave(_signal: int, _frame: FrameType | None) -> None:
    sys.exit(0)


def main() -> None:
    """Follow the plan and the verbs on standard input until it ends."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _leave)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    guardian = Guardian(json.loads(sys.stdin.readline()))
    try:
        for line in sys.stdin:
            verb, arguments = json.loads(line)
            if verb == "end":
                break
            try:
                answer: Any = getattr(guardian, verb)(*arguments)
            except OSError as error:
                answer = {"error": str(error)}
            with contextlib.suppress(BrokenPipeError):
                print(json.dumps(answer), flush=True)  # noqa: T201  # the answer
    finally:
        guardian.clear()


if __name__ == "__main__":
    main()
