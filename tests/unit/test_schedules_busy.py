"""Schedules where time runs out: a machine on which each step takes longer than the schedules leave for it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import pytest

from litestar_queues import QueueConfig, QueueService, TaskRegistry, clock, task
from litestar_queues.backends.memory import MemoryBackend
from litestar_queues.clock import ManualClock
from litestar_queues.operations import QueueOperations
from litestar_queues.records import Enqueued, NamedRecord, NewTask
from litestar_queues.schedules.marks import fire_of, schedule_of
from litestar_queues.schedules.model import Definition, Schedule, Template, write_schedule
from litestar_queues.schedules.spec import ScheduleSpec
from litestar_queues.worker.scheduler import Scheduler

pytestmark = pytest.mark.anyio
LOOK = timedelta(seconds=5)
"""The lock of a leader lasts three times as long."""


class Slow(MemoryBackend):
    """A store whose clock moves on with each read of records, and each enqueue."""

    def __init__(self, own: ManualClock, read: float = 0.0, enqueue: float = 0.0) -> None:
        super().__init__(own)
        self.own, self.read, self.enqueue = own, read, enqueue

    async def read_records(self, prefix: str) -> dict[str, NamedRecord]:
        self.own.advance(self.read)
        return await super().read_records(prefix)

    async def enqueue_many(self, tasks: Sequence[NewTask], *, now: object = None) -> list[Enqueued]:
        self.own.advance(self.enqueue)
        return await super().enqueue_many(tasks)


async def test_a_schedule_that_fires_faster_than_the_store_reads_can_be_paused(monkeypatch: pytest.MonkeyPatch) -> None:
    store = Slow(ManualClock(), read=1.1)
    registry = TaskRegistry()

    @task("t", registry=registry)
    async def work() -> None: ...

    async with QueueService(QueueConfig(queue_backend=store), registry=registry) as service:
        monkeypatch.setattr(service.clock, "now", store.own.now)
        await service.schedules.create(work, interval=1, name="fast", overlap="allow")
        called = store.own.advance(5)
        paused = await service.schedules.pause("fast")
        assert paused.paused_at == called
        fired = {fire_of(record) for record in store.tasks.values()}
        assert len(fired) == 6, "those until the call, and none of those that came while it was carried out"


async def test_each_schedule_has_its_turn_where_a_look_has_not_time_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    own = ManualClock()
    store = Slow(own, enqueue=2 * 3 * LOOK.total_seconds())  # nothing can follow the first enqueue of a look
    begin = own.now()
    monkeypatch.setattr(clock.time, "clock_gettime", lambda _: (own.now() - begin).total_seconds() + 1)
    monkeypatch.setattr(clock, "_BOOT", 0)
    spec = ScheduleSpec(interval=1)
    for number in range(250):
        definition = Definition(template=Template(task="t"), spec=spec, catch_up="once", overlap="allow")
        await store.write_records([write_schedule(Schedule(name=f"s{number:03}", definition=definition, cursor=begin))])
    scheduler = Scheduler(own, owner="w", interval=LOOK)
    for _ in range(3):
        own.advance(1)
        await scheduler.look(QueueOperations(store, own))
    assert len({schedule_of(record) for record in store.tasks.values()}) == 250
