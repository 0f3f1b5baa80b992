"""A worker: claims tasks, runs them, keeps them with heartbeats, and settles what became of them."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from collections.abc import Awaitable, Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

import uuid_utils

from litestar_queues.context import TaskContext
from litestar_queues.errors import QueueError, StoreReplacedError
from litestar_queues.events.base import TaskEventKind
from litestar_queues.execution.executor import error_text
from litestar_queues.execution.exits import contained_exits
from litestar_queues.lifecycle import Event, Fail, Release, Requeue, Snooze
from litestar_queues.pauses import Backoffs
from litestar_queues.records import WORKER_MAX, TaskRecord, Want, check_name, queue_names, seconds
from litestar_queues.service import QueueService
from litestar_queues.worker.dispatching import Dispatching
from litestar_queues.worker.exit import WorkerExit, some_of
from litestar_queues.worker.hold import Hold
from litestar_queues.worker.holding import Holding, Phase
from litestar_queues.worker.liveness import Liveness, Reports
from litestar_queues.worker.settler import Settler
from litestar_queues.worker.troubles import Trouble
from litestar_queues.worker.waiting import Waiting

__all__ = ("Worker", "WorkerExit")

_log = logging.getLogger("litestar_queues.worker")
_BACKOFFS = Backoffs()
_SHORTEST_POLL = 0.02
_UNWIND = 3.0
"""Seconds that interrupted tasks get to clean up."""
_LAST_WRITE = 3.0
"""Seconds that the last outcomes get to be stored."""
_HURRY = 2.0
"""What both of these are after a second signal."""
_LET_GO = 0.5
"""Seconds that the worker's own calls of the store get to end."""
_PROBES = Backoffs(first=0.2, longest=10.0)
"""Pauses between two claims of a worker that has no thread free, and looks for async tasks."""
_OVERLAPS = Backoffs(first=1.0, longest=60.0)
"""How long a task is put off whose earlier call still runs here."""
_UNTOLD = '{"type":"Unknown","message":"the outcome could not be told","traceback":null}'


class Worker:
    """Runs tasks of an open service until it is told to stop.

    Args:
        service: Open, and open for as long as the worker runs.
        queues: The queues to serve; the config's unless given.
        max_concurrency: Tasks at once; the config's unless given.
        drain_timeout: Seconds to wait for tasks when told to stop; the config's unless given.
        name: What its tasks say they are run by; made from host and process unless given.
        hold: While it is held, nothing is claimed and no maintenance is done.
        supervised: Whether the process is replaced when the worker leaves by itself, for `worker_max_abandoned`.

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
        supervised: bool = True,
    ) -> None:
        given: dict[str, Any] = {
            "worker_queues": queues,
            "worker_max_concurrency": max_concurrency,
            "worker_drain_timeout": drain_timeout,
        }
        config = replace(service.config, **{option: value for option, value in given.items() if value is not None})
        self.name = name or f"{socket.gethostname()[:60]}:{os.getpid()}:{uuid_utils.uuid4().hex[:8]}"
        check_name("name of the worker", self.name, WORKER_MAX)
        self._service = service
        self._operations = service.operations
        self._queues = queue_names(config.worker_queues)
        self._max = config.worker_max_concurrency
        self._batch_size = config.worker_batch_size
        self._poll = seconds(config.worker_poll_interval).total_seconds()
        self._drain_timeout = seconds(config.worker_drain_timeout)
        self._hold = hold or Hold()
        self._held: dict[str, Holding] = {}
        self._interrupted: list[TaskRecord] = []
        self._executor = service.executor
        if config.worker_max_threads is None:
            self._executor.threads.allow(config.threads)
        self._max_abandoned = config.worker_max_abandoned
        self._supervised = supervised
        self._hung: list[str] = []
        self._ends_by: float | None = None
        self._running = 0
        self._starved = False
        self._probing = False
        self._probe_at = 0.0
        self._probes = iter(_PROBES)
        self._overlaps: dict[str, int] = {}
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
        self._stale_after = seconds(config.worker_stale_after).total_seconds()
        self._replaced: StoreReplacedError | None = None
        self._liveness = Liveness(
            service,
            config,
            name=self.name,
            held=lambda: list(self._held.values()),
            reports=Reports(
                self._lose, self._settler.store_took_something, self._report_blocked, self._leave_store, self._trouble
            ),
            hold=self._hold,
        )
        self._listener = self._operations.notifier.listen(self._queues)
        self._service.execution.make()
        self._runs = self._service.execution.run_by_workers
        self._dispatching = Dispatching(service, config, worker=self.name, queues=self._queues, hold=self._hold)
        if seconds(config.maintenance_interval) > seconds(config.worker_stale_after):
            _log.warning(
                "maintenance_interval (%s) is longer than worker_stale_after (%s): stale tasks wait so long for their "
                "recovery. Lower the first",
                config.maintenance_interval, config.worker_stale_after,
            )  # fmt: skip

    @property
    def abandoned(self) -> int:
        """How many threads are held by calls whose tasks timed out, were cancelled or were lost."""
        return self._executor.threads.abandoned

    @property
    def ends_by(self) -> float | None:
        """When `run` returns at the latest, by `time.monotonic`; None before `drain` or `abort`."""
        return self._ends_by

    @property
    def nudge(self) -> asyncio.Event:
        """Set whenever the claim loop should look again."""
        return self._listener.event

    def _trouble(self) -> Trouble:
        waiting = self.waiting
        return Trouble(waiting.outcomes, waiting.since, self.abandoned)

    @property
    def waiting(self) -> Waiting:
        """How many outcomes wait for the store, and since when."""
        return self._settler.waiting

    def drain(self) -> None:
        """Claim nothing more; let the running tasks end, up to the drain timeout, then give back the rest."""
        if self._ends_by is None:
            self._ends_by = time.monotonic() + self.longest_leave
        self._draining.set()
        self._dispatching.leave()
        self.nudge.set()

    @property
    def longest_leave(self) -> float:
        """Seconds from `drain` to the end of `run`, at most."""
        return self._drain_timeout.total_seconds() + _UNWIND + _LAST_WRITE + _LET_GO

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
        with contained_exits(), self._watching_threads():
            return await self._run()

    async def _run(self) -> WorkerExit:
        loop = asyncio.get_running_loop()
        runs = (self._settler.run(), *self._liveness.start(), *self._dispatching.start())
        background = [loop.create_task(run) for run in runs]
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

    def _leave_store(self, error: StoreReplacedError) -> None:
        """Leave a store that is not the one any more that the worker claimed from."""
        if self._replaced is None:
            self._replaced = error
            held = list(self._held)
            _log.critical("worker %s leaves, with %d tasks (%s): %s", self.name, len(held), some_of(held), error)
            self._settler.stop()
            self.abort()

    def _raise_if_failed(self, claiming: asyncio.Task[None], background: Sequence[asyncio.Task[None]]) -> None:
        for task in (claiming, *background):
            if task.done() and not task.cancelled() and (error := task.exception()) is not None:
                raise error

    async def _claim_until_drained(self) -> None:
        backoffs = iter(_BACKOFFS)
        poll = _SHORTEST_POLL
        while not self._draining.is_set():
            room = self._room()
            if not room:
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
                        execution_backends=self._runs,
                        stale_after=self._stale_after,
                    )
                )
                self._start_all(claimed, asked_at)
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

    def _room(self) -> int:
        """How many tasks to claim: no more than can start at once, whatever they are.

        Whether a task needs a thread is known once it is claimed. So a claim takes no more than there are threads free.
        Where none is, one task is claimed from time to time: it starts if it is async, and is given back if it is not.
        """
        self._probing = False
        if self._hold() or self._settler.backlog > 4 * max(self._max, self._batch_size):
            return 0
        free = min(self._max - self._running, self._batch_size)
        if free <= 0:
            return 0
        threads = self._executor.threads
        if (can_start := min(free, self._max - self._running - threads.abandoned, threads.free)) > 0:
            return can_start
        self._probing = time.monotonic() >= self._probe_at and self._executor.knows_async
        return int(self._probing)

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
                    self._dispatching.nudge()
                backoffs = iter(_BACKOFFS)
            except QueueError as error:
                _log.warning("wakeups are away, and polling goes on without them: %s", error)
                await next(backoffs).wait()

    def _start_all(self, records: Sequence[TaskRecord], asked_at: float) -> None:
        started = [self._start(record, asked_at) for record in records]
        if not all(started):
            self._probe_at = time.monotonic() + next(self._probes).seconds
        elif started and self._probing:
            self._probe_at, self._probes = 0.0, iter(_PROBES)

    def _start(self, record: TaskRecord, asked_at: float) -> bool:
        """Start a task, or give it back where it cannot start at once; False where it needs a thread, and none is free."""
        holding = Holding(TaskContext(record), asked_at)
        if (before := self._held.get(record.id)) is not None:
            # It was taken from this worker, which has not heard of that yet, and claims it now.
            self._lose([before])
        self._held[record.id] = holding
        if self._draining.is_set():
            self._give_back_unstarted(holding)  # nobody has to be told that it was interrupted
            return True
        if self._executor.still_runs(record.id):
            self._put_off(holding)
            return True
        if not self._executor.reserve(holding.context):
            self._give_back_unstarted(holding)
            return False
        self._running += 1
        self._idle.clear()
        # The outcome is taken by a callback: a task that is cancelled before its first step never runs its own code.
        holding.execution = asyncio.get_running_loop().create_task(self._executor.execute(holding.context))
        holding.execution.add_done_callback(partial(self._ended, holding))
        return True

    def _give_back_unstarted(self, holding: Holding) -> None:
        """Give back a task that was claimed and not started: it keeps its attempt and its place."""
        self._settler.put(holding, Release())

    def _give_back(self, holding: Holding) -> None:
        """Give back a task that was interrupted; one that must not run a second time fails."""
        self._interrupted.append(self._settler.put(holding, Requeue()))

    def _put_off(self, holding: Holding) -> None:
        """Put off a task whose earlier call still runs in this process: the two would overlap."""
        record = holding.record
        tries = self._overlaps[record.id] = self._overlaps.get(record.id, 0) + 1
        pause = _OVERLAPS.after(tries).seconds
        _log.warning(
            "task %s (%s) waits another %.0f s: an earlier call of it still runs here, in worker %s",
            record.id, record.name, pause, self.name,
        )  # fmt: skip
        self._settler.put(holding, Snooze(self._operations.clock.now() + timedelta(seconds=pause)))

    @contextmanager
    def _watching_threads(self) -> Generator[None, None, None]:
        threads = self._executor.threads
        threads.on_free.add(self._thread_freed)
        threads.on_hang.add(self._call_hangs)
        try:
            yield
        finally:
            threads.on_free.discard(self._thread_freed)
            threads.on_hang.discard(self._call_hangs)

    def _thread_freed(self) -> None:
        if self._overlaps:
            self._overlaps = {id_: n for id_, n in self._overlaps.items() if self._executor.still_runs(id_)}
        if self._starved:
            self.nudge.set()

    def _call_hangs(self, record: TaskRecord) -> None:
        """The call of a task that timed out, was cancelled or was lost goes on, and keeps its thread."""
        if record.worker != self.name or self._draining.is_set():
            return
        threads = self._executor.threads
        _log.warning(
            "the call of task %s (%s) does not end, and keeps its thread; %d of %d threads are held so, and worker %s claims "
            "so many tasks less",
            record.id, record.name, threads.abandoned, threads.slots, self.name,
        )  # fmt: skip
        self._operations.report_abandoned(record)
        hung = [one.id for one in threads.hanging]
        if self._max_abandoned is None or len(hung) < self._max_abandoned:
            return
        if not self._supervised:
            _log.error("%d calls hang (worker_max_abandoned): restart this process", len(hung))
            return
        _log.critical(
            "worker %s leaves: %d calls hang (worker_max_abandoned), of tasks %s",
            self.name, len(hung), some_of(hung),
        )  # fmt: skip
        self._hung = hung
        self.drain()

    def _ended(self, holding: Holding, execution: asyncio.Task[Event]) -> None:
        """Take the outcome. Whatever happens here, the slot is free, and the task has an outcome."""
        self._freed(holding)
        try:
            self._take_outcome(holding, execution)
        except BaseException:  # noqa: BLE001  # the event loop would only log it, or end
            _log.exception("the outcome of task %s (%s) could not be taken", holding.record.id, holding.record.name)
            try:
                self._settler.put(holding, Fail(_UNTOLD))
            except BaseException:  # noqa: BLE001  # as above: without heartbeats, stale recovery finds it
                _log.exception("task %s is left to stale recovery", holding.record.id)
                self._forget(holding)

    def _take_outcome(self, holding: Holding, execution: asyncio.Task[Event]) -> None:
        if holding.phase is Phase.LOST:
            self._forget(holding)
        elif holding.phase is Phase.SETTLING:  # given back already, because it did not heed its cancellation
            return
        elif not execution.cancelled():
            error = execution.exception()
            if error is not None:
                _log.error("task %s could not be run: %s", holding.record.id, error_text(error))
            self._settler.put(holding, execution.result() if error is None else Fail(error_text(error)))
        elif holding.phase is Phase.GIVING_BACK:
            self._give_back(holding)
        else:
            # Nobody here interrupted it: it cancelled itself, and would do so again and again if that cost no attempt.
            cancelled = asyncio.CancelledError("the task cancelled itself")
            self._settler.put(holding, self._executor.failure(holding.context, cancelled))

    def _freed(self, holding: Holding) -> None:
        if holding.context.slot is not None:
            holding.context.slot.give_back()  # unless the function got as far as its thread
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
        idle = asyncio.ensure_future(self._until_idle())
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

    async def _until_idle(self) -> None:
        await self._idle.wait()
        await self._dispatching.ended()

    async def _leave(self, claiming: asyncio.Task[None], background: Sequence[asyncio.Task[None]]) -> WorkerExit:
        """Give back what runs, store what is not stored, and stop. Takes a bounded time."""
        self.drain()
        for holding in list(self._held.values()):
            if holding.phase is Phase.RUNNING:
                holding.interrupt(Phase.GIVING_BACK)
        # The tasks of a claim that has not returned yet are given back when it does.
        await self._bounded(self._until_unwound(claiming), _UNWIND)
        for holding in list(self._held.values()):
            if holding.phase is Phase.GIVING_BACK:  # does not heed its cancellation
                _log.warning("task %s (%s) does not stop, and is left behind", holding.record.id, holding.record.name)
                self._give_back(holding)
        if self._replaced is None:
            await self._bounded(self._store_last(), _LAST_WRITE)
        unsettled = [holding.record.id for holding in self._held.values() if holding.phase is Phase.SETTLING]
        for task in (claiming, *background):
            task.cancel()
        left = _LET_GO if self._ends_by is None else max(_LET_GO, self._ends_by - time.monotonic())
        stopping = asyncio.create_task(self._liveness.stop(left))
        done, _ = await asyncio.wait({claiming, *background}, timeout=_LET_GO)
        for task in done:
            if not task.cancelled():
                task.exception()
        await stopping
        self._listener.close()
        interrupted = [after for after in self._interrupted if after.id not in unsettled]
        given_back = [after.id for after in interrupted if after.finished_at is None]
        failed = [after.id for after in interrupted if after.finished_at is not None]
        if given_back:
            _log.warning("worker %s gave back %d unfinished tasks: %s", self.name, len(given_back), some_of(given_back))
        if failed:
            _log.error(
                "worker %s interrupted %d tasks that must not run a second time, and so failed: %s",
                self.name, len(failed), some_of(failed),
            )  # fmt: skip
        if unsettled:
            _log.error(
                "worker %s leaves %d outcomes unstored, %s: %s",
                self.name, len(unsettled), "for stale recovery" if self._replaced is None else "because its store is gone",
                some_of(unsettled),
            )  # fmt: skip
        _log.info("worker %s has stopped", self.name)
        return WorkerExit(given_back, unsettled, self._hung, self._replaced, failed)

    async def _store_last(self) -> None:
        await self._settler.flush()
        await self._dispatching.ended()

    async def _until_unwound(self, claiming: asyncio.Task[None]) -> None:
        await asyncio.wait({claiming})
        await self._idle.wait()

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
