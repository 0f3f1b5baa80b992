"""What the next scheduler does after others died between an enqueue and its note, also one after the other."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from litestar_queues.backends.memory import MemoryBackend
from litestar_queues.clock import ManualClock
from litestar_queues.operations import QueueOperations
from litestar_queues.records import NamedRecord, Want
from litestar_queues.schedules.firing import fire_due
from litestar_queues.schedules.marks import fire_of
from litestar_queues.schedules.model import Definition, Schedule, Template, read_schedule, record_name, write_schedule
from litestar_queues.schedules.spec import ScheduleSpec

BEGIN = datetime(2030, 1, 1, 10, tzinfo=UTC)


class Died(BaseException):
    """The scheduler is gone."""


class Store(MemoryBackend):
    """A store whose clients die where they note what they have fired."""

    dying = False

    async def write_records(self, records: Sequence[NamedRecord]) -> set[str]:
        if self.dying:
            raise Died
        return await super().write_records(records)


class Lab:
    """A store with one schedule, which fires at `BEGIN` and from then on."""

    def __init__(self, seconds: float, **definition: Any) -> None:
        self.clock = ManualClock(BEGIN)
        self.store = Store(self.clock)
        spec = ScheduleSpec(interval=seconds)
        made = Definition(template=Template(task="t"), spec=spec, **definition)
        record = write_schedule(Schedule(name="s", definition=made, cursor=BEGIN - timedelta(seconds=1)))
        self.store.records[record.name] = record

    @property
    def schedule(self) -> Schedule:
        found = read_schedule(self.store.records[record_name("s")])
        assert found is not None
        return found

    def look(self, minutes: float, *, dies: bool = False) -> None:
        """Half a second after so many minutes."""
        now = self.clock.advance(BEGIN + timedelta(minutes=minutes, seconds=0.5) - self.clock.now())
        self.store.dying = dies
        try:
            asyncio.run(_fire(self, now))
        except Died:
            assert dies

    @property
    def fired(self) -> list[float]:
        """The minutes of the fires that have a task."""
        fires = [fire_of(record) for record in self.store.tasks.values()]
        return sorted((fire - BEGIN).total_seconds() / 60 for fire in fires if fire is not None)


async def _fire(lab: Lab, now: datetime) -> None:
    await fire_due(QueueOperations(lab.store, lab.clock), [lab.schedule], now)


def test_fires_that_were_missed_are_caught_up_with_after_two_schedulers_died() -> None:
    lab = Lab(60, overlap="allow")
    lab.look(0, dies=True)
    lab.look(1, dies=True)
    assert lab.fired == [0, 1]
    lab.look(50.5)
    assert lab.fired == [0, 1, 2, 50], "the fires from 2 to 49 were missed, and 50 is on time"
    assert lab.schedule.enqueued == 4


def test_an_occurrence_of_a_scheduler_that_died_is_one_to_overlap_with() -> None:
    lab = Lab(3600, overlap="skip")
    lab.look(0, dies=True)
    asyncio.run(lab.store.claim(Want(worker="w", limit=1)))
    lab.look(90)
    assert lab.fired == [0]
    assert lab.schedule.last is not None
    assert lab.schedule.last.fire == BEGIN
