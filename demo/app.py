"""The demo's application: tasks, and a few routes to enqueue them by. Nothing in it knows that its workers will die."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import Any

import msgspec
from litestar import Litestar, get, post
from sqlspec.adapters.aiosqlite import AiosqliteConfig

from litestar_queues import (
    FixedBackoff,
    QueueConfig,
    QueuePlugin,
    QueueService,
    TaskEvent,
    current_task,
    default_registry,
    non_retryable,
    task,
)
from litestar_queues.backends.sqlspec import SQLSpecBackendConfig

FOLDER = Path(os.environ["DEMO_FOLDER"])
SOON = FixedBackoff(0.2)
LONG = 1.0
"""Seconds that a long task takes: long enough to be caught in the middle."""


def receipt(number: int) -> dict[str, Any]:
    """What every task returns: who did it, under which claim. The demo compares it with what is stored."""
    record = current_task().record
    return {"number": number, "pid": os.getpid(), "attempt": record.attempt, "fence": record.fence}


@task("mail.send", retries=4)
async def send_mail(number: int) -> dict[str, Any]:
    """Async and short."""
    await asyncio.sleep(0.01)
    return receipt(number)


@task("images.resize", retries=4)
def resize_image(number: int) -> dict[str, Any]:
    """Sync and short: runs in a thread."""
    time.sleep(0.01)
    return receipt(number)


@task("reports.build", retries=4, priority=5)
async def build_report(number: int) -> dict[str, Any]:
    """Async and long."""
    for tenth in range(10):
        current_task().progress(tenth / 10, "building")
        await asyncio.sleep(LONG / 10)
    return receipt(number)


@task("archives.pack", retries=4, priority=5)
def pack_archive(number: int) -> dict[str, Any]:
    """Sync and long."""
    time.sleep(LONG)
    return receipt(number)


@task("payments.charge", retries=4, backoff=SOON)
async def charge(number: int) -> dict[str, Any]:
    """Fails in its first attempt, and is retried."""
    if current_task().attempt == 1:
        raise ConnectionError("the terminal is busy")
    return receipt(number)


@task("webhooks.deliver", retries=1, backoff=SOON)
async def deliver(number: int) -> None:
    """Fails in both of its attempts, and then for good."""
    raise ConnectionError(f"subscriber {number} is gone")


@task("imports.parse", retries=4)
def parse_import(number: int) -> None:
    """Fails for good at once: it says that no retry would help."""
    non_retryable(f"row {number} is not a number")


@task("digests.compile", retries=4)
async def compile_digest(number: int) -> dict[str, Any]:
    """Enqueued under a key: a second order is answered with the first one's task."""
    return receipt(number)


class Order(msgspec.Struct):
    """A task to enqueue: its name, its argument, and options."""

    task: str
    number: int
    key: str | None = None
    delay: float | None = None


class Receipt(msgspec.Struct):
    """What became of an order: the task's id, and whether it is a new task or the one that holds the key."""

    id: str
    is_new: bool


@post("/tasks")
async def enqueue(data: Order, queue_service: QueueService) -> Receipt:
    """Enqueue one task."""
    result = await queue_service.enqueue(data.task, data.number, key=data.key, delay=data.delay)
    return Receipt(result.id, result.is_new)


@post("/tasks/batch")
async def enqueue_batch(data: list[Order], queue_service: QueueService) -> list[Receipt]:
    """Enqueue all of them, or none."""
    calls = [default_registry.get(one.task).using(key=one.key, delay=one.delay).call(one.number) for one in data]
    return [Receipt(result.id, result.is_new) for result in await queue_service.enqueue_many(calls)]


@get("/stats")
async def stats(queue_service: QueueService) -> dict[str, int]:
    """How many tasks are in each state."""
    return {state.value: count for state, count in (await queue_service.stats()).totals.items()}


def write_event(event: TaskEvent) -> None:
    """One JSON line for each event of this process."""
    with (FOLDER / f"events-{os.getpid()}.jsonl").open("ab") as file:
        file.write(msgspec.json.encode(event) + b"\n")


app = Litestar(
    [enqueue, enqueue_batch, stats],
    plugins=[
        QueuePlugin(
            QueueConfig(
                queue_backend=SQLSpecBackendConfig(
                    config=AiosqliteConfig(connection_config={"database": str(FOLDER / "queues.db")})
                ),
                worker_heartbeat_interval=0.3,
                worker_stale_after=3.0,
                worker_poll_interval=0.1,
                maintenance_interval=0.3,
                event_sinks=[write_event],
            )
        )
    ],
)
