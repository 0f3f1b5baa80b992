"""Schedules over the memory backend: what is enqueued, what is skipped and why, and how schedules are changed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from waiting import DEADLINE

from litestar_queues import (
    BackendUnavailableError,
    InvalidScheduleError,
    QueueConfig,
    QueueConfigurationError,
    QueueError,
    QueueService,
    ScheduleNotFoundError,
    State,
    TaskArgumentError,
    TaskEvent,
    TaskEventKind,
    TaskRegistry,
    current_task,
    schedule,
    task,
)
from litestar_queues.backends.base import QueueBackend
from litestar_queues.backends.memory import MemoryBackend
from litestar_queues.clock import ManualClock, StoreClock
from litestar_queues.events.dispatcher import EventDispatcher
from litestar_queues.lifecycle import Cancel, Complete, Fail
from litestar_queues.operations import Move, QueueOperations
from litestar_queues.records import Matching, NamedRecord, TaskRecord, Want
from litestar_queues.schedules.fires import Fire, occurrence_id
from litestar_queues.schedules.firing import fire_due
from litestar_queues.schedules.health import scheduler_health
from litestar_queues.schedules.leader import read_leader
from litestar_queues.schedules.marks import fire_of, schedule_of
from litestar_queues.schedules.model import PREFIX, Schedule, read_all, record_name, write_schedule
from litestar_queues.schedules.options import SCHEDULE_OPTIONS
from litestar_queues.testing import AsyncQueueTester
from litestar_queues.worker.scheduler import Scheduler

pytestmark = pytest.mark.anyio
T0 = datetime(2030, 1, 1, tzinfo=UTC)
SETTINGS: dict[str, Any] = {"interval": 60.0}


class ManualStoreClock(StoreClock):
    """The clock of a service, moved by hand."""

    def __init__(self, manual: ManualClock) -> None:
        super().__init__()
        self._manual = manual

    async def sync(self, backend: QueueBackend) -> None: ...

    def now(self) -> datetime:
        return self._manual.now() + self.offset


@dataclass
class Lab:
    """A store in manual time, with a service on it whose clock is the store's."""

    clock: ManualClock = field(default_factory=lambda: ManualClock(T0))
    registry: TaskRegistry = field(default_factory=TaskRegistry)
    events: list[TaskEvent] = field(default_factory=list[TaskEvent])

    def __post_init__(self) -> None:
        self.backend = MemoryBackend(self.clock)

        @task("report", registry=self.registry)
        async def report(kind: str = "all", *, rows: int = 1) -> None: ...

        self.report = report
        self.told = EventDispatcher([self.events.append])

    @asynccontextmanager
    async def open(self, registry: TaskRegistry | None = None) -> AsyncIterator[QueueService]:
        config = QueueConfig(queue_backend=self.backend, event_sinks=[self.events.append])
        async with QueueService(config, registry=registry or self.registry) as service:
            service.clock = service.operations.clock = ManualStoreClock(self.clock)
            yield service

    @property
    def operations(self) -> QueueOperations:
        return QueueOperations(self.backend, self.clock, events=self.told)

    async def stored(self, name: str = "report") -> Schedule:
        return read_all(await self.backend.read_records(record_name(name)))[name]

    async def fire(self, after: float = 0) -> list[str]:
        """Let time pass, and a scheduler look; the seconds of the fires that were enqueued, after the beginning."""
        self.clock.advance(after)
        known = set(self.backend.tasks)
        records = await self.backend.read_records(PREFIX)
        await fire_due(self.operations, read_all(records).values(), self.clock.now())
        await self.told.flush()
        return self.moments([one for id_, one in self.backend.tasks.items() if id_ not in known])

    @staticmethod
    def moments(tasks: Sequence[TaskRecord]) -> list[str]:
        found = [fire_of(one) for one in tasks]
        return [f"{(one - T0).total_seconds():g}" for one in found if one is not None]

    async def end_all(self, event: Any = None) -> None:
        """Run everything that waits."""
        claimed = await self.operations.claim(Want(worker="w", limit=1000))
        await self.operations.apply([Move(one, event or Complete("null")) for one in claimed])


@pytest.fixture
def lab() -> Lab:
    return Lab()


async def test_each_fire_is_one_task_with_the_options_of_its_task_and_a_mark(lab: Lab) -> None:
    @task(
        "mail", registry=lab.registry, queue="mails", priority=5, retries=2, timeout=9, metadata={"a": 1}, expires_in=30
    )
    async def mail(to: str, *, copies: int = 1) -> None: ...

    async with lab.open() as service:
        made = await service.schedules.create(mail, "x", copies=2, name="m", interval=60, priority=7)
        assert (made.next_fire, made.task, made.queue, made.from_code) == (
            T0 + timedelta(minutes=1),
            "mail",
            "mails",
            False,
        )
        assert await lab.fire(59.9) == []
        assert await lab.fire(0.1) == ["60"]
        assert await lab.fire() == []
    (record,) = lab.backend.tasks.values()
    assert (record.name, record.args, record.kwargs) == ("mail", '["x"]', '{"copies":2}')
    assert (record.queue, record.priority, record.max_attempts, record.timeout) == ("mails", 7, 3, 9.0)
    assert record.expires_at == T0 + timedelta(seconds=90)
    assert (schedule_of(record), fire_of(record)) == ("m", T0 + timedelta(seconds=60))
    assert '"a":1' in record.metadata
    assert record.id == occurrence_id("m", (await lab.stored("m")).definition.spec, next_wall("2030-01-01T00:01:00"))


def next_wall(text: str) -> Fire:
    return Fire(datetime.fromisoformat(text).replace(tzinfo=UTC), text)


@pytest.mark.parametrize("late", [0.0, 3.5, 60.0])
async def test_a_fire_within_its_grace_is_no_missed_one(lab: Lab, late: float) -> None:
    async with lab.open() as service:
        await service.schedules.create(lab.report, interval=600, catch_up="skip")
        assert await lab.fire(600 + late) == ["600"]
        assert lab.events[-1].kind is TaskEventKind.FIRE
        assert (lab.events[-1].schedule, lab.events[-1].late) == ("report", late)


@pytest.mark.parametrize(
    ("settings", "enqueued", "skipped"),
    [
        ({"catch_up": "skip"}, [], [("missed", 60, 540, 9)]),
        ({"catch_up": "once"}, ["60"], [("merged", 120, 540, 8)]),
        ({"catch_up": "all"}, [f"{60 * i}" for i in range(1, 10)], []),
        ({"catch_up": "all", "catch_up_limit": 3}, ["420", "480", "540"], [("missed", 60, 360, 6)]),
        ({"catch_up": "skip", "misfire_grace": 400}, ["240"], [("missed", 60, 180, 3), ("overlap", 300, 600, 6)]),
    ],
)
async def test_what_nobody_found_in_time_is_caught_up_with_as_it_says(
    lab: Lab, settings: dict[str, Any], enqueued: list[str], skipped: list[tuple[str, int, int, int]]
) -> None:
    async with lab.open() as service:
        await service.schedules.create(lab.report, **SETTINGS | {"overlap": "skip"} | settings)
        found = await lab.fire(570 + 60)
        on_time = ["600"] if settings["catch_up"] == "skip" and "misfire_grace" not in settings else []
        assert found[: len(enqueued)] == enqueued
        assert found[len(enqueued) :] == on_time
        entries = (await lab.stored()).skipped
        told = [
            (one.why, *(int((at - T0).total_seconds()) for at in (one.first, one.last)), one.fires) for one in entries
        ]
        assert told[: len(skipped)] == skipped


async def test_fires_that_overlap_are_skipped_allowed_or_wait(lab: Lab) -> None:
    async with lab.open() as service:
        for overlap in ("skip", "allow", "queue"):
            await service.schedules.create(lab.report, name=overlap, interval=60, overlap=overlap)
        assert await lab.fire(60) == ["60", "60", "60"]
        assert await lab.fire(60) == ["120"]
        assert await lab.fire(60) == ["180"]
        assert [one.waiting for one in await service.schedules.list()] == [0, 2, 0]
        assert [(one.why, one.fires) for one in (await lab.stored("skip")).skipped] == [("overlap", 2)]
        await lab.end_all()
        assert await lab.fire(1) == ["120"]
        await lab.end_all()
        assert await lab.fire(1) == ["180"]
        await lab.end_all()
        assert sorted(await lab.fire(58)) == ["240", "240", "240"]


async def test_at_most_a_hundred_fires_wait(lab: Lab) -> None:
    async with lab.open() as service:
        await service.schedules.create(lab.report, interval=1, overlap="queue")
        for _ in range(105):
            await lab.fire(1)
        stored = await lab.stored()
        assert len(stored.waiting) == 100
        assert [(one.why, one.fires) for one in stored.skipped] == [("overlap", 4)]
        await service.schedules.pause("report")
        await lab.end_all()
        assert await lab.fire(1) == ["2"], "what waits was due before the pause"


async def test_a_leader_that_dies_before_it_notes_a_fire_and_its_successor_make_one_task(lab: Lab) -> None:
    async with lab.open() as service:
        await service.schedules.create(lab.report, interval=60)
        before = await lab.stored()
        assert await lab.fire(60) == ["60"]
        await lab.end_all()
        undo(lab, before)
        assert await lab.fire(5) == [], "it is there already"
        assert await lab.fire(55) == ["120"]


def undo(lab: Lab, before: Schedule) -> None:
    """As it is where the one who fired died before the write."""
    written = write_schedule(before)
    lab.backend.records[written.name] = NamedRecord(written.name, before.version, written.value)


async def test_a_fire_that_was_enqueued_in_time_does_not_stand_for_those_that_were_missed_after_it(lab: Lab) -> None:
    async with lab.open() as service:
        await service.schedules.create(lab.report, interval=60)
        before = await lab.stored()
        assert await lab.fire(60) == ["60"]
        await lab.end_all()
        undo(lab, before)
        assert await lab.fire(600) == ["120"], "nothing ran since, and eight were missed"


async def test_an_occurrence_that_fails_expires_or_is_cancelled_does_not_end_its_schedule(lab: Lab) -> None:
    async with lab.open() as service:
        await service.schedules.create(lab.report, interval=60, expires_in=30)
        assert await lab.fire(60) == ["60"]
        await lab.end_all(Fail('{"type":"E","message":"m","traceback":null}'))
        assert await lab.fire(60) == ["120"]
        (one,) = [r for r in lab.backend.tasks.values() if r.state is State.PENDING]
        await lab.operations.apply([Move(one, Cancel())])
        assert await lab.fire(60) == ["180"]
        lab.clock.advance(31)
        await lab.operations.expire_overdue()
        assert await lab.fire(29) == ["240"]


async def test_a_key_that_another_task_holds_skips_the_fire(lab: Lab) -> None:
    async with lab.open() as service:
        await service.schedules.create(lab.report, interval=60, key="one")
        held = await service.enqueue(lab.report, key="one")
        assert await lab.fire(60) == []
        (skipped,) = (await lab.stored()).skipped
        assert (skipped.why, skipped.detail) == ("key", f"task {held.id} holds it")
        assert (await lab.stored()).last is None
        await lab.end_all()
        assert await lab.fire(60) == ["120"]


async def test_pausing_resuming_and_changing_keep_what_was_due_before(lab: Lab) -> None:
    async with lab.open() as service:
        await service.schedules.create(lab.report, interval=60, overlap="allow")
        lab.clock.advance(60)
        paused = await service.schedules.pause("report")
        assert lab.moments(list(lab.backend.tasks.values())) == ["60"]
        assert (paused.paused_at, paused.next_fire) == (T0 + timedelta(seconds=60), None)
        assert await service.schedules.pause("report") == paused
        assert await lab.fire(600) == []
        resumed = await service.schedules.resume("report")
        assert (resumed.paused_at, resumed.next_fire) == (None, T0 + timedelta(seconds=720))
        assert await lab.fire() == []
        lab.clock.advance(60)
        changed = await service.schedules.change("report", interval=timedelta(hours=1))
        assert changed.next_fire == T0 + timedelta(hours=1)
        assert lab.moments(list(lab.backend.tasks.values())) == ["60", "720"]
        changed = await service.schedules.change("report", cron="30 2 * * *", timezone="Europe/Berlin", overlap="queue")
        assert changed.next_fire == T0 + timedelta(hours=1, minutes=30)
        assert (await service.schedules.change("report", jitter=5)).definition.spec.cron == "30 2 * * *"
        assert (await service.schedules.change("report", interval=7200)).definition.spec.timezone == "UTC"


async def test_a_removed_schedule_is_gone_and_can_be_made_again(lab: Lab) -> None:
    async with lab.open() as service:
        await service.schedules.create(lab.report, interval=60)
        await service.schedules.remove("report")
        assert await lab.fire(60) == []
        assert await service.schedules.list() == []
        assert [one.name for one in await service.schedules.list(removed=True)] == ["report"]
        assert await service.schedules.get("report") is None
        for call in ("pause", "resume", "remove", "run_now", "preview"):
            with pytest.raises(ScheduleNotFoundError, match="no schedule 'report'"):
                await getattr(service.schedules, call)("report")
        with pytest.raises(ScheduleNotFoundError):
            await service.schedules.change("report", interval=5)
        again = await service.schedules.create(lab.report, interval=60)
        assert again.enqueued == 0
        assert await lab.fire(60) == ["120"]


async def test_run_now_enqueues_whatever_else_there_is(lab: Lab) -> None:
    async with lab.open() as service:
        await service.schedules.create(lab.report, "b", interval=60, rows=3)
        await service.schedules.pause("report")
        results = [await service.schedules.run_now("report") for _ in range(2)]
        assert results[0].id != results[1].id
        info = await service.schedules.get("report")
        assert info is not None
        assert (info.last and info.last.id, info.last_status, info.enqueued) == (results[1].id, State.PENDING, 2)
        record = results[0].record
        assert (record.args, record.kwargs, schedule_of(record)) == ('["b"]', '{"rows":3}', "report")
        await service.schedules.resume("report")
        assert await lab.fire(60) == [], "the last one has not ended"


async def test_occurrences_are_kept_until_their_schedule_has_come_past_them_and_for_a_day(lab: Lab) -> None:
    async with lab.open() as service:
        await service.schedules.create(lab.report, interval=60, overlap="allow")
        before = await lab.stored()
        await lab.fire(60)
        other = await service.enqueue(lab.report)
        await lab.end_all()
        lab.clock.advance(1)
        operations = lab.operations
        assert await operations.delete_finished(timedelta(0), limit=0) == set()
        assert await operations.delete_finished(timedelta(0), limit=1) == {other.id}
        assert await operations.delete_finished(timedelta(0), limit=1) == set()
        later = await service.enqueue(lab.report)
        await lab.end_all()
        lab.clock.advance(1)
        assert await operations.delete_finished(timedelta(0), limit=1) == {later.id}, "behind one that is kept"
        lab.clock.advance(86400)
        stored = await lab.stored()
        undo(lab, before)
        assert await operations.delete_finished(timedelta(0)) == set(), "its fire may be enqueued again"
        undo(lab, stored)
        assert len(await operations.delete_finished(timedelta(0))) == 1


async def test_what_is_wrong_is_said_when_the_schedule_is_made(lab: Lab) -> None:
    async with lab.open() as service:
        for options, error, says in (
            ({}, InvalidScheduleError, "has to say when"),
            ({"interval": 60, "delay": 5}, InvalidScheduleError, "delay cannot be an option"),
            ({"interval": 60, "run_after": 5}, InvalidScheduleError, "run_after cannot be"),
            ({"interval": 60, "overlap": "never"}, InvalidScheduleError, "overlap is one of"),
            ({"interval": 60, "catch_up": "twice"}, InvalidScheduleError, "catch_up is one of"),
            ({"interval": 60, "catch_up_limit": 0}, InvalidScheduleError, "catch_up_limit"),
            ({"interval": 60, "misfire_grace": 0}, InvalidScheduleError, "misfire_grace"),
            ({"interval": -1}, InvalidScheduleError, "cannot be negative"),
            ({"interval": "often"}, InvalidScheduleError, "number of seconds"),
            ({"interval": 60, "rowss": 5}, TaskArgumentError, "rowss"),
            ({"interval": 60, "rows": "many"}, TaskArgumentError, "rows"),
            ({"interval": 60, "name": "x" * 201}, InvalidScheduleError, "201 characters"),
            ({"interval": 60, "name": "a\0"}, InvalidScheduleError, "character"),
            ({"interval": 60, "metadata": {"x": "y" * 70_000}}, InvalidScheduleError, "bytes"),
            ({"interval": 60, "cron": "* * * * *"}, InvalidScheduleError, "both of them"),
        ):
            with pytest.raises(error, match=says):
                await service.schedules.create(lab.report, **options)  # type: ignore[arg-type]
        assert lab.backend.records.keys() <= {"maintenance"}
        await service.schedules.create(lab.report, interval=60)
        with pytest.raises(InvalidScheduleError, match="already"):
            await service.schedules.create(lab.report, interval=60)
        with pytest.raises(InvalidScheduleError, match="remove the schedule and make another"):
            await service.schedules.change("report", rows=5)


def declared(**options: Any) -> TaskRegistry:
    """A version of the code, with one task and its schedules by name."""
    registry = TaskRegistry()

    @task("report", registry=registry)
    async def report(kind: str = "all") -> None: ...

    for name, when in options.items():
        schedule(report, name=name, registry=registry, **when)
    return registry


FIVE, TEN = {"interval": 300}, {"interval": 600}


async def test_the_code_s_schedules_are_stored_changed_and_removed(lab: Lab) -> None:
    async with lab.open(declared(a=FIVE, b=FIVE)) as service:
        assert await service.schedules.sync() == ["a", "b"]
        assert await service.schedules.sync() == []
        assert [one.from_code for one in await service.schedules.list()] == [True, True]
        assert await lab.fire(300) == ["300", "300"]
    async with lab.open(declared(a=TEN, c=FIVE)) as service:
        assert await service.schedules.sync() == ["a", "b", "c"]
        assert [one.name for one in await service.schedules.list()] == ["a", "c"]
        await lab.end_all()
        assert await lab.fire(300) == ["600", "600"]
    async with lab.open(declared()) as service:
        assert await service.schedules.sync() == ["a", "c"]
        assert await service.schedules.list() == []


async def test_older_code_that_starts_again_changes_nothing(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    old, new = declared(a=FIVE, b=FIVE), declared(a=TEN, c=FIVE)
    async with lab.open(old) as before, lab.open(new) as after:
        await before.schedules.sync()
        await after.schedules.sync()
        stored = await after.schedules.list()
        for _ in range(3):
            assert await before.schedules.sync() == []
            assert await after.schedules.sync() == []
        assert await after.schedules.list() == stored
        assert "newer code has changed the schedules since" in caplog.text
        assert "a, b" in caplog.text
        assert await before.schedules.sync(force=True) == ["a", "b", "c"]
        assert [one.name for one in await before.schedules.list()] == ["a", "b"]
        assert await after.schedules.sync() == []


async def test_a_slow_process_of_older_code_changes_nothing_either(lab: Lab) -> None:
    async with lab.open(declared(a=FIVE, b=FIVE)) as before, lab.open(declared(a=TEN)) as after:
        waiting, go_on = asyncio.Event(), asyncio.Event()
        write = lab.backend.write_records

        async def slow(records: Sequence[NamedRecord]) -> set[str]:
            if any(one.name == record_name("a") for one in records) and not waiting.is_set():
                waiting.set()
                await go_on.wait()
            return await write(records)

        lab.backend.write_records = slow
        syncing = asyncio.ensure_future(before.schedules.sync())
        async with asyncio.timeout(DEADLINE):
            await waiting.wait()
        await after.schedules.sync()
        go_on.set()
        await syncing
        found = {one.name: one.definition.spec.interval for one in await after.schedules.list()}
        assert found["a"] == 600.0


async def test_what_was_changed_at_run_time_stays_until_the_code_says_something_else_of_it(lab: Lab) -> None:
    async with lab.open(declared(a=FIVE, b=FIVE)) as service:
        await service.schedules.sync()
        await service.schedules.change("a", interval=30)
        await service.schedules.remove("b")
    async with lab.open(declared(a=FIVE, b=FIVE, c=FIVE)) as service:
        await service.schedules.sync()
        assert {one.name: one.definition.spec.interval for one in await service.schedules.list()} == {"a": 30, "c": 300}
    async with lab.open(declared(a=TEN, b=TEN)) as service:
        await service.schedules.pause("a")
        await service.schedules.sync()
        found = {
            one.name: (one.definition.spec.interval, one.paused_at is None) for one in await service.schedules.list()
        }
        assert found == {"a": (600, False), "b": (600, True)}


async def test_a_schedule_of_the_code_leaves_one_that_was_made_at_run_time(
    lab: Lab, caplog: pytest.LogCaptureFixture
) -> None:
    async with lab.open(declared(a=FIVE)) as service:
        await service.schedules.create("report", name="a", interval=30)
        assert await service.schedules.sync() == []
        assert "was made at run time" in caplog.text
        (found,) = await service.schedules.list()
        assert (found.definition.spec.interval, found.from_code) == (30, False)


async def test_part_of_an_application_does_not_remove_the_schedules_of_the_rest(lab: Lab) -> None:
    async with lab.open(declared(a=FIVE)) as service:
        await service.schedules.sync()
        stored = await lab.stored("a")
    lab.backend.records[record_name("a")] = NamedRecord(
        record_name("a"), 2, lab.backend.records[record_name("a")].value.replace(stored.module or "", "elsewhere.tasks")
    )
    async with lab.open(declared(b=FIVE)) as service:
        assert await service.schedules.sync() == ["b"]
        assert [one.name for one in await service.schedules.list()] == ["a", "b"]


async def test_what_the_code_declares_wrongly_is_said_at_its_import() -> None:
    registry = TaskRegistry()
    with pytest.raises(QueueConfigurationError, match="has to say when"):

        @task("one", registry=registry, timezone="Europe/Berlin")
        async def one() -> None: ...

    with pytest.raises(QueueConfigurationError, match="missing a required argument"):

        @task("two", registry=registry, cron="* * * * *")
        async def two(number: int) -> None: ...

    with pytest.raises(QueueConfigurationError, match="cannot be read"):

        @task("three", registry=registry, cron="at noon")
        async def three() -> None: ...

    assert registry.schedules == {}

    @task("four", registry=registry, cron="@daily")
    async def four(number: int = 1) -> None: ...

    @task("five", registry=registry)
    async def five() -> None: ...

    assert list(registry.schedules) == ["four"]
    schedule(four, 7, name="seven", registry=registry, interval=5)
    with pytest.raises(QueueConfigurationError, match="two schedules are named 'seven'"):
        schedule(five, name="seven", registry=registry, interval=5)
    with pytest.raises(QueueConfigurationError, match="arguments do not fit"):
        schedule(four, "x", 3, name="eight", registry=registry, interval=5)


async def test_a_record_that_somebody_edited_does_not_fire_and_is_named(
    lab: Lab, caplog: pytest.LogCaptureFixture
) -> None:
    async with lab.open() as service:
        for name in ("good", "edited", "later"):
            await service.schedules.create(lab.report, name=name, interval=60)
        for name, value in (("edited", '{"definition":5}'), ("later", None)):
            before = lab.backend.records[record_name(name)]
            text = value or before.value.replace('"definition"', '"format":2,"definition"', 1)
            lab.backend.records[before.name] = NamedRecord(before.name, 2, text)
        scheduler = Scheduler(lab.clock, owner="w", interval=timedelta(seconds=5))
        lab.clock.advance(60)
        for _ in range(2):
            await scheduler.look(lab.operations)
        assert lab.moments(list(lab.backend.tasks.values())) == ["60"]
        assert caplog.text.count("schedule:edited") == 1
        assert caplog.text.count("schedule:later") == 1
        with pytest.raises(QueueError, match="cannot be read"):
            await service.schedules.pause("edited")
        await service.schedules.remove("edited")
        await service.schedules.create(lab.report, name="edited", interval=60)
        assert await lab.fire(60) == ["120"]


async def test_one_scheduler_leads_and_another_one_follows_when_it_leaves_or_is_gone(lab: Lab) -> None:
    async with lab.open() as service:
        await service.schedules.create(lab.report, interval=60, overlap="allow")
        first, second = (Scheduler(lab.clock, owner=name, interval=timedelta(seconds=5)) for name in ("1", "2"))
        assert (await scheduler_health(service, timedelta(minutes=5))).exit_code == 3
        assert await first.look(lab.operations) == 5.0
        assert await second.look(lab.operations) == 5.0
        leader = await read_leader(lab.backend)
        assert leader is not None
        assert leader.worker == "1"
        assert (await scheduler_health(service, timedelta(minutes=5))).exit_code == 0
        lab.clock.advance(58)
        assert await first.look(lab.operations) == pytest.approx(2.0)
        lab.clock.advance(14.999)
        await second.look(lab.operations)
        assert lab.moments(list(lab.backend.tasks.values())) == []
        lab.clock.advance(0.001)
        await second.look(lab.operations)
        assert lab.moments(list(lab.backend.tasks.values())) == ["60"]
        await first.look(lab.operations)
        lab.clock.advance(60)
        await second.leave(lab.backend)
        await first.look(lab.operations)
        assert lab.moments(list(lab.backend.tasks.values())) == ["60", "120"]
        assert (await scheduler_health(service, timedelta(minutes=2))).exit_code == 0
        lab.clock.advance(121)
        health = await scheduler_health(service, timedelta(minutes=2))
        assert (health.exit_code, health.late, health.is_old) == (4, ("report",), True)


async def test_a_leader_that_stood_still_looks_again_before_it_enqueues(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with lab.open() as service:
        await service.schedules.create(lab.report, interval=60, overlap="allow")
        await lab.fire(60)
        scheduler, elapsed = Scheduler(lab.clock, owner="w", interval=timedelta(seconds=5)), 0.0
        monkeypatch.setattr("litestar_queues.worker.scheduler.since_boot", lambda: elapsed)
        get = lab.backend.get

        async def stand_still(ids: Any) -> Any:
            nonlocal elapsed
            found = await get(ids)
            elapsed += 15.0
            return found

        lab.backend.get = stand_still  # type: ignore[method-assign]
        lab.clock.advance(60)
        await scheduler.look(lab.operations)
        assert lab.moments(list(lab.backend.tasks.values())) == ["60"]
        assert "stood still" in caplog.text
        lab.backend.get = get  # type: ignore[method-assign]
        await scheduler.look(lab.operations)
        assert lab.moments(list(lab.backend.tasks.values())) == ["60", "120"]


async def test_a_test_that_travels_finds_what_its_schedules_enqueue() -> None:
    registry, seen = TaskRegistry(), list[tuple[Any, Any]]()

    @task("nightly", registry=registry, cron="0 3 * * *", timezone="Europe/Berlin")
    async def nightly() -> None:
        seen.append((current_task().schedule, current_task().fire))

    @task("often", registry=registry)
    async def often() -> None: ...

    async with QueueService(QueueConfig(), registry=registry) as service, AsyncQueueTester(service) as tester:
        await service.schedules.create(often, interval=1, overlap="allow")
        assert await tester.enqueued() == []
        with tester.travel(timedelta(days=1)):
            await tester.assert_enqueued(nightly)
            assert len(await tester.drain()) >= 2
        assert [name for name, _ in seen] == ["nightly"]
        assert seen[0][1].astimezone(UTC).minute == 0
        with tester.travel(timedelta(days=3)):
            assert len(await tester.enqueued(nightly)) == 2, "one for the days since"


async def test_a_store_that_is_away_is_looked_at_again(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    async with lab.open() as service:
        await service.schedules.create(lab.report, interval=60)
        lab.clock.advance(60)
        scheduler = Scheduler(lab.clock, owner="w", interval=timedelta(seconds=5))
        calls: list[int] = []
        fired = asyncio.Event()

        async def look() -> float:
            calls.append(1)
            if len(calls) < 3:
                raise BackendUnavailableError("away") if len(calls) == 1 else ZeroDivisionError("a fault of ours")
            pause = await scheduler.look(lab.operations)
            fired.set()
            return pause

        with caplog.at_level(logging.WARNING):
            running = asyncio.ensure_future(scheduler.run(look, lambda: scheduler.leave(lab.backend)))
            async with asyncio.timeout(DEADLINE):
                await fired.wait()
        assert "the next try is in" in caplog.text
        assert "ZeroDivisionError: a fault of ours" in caplog.text
        assert lab.moments(list(lab.backend.tasks.values())) == ["60"]
        running.cancel()
        await asyncio.wait({running})
        assert await lab.backend.lock("schedules", "another", timedelta(seconds=1)), "it was given back"
        assert await lab.backend.find(Matching(), 1)


async def test_what_is_wrong_with_the_code_s_schedules_keeps_no_other_one_from_firing(
    lab: Lab, caplog: pytest.LogCaptureFixture
) -> None:
    registry = declared(a=FIVE | {"execution_backend": "nowhere"})
    async with lab.open(registry) as service:
        await service.schedules.create("report", name="b", interval=60)
        scheduler = Scheduler(lab.clock, owner="w", interval=timedelta(seconds=5), sync=service.schedules.sync)
        lab.clock.advance(60)
        await scheduler.look(lab.operations)
        assert lab.moments(list(lab.backend.tasks.values())) == ["60"]
        assert "nowhere" in caplog.text


async def test_an_enqueue_takes_no_option_of_a_schedule_and_says_who_does(lab: Lab) -> None:
    async with lab.open() as service:
        for option in SCHEDULE_OPTIONS:
            with pytest.raises(TaskArgumentError, match="@task, schedule and QueueService"):
                await service.enqueue(lab.report, **{option: 5})  # type: ignore[call-overload]


async def test_a_set_that_could_not_be_brought_wholly_is_brought_later_whatever_came_since(lab: Lab) -> None:
    async with lab.open(declared(a=FIVE, b=FIVE)) as shop, lab.open(declared(c=FIVE)) as wiki:
        write, away = lab.backend.write_records, True

        async def write_records(records: Sequence[NamedRecord]) -> set[str]:
            if away and any(one.name == record_name("b") for one in records):
                raise BackendUnavailableError("away")
            return await write(records)

        lab.backend.write_records = write_records
        with pytest.raises(BackendUnavailableError):
            await shop.schedules.sync()
        lab.backend.records[record_name("a")] = NamedRecord(
            record_name("a"),
            1,
            lab.backend.records[record_name("a")].value.replace(
                (await lab.stored("a")).module or "", "not_imported_here"
            ),
        )
        assert await wiki.schedules.sync() == ["c"]
        away = False
        assert await shop.schedules.sync() == ["b"]
        assert [one.name for one in await wiki.schedules.list()] == ["a", "b", "c"]


async def test_occurrences_that_come_due_together_are_claimed_in_the_order_of_their_fires(lab: Lab) -> None:
    async with lab.open() as service:
        await service.schedules.create(lab.report, interval=60, catch_up="all", overlap="allow")
        await lab.fire(1000)
        claimed = [await lab.operations.claim(Want(worker="w", limit=1)) for _ in range(16)]
        assert lab.moments([one for (one,) in claimed]) == [f"{60 * i}" for i in range(1, 17)]


@pytest.mark.parametrize("catch_up", ["skip", "once", "all"])
async def test_what_a_leader_enqueued_before_it_died_counts_as_the_last_occurrence(lab: Lab, catch_up: Any) -> None:
    async with lab.open() as service:
        await service.schedules.create(lab.report, interval=3600, catch_up=catch_up, catch_up_limit=1)
        before = await lab.stored()
        assert await lab.fire(3600) == ["3600"]
        undo(lab, before)
        assert await lab.fire(3600) == [], "it is active still"
        stored = await lab.stored()
        assert stored.last is not None
        assert stored.last.id in lab.backend.tasks
        await lab.end_all()
        assert await lab.fire(3600) == ["10800"]


async def test_an_occurrence_that_is_active_beside_one_that_was_run_at_once_counts(lab: Lab) -> None:
    async with lab.open() as service:
        await service.schedules.create(lab.report, interval=60)
        assert await lab.fire(60) == ["60"]
        now = await service.schedules.run_now("report")
        claimed = await lab.operations.claim(Want(worker="w", limit=9))
        await lab.operations.apply([Move(one, Complete("null")) for one in claimed if one.id == now.id])
        assert await lab.fire(60) == [], "the first one runs"
        await lab.operations.apply([Move(one, Complete("null")) for one in claimed if one.id != now.id])
        assert await lab.fire(60) == ["180"]
        assert (await lab.stored()).beside == ()


async def test_the_code_s_schedules_are_brought_a_second_time(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    elapsed, calls = 1000.0, list[float]()
    monkeypatch.setattr("litestar_queues.worker.scheduler.since_boot", lambda: elapsed)

    async def sync() -> None:
        calls.append(elapsed)

    async with lab.open():
        scheduler = Scheduler(lab.clock, owner="w", interval=timedelta(seconds=5), sync=sync)
        for elapsed in (1000.0, 1030.0, 1061.0, 1062.0, 1200.0):  # noqa: B007  # read by the clock
            await scheduler.look(lab.operations)
    assert calls == [1000.0, 1061.0]
