"""A task that keeps the event loop of its worker process."""

from __future__ import annotations

from datetime import timedelta

import pytest

from acceptance.processes import Workers
from acceptance.stage import Journal, Stage, until
from acceptance.tasks import blocking
from litestar_queues import QueueService, State

pytestmark = pytest.mark.anyio
WINDOW = 1.5


@pytest.mark.every_database
async def test_a_task_that_blocks_its_worker_for_longer_than_the_window_is_not_taken_over(
    workers: Workers, service: QueueService, stage: Stage, journal: Journal
) -> None:
    window = {"worker_stale_after": WINDOW, "worker_heartbeat_interval": 0.2, "worker_blocked_after": 0.3}
    one, other = await workers.started(count=2, **window)
    result = await service.enqueue(blocking)
    actor = await stage.arrival()
    owner = one if actor.pid == one.pid else other
    await owner.logged("has kept the event loop")
    began = (await result.refresh()).record.heartbeat_at
    assert began is not None

    async def beaten_for_two_windows() -> bool:
        record = (await result.refresh()).record
        assert record.fence == actor.fence, "somebody took it over"
        return record.heartbeat_at is not None and record.heartbeat_at > began + timedelta(seconds=2 * WINDOW)

    await until(beaten_for_two_windows)
    actor.order("return")
    await result.wait(60)
    assert (result.status, result.attempt, result.recoveries, result.result) == (State.COMPLETED, 1, 0, actor.pid)
    assert len(journal.executions()[result.id]) == 1
    await owner.told("loop_blocked", result.id)
    assert owner.events("fence_loss") == []
    for worker in (one, other):
        assert await worker.terminate() == 0
