"""A worker claims only tasks that it can start at once."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest
from queue_lab import DEADLINE, Lab, open_lab, within

from litestar_queues import FixedBackoff, State, Worker
from litestar_queues.execution import threads as threads_module
from litestar_queues.pauses import Backoffs
from litestar_queues.records import Want
from litestar_queues.worker import worker as worker_module

pytestmark = pytest.mark.anyio


class Hanging:
    """A sync task that runs until the test lets it go, whatever happens to it."""

    def __init__(self, lab: Lab, name: str = "hang", **options: Any) -> None:
        self.go, self.calls, self.most, self.now = threading.Event(), 0, 0, 0
        self._lab, self._lock = lab, threading.Lock()
        loop = asyncio.get_running_loop()

        def hang() -> str:
            with self._lock:
                self.calls += 1
                self.now += 1
                self.most = max(self.most, self.now)
            loop.call_soon_threadsafe(lab.backend.stir.set)
            assert self.go.wait(DEADLINE)
            with self._lock:
                self.now -= 1
            return "done"

        self.task = lab.task(name, **options)(hang)

    async def enqueue(self, count: int) -> list[Any]:
        return await self._lab.service.enqueue_many([self.task.call() for _ in range(count)])

    async def running(self, calls: int) -> None:
        await self._lab.until(lambda: self.calls >= calls)


@pytest.fixture
def no_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads_module, "_GRACE", 0.01)


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_module, "_PROBES", Backoffs(first=0.01, longest=0.02))
    monkeypatch.setattr(worker_module, "_OVERLAPS", Backoffs(first=0.01, longest=0.02))


def limits(lab: Lab) -> list[int]:
    wants: list[Want] = [args[0] for args in lab.backend.of("claim")]
    return [want.limit for want in wants]


def asyncs(lab: Lab, name: str = "async") -> Callable[..., Any]:
    async def function() -> str:
        return "done"

    return lab.task(name)(function)  # type: ignore[no-any-return]


async def test_a_worker_claims_no_more_sync_tasks_than_it_has_threads() -> None:
    async with open_lab(worker_max_concurrency=20, worker_max_threads=2, worker_poll_interval=0.01) as lab:
        hanging = Hanging(lab)
        results = await hanging.enqueue(6)
        async with lab.worker() as running:
            await hanging.running(2)
            looks = len(lab.backend.of("claim"))
            for _ in range(5):
                running.worker.nudge.set()
                await asyncio.sleep(0)
            assert (len(lab.backend.of("claim")), len(lab.told("claim"))) == (looks, 2)
            assert {(await result.refresh()).status for result in results[2:]} == {State.PENDING}
            hanging.go.set()
            for result in results:
                assert (await within(result.wait())).result == "done"
            assert hanging.most == 2
            assert max(limits(lab)) == 2
            assert (await running.drain()).drained
        assert lab.told("requeue") == [], "nothing was claimed in vain"


async def test_threads_and_concurrency_are_one_number_unless_somebody_sets_both() -> None:
    async with open_lab(worker_max_concurrency=3) as lab, lab.worker(max_concurrency=5):
        hanging = Hanging(lab)
        await hanging.enqueue(7)
        await hanging.running(5)
        assert lab.service.executor.threads.slots == 5
        hanging.go.set()


async def test_a_task_that_cannot_start_at_once_is_given_back_uncounted_and_not_claimed_again_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(worker_module, "_PROBES", Backoffs(first=1000, longest=1000))
    async with open_lab(worker_max_concurrency=20, worker_max_threads=1, worker_poll_interval=0.01) as lab:
        hanging = Hanging(lab)
        asyncs(lab)  # so that the worker has a reason to look although no thread is free
        first, second = await hanging.enqueue(2)
        async with lab.worker() as running:
            await lab.until(lambda: lab.told("release"))
            assert [event.task_id for event in lab.told("release")] == [second.id]
            record = await lab.stored(second.id)
            assert (record.state, record.attempt, record.started_at) == (State.PENDING, 0, None)
            assert record.due_at == second.record.due_at, "it keeps its place"
            for _ in range(20):
                running.worker.nudge.set()
                await asyncio.sleep(0)
            assert len(lab.told("claim")) == 2
            hanging.go.set()  # a thread that becomes free is used at once, whatever the pause
            for result in (first, second):
                assert (await within(result.wait())).result == "done"
            assert second.attempt == 1


async def test_async_tasks_go_on_while_all_threads_hang() -> None:
    async with open_lab(worker_max_concurrency=4, worker_max_threads=2, worker_poll_interval=0.01) as lab:
        hanging = Hanging(lab)
        function = asyncs(lab)
        await hanging.enqueue(2)
        async with lab.worker():
            await hanging.running(2)
            for result in [await lab.service.enqueue(function) for _ in range(5)]:
                assert (await within(result.wait())).result == "done"
            assert hanging.now == 2
            hanging.go.set()


async def test_a_thread_that_becomes_free_after_its_call_was_given_up_is_used_at_once() -> None:
    async with open_lab(worker_max_concurrency=1, worker_poll_interval=1000) as lab:
        stuck = Hanging(lab, "stuck", timeout=0.01)
        hanging = Hanging(lab)
        (first,) = await stuck.enqueue(1)
        async with lab.worker():
            assert (await within(first.wait())).status is State.FAILED
            (second,) = await hanging.enqueue(1)
            for _ in range(20):
                await asyncio.sleep(0)
            assert hanging.calls == 0
            stuck.go.set()
            hanging.go.set()
            assert (await within(second.wait())).result == "done"


async def test_calls_that_hang_and_async_tasks_share_one_number() -> None:
    async with open_lab(worker_max_concurrency=4, worker_poll_interval=1000) as lab:
        stuck = Hanging(lab, "stuck", timeout=0.01)
        begun, go = asyncio.Semaphore(0), asyncio.Event()

        @lab.task("waits")
        async def waits() -> None:
            begun.release()
            await go.wait()

        async with lab.worker() as running:
            for result in await stuck.enqueue(2):
                await within(result.wait())
            for _ in range(2):
                await lab.service.enqueue(waits)
                await within(begun.acquire())
            assert running.worker._room() <= 1, "two threads are free, and two tasks run: only an async one could start"
            stuck.go.set()
            go.set()


async def test_threads_that_hang_lower_what_the_worker_claims_and_it_reports_them(
    no_grace: None, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_lab(worker_max_concurrency=4, worker_poll_interval=0.01) as lab:
        stuck = Hanging(lab, "stuck", timeout=0.01)
        hanging = Hanging(lab)
        results = await stuck.enqueue(3)
        async with lab.worker() as running:
            for result in results:
                assert (await within(result.wait())).status is State.FAILED
            await lab.until(lambda: len(lab.told("abandon")) == 3)
            assert running.worker.abandoned == 3
            assert {event.task_id for event in lab.told("abandon")} == {result.id for result in results}
            assert lab.service.operations.counters["abandon"] == 3
            assert "3 of 4 threads are held so, and worker w1 claims so many tasks less" in caplog.text
            claims = len(lab.backend.of("claim"))
            waiting = await hanging.enqueue(4)
            await hanging.running(1)
            assert set(limits(lab)[claims:]) == {1}
            assert len(lab.told("claim")) == 4
            stuck.go.set()
            hanging.go.set()
            for result in waiting:
                await within(result.wait())
            while running.worker.abandoned:  # noqa: ASYNC110  # their threads end by themselves
                await asyncio.sleep(0)
            assert running.worker._room() == 4


async def test_a_sync_task_that_heeds_its_cancellation_does_not_count_as_hanging() -> None:
    async with open_lab() as lab:
        from litestar_queues import current_task

        @lab.task("heeds", timeout=0.01)
        def heeds() -> None:
            while not current_task().cancelled:
                pass

        async with lab.worker() as running:
            result = await lab.service.enqueue(heeds)
            assert (await within(result.wait())).status is State.FAILED
            while running.worker.abandoned:  # noqa: ASYNC110  # its thread ends by itself
                await asyncio.sleep(0)
        assert lab.told("abandon") == []


async def test_a_retry_does_not_start_while_its_earlier_call_still_runs_in_this_worker(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with open_lab(worker_max_concurrency=4, worker_poll_interval=0.01) as lab:
        hanging = Hanging(lab, timeout=0.05, retries=1, backoff=FixedBackoff(0))
        (result,) = await hanging.enqueue(1)
        async with lab.worker():
            await lab.until(lambda: len(lab.told("snooze")) >= 2)
            assert hanging.calls == 1
            record = await lab.stored(result.id)
            assert "and its call still ran in a thread of w1" in (record.error or "")
            assert f"task {result.id} (hang) waits another" in caplog.text
            hanging.go.set()
            assert (await within(result.wait())).result == "done"
        assert (hanging.calls, hanging.most, result.attempt) == (2, 1, 2)


async def test_a_worker_with_too_many_calls_that_hang_leaves(no_grace: None) -> None:
    async with open_lab(worker_max_abandoned=2, worker_poll_interval=0.01) as lab:
        hanging = Hanging(lab, timeout=0.01)
        results = await hanging.enqueue(2)
        async with lab.worker() as running:
            ended = await within(running.run)
        assert sorted(ended.hung) == sorted(result.id for result in results)
        assert not ended.drained
        hanging.go.set()


async def test_a_worker_inside_an_application_stays_however_many_calls_hang(
    no_grace: None, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_lab(worker_max_abandoned=1, worker_poll_interval=0.01) as lab:
        hanging = Hanging(lab, timeout=0.01)
        function = asyncs(lab)
        await hanging.enqueue(1)
        async with lab.worker(supervised=False) as running:
            await lab.until(lambda: lab.told("abandon"))
            result = await lab.service.enqueue(function)
            assert (await within(result.wait())).result == "done"
            assert not running.run.done()
            assert "1 calls hang (worker_max_abandoned): restart this process" in caplog.text
            hanging.go.set()


async def test_an_outcome_that_cannot_be_taken_still_ends_the_task(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: Any) -> None:
        raise KeyboardInterrupt

    async with open_lab() as lab, lab.worker() as running:
        monkeypatch.setattr(Worker, "_take_outcome", broken)
        result = await lab.service.enqueue(asyncs(lab))
        assert (await within(result.wait())).status is State.FAILED
        assert result.error is not None
        assert result.error.message == "the outcome could not be told"
        assert (running.worker._running, running.worker._held) == (0, {})
        assert (await running.drain()).drained
    assert "could not be taken" in caplog.text


async def test_maintenance_that_is_rarer_than_the_stale_window_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    async with open_lab(maintenance_interval=61) as lab, lab.worker():
        assert "maintenance_interval (61) is longer than worker_stale_after (60.0)" in caplog.text
