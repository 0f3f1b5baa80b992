"""Writes outcomes: at once while the worker is idle, gathered while it is busy, and again until they are stored."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta

from litestar_queues.errors import BackendUnavailableError, RefusedError, TooLargeError
from litestar_queues.execution.executor import error_text
from litestar_queues.lifecycle import Event, Fail, IllegalTransition, step
from litestar_queues.operations import OUTCOMES_WAITING, Move, QueueOperations
from litestar_queues.pauses import Backoffs, Pause
from litestar_queues.records import Held, TaskRecord
from litestar_queues.worker.holding import Holding, Phase
from litestar_queues.worker.waiting import Waiting, WaitingLog

__all__ = ("Settler",)

_log = logging.getLogger("litestar_queues.worker")
_BACKOFFS = Backoffs()
"""Between tries while the store refuses for now."""
_ALONE = Backoffs(1.0, 60.0)
"""Between tries of an outcome that the store refuses by itself."""
_TRIES = 5
"""How often the store refuses an outcome by itself, and takes something else meanwhile, until it counts as refused for good."""
_HANGS = 1.0
"""Seconds after which a write counts as one that hangs: others go on beside it."""
_WRITES = 3
"""The most writes under way, those that hang included. Each holds a connection."""
_MOMENT = 1.0
"""Seconds after which an outcome that is not stored counts as waiting; and the longest pause once the worker leaves."""


@dataclass(slots=True, eq=False)
class _Outcome:
    """What is to be stored of a task.

    Attributes:
        put_at: When it came, by the monotonic clock.
        refused: Whether the store has refused it.
        for_now: Whether it did so for now, the last time.
        replaced: How often something less was put in its place.
        apart: Whether it is tried by itself from now on.
        alone: How often the store has refused it by itself.
        counted: How often of these the store took something else since the last time.
        seen: How much the store had taken at the last of these.
        due: When it may be tried again by itself.
    """

    holding: Holding
    move: Move
    after: TaskRecord
    put_at: float
    seen: int
    refused: bool = False
    for_now: bool = False
    replaced: int = 0
    apart: bool = False
    alone: int = 0
    counted: int = 0
    due: float = -math.inf


class Settler:
    """Stores outcomes in batches, and throws none away.

    A batch holds at most `batch_size` outcomes and waits at most `delay` seconds, and that only while the last batch
    was stored less than `delay` ago. While one batch is written, the next gathers.

    - A write that hangs, such as one that waits for a row which somebody's transaction has locked, holds up no later batch.
      If the store gives it up, and took another one meanwhile, each of its outcomes is tried by itself.
    - A store that cannot be reached, or refuses for now, is waited for, with pauses that grow. Batches become smaller
      meanwhile, so that one outcome that meets a refusal of its own holds up no other.
    - A batch that is refused otherwise is taken apart. What is refused for good is replaced by a failure that names the
      reason. What is refused for an unknown reason is tried again by itself; it counts as refused for good after some
      tries between which the store took something else.

    Args:
        operations: What it writes through.
        on_settled: Called with each task once its outcome is stored, or turned out to be another owner's by now.
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
        self._unsettled: dict[_Outcome, None] = {}
        self._gathered: deque[_Outcome] = deque()
        self._parts: deque[list[_Outcome]] = deque()
        """What is left of batches that were taken apart."""
        self._alone: list[_Outcome] = []
        """Those that are tried each by itself."""
        self._was_alone = False
        self._most = batch_size
        self._last = -math.inf  # no write yet; the monotonic clock may have started a moment ago, at 0
        self._not_before = -math.inf
        self._pauses: Iterator[Pause] = iter(_BACKOFFS)
        self._taken = 0
        self._batches = 0
        """How many batches the store took."""
        self._writing: set[asyncio.Task[None]] = set()
        self._refused = 0
        self._leaving = False
        self._stopped = False
        self._words = WaitingLog()
        self._nudge = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()

    def put(self, holding: Holding, event: Event) -> TaskRecord:
        """Take over a task with its outcome; returns the record that will be stored."""
        holding.phase = Phase.SETTLING
        record = holding.context.latest_record
        after = step(record, event, self._operations.clock.now())
        outcome = _Outcome(holding, Move(record, event), after, time.monotonic(), self._taken)
        self._unsettled[outcome] = None
        self._gathered.append(outcome)
        self._empty.clear()
        self._nudge.set()
        return after

    def store_took_something(self) -> None:
        """Take notice that the store took a write of somebody else, such as a heartbeat: it is there, and takes writes."""
        self._taken += 1

    @property
    def backlog(self) -> int:
        """How many outcomes are not stored yet."""
        return len(self._unsettled)

    @property
    def waiting(self) -> Waiting:
        """How many outcomes wait for the store, and since when. May be read from another thread."""
        now = time.monotonic()
        ages = [now - one.put_at for one in list(self._unsettled) if now - one.put_at > _MOMENT]
        since = self._operations.clock.now() - timedelta(seconds=max(ages)) if ages else None
        return Waiting(len(ages), since)

    async def flush(self) -> None:
        """Wait until every outcome is stored; what waits for its next try is tried at once, and often from now on."""
        self._leaving = True
        self._not_before = -math.inf
        for one in self._alone:
            one.due = -math.inf
        self._nudge.set()
        await self._empty.wait()

    def stop(self) -> None:
        """Write nothing more: what is not stored yet stays so."""
        self._stopped = True
        self._nudge.set()

    async def run(self) -> None:
        """Write until cancelled, or stopped."""
        try:
            while not self._stopped:
                try:
                    if batch := await self._next():
                        await self._begin(batch)
                except Exception:  # noqa: BLE001  # nothing ends this loop
                    _log.exception("outcomes could not be written, and are tried again")
                    await asyncio.sleep(self._pause(next(self._pauses)))
        finally:
            for write in self._writing:
                write.cancel()
            if self._writing:
                await asyncio.wait(self._writing)
            if self._refused:
                self._operations.counters[OUTCOMES_WAITING] -= self._refused

    async def _next(self) -> list[_Outcome]:
        """Wait for outcomes that are to be written now; none once it is stopped."""
        while not self._stopped:
            now = time.monotonic()
            self._nudge.clear()
            if now < self._not_before:
                due: float | None = self._not_before
            elif self._parts:
                return self._parts.popleft()
            elif batch := self._due(now):
                return batch
            else:
                times = [one.due for one in self._alone]
                if self._gathered:
                    times.append(self._gathered_until())
                due = min(times, default=None)
            try:
                async with asyncio.timeout(None if due is None else max(due - now, 0.0)):
                    await self._nudge.wait()
            except TimeoutError:
                pass
        return []

    def _due(self, now: float) -> list[_Outcome]:
        """A batch of those that have gathered, and one that is tried by itself, in turns."""
        ready = self._is_ready(now)
        alone = next((one for one in self._alone if one.due <= now), None)
        if alone is not None and not (ready and self._was_alone):
            self._was_alone = True
            self._alone.remove(alone)
            return [alone]
        self._was_alone = False
        return [self._gathered.popleft() for _ in range(min(self._most, len(self._gathered)))] if ready else []

    def _is_ready(self, now: float) -> bool:
        gathered = self._gathered
        if not gathered:
            return False
        return gathered[0].refused or len(gathered) >= self._batch_size or now >= self._gathered_until()

    def _gathered_until(self) -> float:
        return min(self._last, self._gathered[0].put_at) + self._delay

    async def _begin(self, batch: list[_Outcome]) -> None:
        """Write a batch. Returns early where the write hangs, unless too many do."""
        write = asyncio.create_task(self._write(batch))
        self._writing.add(write)
        write.add_done_callback(lambda _: self._nudge.set())
        await asyncio.wait({write}, timeout=_HANGS)
        if len(self._writing) >= _WRITES:
            await asyncio.wait(self._writing, return_when=asyncio.FIRST_COMPLETED)
        ended = {one for one in self._writing if one.done()}
        self._writing -= ended
        for one in ended:
            if not one.cancelled() and (error := one.exception()) is not None:
                raise error

    async def _write(self, batch: list[_Outcome]) -> None:
        batches = self._batches
        try:
            settled = await self._operations.store([(one.move, one.after) for one in batch])
        except BackendUnavailableError as error:
            if batches == self._batches:
                self._put_off(batch, error)
            else:
                self._put_apart(batch, error)
        except Exception as error:  # noqa: BLE001  # whatever a backend raises, the outcomes stay
            await self._take_apart(batch, error)
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                self._parts.appendleft(batch)
                raise
            self._put_off(batch, error)  # nobody cancelled this: some driver lets a cancellation loose elsewhere
        except BaseException:
            self._parts.appendleft(batch)
            raise
        else:
            stored = {after.id for after in settled.stored}
            for one in batch:
                one.holding.stored = one.after if one.after.id in stored else None
            self._stored(batch)
        self._last = time.monotonic()

    def _stored(self, batch: list[_Outcome]) -> None:
        self._taken += 1
        self._batches += 1
        self._pauses = iter(_BACKOFFS)
        self._most = min(self._most * 2, self._batch_size)
        if any(one.refused for one in batch):
            for one in self._alone:
                if one.for_now:
                    one.due = -math.inf
        for one in batch:
            del self._unsettled[one]
            self._count_refused(one, refused=False)
            try:
                self._on_settled(one.holding)
            except Exception:  # noqa: BLE001  # the others are settled too
                _log.exception("task %s is settled, and what follows from that failed", one.after.id)
        if not self._refused:
            self._words.stored()
        if not self._unsettled:
            self._empty.set()

    def _put_off(self, batch: list[_Outcome], error: BaseException) -> None:
        """Wait for the store, and try fewer at once then."""
        self._tell(batch, error)
        for one in batch:
            one.for_now = True
        (first, *others) = batch
        if not others and (first.apart or (first.alone and first.seen != self._taken)):  # the store takes others
            self._by_itself(first, _BACKOFFS)
            return
        self._not_before = time.monotonic() + self._pause(next(self._pauses))
        self._most = max(1, min(self._most, len(batch)) // 2)
        if others:
            self._gathered.extendleft(reversed(batch))
        else:
            first.alone, first.seen = first.alone + 1, self._taken
            self._gathered.append(first)

    def _put_apart(self, batch: list[_Outcome], error: BaseException) -> None:
        """Try each by itself: the store takes others."""
        self._tell(batch, error)
        for one in batch:
            one.for_now = True
            self._by_itself(one, _BACKOFFS)

    async def _take_apart(self, batch: list[_Outcome], error: Exception) -> None:
        """Find out which outcome it is that the store refuses."""
        if len(batch) > 1:
            half = len(batch) // 2
            parts = [batch[:half], batch[half:]]
            if isinstance(error, TooLargeError) and error.task_id in {one.after.id for one in batch}:
                named = [one for one in batch if one.after.id == error.task_id]
                parts = [[one for one in batch if one not in named], named]
            self._parts.extendleft(reversed([part for part in parts if part]))
            return
        (one,) = batch
        if isinstance(error, RefusedError) and self._replace(one, error):
            return
        self._tell(batch, error)
        one.for_now = False
        if one.seen == self._taken and await self._takes_heartbeat(one):
            self._taken += 1
        one.counted += one.seen != self._taken
        if one.counted < _TRIES or not self._replace(one, error):
            self._by_itself(one, _ALONE)

    def _by_itself(self, one: _Outcome, pauses: Backoffs) -> None:
        """Try an outcome again, apart from all others."""
        one.apart, one.alone, one.seen = True, one.alone + 1, self._taken
        one.due = time.monotonic() + self._pause(pauses.after(one.alone))
        self._alone.append(one)

    def _tell(self, batch: list[_Outcome], error: BaseException) -> None:
        """Count, and log, those that the store has refused."""
        for one in batch:
            self._count_refused(one, refused=True)
        self._words.refused([one.after.id for one in self._unsettled if one.refused], error)

    def _count_refused(self, one: _Outcome, *, refused: bool) -> None:
        change = refused - one.refused
        one.refused = refused
        if change:
            self._refused += change
            self._operations.counters[OUTCOMES_WAITING] += change

    async def _takes_heartbeat(self, one: _Outcome) -> bool:
        """Whether the store takes another write for the task, without what it may refuse."""
        record = one.move.task
        try:
            return record.id in await self._operations.touch_heartbeats([Held(record.id, record.fence)])
        except Exception:  # noqa: BLE001  # no is the answer
            return False

    def _replace(self, one: _Outcome, error: Exception) -> bool:
        """Put something less in the place of what can never be stored; False where there is nothing less."""
        task, event = one.move.task, one.move.event
        if one.replaced == 0 and task.progress != one.holding.record.progress:
            words, one.replaced = "so that the progress of the attempt is left out", 1
            task = task.evolve(progress=one.holding.record.progress)
        elif one.replaced < 2:  # without the progress, then as a failure
            words, one.replaced = "so that it fails", 2
            event = Fail(error_text(error), event.retry_at if isinstance(event, Fail) else None)
        else:
            return False
        try:
            after = step(task, event, self._operations.clock.now())
        except IllegalTransition:
            return False
        _log.error("the outcome of task %s cannot be stored, %s: %s", task.id, words, error)
        one.move, one.after, one.alone, one.counted = Move(task, event), after, 0, 0
        self._parts.appendleft([one])
        return True

    def _pause(self, pause: Pause) -> float:
        return min(pause.seconds, _MOMENT) if self._leaving else pause.seconds
