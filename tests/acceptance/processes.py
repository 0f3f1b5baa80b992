"""Worker processes: started, listened to, sent signals, and killed whatever happens."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from acceptance.database import Database
from acceptance.stage import DEADLINE
from acceptance.tasks import JOURNAL, STAGE, registry
from litestar_queues import QueueConfig, QueueService

TESTS = Path(__file__).parents[1]
Line = dict[str, Any]


class WorkerProcess:
    """A worker in a process of its own. What it says stays readable: waiting for a line that was said is no race."""

    def __init__(self, process: asyncio.subprocess.Process, errors: Path) -> None:
        self._process = process
        self._errors = errors
        self._changed = asyncio.Condition()
        self._ended = False
        self.lines: list[Line] = []
        self.died_at: float | None = None
        self._listening = asyncio.ensure_future(self._listen())

    @property
    def pid(self) -> int:
        return self._process.pid

    async def _listen(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            async with self._changed:
                self.lines.append(json.loads(line))
                self._changed.notify_all()
        async with self._changed:
            self._ended = True
            self._changed.notify_all()

    async def said(self, what: str, matches: Callable[[Line], object], *, count: int = 1) -> list[Line]:
        """Wait until it has said so many lines that match; the answer is all of them.

        Raises:
            AssertionError: It has ended, or the deadline has passed.
        """

        def found() -> list[Line]:
            return [line for line in self.lines if matches(line)]

        with suppress(TimeoutError):
            async with asyncio.timeout(DEADLINE), self._changed:
                await self._changed.wait_for(lambda: len(found()) >= count or self._ended)
        assert len(found()) >= count, f"worker {self.pid} did not say {what}; {self.history()}"
        return found()

    async def ready(self) -> str:
        """Wait until it looks for tasks; its name."""
        (line,) = await self.said("that it is ready", lambda line: "ready" in line)
        return line["ready"]

    async def logged(self, text: str, *, count: int = 1) -> None:
        """Wait for log lines that contain the text."""
        await self.said(f"{text!r}", lambda line: text in line.get("log", ""), count=count)

    async def told(self, kind: str, *ids: str, count: int = 1) -> list[Line]:
        """Wait for a lifecycle event of each of these tasks, or for so many of any; the answer is all of this kind."""
        for id_ in ids:
            await self.said(
                f"{kind} of {id_}",
                lambda line, id_=id_: (event := line.get("event")) and (event["kind"], event["task_id"]) == (kind, id_),
            )
        lines = await self.said(
            f"{count} times {kind}", lambda line: line.get("event", {}).get("kind") == kind, count=0 if ids else count
        )
        return [line["event"] for line in lines]

    def events(self, kind: str) -> list[dict[str, Any]]:
        """The lifecycle events of a kind so far."""
        return [line["event"] for line in self.lines if line.get("event", {}).get("kind") == kind]

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    async def ended(self) -> int:
        """Wait for its end; its exit code, or minus the signal that killed it."""
        try:
            async with asyncio.timeout(DEADLINE):
                code = await self._process.wait()
        except TimeoutError:
            raise AssertionError(f"worker {self.pid} did not end; {self.history()}") from None
        await self._listening
        return code

    async def terminate(self) -> int:
        """Let it drain; its exit code."""
        self.send(signal.SIGTERM)
        return await self.ended()

    async def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        if self._process.returncode is None:
            self._process.kill()
        await self.ended()
        self.died_at = self.died_at or time.monotonic()

    def stop(self, database: Database) -> None:
        """SIGSTOP, at a moment when it is not in the middle of a write: it would keep everybody else from writing."""
        for _ in range(100):
            self._process.send_signal(signal.SIGSTOP)
            os.waitpid(self.pid, os.WUNTRACED)  # returns once it has stopped
            if not database.is_busy():
                return
            self._process.send_signal(signal.SIGCONT)
        raise AssertionError(f"worker {self.pid} writes all the time; {self.history()}")

    def history(self) -> str:
        """What it said, for a failure's message."""
        lines = "\n".join(f"    {json.dumps(line)}" for line in self.lines[-60:])
        return f"it said:\n{lines}\n  and to stderr:\n{self._errors.read_text()[-4000:]}"


class Workers:
    """Starts worker processes of one database.

    Args:
        folder: Where the journal and the processes' stderr are.
        database: What they share.
        stage: The address at which tasks wait for orders.
    """

    def __init__(self, folder: Path, database: Database, stage: str) -> None:
        self.database = database
        self.journal = folder / "journal.jsonl"
        self._folder = folder
        self._stage = stage
        self._started: list[WorkerProcess] = []

    async def start(
        self, *, barrier: bool = False, store: dict[str, Any] | None = None, **config: Any
    ) -> WorkerProcess:
        """Start a worker.

        Args:
            barrier: Let it wait on stage before it opens the database.
            store: Settings of the backend.
            **config: Settings of `QueueConfig`, over short windows.
        """
        settings = {
            "database": self.database.place,
            "barrier": barrier,
            "store": store or {},
            "config": {**WINDOWS, **config},
        }
        errors = self._folder / f"worker-{len(self._started)}.err"
        with errors.open("wb") as stderr:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "acceptance.worker_process", json.dumps(settings),
                cwd=TESTS,
                env={**os.environ, STAGE: self._stage, JOURNAL: str(self.journal)},
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=stderr,
                limit=2**20,
            )  # fmt: skip
        worker = WorkerProcess(process, errors)
        self._started.append(worker)
        return worker

    async def started(self, *, count: int = 2, **settings: Any) -> list[WorkerProcess]:
        """Start several alike, and wait until they look for tasks."""
        workers = [await self.start(**settings) for _ in range(count)]
        for worker in workers:
            await worker.ready()
        return workers

    @property
    def died(self) -> dict[int, float]:
        """When each killed process was gone."""
        return {worker.pid: worker.died_at for worker in self._started if worker.died_at is not None}

    def histories(self) -> str:
        """What all of them said, for a failure's message."""
        return "\n".join(f"worker {worker.pid}: {worker.history()}" for worker in self._started)

    async def kill_all(self) -> None:
        for worker in self._started:
            await worker.kill()
            worker._process._transport.close()  # type: ignore[attr-defined]  # its pipes, before the loop is gone


def producer(workers: Workers, **store: Any) -> QueueService:
    """A service of the test's own process, on the workers' database; not open yet."""
    return QueueService(QueueConfig(queue_backend=workers.database.backend(**store)), registry=registry)


WINDOWS: dict[str, Any] = {
    "worker_heartbeat_interval": 0.2,
    "worker_stale_after": 3.0,
    "maintenance_interval": 0.2,
    "worker_poll_interval": 0.05,
    "worker_drain_timeout": 20,
}
"""Short windows. A worker that the machine does not run for three seconds would lose its tasks here, and rightly so."""
