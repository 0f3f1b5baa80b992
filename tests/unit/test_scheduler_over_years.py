"""Two schedulers over years, across both changes of several clocks, each dying at every step: each fire has one task."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from random import Random

import pytest

from litestar_queues.backends.memory import MemoryBackend
from litestar_queues.clock import ManualClock
from litestar_queues.operations import QueueOperations
from litestar_queues.records import Enqueued, NamedRecord, NewTask
from litestar_queues.schedules.fires import fires
from litestar_queues.schedules.marks import fire_of, schedule_of
from litestar_queues.schedules.model import PREFIX, Definition, Schedule, Template, read_all, write_schedule
from litestar_queues.schedules.spec import ScheduleSpec
from litestar_queues.schedules.zones import changes, zone_of
from litestar_queues.worker.scheduler import Scheduler

CRONS = (
    "30 2 * * *",  # in many gaps, and twice at many ends of summer time
    "0 0 * * *",
    "59 23 * * *",
    "0-59/15 1 * * *",
    "*/30 * * * *",
    "15 */3 * * *",
    "20 10 0 * * 6,0",
    "0 12 30,31 * *",
)
ZONES = (
    ("Europe/Berlin", 2024, 2026),
    ("America/New_York", 2024, 2026),
    ("Australia/Lord_Howe", 2024, 2026),  # by half an hour
    ("America/Sao_Paulo", 2017, 2019),  # at midnight
    ("Pacific/Apia", 2011, 2013),  # left out a day
)
STEPS = ("chosen", "enqueued", "half noted", "noted")
NEAR = timedelta(hours=14)
INTERVAL = timedelta(hours=2)


class Died(Exception):
    """The process of a scheduler ended."""


class Store(MemoryBackend):
    """A store whose caller dies at a step, once."""

    dies: str | None = None
    deaths: dict[str, int]

    def take(self, step: str) -> None:
        if self.dies == step:
            self.dies = None
            self.deaths[step] = self.deaths.get(step, 0) + 1
            raise Died(step)

    async def enqueue_many(self, tasks: Sequence[NewTask], *, now: datetime | None = None) -> list[Enqueued]:
        self.take("chosen")
        enqueued = await super().enqueue_many(tasks, now=now)
        self.take("enqueued")
        return enqueued

    async def write_records(self, records: Sequence[NamedRecord]) -> set[str]:
        if not records or not records[0].name.startswith(PREFIX):
            return await super().write_records(records)
        if self.dies == "half noted":
            await super().write_records(records[: len(records) // 2])
            self.take("half noted")
        written = await super().write_records(records)
        self.take("noted")
        return written


class Years:
    """Schedulers that lead in turns, in the time of a clock that jumps."""

    def __init__(self, zone: str, begin: datetime, seed: int) -> None:
        self.rng, self.zone, self.begin = Random(seed), zone_of(zone), begin
        self.clock = ManualClock(begin)
        self.store = Store(self.clock)
        self.store.deaths = {}
        self.operations = QueueOperations(self.store, self.clock)
        self.looks = 0
        self._made = 0
        self._leader = self._new()
        specs = {cron: ScheduleSpec(cron=cron, timezone=zone) for cron in CRONS}
        specs["interval"] = ScheduleSpec(interval=86_400 / 7)
        self.specs = specs

    def _new(self) -> Scheduler:
        self._made += 1
        self._owner = f"w{self._made}"
        return Scheduler(self.clock, owner=self._owner, interval=INTERVAL)

    async def run(self, until: datetime) -> None:
        template = Template(task="t")
        for name, spec in self.specs.items():
            definition = Definition(template=template, spec=spec, overlap="allow", catch_up="all", catch_up_limit=1000)
            await self.store.write_records(
                [write_schedule(Schedule(name=name, definition=definition, cursor=self.begin))]
            )
        others = [self._leader, self._new()]
        while self.clock.now() < until:
            pause = await self._look(others)
            if not self._is_near_change():
                pause = self.rng.uniform(0, 4 * 86_400)  # nobody leads for a while, and much is caught up with
            elif self.rng.random() < 0.05:
                pause += self.rng.uniform(0, 7200)
            self.clock.advance(min(timedelta(seconds=pause), until - self.clock.now()))
        self.store.dies = None
        await self._look(others)

    async def _look(self, others: list[Scheduler]) -> float:
        """One look of whoever leads; it may die in it, or the other one takes over."""
        self.looks += 1
        if self.rng.random() < 0.2:
            self.store.dies = self.rng.choice(STEPS)
        if self.rng.random() < 0.2:
            others.reverse()
            self.store.locks.clear()  # the lock of the other one is over
        try:
            return await others[0].look(self.operations)
        except Died:
            others[0] = self._new()
            self.store.locks.clear()
            return self.rng.choice((0.0, 1.0, 90.0))

    def _is_near_change(self) -> bool:
        now = self.clock.now()
        return any(
            abs(now - change) < NEAR
            for year in (now.year - 1, now.year, now.year + 1)
            for change in changes(self.zone, year)
        )


@pytest.mark.parametrize(("zone", "first", "last"), ZONES, ids=[zone.rpartition("/")[2] for zone, *_ in ZONES])
def test_each_fire_of_years_has_one_task_whoever_leads_and_dies(zone: str, first: int, last: int) -> None:
    begin, until = datetime(first, 1, 1, tzinfo=UTC), datetime(last, 1, 1, tzinfo=UTC)
    years = Years(zone, begin, seed=first)
    asyncio.run(years.run(until))
    found: dict[str, list[datetime]] = {name: [] for name in years.specs}
    for record in years.store.tasks.values():
        at = fire_of(record)
        assert at is not None
        assert record.created_at >= at, "never before its moment"
        found[schedule_of(record) or ""].append(at)
    stored = read_all(years.store.records)
    for name, spec in years.specs.items():
        every = list(fires(spec, begin, until))
        assert sorted(found[name]) == [fire.at for fire in every], name
        assert {stored[name].id_of(fire) for fire in every} <= years.store.tasks.keys()
        assert stored[name].skipped == ()
    assert years.store.deaths.keys() == set(STEPS), "they died at each step"
