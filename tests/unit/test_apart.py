"""The thread with a second client of the store: when it is used, when it is not, and how it ends."""

from __future__ import annotations

import asyncio
import logging
import threading
import time

import pytest
from apart_lab import FirstClient, SecondClient, apart_lab, hearts
from queue_lab import Lab, within
from waiting import DEADLINE

from litestar_queues import QueueError, apart, current_task
from litestar_queues.apart import Aside, Run
from litestar_queues.clock import StoreClock
from litestar_queues.errors import BackendUnavailableError, TasksLockedError
from litestar_queues.operations import QueueOperations

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("quick_backoffs")]
BOUNDED = 8.0
"""Seconds within which the thread has to be left on a busy machine; it takes two."""


def aside(kind: type[Aside] = Aside) -> tuple[Aside, SecondClient]:
    first = FirstClient()
    first.apart()
    return kind(QueueOperations(first, StoreClock()), first.second), first.second


async def ended() -> None:
    """Wait until no such thread runs."""
    async with asyncio.timeout(DEADLINE):
        while hearts():  # noqa: ASYNC110  # nothing tells of it
            await asyncio.sleep(0.01)


async def a_task_that_waits(lab: Lab, second: SecondClient, *beats: tuple[object, int]) -> None:
    """Run a task until each of the clients had so many heartbeats and looks more."""

    @lab.task("waits")  # type: ignore[untyped-decorator]
    async def waits() -> None:
        for client, count in beats:
            assert isinstance(client, (FirstClient, SecondClient))
            seen = len(client.of("touch_heartbeats")), len(client.of("lock"))
            await lab.until(
                lambda client=client, seen=seen, count=count: (
                    len(client.of("touch_heartbeats")) >= seen[0] + count and len(client.of("lock")) >= seen[1] + count
                )
            )
            second.away.clear()

    await within((await lab.service.enqueue(waits)).wait())


async def test_heartbeats_and_maintenance_use_the_second_client_alone(caplog: pytest.LogCaptureFixture) -> None:
    lab, second = apart_lab()
    async with lab.service, lab.worker():
        await a_task_that_waits(lab, second, (second, 5))
        assert lab.backend.of("touch_heartbeats") == []
    assert "connection of its own" not in caplog.text, "also while it was being opened"


async def test_the_first_maintenance_waits_until_the_second_client_is_open() -> None:
    lab, second = apart_lab()
    opened = second.open

    async def open_slowly() -> None:
        for _ in range(50):
            await asyncio.sleep(0)
        await opened()

    second.open = open_slowly  # type: ignore[method-assign]
    async with lab.service, lab.worker():
        await lab.until(lambda: len(second.of("lock")) > 3)
        assert lab.backend.of("lock") == [], "else it would wait for a pool that the application has exhausted"


@pytest.mark.parametrize("kinds", [{"open"}, {"touch_heartbeats", "now", "lock"}], ids=["opening", "connection"])
async def test_they_fall_back_to_the_first_client_say_so_once_and_return(
    kinds: set[str], caplog: pytest.LogCaptureFixture
) -> None:
    lab, second = apart_lab()
    second.away |= kinds
    with caplog.at_level(logging.INFO, "litestar_queues.worker"):
        async with lab.service, lab.worker():
            await a_task_that_waits(lab, second, (lab.backend, 5), (second, 5))
            seen = len(lab.backend.of("touch_heartbeats"))
            await a_task_that_waits(lab, second, (second, 5))
            assert len(lab.backend.of("touch_heartbeats")) == seen
        for what in ("heartbeats", "maintenance"):
            assert caplog.text.count(f"no connection of its own for {what}, so that the pool is shared meanwhile") == 1
            assert caplog.text.count(f"there is a connection of its own for {what} again") == 1


async def test_an_opening_that_hangs_keeps_no_heartbeat_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apart, "_OPENING", 0.05)
    lab, second = apart_lab()
    second.hangs["open"] = False
    async with lab.service, lab.worker():
        await a_task_that_waits(lab, second, (lab.backend, 3))
    assert second.was_closed


async def test_an_unknown_error_of_the_second_client_leads_to_the_first_one() -> None:
    lab, second = apart_lab()
    second.raises["touch_heartbeats"] = [OSError("odd") for _ in range(1000)]
    async with lab.service, lab.worker():
        await lab.until(lambda: second.is_open)

        @lab.task("waits")  # type: ignore[untyped-decorator]
        async def waits() -> None:
            await lab.until(lambda: len(lab.backend.of("touch_heartbeats")) > 3)

        await within((await lab.service.enqueue(waits)).wait())


async def test_the_first_client_is_not_asked_about_tasks_that_are_locked(caplog: pytest.LogCaptureFixture) -> None:
    lab, second = apart_lab()
    async with lab.service, lab.worker():
        await lab.until(lambda: second.is_open)

        @lab.task("waits")  # type: ignore[untyped-decorator]
        async def waits() -> None:
            error = TasksLockedError([current_task().id], ["somebody's"])
            second.raises["touch_heartbeats"] = [error for _ in range(1000)]
            seen = len(second.of("touch_heartbeats"))
            await lab.until(lambda: len(second.of("touch_heartbeats")) >= seen + 10)

        await within((await lab.service.enqueue(waits)).wait())
        assert lab.backend.of("touch_heartbeats") == []
    assert "connection of its own" not in caplog.text


@pytest.mark.parametrize("kind", ["touch_heartbeats", "find", "open", "close"])
@pytest.mark.parametrize("stubborn", [False, True], ids=["cancelled", "uncancellable"])
async def test_a_worker_leaves_in_bounded_time_and_closes_what_it_opened(kind: str, *, stubborn: bool) -> None:
    lab, second = apart_lab()
    second.hangs[kind] = stubborn

    @lab.task("waits")  # type: ignore[untyped-decorator]
    async def waits() -> None:
        if kind != "close":
            await lab.until(lambda: second.of(kind))

    async with lab.service, lab.worker() as running:
        await within((await lab.service.enqueue(waits)).wait())
        began = time.monotonic()
        await running.abort()
        assert time.monotonic() - began < BOUNDED
        assert len(second.of("close")) == 1
        if kind != "close" and not stubborn:
            assert second.was_closed
    second.hangs.clear()
    await ended()


async def test_the_second_client_is_closed_before_the_first_one() -> None:
    lab, second = apart_lab()
    order: list[str] = []
    closing = second.close

    async def close() -> None:
        await closing()
        order.append("second")

    async def close_first() -> None:
        order.append("first")

    second.close = close  # type: ignore[method-assign]
    lab.backend.close = close_first
    async with lab.service, lab.worker():
        await lab.until(lambda: second.is_open)
    assert order == ["second", "first"]


class Late(Aside):
    """A thread that the machine does not run for a while."""

    go = threading.Event()

    def _work(self, *runs: Run) -> None:
        self.go.wait(DEADLINE)
        super()._work(*runs)


async def test_it_ends_where_it_is_stopped_before_it_runs() -> None:
    made, second = aside(Late)
    made.start(asyncio.Event().wait)  # type: ignore[arg-type]
    made.leave()
    made.go.set()
    await within(made.stop())
    await ended()
    assert second.was_closed


async def test_it_can_be_stopped_twice() -> None:
    made, second = aside()
    made.start(made.open)
    await within(made.stop())
    await within(made.stop())
    assert len(second.of("close")) == 1


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit, GeneratorExit, asyncio.CancelledError])
async def test_whatever_runs_there_begins_again_after_any_error(error: type[BaseException]) -> None:
    made, _ = aside()
    began: list[int] = []
    good = asyncio.Event()

    async def run() -> None:
        began.append(1)
        if len(began) < 4:
            raise error("on purpose")
        made.call_at_home(good.set)
        await asyncio.Event().wait()

    other: list[int] = []

    async def beside() -> None:
        other.append(1)
        await asyncio.Event().wait()

    made.start(run, beside)
    await within(good.wait())
    await within(made.stop())
    assert len(began) == 4
    assert other == [1]
    await ended()


async def test_an_exit_inside_the_event_loop_of_the_thread_does_not_end_it() -> None:
    made, _ = aside()
    good = asyncio.Event()

    async def exits() -> None:
        raise SystemExit(3)

    async def run() -> None:
        task = asyncio.ensure_future(exits())
        await asyncio.wait({task})
        assert isinstance(task.exception(), SystemExit)
        made.call_at_home(good.set)

    made.start(run)
    await within(good.wait())
    await within(made.stop())


async def test_what_is_to_run_at_home_fails_where_that_has_ended() -> None:
    loop = asyncio.new_event_loop()
    made = await asyncio.to_thread(_made_in, loop)

    async def nothing() -> None: ...

    with pytest.raises(QueueError, match="event loop of the worker has ended"):
        await made.run_at_home(nothing)
    made.call_at_home(list)


def _made_in(loop: asyncio.AbstractEventLoop) -> Aside:
    try:
        return loop.run_until_complete(_made_here())
    finally:
        loop.close()


async def _made_here() -> Aside:
    return aside()[0]


async def test_a_store_that_is_not_open_yet_is_named_as_the_reason(caplog: pytest.LogCaptureFixture) -> None:
    made, second = aside()
    second.away.add("open")

    async def nothing() -> int:
        return 1

    async def never() -> int:
        raise BackendUnavailableError("asked")

    with caplog.at_level(logging.WARNING, "litestar_queues.worker"):
        made.start(made.open)
        try:
            async with asyncio.timeout(DEADLINE):
                while len(second.of("open")) < 2:  # noqa: ASYNC110  # nothing tells of it
                    await asyncio.sleep(0)
            assert await made.through_either("heartbeats", never, nothing) == 1
        finally:
            await made.stop()
    assert "no connection of its own for heartbeats" in caplog.text
    assert "the second client cannot be opened" in caplog.text
