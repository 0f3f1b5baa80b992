"""Immediate tasks are kept alive while they keep the event loop."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from apart_lab import HEART, FirstClient, apart_lab, hearts
from queue_lab import open_lab, within

from litestar_queues import State

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("quick_backoffs")]
IMMEDIATE: dict[str, Any] = {"execution_backend": "immediate"}


async def test_an_immediate_task_that_keeps_the_event_loop_is_not_taken_over() -> None:
    lab, second = apart_lab(**IMMEDIATE, worker_heartbeat_interval=0.03, worker_stale_after=0.3)

    @lab.task("compute")  # type: ignore[untyped-decorator]
    async def compute() -> int:
        second.block_for(15)  # for more than a window
        return 5

    async with lab.service:
        result = await lab.service.enqueue(compute)
        assert result.result == 5
        assert {beat.stale_after for (beats,) in second.of("touch_heartbeats") for beat in beats} == {0.3}
        assert second.threads == {HEART}
    assert second.was_closed
    assert lab.told("fence_loss") == []


async def test_its_claim_stores_the_window() -> None:
    lab, _ = apart_lab(**IMMEDIATE, worker_stale_after=77)

    @lab.task("looks")  # type: ignore[untyped-decorator]
    async def looks() -> float | None:
        [record] = lab.backend.inner.tasks.values()
        assert record.state is State.RUNNING
        return record.stale_after

    async with lab.service:
        assert (await lab.service.enqueue(looks)).result == 77


async def test_short_ones_share_one_thread_and_open_no_connection() -> None:
    lab, second = apart_lab(**IMMEDIATE, worker_heartbeat_interval=5)

    @lab.task("quick")  # type: ignore[untyped-decorator]
    async def quick() -> int:
        return len(hearts())

    async with lab.service:
        assert hearts() == [], "nothing has run"
        found = [(await lab.service.enqueue(quick)).result for _ in range(3)]
        assert found == [1, 1, 1]
        assert second.of("open") == []
    async with asyncio.timeout(60):
        while hearts():  # noqa: ASYNC110  # nothing tells of its end
            await asyncio.sleep(0.01)


async def test_one_far_beyond_its_timeout_gets_no_heartbeats_any_more() -> None:
    lab, second = apart_lab(**IMMEDIATE, worker_heartbeat_interval=0.03, worker_stale_after=0.09)

    @lab.task("endless", timeout=0.01)  # type: ignore[untyped-decorator]
    async def endless() -> None:
        second.block_for(1)

        def silent() -> bool:
            [record] = [one for one in lab.backend.inner.tasks.values() if one.name == "endless"]
            assert record.heartbeat_at is not None
            return (lab.service.clock.now() - record.heartbeat_at).total_seconds() > 0.5

        while not silent():
            pass

    async with lab.service:
        await within(lab.service.enqueue(endless))


@pytest.mark.parametrize("thread", [True, False])
async def test_without_a_second_client_they_beat_in_the_event_loop(*, thread: bool) -> None:
    first: Any = None if thread else FirstClient()
    async with open_lab(
        **IMMEDIATE, backend=first, worker_heartbeat_interval=0.01, worker_stale_after=1, worker_heartbeat_thread=thread
    ) as lab:

        @lab.task("waits")
        async def waits() -> float | None:
            await lab.until(lambda: len(lab.backend.of("touch_heartbeats")) > 3)
            return lab.backend.of("touch_heartbeats")[-1][0][0].stale_after  # type: ignore[no-any-return]

        assert (await within(lab.service.enqueue(waits))).result == 1
        assert hearts() == []
        async with asyncio.timeout(60):
            while any("ImmediateHeart" in repr(task) for task in asyncio.all_tasks()):  # noqa: ASYNC110  # it ends with the last one
                await asyncio.sleep(0)
