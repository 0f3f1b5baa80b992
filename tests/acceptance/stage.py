"""Where tasks in worker processes wait for the test's orders, and the journal of what they did."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from waiting import DEADLINE


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    """Look again and again, with a deadline: for what is stored and announces itself to nobody."""
    async with asyncio.timeout(DEADLINE):
        while not await holds():  # noqa: ASYNC110  # the store sets no event
            await asyncio.sleep(0.02)


@dataclass(slots=True)
class Actor:
    """One execution of a task, waiting in its worker process."""

    task: str
    attempt: int
    fence: int
    pid: int
    _reader: asyncio.StreamReader
    _writer: asyncio.StreamWriter

    def order(self, do: str, **details: Any) -> None:
        """Tell it what to do. It does so when it can: a stopped process does it when it goes on."""
        self._writer.write(json.dumps({"do": do, **details}).encode() + b"\n")

    async def left(self) -> None:
        """Wait until it has ended, in whatever way, its process's death included."""
        async with asyncio.timeout(DEADLINE):
            assert await self._reader.read() == b""


class Stage:
    """Receives tasks."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._arrived: asyncio.Queue[Actor] = asyncio.Queue()
        self._writers: list[asyncio.StreamWriter] = []

    async def _arrive(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        if line := await reader.readline():
            said = json.loads(line)
            self._arrived.put_nowait(
                Actor(said.get("task", ""), said.get("attempt", 0), said.get("fence", 0), said["pid"], reader, writer)
            )

    async def arrivals(self, count: int) -> dict[str, Actor]:
        """Wait for so many tasks; by id."""
        actors = [await self.arrival() for _ in range(count)]
        return {actor.task: actor for actor in actors}

    async def arrival(self) -> Actor:
        """Wait for the next one."""
        async with asyncio.timeout(DEADLINE):
            return await self._arrived.get()

    @property
    def is_empty(self) -> bool:
        """Whether nobody arrived who was not waited for."""
        return self._arrived.empty()

    def close(self) -> None:
        for writer in self._writers:
            writer.close()


@asynccontextmanager
async def open_stage() -> AsyncIterator[Stage]:
    """A stage at a socket of its own; its path is short, as sockets want it."""
    with tempfile.TemporaryDirectory(prefix="lq-") as folder:
        stage = Stage(str(Path(folder) / "stage"))
        server = await asyncio.start_unix_server(stage._arrive, stage.address)
        try:
            yield stage
        finally:
            server.close()
            stage.close()
            await server.wait_closed()


@dataclass(frozen=True, slots=True)
class Execution:
    """One run of one attempt, as the journal has it; times by the machine's monotonic clock."""

    task: str
    attempt: int
    fence: int
    pid: int
    start: float
    end: float
    how: str


class Journal:
    """What tasks wrote about themselves."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def executions(self, died: Mapping[int, float] | None = None) -> dict[str, list[Execution]]:
        """Every execution, by task, in the order of their starts.

        Args:
            died: When processes were killed: what ran in them ended then.
        """
        died = died or {}
        open_: dict[tuple[str, int], dict[str, Any]] = {}
        found: dict[str, list[Execution]] = defaultdict(list)

        def close(line: dict[str, Any], end: float, how: str) -> None:
            found[line["task"]].append(
                Execution(line["task"], line["attempt"], line["fence"], line["pid"], line["at"], end, how)
            )

        for text in self.path.read_text().splitlines() if self.path.exists() else ():
            line = json.loads(text)
            if line["what"] == "start":
                open_[line["task"], line["fence"]] = line
            else:
                close(open_.pop((line["task"], line["fence"])), line["at"], line["what"])
        for line in open_.values():
            close(line, died.get(line["pid"], float("inf")), "killed" if line["pid"] in died else "running")
        return {task: sorted(executions, key=lambda one: one.start) for task, executions in found.items()}

    def overlaps(self, died: Mapping[int, float] | None = None, *, besides: int | None = None) -> list[str]:
        """Executions of one task that ran at the same time, described.

        Args:
            died: As for `executions`.
            besides: A process that was stopped for a while: what it ran may overlap.
        """
        return [
            f"{earlier} and {later}"
            for executions in self.executions(died).values()
            for index, later in enumerate(executions)
            for earlier in executions[:index]
            if earlier.end > later.start and besides not in (earlier.pid, later.pid)
        ]
