"""Schedules in tests: they fire where a test has travelled to a time that comes after their fires."""

from __future__ import annotations

from datetime import timedelta

from litestar_queues.schedules.firing import fire_due
from litestar_queues.schedules.model import PREFIX, read_all
from litestar_queues.service import QueueService

__all__ = ("fire_schedules",)


async def fire_schedules(service: QueueService) -> None:
    """Enqueue the occurrences of what is due after a journey, as a worker does that was away meanwhile.

    A schedule of the code counts as stored since before the journey. Without a journey, nothing fires: a test that takes
    long would find tasks that it does not expect.
    """
    if service.clock.offset <= timedelta(0):
        return
    await service.schedules.sync()
    records = await service.operations.backend.read_records(PREFIX)
    await fire_due(service.operations, read_all(records).values(), service.clock.now())
