"""One campaign: a store, workers, schedules, the leader lost again and again, and the account at the end."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from random import Random

from drill.journal import PLACE
from drill.places import Place, backend_at
from drill.rules import TERMINAL
from drill.schedules.crew import Firers, options
from drill.schedules.faults import FAULTS, Fault
from drill.schedules.plan import Planned, draw, occur
from drill.schedules.rules import Account, Kept, read_fires
from litestar_queues import QueueConfig, QueueService
from litestar_queues.errors import QueueError
from litestar_queues.records import TaskRecord
from litestar_queues.schedules.leader import Leader, read_leader
from litestar_queues.schedules.model import PREFIX, Schedule, read_all
from litestar_queues_matrix.servers import ask

__all__ = ("Load", "ScheduleCampaign")

_START, _QUIET, _LEAVE = 120.0, 120.0, 40.0
"""Seconds in which the crew and the schedules have to be there, everything to come to its end, and all workers to leave."""
_LOOK = 0.3
_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Load:
    """How much there is to do.

    Attributes:
        schedules: How many.
        workers: How many.
        seconds: How long leaders are lost.
        every: Seconds between two faults, on average.
    """

    schedules: int
    workers: int
    seconds: float
    every: float


class ScheduleCampaign:
    """One campaign.

    Args:
        place: The store, empty.
        folder: Where the journal and the workers' output go.
        seed: What the schedules, and the order and the lengths of the faults are drawn from; their effects are not.
        load: How much there is to do.
    """

    def __init__(self, place: Place, folder: Path, seed: int, load: Load) -> None:
        self.rng = Random(seed)
        self.place, self.load = place, load
        self.planned: list[Planned] = list(draw(seed, load.schedules))
        self.crew = Firers(place, folder, load.workers, (seed, load.schedules), self.rng)
        os.environ[PLACE] = str(self.crew.journal)
        self.done = Counter[str]()
        """How often each fault was done to a worker that led."""
        self.leaders: dict[tuple[str, datetime], Leader] = {}
        """Whoever led, as far as it was seen."""
        self._kept: dict[str, Kept] = {}
        self._leader: Leader | None = None
        self._service = QueueService(QueueConfig(queue_backend=backend_at(place.at()), **options()))

    def say(self, line: str) -> None:
        """One line for whoever watches."""
        sys.stdout.write(line + "\n")
        sys.stdout.flush()

    async def run(self, faults: tuple[Fault, ...] = FAULTS) -> Account:
        """Let schedules fire while leaders are lost, let everything come to its end, and return the account."""
        try:
            await self.crew.start()  # before there is a schema
            await self._until(_START, self._open, "the store cannot be opened")
            await self.crew.opened(_START)
            for one in self.planned:
                if not one.in_code:
                    await self._service.schedules.create(
                        occur, one.length, fails=one.fails, name=one.name, **one.options
                    )
            await self._until(_START, self._all_there, "not all schedules of the code are stored")
            before = await self._look()
            looking = asyncio.create_task(self._keep_looking())
            try:
                await self._disturb(faults)
                self.crew.calm = True
                self.say("  quiet: every fire has to be decided, and every task to come to its end")
                until, stopped = await self._decided()
                await self._pause(before)
                await self._settle()
            finally:
                looking.cancel()
                await asyncio.gather(looking, return_exceptions=True)
            after = await self._look()
            await self.crew.leave(_LEAVE)
            return await self._account(before, after, until, stopped)
        finally:
            self.crew.kill()
            await self._service.close()

    async def _until(self, seconds: float, is_done: Callable[[], Awaitable[bool]], complaint: str) -> None:
        until = time.monotonic() + seconds
        while True:
            if await is_done():
                return
            if time.monotonic() > until:
                raise RuntimeError(complaint)
            await asyncio.sleep(0.5)

    async def _open(self) -> bool:
        try:
            await self._service.open()
        except QueueError:
            return False
        return True

    async def _all_there(self) -> bool:
        return {one.name for one in self.planned} <= (await self._look()).keys()

    async def _look(self) -> dict[str, Schedule]:
        """The schedules of this moment; what they skipped is noted."""
        found = read_all(await self._service.operations.backend.read_records(PREFIX))
        for name, schedule in found.items():
            self._kept.setdefault(name, Kept()).see(schedule)
        return found

    async def _keep_looking(self) -> None:
        while True:
            with suppress(QueueError):
                leader = self._leader = await read_leader(self._service.operations.backend)
                if leader is not None:
                    self.leaders[leader.worker, leader.since] = leader
                await self._look()
            await asyncio.sleep(_LOOK)

    async def _disturb(self, faults: tuple[Fault, ...]) -> None:
        """Start faults, each of which may last while others begin."""
        fitting = [fault for fault in faults if self.place.server is not None or not fault.needs_server]
        until = time.monotonic() + self.load.seconds
        under_way: list[asyncio.Task[None]] = []
        try:
            while True:
                for fault in self.rng.sample(fitting, len(fitting)):
                    await asyncio.sleep(min(self.rng.uniform(0.2, 2) * self.load.every, until - time.monotonic()))
                    worker = None if self._leader is None else self.crew.by_name(self._leader.worker)
                    if time.monotonic() >= until:
                        return
                    if worker is None:
                        continue  # nobody is known to lead
                    self.done[fault.name] += 1
                    under_way.append(asyncio.create_task(fault.do(self, worker)))
        finally:
            await asyncio.gather(*under_way)

    async def _decided(self) -> tuple[datetime, list[str]]:
        """Wait until every fire until now has been decided.

        Returns:
            The store's time now, and the names of the schedules that did not come so far.
        """
        until = await self._service.operations.backend.now()
        end = time.monotonic() + _QUIET
        while True:
            late: list[str] = []
            with suppress(QueueError):
                for one in (await self._look()).values():
                    fire = one.next_fire
                    if fire is not None and fire.at <= until:
                        late.append(one.name)
                if not late or time.monotonic() > end:
                    return until, late
            await asyncio.sleep(_LOOK)

    async def _pause(self, names: Mapping[str, Schedule]) -> None:
        for name in names:
            await self._service.schedules.pause(name)

    async def _settle(self) -> None:
        until = time.monotonic() + _QUIET
        while time.monotonic() < until:
            with suppress(ask.NotAnswering):
                rows = await asyncio.to_thread(self.place.rows)
                waiting = any(one.waiting for one in (await self._look()).values())
                if not waiting and all(row.state in TERMINAL for row in rows.values()):
                    return
            await asyncio.sleep(0.5)

    async def _account(
        self, before: dict[str, Schedule], after: dict[str, Schedule], until: datetime, stopped: list[str]
    ) -> Account:
        backend = self._service.operations.backend
        began, now, ended = time.monotonic(), await backend.now(), time.monotonic()
        ids, tasks = [*await asyncio.to_thread(self.place.rows)], dict[str, TaskRecord]()
        for first in range(0, len(ids), _AT_ONCE):
            tasks |= await backend.get(ids[first : first + _AT_ONCE])
        return Account(
            before=before,
            after=after,
            until=until,
            kept=self._kept,
            tasks=tasks,
            began=await asyncio.to_thread(read_fires, self.crew.journal),
            failing=frozenset(one.name for one in self.planned if one.fails),
            since=now - timedelta(seconds=(began + ended) / 2),
            odd=self.crew.odd,
            stopped=stopped,
        )
