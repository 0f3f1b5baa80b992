from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime

import pytest
from queue_lab import open_lab, within

from litestar_queues import State, TaskEvent, TaskEventKind
from litestar_queues.events import EventDispatcher
from litestar_queues.events.base import task_event
from litestar_queues.lifecycle import EventName
from litestar_queues.records import NewTask, admit

pytestmark = pytest.mark.anyio
NOW = datetime(2030, 1, 1, tzinfo=UTC)
RECORD = admit(NewTask(id="t0", name="n", queue="q", key="k"), NOW)


def some(count: int) -> list[TaskEvent]:
    return [task_event(EventName.CLAIM, RECORD.evolve(id=f"t{n}"), at=NOW, before=State.PENDING) for n in range(count)]


def test_an_event_says_what_happened_and_carries_no_payload() -> None:
    record = RECORD.evolve(
        state=State.FAILED, error='"secret"', worker="w", execution_backend="far", execution_profile="large", execution_ref="run"
    )  # fmt: skip
    event = task_event(EventName.FAIL, record, at=NOW)
    assert event == TaskEvent(
        kind=TaskEventKind.FAIL, at=NOW, task_id="t0", task="n", queue="q", state=State.FAILED, attempt=0, fence=0,
        key="k", worker="w", execution_backend="far", execution_profile="large", execution_ref="run",
    )  # fmt: skip


def test_every_event_of_the_lifecycle_can_be_told() -> None:
    assert {kind.value for kind in TaskEventKind} == {name.value for name in EventName} | {
        "enqueue",
        "fence_loss",
        "loop_blocked",
        "abandon",
        "fire",
    }


async def test_events_reach_every_sink_in_order() -> None:
    seen: dict[str, list[TaskEvent]] = {"sync": [], "async": []}

    async def async_sink(event: TaskEvent) -> None:
        await asyncio.sleep(0)
        seen["async"].append(event)

    dispatcher = EventDispatcher([seen["sync"].append, async_sink])
    events = some(5)
    dispatcher.emit(events[:2])
    dispatcher.emit(events[2:])
    await within(dispatcher.flush())
    assert seen == {"sync": events, "async": events}


async def test_without_a_sink_nothing_is_kept() -> None:
    dispatcher = EventDispatcher()
    dispatcher.emit(some(5))
    assert not dispatcher.active
    await within(dispatcher.flush())


async def test_a_sink_that_raises_is_logged_and_harms_no_other(caplog: pytest.LogCaptureFixture) -> None:
    def sync_broken(event: TaskEvent) -> None:
        raise ValueError("no")

    async def async_broken(event: TaskEvent) -> None:
        raise ValueError("no")

    seen: list[TaskEvent] = []
    dispatcher = EventDispatcher([sync_broken, async_broken, seen.append])
    dispatcher.emit(some(2))
    await within(dispatcher.flush())
    assert len(seen) == 2
    assert [r.getMessage() for r in caplog.records] == [
        f"an event sink failed on claim of task {id_}" for id_ in ("t0", "t0", "t1", "t1")
    ]


async def test_a_sink_that_is_too_slow_loses_the_oldest_and_is_told(caplog: pytest.LogCaptureFixture) -> None:
    seen: list[str] = []
    dispatcher = EventDispatcher([lambda event: seen.append(event.task_id)])
    dispatcher.emit(some(10_003))
    await within(dispatcher.flush())
    assert len(seen) == 10_000
    assert seen[0] == "t3"
    assert "3 events were dropped: a sink is slower than the tasks" in caplog.text


async def test_a_sink_that_hangs_does_not_keep_the_service_from_closing(caplog: pytest.LogCaptureFixture) -> None:
    async def hang(event: TaskEvent) -> None:
        await asyncio.Event().wait()

    dispatcher = EventDispatcher([hang])
    dispatcher.emit(some(3))
    await within(dispatcher.flush(0.01))
    assert "2 events were dropped: a sink did not take them in 0.01 s" in caplog.text


async def test_a_sink_that_hangs_or_raises_harms_no_task(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    never = asyncio.Event()

    async def hang(event: TaskEvent) -> None:
        await never.wait()

    def broken(event: TaskEvent) -> None:
        raise ValueError("no")

    async with open_lab(event_sinks=[broken, hang]) as lab, lab.worker():
        lab.task("add")(lambda: 5)
        results = [await lab.service.enqueue("add") for _ in range(3)]
        for result in results:
            assert (await within(result.wait())).result == 5
        never.set()


async def test_every_step_of_a_task_is_told_once_after_it_is_stored() -> None:
    async with open_lab() as lab, lab.worker():
        lab.task("job", retries=1)(lambda: 1 / 0)
        first = await lab.service.enqueue("job", queue="mail", key="k")
        cancelled = await lab.service.enqueue("job", delay=60)
        await lab.service.cancel(cancelled.id)
        await lab.service.retry(cancelled.id)
        await lab.until(lambda: lab.told("fail", first.id))
        told = [
            (e.kind.value, e.state_before, e.state, e.attempt, e.fence) for e in lab.events if e.task_id == first.id
        ]
        assert told[:3] == [
            ("enqueue", None, State.PENDING, 0, 0),
            ("claim", State.PENDING, State.RUNNING, 1, 1),
            ("fail", State.RUNNING, State.SCHEDULED, 1, 2),
        ]
        event = lab.told("enqueue", first.id)[0]
        assert (event.task, event.queue, event.key, event.worker) == ("job", "mail", "k", None)
        assert lab.told("claim", first.id)[0].worker == "w1"
        steps = [e.kind.value for e in lab.events if e.task_id == cancelled.id]
        assert steps[:3] == ["enqueue", "cancel", "revive"]
        assert lab.service.operations.counters["enqueue"] == 2
