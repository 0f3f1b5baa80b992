"""The tasks of a run, and the process that enqueues them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from litestar_queues import ExponentialBackoff, QueueService, TaskRegistry, current_task, snooze, task
from litestar_queues.errors import QueueError
from litestar_queues.task import TaskCall
from simulate.journal import short
from simulate.processes import Process

__all__ = ("NAME", "Piece", "enqueue_all", "pieces", "registering")

NAME = "simulate.work"


@dataclass(frozen=True, slots=True)
class Piece:
    """What one task is to do, and with which options. In seconds."""

    number: int
    at: float
    """When it is enqueued."""
    length: float
    fails: int = 0
    """How many attempts fail by themselves."""
    snoozes: int = 0
    retries: int = 0
    timeout: float | None = None
    priority: int = 0
    delay: float = 0.0
    key: str | None = None
    cancelled_after: float | None = None


class OwnError(Exception):
    """What a task raises that is to fail."""


def pieces(rng: Random, tasks: int, until: float) -> list[Piece]:
    """So many tasks, to be enqueued before `until`."""
    made: list[Piece] = []
    for number in range(tasks):
        length = rng.choice((0.0, rng.uniform(0.01, 0.5), rng.uniform(0.5, 6), rng.uniform(6, 60)))
        retries = rng.choice((0, 0, 1, 3))
        made.append(
            Piece(
                number,
                at=rng.choice((0.0, rng.uniform(0, until))),
                length=length,
                fails=rng.choice((0, 0, 0, 0, 1, 2)),
                snoozes=rng.choice((0, 0, 0, 0, 0, 1, 2)),
                retries=retries,
                timeout=rng.choice((None, None, None, length + 5, max(length / 2, 0.1))),
                priority=rng.choice((0, 0, 0, -1, 1, 5)),
                delay=rng.choice((0.0, 0.0, 0.0, rng.uniform(0.1, 20))),
                key=rng.choice((None, None, None, "a", "b", "c")),
                cancelled_after=rng.uniform(0, 30) if rng.random() < 0.08 else None,
            )
        )
    return sorted(made, key=lambda piece: (piece.at, piece.number))


def registering(made: list[Piece]) -> Callable[[Process, TaskRegistry], None]:
    """What gives each process the functions that do these pieces, and write down what they did."""
    by_number = {piece.number: piece for piece in made}
    failed, snoozed = Counter[int](), Counter[int]()

    def register(process: Process, registry: TaskRegistry) -> None:
        journal = process.world.journal

        async def work(number: int) -> int:
            piece, record = by_number[number], current_task().record
            execution = journal.begin(record, process.name)
            try:
                await asyncio.sleep(piece.length)
            except asyncio.CancelledError:
                late = record.timeout is not None and journal.now - execution.began >= record.timeout - 0.001
                journal.end(execution, "timed out" if late else "interrupted")
                raise
            if failed[number] < piece.fails:
                failed[number] += 1
                journal.end(execution, "failed")
                raise OwnError(f"as it was to, under fence {record.fence}")  # no two failures of a task are alike
            if snoozed[number] < piece.snoozes:
                snoozed[number] += 1
                journal.end(execution, "snoozed")
                snooze(3)
            journal.end(execution, "ok")
            return number

        task(NAME, registry=registry, backoff=ExponentialBackoff(first=0.5, longest=5))(work)

    return register


async def enqueue_all(process: Process, service: QueueService, made: list[Piece]) -> None:
    """Enqueue the pieces at their times, those of one moment together; note those that were acknowledged."""
    loop, journal = asyncio.get_running_loop(), process.world.journal
    defined = service.registry.get(NAME)

    def call_of(piece: Piece) -> TaskCall[int]:
        return defined.using(
            retries=piece.retries, timeout=piece.timeout, priority=piece.priority, delay=piece.delay, key=piece.key
        ).call(piece.number)

    async def cancel(task_id: str, after: float) -> None:
        await asyncio.sleep(after)
        try:
            await service.cancel(task_id)
        except QueueError as error:
            journal.write(process.name, f"{short(task_id)} cannot be cancelled: {type(error).__name__}")

    async def enqueue(together: list[Piece]) -> None:
        try:
            results = await service.enqueue_many([call_of(piece) for piece in together])
        except QueueError as error:
            journal.write(process.name, f"an enqueue of {len(together)} was not acknowledged: {error}")
            return
        journal.acknowledged += [result.id for result in results]
        for piece, result in zip(together, results, strict=True):
            if piece.cancelled_after is not None:
                canceling.append(loop.create_task(cancel(result.id, piece.cancelled_after)))

    canceling: list[asyncio.Task[None]] = []
    by_time: dict[float, list[Piece]] = {}
    for piece in made:
        by_time.setdefault(piece.at, []).append(piece)
    enqueuing: list[asyncio.Task[None]] = []
    for at, together in by_time.items():
        await asyncio.sleep(max(0.0, at - journal.now))
        enqueuing.append(loop.create_task(enqueue(together)))
    await asyncio.gather(*enqueuing)
    await asyncio.gather(*canceling)
