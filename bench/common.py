"""What the benches of all databases share."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence

from litestar_queues import QueueService, Worker, task

__all__ = ("drain", "noop", "percentile", "rate")


@task("bench.noop")
async def noop(number: int) -> int:
    """Do nothing, so that only the queue is measured."""
    return number


async def rate(tasks: int, work: Callable[[], Awaitable[object]]) -> float:
    """Tasks per second."""
    began = time.perf_counter()
    await work()
    return tasks / (time.perf_counter() - began)


async def drain(service: QueueService, tasks: int, concurrency: int | None = None) -> None:
    """Let one worker complete so many tasks more."""
    wanted = service.operations.counters["complete"] + tasks
    worker = Worker(service, max_concurrency=concurrency)
    running = asyncio.create_task(worker.run())
    while service.operations.counters["complete"] < wanted:  # noqa: ASYNC110  # an event per task would be measured too
        await asyncio.sleep(0.005)
    worker.drain()
    await running


def percentile(values: Sequence[float], share: float) -> float:
    """The value that so large a share of the values does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
