"""What the demo enqueues, and how."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

__all__ = ("FAILING", "Enqueued", "enqueue", "plan")

_OF_A_HUNDRED = {
    "mail.send": 40,
    "images.resize": 25,
    "payments.charge": 10,
    "digests.compile": 10,
    "reports.build": 6,
    "archives.pack": 4,
    "webhooks.deliver": 3,
    "imports.parse": 2,
}
FAILING = ("webhooks.deliver", "imports.parse")
"""The tasks that fail for good."""
_BATCH, _AT_ONCE = 50, 8
_DIGEST_DELAY = 2.0
"""Seconds that a keyed task waits, so that its key is certainly still held when it is ordered again."""

Order = dict[str, Any]


@dataclass(slots=True)
class Enqueued:
    """What the server has acknowledged."""

    tasks: dict[str, str] = field(default_factory=dict[str, str])
    """The name of each new task, by id."""
    singly: int = 0
    in_batches: int = 0
    batches: int = 0
    repeats: int = 0
    """Orders that were answered with the task that holds their key."""
    delayed: int = 0


def plan(total: int) -> list[Order]:
    """The orders of so many different tasks; the same ones each time."""
    kinds = [kind for kind, share in _OF_A_HUNDRED.items() for _ in range(share)]
    draw = random.Random(1)  # noqa: S311  # the same every time
    orders: list[Order] = []
    while len(orders) < total:
        draw.shuffle(kinds)
        for kind in kinds:
            order: Order = {"task": kind, "number": len(orders)}
            if kind == "digests.compile":
                order |= {"key": f"digest:{order['number']}", "delay": _DIGEST_DELAY}
            elif kind == "mail.send" and draw.random() < 0.2:
                order |= {"delay": round(draw.uniform(0.2, 2), 1)}
            orders.append(order)
    return orders[:total]


async def enqueue(client: httpx.AsyncClient, orders: Sequence[Order]) -> Enqueued:
    """Order tasks over HTTP, the first third one by one, the rest in batches; keyed ones twice."""
    singles, rest = orders[: len(orders) // 3], orders[len(orders) // 3 :]
    enqueued = Enqueued()
    several = asyncio.Semaphore(_AT_ONCE)

    async def single(order: Order) -> None:
        async with several:
            for _ in range(2 if "key" in order else 1):
                answer = await _post(client, "/tasks", order)
                enqueued.singly += _note(enqueued, [order], [answer])

    async def batch(part: Sequence[Order]) -> None:
        async with several:
            part = [*part, *[order for order in part if "key" in order]]
            answers = await _post(client, "/tasks/batch", part)
            enqueued.in_batches += _note(enqueued, part, answers)
            enqueued.batches += 1

    async with asyncio.TaskGroup() as group:
        for start in range(0, len(rest), _BATCH):
            group.create_task(batch(rest[start : start + _BATCH]))
        for order in singles:
            group.create_task(single(order))
    return enqueued


async def _post(client: httpx.AsyncClient, path: str, content: Any) -> Any:
    answer = await client.post(path, json=content)
    answer.raise_for_status()
    return answer.json()


def _note(enqueued: Enqueued, orders: Sequence[Order], receipts: Sequence[dict[str, Any]]) -> int:
    """Take down what became of orders; how many of them are new tasks."""
    new = 0
    for order, receipt in zip(orders, receipts, strict=True):
        if receipt["is_new"]:
            enqueued.tasks[receipt["id"]] = order["task"]
            enqueued.delayed += "delay" in order
            new += 1
        else:
            enqueued.repeats += 1
    return new
