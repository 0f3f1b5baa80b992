"""Processes of both versions: started, listened to, told what to do, and killed whatever happens."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

from acceptance.processes import WorkerProcess
from acceptance.stage import Journal, until
from acceptance.tasks import JOURNAL

__all__ = ("Process", "Processes")

HERE = Path(__file__).parent
WINDOWS: dict[str, Any] = {
    "worker_heartbeat_interval": 0.5,
    "worker_stale_after": 20.0,
    "maintenance_interval": 0.2,
    "worker_poll_interval": 0.05,
    "worker_drain_timeout": 60,
    "worker_max_concurrency": 4,
}
"""A worker that the machine does not run for twenty seconds would lose its tasks."""


class Process(WorkerProcess):
    """A process of `process.py`."""

    def order(self, **order: Any) -> None:
        """Tell it what to do."""
        stdin = self._process.stdin
        assert stdin is not None
        stdin.write(json.dumps(order).encode() + b"\n")

    async def imported(self) -> None:
        """Wait until it could open the store."""
        await self.said("that it is there", lambda line: "imported" in line)

    async def opened(self) -> None:
        """Let it open the store, and wait until it has."""
        self.order()
        await self.said("that it opened the store", lambda line: "opened" in line)

    async def enqueued(self, *tasks: tuple[str, Any, dict[str, Any]]) -> list[dict[str, Any]]:
        """Let it enqueue tasks; what it said of each."""
        before = len([line for line in self.lines if "enqueued" in line])
        self.order(enqueue=tasks)
        said = await self.said("what it enqueued", lambda line: "enqueued" in line, count=before + len(tasks))
        return said[before:]

    async def ran(self, count: int) -> None:
        """Wait until it has settled so many tasks in all."""
        await self.told("complete", count=count)


class Processes:
    """Starts them.

    Args:
        folder: Where the journal and the processes' stderr are.
        old_code: The first version's code.
    """

    def __init__(self, folder: Path, old_code: Path) -> None:
        self.journal = Journal(folder / "journal.jsonl")
        self._folder = folder
        self._old_code = old_code
        self._started: list[Process] = []

    async def start(
        self,
        version: str,
        place: dict[str, Any],
        *,
        works: bool = True,
        options: dict[str, Any] | None = None,
        **config: Any,
    ) -> Process:
        """Start a process of a version, "old" or "new"; it does not open the store before it is told to.

        Args:
            version: Whose code it runs.
            place: The store.
            works: Whether it runs a worker, or ends once it opened the store.
            options: Options of the backend.
            **config: Settings of `QueueConfig`.
        """
        settings = {"place": place, "works": works, "options": options or {}, "config": {**WINDOWS, **config}}
        path = [str(self._old_code)] if version == "old" else []
        env = {**os.environ, "PYTHONPATH": os.pathsep.join([*path, str(HERE.parent)]), JOURNAL: str(self.journal.path)}
        errors = self._folder / f"{version}-{len(self._started)}.err"
        with errors.open("wb") as stderr:
            started = await asyncio.create_subprocess_exec(
                sys.executable, str(HERE / "process.py"), json.dumps(settings),
                env=env, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=stderr, limit=2**20,
            )  # fmt: skip
        process = Process(started, errors)
        self._started.append(process)
        return process

    def histories(self) -> str:
        """What all of them said, for a failure's message."""
        return "\n".join(process.history() for process in self._started)

    async def running(self, count: int) -> set[tuple[str, int]]:
        """Wait until so many tasks run, in all processes; each with its process."""

        async def are_there() -> bool:
            return len(self._now()) >= count

        await until(are_there)
        return self._now()

    def _now(self) -> set[tuple[str, int]]:
        runs = (one for executions in self.journal.executions().values() for one in executions)
        return {(one.task, one.pid) for one in runs if one.how == "running"}

    async def kill_all(self) -> None:
        for process in self._started:
            await process.kill()
            process._process._transport.close()  # type: ignore[attr-defined]  # its pipes, before the loop is gone
