"""Writes outcomes: at once while the worker is idle, gathered while it is busy, and again until they are stored."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from litestar_queues.errors import BackendUnavailableError, QueueError
from litestar_queues.execution.executor import error_text
from litestar_queues.lifecycle import Event, Fail, step
from litestar_queues.operations import Move, QueueOperations
from litestar_queues.pauses import Backoffs
from litestar_queues.records import TaskRecord
from litestar_queues.worker.holding import Holding, Phase

__all__ = ("Settler",)

_log = logging.getLogger("litestar_queues.worker")
_BACKOFFS = Backoffs()


@dataclass(frozen=True, slots=True)
class _Outcome:
    holding: Holding
    move: Move
    after: TaskRecord


class Settler:
    """Stores outcomes in batches.

    A batch holds at most `batch_size` outcomes and waits at most `delay` seconds, and that only while the last batch
    was stored less than `delay` ago. While one batch is written, the next gathers.

    Args:
        operations: What it writes through.
        on_settled: Called with each task once its outcome is stored, or was refused.
        delay: Seconds.
        batch_size: The most in one write.
    """

    def __init__(
        self, operations: QueueOperations, on_settled: Callable[[Holding], None], *, delay: float, batch_size: int
    ) -> None:
        self._operations = operations
        self._on_settled = on_settled
        self._delay = delay
        self._batch_size = batch_size
        self._outcomes: deque[_Outcome] = deque()
        self._writing = 0
        self._nudge = asyncio.Event()
        self._full = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()

    def put(self, holding: Holding, event: Event) -> None:
        """Take over a task with its outcome."""
        holding.phase = Phase.SETTLING
        record = holding.context.latest_record
        after = step(record, event, self._operations.clock.now())
        self._outcomes.append(_Outcome(holding, Move(record, event), after))
        self._empty.clear()
        self._nudge.set()
        if len(self._outcomes) >= self._batch_size:
            self._full.set()

    @property
    def backlog(self) -> int:
        """How many outcomes are not stored yet."""
        return len(self._outcomes) + self._writing

    async def flush(self) -> None:
        """Wait until every outcome is stored."""
        await self._empty.wait()

    async def run(self) -> None:
        """Write until cancelled."""
        last = -math.inf  # never yet; the monotonic clock may have started a moment ago, at 0
        while True:
            await self._nudge.wait()
            wait = last + self._delay - time.monotonic()
            if wait > 0 and len(self._outcomes) < self._batch_size:
                try:
                    async with asyncio.timeout(wait):
                        await self._full.wait()
                except TimeoutError:
                    pass
            self._nudge.clear()
            self._full.clear()
            while self._outcomes:
                batch = [self._outcomes.popleft() for _ in range(min(self._batch_size, len(self._outcomes)))]
                self._writing = len(batch)
                await self._write(batch)
                self._writing = 0
                last = time.monotonic()
                if len(self._outcomes) < self._batch_size:
                    break
            if self._outcomes:
                self._nudge.set()
            else:
                self._empty.set()

    async def _write(self, batch: list[_Outcome]) -> None:
        """Store a batch, however long the store is away; take apart one that the store refuses."""
        for pause in _BACKOFFS:
            try:
                await self._operations.store([(one.move, one.after) for one in batch])
            except BackendUnavailableError as error:
                _log.warning("%d outcomes wait for the store: %s", len(batch), error)
                await pause.wait()
            except QueueError as error:
                await self._take_apart(batch, error)
                return
            else:
                for one in batch:
                    self._on_settled(one.holding)
                return

    async def _take_apart(self, batch: list[_Outcome], error: QueueError) -> None:
        if len(batch) > 1:
            for one in batch:
                await self._write([one])
            return
        (one,) = batch
        if isinstance(one.move.event, Fail):
            _log.error(
                "the outcome of task %s cannot be stored, and is left to stale recovery: %s", one.after.id, error
            )
            self._on_settled(one.holding)
            return
        _log.error("the outcome of task %s cannot be stored, so that it fails: %s", one.after.id, error)
        event = Fail(error_text(error))
        after = step(one.move.task, event, self._operations.clock.now())
        await self._write([_Outcome(one.holding, Move(one.move.task, event), after)])
