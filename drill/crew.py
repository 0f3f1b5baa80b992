"""The worker processes of a drill: started, disturbed, started again when they end, and ended whatever happens."""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import Any, ClassVar

from drill.journal import PLACE
from drill.places import Place
from drill.proxy import Proxy
from drill.work import GREEDY

__all__ = ("LONG", "ROOT", "SHORT", "Crew", "Window", "Worker", "python_path")

ROOT = Path(__file__).parents[1]
_PR_SET_PDEATHSIG = 1
_libc: Any = ctypes.CDLL(None) if sys.platform == "linux" else None
_FINE = (0, 1, 2, -signal.SIGKILL, -signal.SIGTERM)
"""Exit codes of a worker that left, that gave back, that could not start, that was killed, or that was told too early."""


@dataclass(frozen=True, slots=True)
class Window:
    """One application's configuration. In seconds."""

    name: str
    heartbeat: float
    stale_after: float

    @property
    def config(self) -> dict[str, Any]:
        """Of `QueueConfig`."""
        return {
            "worker_heartbeat_interval": self.heartbeat,
            "worker_stale_after": self.stale_after,
            "maintenance_interval": self.heartbeat,
            "worker_poll_interval": 0.2,
            "worker_drain_timeout": 3,
            "worker_max_concurrency": 10,
            "retention": None,
        }


SHORT, LONG = Window("short", 0.5, 4.0), Window("long", 5.0, 15.0)


@dataclass(slots=True, eq=False)
class Worker:
    """One process, and the times at which it could not work in peace."""

    process: subprocess.Popen[bytes]
    window: Window
    queues: tuple[str, ...]
    proxy: Proxy | None
    began: float
    ended: float = inf
    killed: bool = False
    troubles: list[list[float]] = field(default_factory=list[list[float]])

    @property
    def pid(self) -> int:
        return self.process.pid

    def begin_trouble(self) -> list[float]:
        """Note that it is disturbed from now on; the caller sets the end."""
        self.troubles.append(span := [time.monotonic(), inf])
        return span

    def kill(self) -> None:
        """SIGKILL."""
        self.killed = True
        self.process.kill()


class Crew:
    """The workers.

    Args:
        place: Their store.
        folder: Where the journal and their output are.
    """

    module: ClassVar[str] = "drill.worker"
    """What the process of a worker runs."""
    members: Sequence[tuple[Window, tuple[str, ...]]] = (
        *((SHORT, ("default",)),) * 3,
        (LONG, ("default",)),
        (SHORT, (GREEDY,)),
    )
    """Three workers with a short window, one with a long one, and one for tasks that kill their worker."""

    def __init__(self, place: Place, folder: Path) -> None:
        self._place, self._folder = place, folder
        self.journal = folder / "journal.jsonl"
        self.all: list[Worker] = []
        self.now: list[Worker] = []
        """Those that are to be alive."""
        self.odd: list[str] = []
        """Ends that nobody caused."""
        self._watching: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start all members, and put another worker in the place of each that ends."""
        for window, queues in self.members:
            await self._start(window, queues)
        self._watching = asyncio.create_task(self._watch())

    async def opened(self, seconds: float) -> None:
        """Wait, for so many seconds at most, until each of the first workers has opened its store."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if self.journal.exists() and self.journal.read_bytes().count(b'"opened"') >= len(self.now):
                return
            await asyncio.sleep(0.1)

    def settings(self, window: Window, queues: tuple[str, ...], port: int | None) -> dict[str, Any]:
        """The argument of a worker's process, as JSON; the store is behind a proxy on `port`, if there is one."""
        return {
            "place": self._place.at(port),
            "config": {**window.config, "worker_queues": queues},
            # One that starts while a table is renamed would make another in its place.
            "creates": self._watching is None,
        }

    def environment(self, _number: int) -> dict[str, str]:
        """What the environment of the next worker has beside that of the drill; `_number` is its place in `all`."""
        return {}

    async def _start(self, window: Window, queues: tuple[str, ...]) -> None:
        proxy = None
        if self._place.port is not None:
            proxy = Proxy(self._place.port)
            await proxy.start()
        settings = self.settings(window, queues, None if proxy is None else proxy.port)
        with (self._folder / f"worker-{len(self.all)}.log").open("wb") as log:
            process = subprocess.Popen(  # noqa: ASYNC220, S603  # it returns at once; our own command
                [sys.executable, "-m", self.module, json.dumps(settings)],
                cwd=ROOT,
                env={
                    **os.environ,
                    PLACE: str(self.journal),
                    "PYTHONPATH": python_path(),
                    **self.environment(len(self.all)),
                },
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=_die_with_parent if _libc else None,  # noqa: PLW1509  # one system call
            )
        worker = Worker(process, window, queues, proxy, time.monotonic())
        self.all.append(worker)
        self.now.append(worker)

    async def _watch(self) -> None:
        """Put another worker in the place of each that ends."""
        while True:
            for worker in self.now[:]:
                if worker.process.poll() is not None:
                    await self._gone(worker)
                    await self._start(worker.window, worker.queues)
            await asyncio.sleep(0.3)

    async def _gone(self, worker: Worker) -> None:
        worker.ended = time.monotonic()
        self.now.remove(worker)
        code = worker.process.returncode
        worker.killed = worker.killed or code == -signal.SIGKILL
        if code not in _FINE:
            self.odd.append(f"worker {worker.pid} ended with {code}: see worker-{self.all.index(worker)}.log")
        if worker.proxy is not None:
            await worker.proxy.stop()

    async def leave(self, seconds: float) -> None:
        """Tell all to leave, and wait for it; whoever is still there then is killed, and that is odd."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
        for worker in self.now:
            worker.process.send_signal(signal.SIGCONT)
            worker.process.terminate()
        until = time.monotonic() + seconds
        while any(worker.process.poll() is None for worker in self.now):
            if time.monotonic() > until:
                break
            await asyncio.sleep(0.1)
        for worker in self.now[:]:
            if worker.process.poll() is None:
                self.odd.append(f"worker {worker.pid} does not leave in {seconds:g} s")
                worker.process.send_signal(signal.SIGUSR1)  # it writes down where it stands
                await asyncio.sleep(0.5)
                worker.kill()
                worker.process.wait()
            await self._gone(worker)

    def kill(self) -> None:
        """End whatever is left, at once."""
        for worker in self.all:
            if worker.process.poll() is None:
                worker.process.kill()
                worker.process.wait()


def python_path() -> str:
    """Where processes of the drill find its modules."""
    return os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]).strip(os.pathsep)


def _die_with_parent() -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
