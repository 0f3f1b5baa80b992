"""Maintenance: who does it, when, and how much at a time."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any

import pytest
from queue_lab import WatchedBackend, hour, open_lab, within

from litestar_queues import State
from litestar_queues.backends.memory import MemoryBackend
from litestar_queues.clock import ManualClock, StoreClock
from litestar_queues.errors import BackendUnavailableError
from litestar_queues.lifecycle import NullHeartbeat, step
from litestar_queues.operations import QueueOperations
from litestar_queues.records import NamedRecord, NewTask, Want
from litestar_queues.worker import reaper as reaper_module
from litestar_queues.worker.reaper import Reaper
from litestar_queues.worker.uptime import Uptime

pytestmark = pytest.mark.anyio
MINUTE = timedelta(minutes=1)


@pytest.fixture(autouse=True)
def no_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would pass in real time, and the store's clock is moved by hand."""
    monkeypatch.setattr(reaper_module, "_GRACE", 0.0)


class Ward:
    """Reapers over one store, on a clock that is moved by hand."""

    def __init__(self) -> None:
        self.time = ManualClock()
        self.backend = WatchedBackend(MemoryBackend(self.time))

    def reaper(self, owner: str = "r1", retention: timedelta | None = MINUTE) -> Reaper:
        clock = StoreClock()
        operations = QueueOperations(self.backend, clock)
        return Reaper(operations, clock, owner=owner, interval=MINUTE, stale_after=MINUTE, retention=retention)

    async def enqueue(self, count: int, **fields: Any) -> None:
        made = len(self.backend.inner.tasks)
        await self.backend.inner.enqueue_many(
            [NewTask(**{"id": f"t{made + n}", "name": "n", "max_attempts": 2, **fields}) for n in range(count)]
        )

    async def looked(self) -> None:
        """Somebody looks after the store from now on, every half of a window."""
        await self.reaper("another").look()
        await self.backend.inner.unlock("maintenance", "another")
        self.backend.calls.clear()

    async def pass_(self, seconds: float) -> None:
        """Let time pass in which another reaper looks."""
        for _ in range(4):
            self.time.advance(seconds / 4)
            await Uptime(self.backend.inner, self.time, window=MINUTE, interval=MINUTE / 4).note()

    async def states(self) -> dict[str, State]:
        return {task.id: task.state for task in self.backend.inner.tasks.values()}


async def test_a_look_recovers_the_stale_expires_the_overdue_and_deletes_the_old(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    ward = Ward()
    await ward.enqueue(2)
    await ward.enqueue(1, max_recoveries=0)
    await ward.looked()
    await ward.backend.inner.claim(Want(worker="gone", limit=3))
    await ward.enqueue(1, expires_at=ward.time.now() + MINUTE)
    await ward.enqueue(1)
    await ward.pass_(61)
    await ward.reaper().look()
    assert await ward.states() == {
        "t0": State.PENDING, "t1": State.PENDING, "t2": State.FAILED, "t3": State.EXPIRED, "t4": State.PENDING,
    }  # fmt: skip
    assert "task t0 (n) was stale, and is requeued (recovery 1 of 3)" in caplog.text
    assert "task t2 (n) was stale, and has failed: its budget of 0 recoveries is spent" in caplog.text
    ward.time.advance(61)
    await ward.reaper().look()
    assert set(await ward.states()) == {"t0", "t1", "t4"}


async def test_one_reaper_at_a_time_looks_and_another_follows_when_its_lock_runs_out() -> None:
    ward = Ward()
    await ward.reaper("r1").look()
    ward.backend.calls.clear()
    await ward.reaper("r2").look()
    assert ward.backend.of("find") == []
    await ward.reaper("r1").look()
    assert ward.backend.of("find") != []
    ward.time.advance(hour())
    ward.backend.calls.clear()
    await ward.reaper("r2").look()
    assert ward.backend.of("find") != []


async def test_a_look_goes_in_bounded_steps_until_nothing_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reaper_module, "_STEP", 10)
    ward = Ward()
    await ward.looked()
    await ward.enqueue(25)
    await ward.backend.inner.claim(Want(worker="gone", limit=25))
    await ward.enqueue(25, expires_at=ward.time.now() + MINUTE)
    await ward.pass_(61)
    ward.backend.calls.clear()
    await ward.reaper().look()
    assert [len(tasks) for (tasks,) in ward.backend.of("commit")] == [10, 10, 5, 10, 10, 5]
    assert list((await ward.states()).values()) == [State.PENDING] * 25 + [State.EXPIRED] * 25
    ward.time.advance(61)
    ward.backend.calls.clear()
    await ward.reaper().look()
    assert [len(held) for (held,) in ward.backend.of("delete")][:3] == [10, 10, 5]


async def test_a_stale_task_that_its_heartbeats_save_again_and_again_does_not_keep_the_reaper(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ward = Ward()
    await ward.enqueue(3)
    running = await ward.backend.inner.claim(Want(worker="slow", limit=3))
    ward.time.advance(61)
    inner, find = ward.backend.inner, ward.backend.inner.find

    async def find_then_beat(*args: Any, **kwargs: Any) -> Any:
        found = await find(*args, **kwargs)
        await inner.touch_heartbeats([task.held for task in running])
        return found

    monkeypatch.setattr(inner, "find", find_then_beat)
    await within(ward.reaper().look())
    assert set((await ward.states()).values()) == {State.RUNNING}


async def test_without_retention_nothing_is_deleted() -> None:
    ward = Ward()
    await ward.enqueue(1, expires_at=ward.time.now() + MINUTE)
    ward.time.advance(hour())
    await ward.reaper(retention=None).look()
    ward.time.advance(hour(1000))
    await ward.reaper(retention=None).look()
    assert await ward.states() == {"t0": State.EXPIRED}
    assert ward.backend.of("delete") == []


async def test_a_worker_recovers_what_another_one_left() -> None:
    async with open_lab(maintenance_interval=0.01, worker_heartbeat_interval=0.1, worker_stale_after=0.3) as lab:
        lab.task("quick")(lambda: 5)
        result = await lab.service.enqueue("quick")
        assert await lab.backend.inner.claim(Want(worker="killed", limit=1))
        async with lab.worker():
            assert (await within(result.wait())).result == 5
        assert (result.attempt, result.record.recoveries) == (1, 1)
        assert [event.task_id for event in lab.told("lose_heartbeat")] == [result.id]


@pytest.mark.usefixtures("quick_backoffs")
async def test_a_worker_that_beats_is_never_recovered_from() -> None:
    async with open_lab(maintenance_interval=0.01, worker_heartbeat_interval=0.01, worker_stale_after=1) as lab:
        lab.task("quick")(lambda: 5)
        async with lab.worker():
            await lab.until(lambda: len(lab.backend.of("find")) >= 9)
            result = await lab.service.enqueue("quick")
            assert (await within(result.wait())).result == 5
        assert lab.told("lose_heartbeat") == []


async def test_maintenance_goes_on_after_a_store_was_away(caplog: pytest.LogCaptureFixture) -> None:
    async with open_lab(maintenance_interval=0.01) as lab:
        lab.backend.away |= {"lock", "now"}
        async with lab.worker():
            await lab.until(lambda: len(lab.backend.of("now")) >= 3)
            lab.backend.away.clear()
            await lab.until(lambda: lab.backend.of("find"))
        assert "maintenance could not be done: the store is away" in caplog.text


async def test_after_an_outage_owners_have_a_whole_window_to_beat_again() -> None:
    ward = Ward()
    await ward.looked()
    await ward.enqueue(2)
    [saved, lost] = await ward.backend.inner.claim(Want(worker="cut off", limit=2, stale_after=60))
    ward.time.advance(hour())  # in which nobody could look
    await ward.reaper().look()
    assert set((await ward.states()).values()) == {State.RUNNING}
    await ward.backend.inner.touch_heartbeats([saved.held])
    await ward.pass_(59)
    await ward.reaper().look()
    assert set((await ward.states()).values()) == {State.RUNNING}
    await ward.backend.inner.touch_heartbeats([saved.held])
    await ward.pass_(2)
    await ward.reaper().look()
    assert await ward.states() == {saved.id: State.RUNNING, lost.id: State.PENDING}


async def test_a_reaper_that_has_just_started_knows_of_the_outage_before_it() -> None:
    ward = Ward()
    await ward.looked()
    await ward.enqueue(1)
    await ward.backend.inner.claim(Want(worker="cut off", limit=1, stale_after=60))
    ward.time.advance(hour())
    await ward.reaper("the first").look()
    await ward.backend.inner.unlock("maintenance", "the first")
    ward.time.advance(30)
    await ward.reaper("the second, which has just started").look()
    assert set((await ward.states()).values()) == {State.RUNNING}


async def test_a_nulled_heartbeat_is_recovered_in_the_grace_too() -> None:
    ward = Ward()
    await ward.enqueue(1)
    [record] = await ward.backend.inner.claim(Want(worker="leaving", limit=1, stale_after=60))
    await ward.backend.inner.commit([step(record, NullHeartbeat(), ward.time.now())])
    await ward.reaper().look()
    assert await ward.states() == {record.id: State.PENDING}


async def test_each_task_is_recovered_by_the_window_of_its_own_owner() -> None:
    ward = Ward()
    await ward.looked()
    await ward.enqueue(3)
    for window in (5.0, 3600.0, None):
        await ward.backend.inner.claim(Want(worker="w", limit=1, stale_after=window))
    await ward.pass_(6)
    await ward.reaper().look()
    assert await ward.states() == {"t0": State.PENDING, "t1": State.RUNNING, "t2": State.RUNNING}
    await ward.pass_(61)
    await ward.reaper().look()
    assert await ward.states() == {"t0": State.PENDING, "t1": State.RUNNING, "t2": State.PENDING}


@pytest.mark.parametrize("value", ["", "no JSON", "[]", '{"since": 5}', "{}"])
async def test_what_the_reapers_noted_and_somebody_edited_gives_a_grace(value: str) -> None:
    ward = Ward()
    await ward.backend.inner.write_records([NamedRecord("maintenance", 1, value)])
    await ward.enqueue(1)
    await ward.backend.inner.claim(Want(worker="w", limit=1, stale_after=1))
    ward.time.advance(5)
    await ward.reaper().look()
    assert await ward.states() == {"t0": State.RUNNING}
    await ward.pass_(2)
    await ward.reaper().look()
    assert await ward.states() == {"t0": State.PENDING}


async def test_a_store_that_takes_no_heartbeats_is_not_in_service_for_anybody() -> None:
    ward = Ward()
    await ward.looked()
    await ward.enqueue(1)
    [record] = await ward.backend.inner.claim(Want(worker="w", limit=1, stale_after=60))
    ward.backend.away.add("touch_heartbeats")
    for _ in range(5):  # the store takes everything else
        ward.time.advance(20)
        with pytest.raises(BackendUnavailableError):
            await ward.reaper().look()
    ward.backend.away.clear()
    await ward.reaper().look()
    assert await ward.states() == {record.id: State.RUNNING}
    await ward.pass_(61)
    await ward.reaper().look()
    assert await ward.states() == {record.id: State.PENDING}


async def test_a_worker_whose_own_heartbeats_are_not_stored_takes_nobodys_tasks() -> None:
    ward = Ward()
    await ward.looked()
    await ward.enqueue(1)
    [record] = await ward.backend.inner.claim(Want(worker="w", limit=1, stale_after=60))
    await ward.pass_(61)
    clock = StoreClock()
    silent = Reaper(
        QueueOperations(ward.backend, clock), clock, owner="r", interval=MINUTE, stale_after=MINUTE, retention=None,
        is_silent=lambda: True,
    )  # fmt: skip
    with pytest.raises(BackendUnavailableError, match="does not take the heartbeats"):
        await silent.look()
    assert await ward.states() == {record.id: State.RUNNING}
