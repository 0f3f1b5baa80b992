"""One campaign: a store, a crew, a load, faults one after the other, and the verdict."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from drill import work
from drill.crew import Crew, Worker
from drill.faults import FAULTS, Fault
from drill.journal import PLACE, read
from drill.places import Place, backend_at
from drill.rules import TERMINAL, Account, judge
from litestar_queues import QueueConfig, QueueService
from litestar_queues.errors import QueueError
from litestar_queues.task import TaskCall
from litestar_queues_matrix.servers import ask

__all__ = ("Campaign", "Verdict")

_START, _QUIET, _LEAVE = 60.0, 180.0, 40.0
"""Seconds in which the store has to be ready, every task to come to its end, and all workers to leave."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of a campaign."""

    tasks: int
    executions: int
    faults: Counter[str]
    broken: list[tuple[str, str]]


@dataclass(slots=True)
class Campaign:
    """One campaign.

    Args:
        place: The store, empty.
        folder: Where the journal and the workers' output go.
        seed: What the order and the lengths of the faults are drawn from; their effects are not.
        burst: How many tasks come due at once.
    """

    place: Place
    folder: Path
    seed: int
    burst: int
    rng: Random = field(init=False)
    crew: Crew = field(init=False)
    _acknowledged: set[str] = field(default_factory=set[str])
    _to_fail: set[str] = field(default_factory=set[str])
    _service: QueueService = field(init=False)

    def __post_init__(self) -> None:
        self.rng = Random(self.seed)
        self.crew = Crew(self.place, self.folder)
        os.environ[PLACE] = str(self.crew.journal)
        self._service = QueueService(QueueConfig(queue_backend=backend_at(self.place.at())))

    @property
    def now(self) -> float:
        return time.monotonic()

    def say(self, line: str) -> None:
        """One line for whoever watches."""
        sys.stdout.write(line + "\n")
        sys.stdout.flush()

    def pick(self) -> Worker:
        """A worker of the usual queue that lives."""
        return self.rng.choice([worker for worker in self.crew.now if worker.queues == ("default",)])

    async def enqueue(self, calls: Sequence[TaskCall[Any]], *, fails: bool = False) -> None:
        """Enqueue in one write; what is not acknowledged is nobody's loss."""
        try:
            results = await self._service.enqueue_many(calls)
        except QueueError:
            return
        ids = {result.id for result in results}
        self._acknowledged |= ids
        if fails:
            self._to_fail |= ids

    async def run(self, seconds: float, faults: Sequence[Fault] = FAULTS) -> Verdict:
        """Do as many of the faults as fit into the time, each at most once per round, and judge the end."""
        done = Counter[str]()
        try:
            await self.crew.start()  # before there is a schema
            await self._open()
            await self.crew.opened(_START)
            load = asyncio.create_task(self._load())
            try:
                await self._disturb(seconds, faults, done)
            finally:
                load.cancel()
                await asyncio.gather(load, return_exceptions=True)
            self.say("  quiet: every task has to come to its end")
            await self._settle()
            await self.crew.leave(_LEAVE)
        finally:
            self.crew.kill()
            await self._service.close()
        return await self._judge(done)

    async def _open(self) -> None:
        until = self.now + _START
        while True:
            try:
                await self._service.open()
            except QueueError:
                if self.now > until:
                    raise
                await asyncio.sleep(0.5)
            else:
                return

    async def _disturb(self, seconds: float, faults: Sequence[Fault], done: Counter[str]) -> None:
        until = self.now + seconds
        fitting = [fault for fault in faults if self.place.server is not None or not fault.needs_server]
        while fitting:
            for fault in self.rng.sample(fitting, len(fitting)):
                if self.now > until:
                    return
                self.say(f"  {fault.name}")
                await fault.do(self)
                done[fault.name] += 1
                await asyncio.sleep(self.rng.uniform(0.5, 2))

    async def _load(self) -> None:
        """Some tasks all the time: short ones, longer ones, in threads, with and without retries."""
        while True:
            lengths = [self.rng.choice((0.0, 0.1, 0.5, 3.0)) for _ in range(self.rng.randint(1, 6))]
            calls = [self.rng.choice((work.wait, work.wait, work.wait_in_thread)).call(length) for length in lengths]
            await self.enqueue(calls)
            await asyncio.sleep(0.4)

    async def _settle(self) -> None:
        until = self.now + _QUIET + self.burst / 200
        while self.now < until:
            try:
                rows = await asyncio.to_thread(self.place.rows)
            except ask.NotAnswering:
                rows = {}
            if rows and all(row.state in TERMINAL for row in rows.values()):
                return
            await asyncio.sleep(0.5)

    async def _judge(self, done: Counter[str]) -> Verdict:
        written = await asyncio.to_thread(read, self.crew.journal)
        account = Account(
            acknowledged=frozenset(self._acknowledged),
            to_fail=frozenset(self._to_fail),
            rows=await asyncio.to_thread(self.place.rows),
            written=written,
            workers={worker.pid: worker for worker in self.crew.all},
        )
        broken = [*judge(account), *(("odd end", text) for text in self.crew.odd)]
        executions = sum(map(len, written.executions.values()))
        return Verdict(len(self._acknowledged), executions, done, broken)
