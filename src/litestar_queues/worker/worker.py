"""A worker: claims tasks, runs them, keeps them with heartbeats, and settles what became of them."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from typing import Any

import uuid_utils

from litestar_queues.context import TaskContext
from litestar_queues.errors import QueueError
from litestar_queues.events.base import TaskEventKind
from litestar_queues.execution.executor import error_text
from litestar_queues.lifecycle import Event, Fail, Requeue
from litestar_queues.operations import QueueOperations
from litestar_queues.pauses import Backoffs
from litestar_queues.records import TaskRecord, Want, queue_names, seconds
from litestar_queues.service import QueueService
from litestar_queues.worker.apart import Aside, open_apart
from litestar_queues.worker.heart import Heart, Touch
from litestar_queues.worker.hold import Hold
from litestar_queues.worker.holding import Holding, Phase
from litestar_queues.worker.reaper import Reaper
from litestar_queues.worker.settler import Settler
from litestar_queues.worker.waiting import Waiting
from litestar_queues.worker.watch import LoopWatch

__all__ = ("Worker", "WorkerExit")

_log = logging.getLogger("litestar_queues.worker")
_RUNS = ("local", "immediate")
"""The execution backends whose tasks a worker runs itself: immediate ones that wait for a retry or a delay, too."""
_BACKOFFS = Backoffs()
_SHORTEST_POLL = 0.02
_UNWIND = 5.0
"""Seconds that interrupted tasks get to clean up."""
_LAST_WRITE = 10.0
"""Seconds that the last outcomes get to be stored."""
_HURRY = 2.0
"""What both of these are after a second signal."""


@dataclass(frozen=True, slots=True)
class WorkerExit:
    """How a worker ended.

    Attributes:
        given_back: Ids of tasks that were interrupted and requeued.
        unsettled: Ids of tasks whose outcome could not be stored; stale recovery will find them.
    """

    given_back: list[str] = field(default_factory=list[str])
    unsettled: list[str] = field(default_factory=list[str])

    @property
    def drained(self) -> bool:
        """Whether every task ended by itself, and its outcome is stored."""
        return not self.given_back and not self.unsettled


class Worker:
    """Runs tasks of an open service until it is told to stop.

    Args:
        service: Open, and open for as long as the worker runs.
        queues: The queues to serve; the config's unless given.
        max_concurrency: Tasks at once; the config's unless given.
        drain_timeout: Seconds to wait for tasks when told to stop; the config's unless given.
        name: What its tasks say they are run by; made from host and process unless given.
        hold: While it is held, nothing is claimed and no maintenance is done.

    Raises:
        QueueConfigurationError: A value is out of its range.
    """

    def __init__(
        self,
        service: QueueService,
        *,
        queues: Sequence[str] | None = None,
        max_concurrency: int | None = None,
        drain_timeout: float | timedelta | None = None,
        name: str | None = None,
        hold: Hold | None = None,
    ) -> None:
        given: dict[str, Any] = {
            "worker_queues": queues,
            "worker_max_concurrency": max_concurrency,
            "worker_drain_timeout": drain_timeout,
        }
        config = replace(service.config, **{option: value for option, value in given.items() if value is not None})
        self.name = name or f"{socket.gethostname()[:60]}:{os.getpid()}:{uuid_utils.uuid4().hex[:8]}"
        self._service = service
        self._operations = service.operations
        self._queues = queue_names(config.worker_queues)
        self._max = config.worker_max_concurrency
        self._batch_size = config.worker_batch_size
        self._poll = seconds(config.worker_poll_interval).total_seconds()
        self._drain_timeout = seconds(config.worker_drain_timeout)
        self._hold = hold or Hold()
        self._held: dict[str, Holding] = {}
        self._given_back: list[str] = []
        self._running = 0
        self._starved = False
        self._draining = asyncio.Event()
        self._aborting = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self.started = asyncio.Event()
        """Set once the worker looks for tasks."""
        self._settler = Settler(
            self._operations,
            self._settled,
            delay=seconds(config.worker_settle_delay).total_seconds(),
            batch_size=self._batch_size,
        )
        self._config = config
        self._stale_after = seconds(config.worker_stale_after).total_seconds()
        self._aside: Aside | None = None
        self._listener = self._operations.notifier.listen(self._queues)

    @property
    def nudge(self) -> asyncio.Event:
        """Set whenever the claim loop should look again."""
        return self._listener.event

    @property
    def waiting(self) -> Waiting:
        """How many outcomes wait for the store, and since when."""
        return self._settler.waiting

    def drain(self) -> None:
        """Claim nothing more; let the running tasks end, up to the drain timeout, then give back the rest."""
        self._draining.set()
        self.nudge.set()

    def abort(self) -> None:
        """Give back what runs, at once."""
        self.drain()
        self._aborting.set()

    async def run(self) -> WorkerExit:
        """Work until `drain` or `abort` is called, or this is cancelled, which counts as `abort`.

        A store that goes away is waited for. Whatever happens, no task is left without an outcome, unless the store
        stays away; what is left then is recovered by other workers once its heartbeat is stale.

        Raises:
            QueueError: The service was opened in another event loop.
        """
        if self._service.home is not None:
            self._service.home.check_here("a worker")
        _log.info("worker %s serves %s", self.name, ", ".join(self._queues) if self._queues else "all queues")
        loop = asyncio.get_running_loop()
        background = [loop.create_task(run) for run in (self._settler.run(), *self._start_liveness())]
        if self._operations.backend.wakeups is not None:
            background.append(loop.create_task(self._listen()))
        claiming = loop.create_task(self._claim_until_drained())
        draining = loop.create_task(self._draining.wait())  # which a claim that hangs must not hold up
        try:
            self.started.set()
            await asyncio.wait({claiming, draining, *background}, return_when=asyncio.FIRST_COMPLETED)
            self._raise_if_failed(claiming, background)
            await self._wait_for_running()
        except asyncio.CancelledError:
            self.abort()
            raise
        finally:
            draining.cancel()
            ended = await asyncio.shield(loop.create_task(self._leave(claiming, background)))
        return ended

    def _start_liveness(self) -> list[Coroutine[Any, Any, None]]:
        """Heartbeats and maintenance: in a thread of their own where that can be had, and else what is to run here."""
        client = open_apart(self._operations.backend) if self._config.worker_heartbeat_thread else None
        reaper = self._reaper(self._operations)
        if client is None:
            return [self._heart(self._operations.touch_heartbeats, self._lose).run(), reaper.run()]
        aside = self._aside = Aside(self._operations, client)
        blocked_after = seconds(self._config.worker_blocked_after).total_seconds()
        watch = LoopWatch(
            lambda: list(self._held.values()),
            self._report_blocked,
            blocked_after=blocked_after,
            stale_after=self._stale_after,
        )
        lose = lambda lost: aside.call_at_home(partial(self._lose, lost))  # noqa: E731
        heart = self._heart(aside.touch, lose, watch.keeps)
        own_reaper = self._reaper(aside.operations)

        async def look() -> None:
            await (own_reaper.look() if aside.is_open else aside.run_at_home(reaper.look))

        aside.start(heart.run, partial(own_reaper.run, look), watch.run)
        return [watch.move()]

    def _heart(
        self, touch: Touch, lose: Callable[[list[Holding]], None], keeps: Callable[[Holding], bool] = lambda _: True
    ) -> Heart:
        interval = seconds(self._config.worker_heartbeat_interval).total_seconds()
        return Heart(
            touch,
            lambda: list(self._held.values()),
            lose,
            interval=interval,
            stale_after=self._stale_after,
            beats_for=keeps,
        )

    def _reaper(self, operations: QueueOperations) -> Reaper:
        retention = self._config.retention
        return Reaper(
            operations,
            self._service.clock,
            owner=self.name,
            interval=seconds(self._config.maintenance_interval),
            stale_after=seconds(self._config.worker_stale_after),
            retention=None if retention is None else seconds(retention),
            hold=self._hold,
        )

    def _lose(self, lost: list[Holding]) -> None:
        """The store does not confirm that these are ours."""
        lost = [one for one in lost if one.phase is Phase.RUNNING]
        for one in lost:
            one.interrupt(Phase.LOST)
        why = "it was cancelled, or recovered from this worker"
        self._operations.report_fence_losses([one.record for one in lost], why)

    def _report_blocked(self, holding: Holding | None) -> None:
        """The event loop stood still, because of this task if it was one."""
        if holding is None:
            self._operations.counters[TaskEventKind.LOOP_BLOCKED.value] += 1
        else:
            self._operations.tell(TaskEventKind.LOOP_BLOCKED, [(holding.record, None)])

    def _raise_if_failed(self, claiming: asyncio.Task[None], background: Sequence[asyncio.Task[None]]) -> None:
        for task in (claiming, *background):
            if task.done() and not task.cancelled() and (error := task.exception()) is not None:
                raise error

    async def _claim_until_drained(self) -> None:
        backoffs = iter(_BACKOFFS)
        poll = _SHORTEST_POLL
        while not self._draining.is_set():
            room = 0 if self._hold() else min(self._max - self._running, self._batch_size)
            if room <= 0 or self._settler.backlog > 4 * max(self._max, self._batch_size):
                self._starved = True
                await self._pause(self._poll)
                continue
            self._starved = False
            self.nudge.clear()
            asked_at = time.monotonic()
            try:
                claimed = await self._operations.claim(
                    Want(
                        worker=self.name,
                        limit=room,
                        queues=self._queues,
                        execution_backends=_RUNS,
                        stale_after=self._stale_after,
                    )
                )
                for record in claimed:
                    self._start(record, asked_at)
                pause = 0.0 if len(claimed) == room else _SHORTEST_POLL if claimed else await self._until_due(poll)
            except QueueError as error:
                pause = next(backoffs).seconds
                _log.warning("no task could be claimed, the next try is in %.1f s: %s", pause, error)
                await self._pause(pause)
                continue
            backoffs = iter(_BACKOFFS)
            poll = _SHORTEST_POLL if claimed else min(poll * 2, self._poll)
            if pause:
                await self._pause(pause)

    async def _until_due(self, poll: float) -> float:
        """How long to wait if no hint comes: at most until the next scheduled task comes due."""
        due = await self._operations.backend.next_due(self._queues)
        if due is None:
            return poll
        left = (due - self._operations.clock.now()).total_seconds()
        return min(poll, max(left, 0.001))

    async def _pause(self, longest: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(longest):
                await self.nudge.wait()
        self.nudge.clear()

    async def _listen(self) -> None:
        wakeups = self._operations.backend.wakeups
        backoffs = iter(_BACKOFFS)
        while wakeups is not None:
            try:
                if await wakeups.wait(self._queues, 60):
                    self.nudge.set()
                backoffs = iter(_BACKOFFS)
            except QueueError as error:
                _log.warning("wakeups are away, and polling goes on without them: %s", error)
                await next(backoffs).wait()

    def _start(self, record: TaskRecord, asked_at: float) -> None:
        holding = Holding(TaskContext(record), asked_at)
        self._held[record.id] = holding
        self._running += 1
        self._idle.clear()
        if self._draining.is_set():
            self._freed()  # never began, so that nobody has to be told that it was interrupted
            self._settler.put(holding, Requeue())
            return
        # The outcome is taken by a callback: a task that is cancelled before its first step never runs its own code.
        holding.execution = asyncio.get_running_loop().create_task(self._service.executor.execute(holding.context))
        holding.execution.add_done_callback(partial(self._ended, holding))

    def _ended(self, holding: Holding, execution: asyncio.Task[Event]) -> None:
        if execution.cancelled():
            self._stopped(holding)
            return
        self._freed()
        if holding.phase is Phase.LOST:
            self._forget(holding)
            return
        if holding.phase is Phase.SETTLING:  # given back already, because it did not heed its cancellation
            return
        error = execution.exception()
        if error is not None:
            _log.error("task %s could not be run", holding.record.id, exc_info=error)
        self._settler.put(holding, execution.result() if error is None else Fail(error_text(error)))

    def _stopped(self, holding: Holding) -> None:
        """The function was interrupted."""
        self._freed()
        if holding.phase is Phase.LOST:
            self._forget(holding)
        elif holding.phase is Phase.GIVING_BACK:
            self._given_back.append(holding.record.id)
            self._settler.put(holding, Requeue())
        elif holding.phase is Phase.RUNNING:
            # Nobody here interrupted it: it cancelled itself, and would do so again and again if that cost no attempt.
            error = asyncio.CancelledError("the task cancelled itself")
            self._settler.put(holding, self._service.executor.failure(holding.context, error))

    def _freed(self) -> None:
        self._running -= 1
        if self._starved:
            self.nudge.set()
        if self._running == 0:
            self._idle.set()

    def _settled(self, holding: Holding) -> None:
        self._forget(holding)
        if self._starved:
            self.nudge.set()

    def _forget(self, holding: Holding) -> None:
        if self._held.get(holding.record.id) is holding:
            del self._held[holding.record.id]

    async def _wait_for_running(self) -> None:
        if self._running:
            _log.info("worker %s drains: %d tasks run", self.name, self._running)
        idle = asyncio.ensure_future(self._idle.wait())
        aborting = asyncio.ensure_future(self._aborting.wait())
        try:
            await asyncio.wait(
                {idle, aborting},
                timeout=self._drain_timeout.total_seconds(),
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            idle.cancel()
            aborting.cancel()

    async def _leave(self, claiming: asyncio.Task[None], background: Sequence[asyncio.Task[None]]) -> WorkerExit:
        """Give back what runs, store what is not stored, and stop. Takes a bounded time."""
        self.drain()
        await self._bounded(claiming, _LAST_WRITE)
        for holding in list(self._held.values()):
            if holding.phase is Phase.RUNNING:
                holding.interrupt(Phase.GIVING_BACK)
        await self._bounded(self._idle.wait(), _UNWIND)
        for holding in list(self._held.values()):
            if holding.phase is Phase.GIVING_BACK:  # does not heed its cancellation
                _log.warning("task %s (%s) does not stop, and is given back", holding.record.id, holding.record.name)
                self._given_back.append(holding.record.id)
                self._settler.put(holding, Requeue())
        await self._bounded(self._settler.flush(), _LAST_WRITE)
        unsettled = [holding.record.id for holding in self._held.values() if holding.phase is Phase.SETTLING]
        for task in (claiming, *background):
            task.cancel()
        await asyncio.gather(claiming, *background, return_exceptions=True)
        if self._aside is not None:
            await self._aside.stop()
        self._listener.close()
        given_back = [id_ for id_ in self._given_back if id_ not in unsettled]
        if given_back:
            _log.warning("worker %s gave back %d unfinished tasks", self.name, len(given_back))
        if unsettled:
            ids = ", ".join(unsettled)
            _log.error("worker %s leaves %d outcomes unstored, for stale recovery: %s", self.name, len(unsettled), ids)
        _log.info("worker %s has stopped", self.name)
        return WorkerExit(given_back, unsettled)

    async def _bounded(self, awaited: Awaitable[object], longest: float) -> None:
        """Wait for something, for so many seconds, or for `_HURRY` seconds from the second signal on."""
        waiting, aborting = asyncio.ensure_future(awaited), asyncio.ensure_future(self._aborting.wait())
        if not self._aborting.is_set():
            await asyncio.wait({waiting, aborting}, timeout=longest, return_when=asyncio.FIRST_COMPLETED)
        if self._aborting.is_set():
            await asyncio.wait({waiting}, timeout=min(_HURRY, longest))
        aborting.cancel()
        if waiting is not awaited:
            waiting.cancel()
