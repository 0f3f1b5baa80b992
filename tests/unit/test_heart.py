"""Heartbeats and maintenance that do not depend on what the event loop does."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import warnings
from typing import Any

import pytest
from apart_lab import HEART, apart_lab, hearts
from queue_lab import open_lab, within

from litestar_queues import State, TaskEvent, TasksLockedError
from litestar_queues.context import TaskContext
from litestar_queues.execution.exits import TaskExit
from litestar_queues.records import NewTask, Want
from litestar_queues.worker.heart import Heart
from litestar_queues.worker.holding import Holding

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("quick_backoffs")]
LOST = {"worker_heartbeat_interval": 0.03, "worker_stale_after": 0.09, "worker_blocked_after": 0.03}
"""A window that is over soon."""


async def test_heartbeats_go_on_while_a_task_keeps_the_event_loop() -> None:
    lab, second = apart_lab(worker_heartbeat_interval=0.03, worker_stale_after=0.3)

    @lab.task("compute")  # type: ignore[untyped-decorator]
    async def compute() -> int:
        second.block_for(30)  # for three windows
        return 5

    async with lab.service, lab.worker():
        result = await lab.service.enqueue(compute)
        assert (await within(result.wait())).result == 5
        assert (await lab.stored(result.id)).recoveries == 0
        assert lab.told("fence_loss") == []
        assert second.threads == {HEART}


async def test_without_the_thread_they_wait_for_the_event_loop() -> None:
    lab, second = apart_lab(worker_heartbeat_thread=False)
    async with lab.service, lab.worker():
        await lab.until(lambda: lab.backend.of("lock"))
        assert hearts() == []
        assert second.calls == []


async def test_a_process_local_store_has_no_thread(caplog: pytest.LogCaptureFixture) -> None:
    lab, second = apart_lab()
    lab.backend.process_local = True  # type: ignore[misc]
    with caplog.at_level(logging.INFO, "litestar_queues.worker"):
        async with lab.service, lab.worker():
            await lab.until(lambda: lab.backend.of("lock"))
            assert hearts() == []
    assert second.calls == []
    assert "event loop" not in caplog.text


async def test_a_backend_without_a_second_client_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    lab, second = apart_lab(worker_heartbeat_interval=0.01)
    lab.backend.apart = lambda: None  # type: ignore[attr-defined]

    @lab.task("waits")  # type: ignore[untyped-decorator]
    async def waits() -> None:
        await lab.until(lambda: len(lab.backend.of("touch_heartbeats")) > 3)

    with caplog.at_level(logging.INFO, "litestar_queues.worker"):
        async with lab.service, lab.worker():
            await within((await lab.service.enqueue(waits)).wait())
    assert caplog.text.count("heartbeats stay in the event loop") == 1
    assert second.calls == []


async def test_a_task_far_beyond_its_timeout_in_a_blocked_loop_is_recovered() -> None:
    lab, second = apart_lab(**LOST)
    runs: list[int] = []

    @lab.task("endless", timeout=0.01)  # type: ignore[untyped-decorator]
    async def endless() -> None:
        runs.append(1)
        if len(runs) == 1:
            second.block_until(lambda: any(one.recoveries for one in lab.backend.inner.tasks.values()))

    async with lab.service, lab.worker():
        result = await lab.service.enqueue(endless)
        await lab.until(lambda: lab.told("fence_loss", result.id))
        assert (await within(result.wait())).status is State.COMPLETED
        assert (await lab.stored(result.id)).recoveries == 1
        assert len(runs) == 2


async def test_a_task_within_its_timeout_is_kept_alive_in_a_blocked_loop() -> None:
    lab, second = apart_lab(**LOST)

    @lab.task("long", timeout=60)  # type: ignore[untyped-decorator]
    async def long() -> None:
        second.block_for(20)

    async with lab.service, lab.worker():
        result = await lab.service.enqueue(long)
        assert (await within(result.wait())).status is State.COMPLETED
        assert (await lab.stored(result.id)).recoveries == 0


@pytest.mark.parametrize("kind", ["touch_heartbeats", "lock", "find", "now"])
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit, asyncio.CancelledError, MemoryError])
async def test_whatever_a_call_raises_heartbeats_and_maintenance_go_on(kind: str, error: type[BaseException]) -> None:
    lab, second = apart_lab()
    second.raises[kind] = [error("on purpose") for _ in range(3)]

    @lab.task("waits")  # type: ignore[untyped-decorator]
    async def waits() -> None:
        await lab.until(lambda: not second.raises[kind])
        beats, looks = len(second.of("touch_heartbeats")), len(second.of("find"))
        await lab.until(lambda: len(second.of("touch_heartbeats")) > beats + 2 and len(second.of("find")) > looks + 2)

    async with lab.service, lab.worker():
        assert (await within((await lab.service.enqueue(waits)).wait())).status is State.COMPLETED
        assert lab.told("fence_loss") == []


@pytest.mark.parametrize("error", [asyncio.CancelledError, KeyboardInterrupt, OSError])
async def test_a_beat_whose_call_raises_anything_was_not_stored_and_loses_nothing(error: type[BaseException]) -> None:
    registry: list[Holding] = []
    lost: list[Holding] = []
    raised = asyncio.Event()

    async def touch(_: object) -> set[str]:
        carrier = asyncio.get_running_loop().create_future()
        raised.set()
        if error is asyncio.CancelledError:
            carrier.cancel()  # as a driver does to a call of its own
        else:
            carrier.set_exception(
                TaskExit.of(error("on purpose")) if error is KeyboardInterrupt else error("on purpose")
            )
        return await carrier  # type: ignore[no-any-return]

    async with open_lab() as lab:
        await lab.backend.inner.enqueue_many([NewTask(id="t", name="n")])
        [record] = await lab.backend.inner.claim(Want(worker="w", limit=1))
    registry.append(Holding(TaskContext(record)))
    heart = Heart(touch, lambda: registry, lost.extend, interval=1, stale_after=60)
    assert await heart.beat() is False
    assert raised.is_set()
    assert lost == []


async def test_a_task_that_is_locked_is_not_lost_and_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    held: list[Holding] = []
    lost: list[Holding] = []
    answers = [TasksLockedError({"t0"}, {"t1"}), TasksLockedError({"t0"}, {"t1"}), {"t0", "t1"}, {"t0"}]

    async def touch(_: object) -> set[str]:
        answer = answers.pop(0)
        if isinstance(answer, TasksLockedError):
            raise answer
        return answer

    async with open_lab() as lab:
        await lab.backend.inner.enqueue_many([NewTask(id=f"t{i}", name="n") for i in range(3)])
        claimed = await lab.backend.inner.claim(Want(worker="w", limit=3))
    held.extend(Holding(TaskContext(record)) for record in claimed)
    first = {one.record.id: one.confirmed_at for one in held}
    heart = Heart(touch, lambda: held, lost.extend, interval=1, stale_after=60)
    assert await heart.beat() is False, "so that the next beat is soon"
    assert [one.record.id for one in lost] == ["t2"], "it is neither stored nor locked"
    assert {one.record.id for one in held if one.confirmed_at != first[one.record.id]} == {"t0"}
    del held[2]
    assert not heart.is_silent, "the store takes heartbeats"
    assert await heart.beat() is False
    assert caplog.text.count("holds locks on 1 running tasks (t1)") == 1
    assert await heart.beat()
    assert len(lost) == 1
    assert await heart.beat()
    assert [one.record.id for one in lost[1:]] == ["t1"]


async def test_what_the_thread_recovers_is_told_in_the_event_loop() -> None:
    where: list[threading.Thread] = []
    events: list[TaskEvent] = []

    def sink(event: TaskEvent) -> None:
        where.append(threading.current_thread())
        events.append(event)

    lab, _ = apart_lab(event_sinks=[sink])
    await lab.backend.inner.enqueue_many([NewTask(id="t", name="gone", max_recoveries=0)])
    await lab.backend.inner.claim(Want(worker="dead", limit=1, stale_after=0.05))
    async with lab.service:
        told, ended = lab.service.operations.on_terminal, asyncio.Event()

        def hear(records: Any) -> None:
            where.append(threading.current_thread())
            assert told is not None
            told(records)
            ended.set()

        lab.service.operations.on_terminal = hear
        result = await lab.service.get("t")
        assert result is not None
        waiting = asyncio.ensure_future(result.wait())
        async with lab.worker():
            await within(ended.wait())
            assert (await within(waiting)).status is State.FAILED
        assert [event.kind for event in events] == ["lose_heartbeat"]
        assert lab.service.operations.counters["lose_heartbeat"] == 1
        assert set(where) == {threading.main_thread()}


async def test_a_forked_child_has_no_thread_and_its_parent_keeps_its_own() -> None:
    lab, second = apart_lab()

    @lab.task("forks")  # type: ignore[untyped-decorator]
    async def forks() -> int:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside threads
            child = os.fork()
        if child == 0:
            os._exit(0 if hearts() == [] else 1)
        second.block_for(3)
        return os.waitstatus_to_exitcode((await asyncio.to_thread(os.waitpid, child, 0))[1])

    async with lab.service, lab.worker():
        assert (await within((await lab.service.enqueue(forks)).wait())).result == 0
        assert lab.told("fence_loss") == []


def test_a_worker_in_a_forked_child_has_a_thread_of_its_own() -> None:
    async def work() -> bool:
        lab, second = apart_lab()

        @lab.task("compute")  # type: ignore[untyped-decorator]
        async def compute() -> None:
            second.block_for(3)

        async with lab.service, lab.worker():
            record = await within((await lab.service.enqueue(compute)).wait())
            return record.status is State.COMPLETED and len(hearts()) == 1

    async def parent() -> int:
        async with open_lab() as lab, lab.worker():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # as above
                return os.fork()

    assert asyncio.run(work())
    child = os.fork() if not hearts() else -1
    assert child >= 0, "the worker's thread has ended with it"
    if child == 0:
        os._exit(0 if asyncio.run(work()) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
