"""One campaign: a store, a box, dispatchers, tasks, faults one after the other, and the account at the end."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from drill.crew import Worker
from drill.dispatch.box import Box, Run
from drill.dispatch.crew import Dispatchers
from drill.dispatch.faults import FAULTS
from drill.dispatch.reports import STORE, WINDOW, cloud_run, render_report, timings
from drill.dispatch.rules import Account, Wanted
from drill.journal import PLACE, read
from drill.places import Place, backend_at
from drill.rules import TERMINAL
from litestar_queues import QueueConfig, QueueService
from litestar_queues.errors import QueueError, TaskStateError
from litestar_queues.records import TaskRecord
from litestar_queues.task import TaskCall
from litestar_queues_matrix.servers import ask

__all__ = ("DispatchCampaign", "Load")

_START, _QUIET, _LEAVE, _RUNS = 90.0, 120.0, 40.0, 30.0
"""Seconds in which the crew has to be ready, every task to end, all workers to leave, and every container to end."""
_DOOMED = 3
"""Tasks whose job never claims them, at the end."""


@dataclass(frozen=True, slots=True)
class Load:
    """How many tasks there are, and how they run.

    Attributes:
        tasks: How many in all.
        at_once: How many of them are active at the same time.
        forks: Whether containers are forks of one process.
        every: Seconds between the beginnings of two faults, on average.
    """

    tasks: int
    at_once: int
    forks: bool
    every: float


class DispatchCampaign:
    """One campaign.

    Args:
        place: The store, empty.
        folder: Where the journal and the output of dispatchers and containers go.
        seed: What the order and the lengths of the faults are drawn from; their effects are not.
        load: The tasks.
    """

    def __init__(self, place: Place, folder: Path, seed: int, load: Load) -> None:
        self.rng = Random(seed)
        self.place, self.load = place, load
        self._folder = folder
        self._journal = folder / "journal.jsonl"
        os.environ[PLACE] = str(self._journal)
        environment = {PLACE: str(self._journal), STORE: json.dumps(place.at())}
        preload = ["drill.dispatch.reports", "sqlspec", "asyncpg", "aiosqlite", "valkey.asyncio"]
        self.box = Box(environment, forks=load.forks, rng=self.rng, preload=preload)
        self.wanted: dict[str, Wanted] = {}
        """What each acknowledged task has to come to, by its id."""
        self.done = Counter[str]()
        self.crew: Dispatchers
        self._service: QueueService
        self._states: dict[str, str] = {}

    def say(self, line: str) -> None:
        """One line for whoever watches."""
        sys.stdout.write(line + "\n")
        sys.stdout.flush()

    async def pick(self) -> Worker | None:
        """A dispatcher that can be missed: at least one other works."""
        opened = (await asyncio.to_thread(read, self._journal)).opened
        working = [worker for worker in self.crew.now if worker.pid in opened]
        return self.rng.choice(working) if len(working) > 1 else None

    async def in_functions(self) -> list[Run]:
        """The executions whose task's function is running."""
        written = await asyncio.to_thread(read, self._journal)
        refs = [one.ref or "" for ones in written.executions.values() for one in ones if one.how == "runs"]
        return [run for ref in refs if (run := self.box.runs.get(ref)) is not None and run.pid is not None]

    async def cancel_one(self) -> None:
        """Cancel a task that has not ended, as far as is known."""
        active = [id_ for id_ in self.wanted if self._states.get(id_) not in TERMINAL]
        if not active:
            return
        wanted = self.wanted[self.rng.choice(active)]
        before, wanted.states = wanted.states, wanted.states | {"cancelled"}  # stored, maybe, where no answer comes
        try:
            await self._service.cancel(wanted.id)
        except TaskStateError:
            wanted.states = before
        except QueueError:
            return
        else:
            wanted.states = {"cancelled"}

    async def run(self) -> Account:
        """Enqueue all tasks while faults happen, let everything come to its end, and return the account."""
        async with self.box:
            self.crew = Dispatchers(self.place, self._folder, self.box.cloud.address, self.rng)
            execution = cloud_run(channel_factory=self.box.cloud.channel)
            store = backend_at(self.place.at())
            options: dict[str, Any] = timings() | {"execution_backend": execution}
            self._service = QueueService(QueueConfig(queue_backend=store, **options))
            try:
                await self._service.open()
                await self.crew.start()
                await self.crew.opened(_START)
                await self._disturbed_load()
                self.say("  quiet: every task has to come to its end")
                self.crew.calm, self.box.dice.calm = True, {}
                await self._settle(_QUIET)
                await self._doom()
                await self.crew.leave(_LEAVE)
                left = await self.box.all_ended(_RUNS)
                return await self._account([run.name for run in left])
            finally:
                self.crew.kill()
                await self._service.close()

    async def _disturbed_load(self) -> None:
        self.box.dice.calm = None
        disturbing = asyncio.create_task(self._disturb())
        looking = asyncio.create_task(self._look())
        try:
            left = self.load.tasks
            while left > 0:
                active = sum(self._states.get(id_) not in TERMINAL for id_ in self.wanted)
                count = min(left, self.load.at_once - active)
                if count > 0:
                    left -= await self._enqueue([self._call() for _ in range(count)])
                for task in (disturbing, looking):
                    if task.done():
                        task.result()
                await asyncio.sleep(0.3)
        finally:
            for task in (disturbing, looking):
                task.cancel()
            await asyncio.gather(disturbing, looking, return_exceptions=True)

    async def _disturb(self) -> None:
        """Start faults, each of which may last while others begin."""
        under_way: dict[str, asyncio.Task[None]] = {}
        try:
            while True:
                for name in self.rng.sample(list(FAULTS), len(FAULTS)):
                    if name in under_way and not under_way[name].done():
                        continue
                    if name in under_way:
                        under_way[name].result()
                    self.done[name] += 1
                    under_way[name] = asyncio.create_task(FAULTS[name](self))
                    await asyncio.sleep(self.rng.uniform(0, 2 * self.load.every))
                await asyncio.sleep(0.2)
        finally:
            for fault in under_way.values():
                fault.cancel()
            await asyncio.gather(*under_way.values(), return_exceptions=True)

    async def _look(self) -> None:
        while True:
            with suppress(ask.NotAnswering):
                rows = await asyncio.to_thread(self.place.rows)
                self._states = {id_: row.state for id_, row in rows.items()}
            await asyncio.sleep(0.5)

    def _call(self) -> tuple[TaskCall[float], set[str], int]:
        """A task, the states that it may end in, and the attempts that it takes."""
        seconds = self.rng.choice((0.0, 0.0, 0.1, 0.3, 1.0, 4.0))
        match self.rng.randrange(20):
            case 0:
                return render_report.using(retries=1).call(seconds, failures=2), {"failed"}, 2
            case 1 | 2:
                return render_report.using(retries=2).call(seconds, failures=1), {"completed"}, 2
            case 3:
                options = render_report.using(expires_in=self.rng.uniform(0.5, 6))
                return options.call(seconds), {"completed", "expired"}, 1
            case 4 | 5:
                return render_report.using(key=f"key-{self.rng.randrange(3)}").call(seconds), {"completed"}, 1
            case _:
                return render_report.call(seconds), {"completed"}, 1

    async def _enqueue(self, drawn: list[tuple[TaskCall[float], set[str], int]]) -> int:
        """Enqueue in one write; what is not acknowledged is nobody's loss."""
        try:
            results = await self._service.enqueue_many([call for call, _, _ in drawn])
        except QueueError:
            return 0
        for result, (_, states, attempts) in zip(results, drawn, strict=True):
            if result.is_new:
                self.wanted[result.id] = Wanted(result.id, states, attempts, acknowledged=time.monotonic())
        return len(drawn)

    async def _doom(self) -> None:
        """Tasks whose executions never start have to fail, when their budget of recoveries is spent."""
        self.box.dice.calm = {"start": "never", "says": "failed"}
        doomed = await self._service.enqueue_many([render_report.using(max_recoveries=2).call(0.0)] * _DOOMED)
        for one in doomed:
            self.wanted[one.id] = Wanted(one.id, {"failed"}, 0, recoveries=2)
        await self._settle(_QUIET)

    async def _settle(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            rows = await asyncio.to_thread(self.place.rows)
            if all(row.state in TERMINAL for row in rows.values()):
                return
            await asyncio.sleep(0.3)

    async def _account(self, left: list[str]) -> Account:
        ids = list(self.wanted)
        records: dict[str, TaskRecord] = {}
        for first in range(0, len(ids), 500):
            records |= await self._service.operations.backend.get(ids[first : first + 500])
        written = await asyncio.to_thread(read, self._journal)
        return Account(self.wanted, records, written, self.box, left, WINDOW.stale_after, self.crew.odd)
