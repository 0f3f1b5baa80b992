"""The demo's processes: the server and the workers, each ended whatever happens."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from demo.audit import Row, Store
from demo.patience import SLOW, NotFoundOut, Patience

__all__ = ("DemoError", "Processes", "Worker")

ROOT = Path(__file__).parents[1]
START, END = 60.0, 60.0
"""Seconds in which a process has to start, and to end when it is told to, on a machine that has nothing else to do."""
_PORTS = 5
"""How many ports are tried: between choosing a free one and using it, somebody else may take it."""
_PR_SET_PDEATHSIG = 1
_libc: Any = ctypes.CDLL(None) if sys.platform == "linux" else None


class DemoError(Exception):
    """The demo cannot go on; the text says why and what to look at."""


@dataclass(frozen=True, slots=True, eq=False)
class Worker:
    """A worker process, and what to call it."""

    name: str
    process: subprocess.Popen[bytes]

    @property
    def pid(self) -> int:
        return self.process.pid

    def stop(self) -> None:
        """SIGSTOP, and wait until it stands still."""
        self.process.send_signal(signal.SIGSTOP)
        os.waitpid(self.pid, os.WUNTRACED)

    def __str__(self) -> str:
        return f"worker {self.name} (process {self.pid})"


@dataclass(slots=True)
class Processes:
    """Starts processes of the application.

    Args:
        folder: Where the application keeps its database.
        logs: Where the processes' output goes.
    """

    folder: Path
    logs: Path
    workers: list[Worker] = field(default_factory=list[Worker])
    """Those that are to be alive."""
    _all: list[subprocess.Popen[bytes]] = field(default_factory=list["subprocess.Popen[bytes]"])

    def start(self, log: str, *command: str, env: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
        """Start `python ...` with its output in a log file, and these variables besides."""
        environment = {
            **os.environ,
            **(env or {}),
            "DEMO_FOLDER": str(self.folder),
            "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
        }
        with (self.logs / log).open("wb") as output:
            process = subprocess.Popen(  # noqa: S603  # our own command
                [sys.executable, *command],
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for the demo, which then ends its processes in order
                preexec_fn=_die_with_parent if _libc else None,  # noqa: PLW1509  # one system call
            )
        self._all.append(process)
        return process

    async def start_server(self) -> tuple[subprocess.Popen[bytes], str]:
        """Start the server, and wait until it answers; its process and its URL.

        Raises:
            DemoError: It does not start.
            NotFoundOut: It has not answered yet, on a machine that is slow.
        """
        for _ in range(_PORTS):
            port = _free_port()
            server = self.start(
                "server.log",
                "-m",
                "litestar",
                "--app",
                "demo.app:app",
                "run",
                "--host",
                "127.0.0.1",
                "--port",
                str(port),
            )
            url = f"http://127.0.0.1:{port}"
            patience = Patience(START)
            if await _answers(server, url, patience):
                return server, url
            if server.poll() is None and patience.slowness >= SLOW:
                raise NotFoundOut(f"the server does not answer after {patience}")
            if "address already in use" not in self._tail("server.log").lower():
                break
        raise DemoError(
            f"the server did not start; the end of {self.logs / 'server.log'}:\n\n{self._tail('server.log')}"
        )

    def start_worker(self) -> Worker:
        """Start a worker; it is at work a moment later."""
        name = chr(ord("A") + sum(1 for _ in self.logs.glob("worker-*.log")))
        worker = Worker(
            name, self.start(f"worker-{name}.log", "-m", "litestar", "--app", "demo.app:app", "queues", "run")
        )
        self.workers.append(worker)
        return worker

    def check(self) -> None:
        """Look whether everybody is alive who should be.

        Raises:
            DemoError: A worker has ended.
            NotFoundOut: Somebody has killed a worker, such as a machine without memory.
        """
        for worker in self.workers:
            if (code := worker.process.poll()) is not None:
                if code == -signal.SIGKILL:
                    raise NotFoundOut(f"{worker} was killed, and not by the demo")
                log = f"worker-{worker.name}.log"
                raise DemoError(f"{worker} has ended ({code}); the end of {self.logs / log}:\n\n{self._tail(log)}")

    async def freeze_a_holder(self, store: Store, *, at_least: int) -> tuple[Worker, dict[str, Row]]:
        """Stop a worker while it holds tasks; the worker, and the rows of what it certainly holds.

        It stands still when it is looked at, so that it cannot settle anything between the look and what comes next.
        It does not stand still in the middle of a write: SQLite would let nobody else write then.

        Raises:
            NotFoundOut: No worker holds so many tasks, and nothing moves any more.
        """
        patience = Patience(START, store.moves)
        while not patience.is_over():
            self.check()
            worker = max(self.workers, key=lambda one: len(store.held_by(one.pid)))
            worker.stop()
            if not store.is_locked() and len(held := store.held_by(worker.pid)) >= at_least:
                return worker, held
            worker.process.send_signal(signal.SIGCONT)
            await asyncio.sleep(0.05)
        raise NotFoundOut(f"no worker was found holding {at_least} tasks, in {patience}")

    def kill(self, worker: Worker) -> None:
        """SIGKILL, and wait until it is gone."""
        worker.process.kill()
        worker.process.wait()
        self.workers.remove(worker)

    async def drain(self) -> dict[Worker, int]:
        """SIGTERM to every worker; their exit codes."""
        workers, self.workers = self.workers, []
        for worker in workers:
            worker.process.terminate()
        return {worker: await ended(worker.process, Patience(END)) for worker in workers}

    def end_all(self) -> None:
        """Kill whatever still runs, with its children."""
        for process in self._all:
            if process.poll() is None:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
        for process in self._all:
            process.wait()

    def _tail(self, log: str) -> str:
        return "\n".join((self.logs / log).read_text(errors="replace").splitlines()[-25:])


async def ended(process: subprocess.Popen[bytes], patience: Patience) -> int:
    """Wait for a process, which is killed where it takes too long; its exit code."""
    while (code := process.poll()) is None:
        if patience.is_over():
            process.kill()
        await asyncio.sleep(0.02)
    return code


def _die_with_parent() -> None:
    """In the new process: end when the demo is killed and can clean up nothing."""
    if _libc:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def _answers(server: subprocess.Popen[bytes], url: str, patience: Patience) -> bool:
    """Whether the server answers before it ends, or the patience does."""
    async with httpx.AsyncClient(base_url=url) as client:
        while not patience.is_over() and server.poll() is None:
            with suppress(httpx.TransportError):
                if (await client.get("/stats")).is_success:
                    return server.poll() is None
            await asyncio.sleep(0.05)
    return False
