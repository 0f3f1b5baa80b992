"""What mutants of the reaper showed to be untested: its grace, its hold, its pace and how long its notes count."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from queue_lab import WatchedBackend, within

from litestar_queues.backends.memory import MemoryBackend
from litestar_queues.clock import ManualClock, StoreClock
from litestar_queues.operations import QueueOperations
from litestar_queues.worker import reaper as module
from litestar_queues.worker.hold import Hold
from litestar_queues.worker.reaper import Reaper
from litestar_queues.worker.troubles import Trouble, read_troubles

pytestmark = pytest.mark.anyio
SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)


class Lab:
    def __init__(self) -> None:
        self.time = ManualClock()
        self.backend = WatchedBackend(MemoryBackend(self.time))
        self.clock = StoreClock()
        self.operations = QueueOperations(self.backend, self.clock)

    def reaper(self, **options: Any) -> Reaper:
        options = {"interval": MINUTE, "stale_after": MINUTE, "retention": None, **options}
        return Reaper(self.operations, self.clock, owner="r", **options)


@pytest.mark.parametrize(("stale_after", "grace"), [(0.9, 0.3), (2.7, 0.9), (3.0, 1.0), (60.0, 1.0)])
async def test_owners_have_a_third_of_their_window_to_beat_and_no_more_than_a_second(
    stale_after: float, grace: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = Lab()
    given: list[float] = []
    recover = QueueOperations.recover_stale

    async def noted(operations: QueueOperations, window: timedelta, **options: Any) -> Any:
        given.append(options["grace"])
        return await recover(operations, window, **options)

    monkeypatch.setattr(QueueOperations, "recover_stale", noted)
    await lab.reaper(stale_after=timedelta(seconds=stale_after)).look()
    assert given == [pytest.approx(grace)]


async def test_while_it_is_held_it_does_not_look(monkeypatch: pytest.MonkeyPatch) -> None:
    hold = Hold()
    hold.take()
    looks: list[int] = []
    turns: list[float] = []

    async def look() -> None:
        looks.append(len(turns))

    async def sleep(seconds: float) -> None:
        turns.append(seconds)
        if len(turns) == 2:
            hold.release()
        elif len(turns) == 3:
            raise asyncio.CancelledError

    monkeypatch.setattr(asyncio, "sleep", sleep)
    with pytest.raises(asyncio.CancelledError):
        await Lab().reaper(hold=hold).run(look)
    assert looks == [2], "the third turn alone"


async def test_where_it_looks_often_for_outages_it_maintains_once_in_its_interval(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lab = Lab()
    passed = [1000.0]
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: passed[0]))
    reaper = lab.reaper(interval=HOUR, stale_after=MINUTE)
    for after, maintains in ((0, True), (15, False), (3000, False), (300, True)):
        passed[0] += after
        lab.backend.calls.clear()
        await reaper.look()
        assert bool(lab.backend.of("lock")) is maintains, after


async def test_where_its_interval_is_short_each_look_maintains() -> None:
    lab = Lab()
    reaper = lab.reaper(interval=15 * SECOND, stale_after=MINUTE)
    await reaper.look()
    lab.backend.calls.clear()
    await reaper.look()
    assert lab.backend.of("lock")


@pytest.mark.parametrize(("interval", "stale_after"), [(MINUTE, HOUR), (HOUR, 4 * MINUTE)])
async def test_what_it_notes_counts_for_three_looks(interval: timedelta, stale_after: timedelta) -> None:
    lab = Lab()
    await lab.reaper(interval=interval, stale_after=stale_after, trouble=lambda: Trouble(abandoned=1)).look()
    assert await read_troubles(lab.backend, lab.time.now() + 3 * MINUTE - SECOND)
    assert not await read_troubles(lab.backend, lab.time.now() + 3 * MINUTE + SECOND)


async def test_when_it_ends_it_waits_for_the_store_to_take_its_lock_back(monkeypatch: pytest.MonkeyPatch) -> None:
    lab = Lab()
    unlock = lab.backend.inner.unlock

    async def slowly(name: str, owner: str) -> bool:
        await asyncio.sleep(0.01)  # as everything over a network
        return await unlock(name, owner)

    monkeypatch.setattr(lab.backend.inner, "unlock", slowly)
    looked = asyncio.Event()
    reaper = lab.reaper()

    async def look() -> None:
        await reaper.look()
        looked.set()

    running = asyncio.create_task(reaper.run(look))
    await within(looked.wait())
    assert lab.backend.inner.locks
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert lab.backend.inner.locks == {}
