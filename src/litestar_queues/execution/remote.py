"""What runs elsewhere: one process claims one task by id, runs it as a worker would, and ends with an exit code.

An execution backend starts a process for each task, with the task's id and the fence of its reservation. `run_task` does
the rest there. Only the fence decides who owns the task: a run that was started twice, was forgotten or comes late ends
with `CLAIM_LOST`, and changes nothing.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from contextlib import suppress
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import uuid_utils

from litestar_queues.context import TaskContext
from litestar_queues.errors import (
    BackendUnavailableError,
    QueueConfigurationError,
    QueueError,
    StoreReplacedError,
    UnknownTaskError,
)
from litestar_queues.execution.base import same_run
from litestar_queues.execution.executor import error_text
from litestar_queues.execution.exits import contained_exits
from litestar_queues.lifecycle import UNSTARTED, Event, Fail, IllegalTransition, Release, Requeue, State, step
from litestar_queues.operations import Move
from litestar_queues.pauses import Backoffs
from litestar_queues.records import TaskRecord, Want, seconds
from litestar_queues.result import TaskError, TaskResult
from litestar_queues.service import QueueService
from litestar_queues.worker.holding import Holding, Phase
from litestar_queues.worker.pulse import Pulse
from litestar_queues.worker.settler import Settler

__all__ = ("WAIT_FOR_STORE", "RemoteExit", "TaskRun", "log_end", "run_task")

_log = logging.getLogger("litestar_queues.run")
WAIT_FOR_STORE = 60.0
"""Seconds that the store gets, from the start to the claim, unless said."""
_BACKOFFS = Backoffs(first=0.05, longest=2.0)
_LAST_CLAIM = 1.0
"""Seconds that a claim under way gets to be answered, once the run is to stop."""
_UNWIND = 3.0
"""Seconds that an interrupted task gets to clean up."""
_LAST_WRITE = 2.5
"""Seconds that the outcome gets to be stored, once the run is to stop."""
_LAST_LOOK = 1.0
"""Seconds that the store gets to say who owns a task that was lost."""
_LET_GO = 0.5
"""Seconds that the run's own calls of the store get to end."""


class RemoteExit(IntEnum):
    """How the run of one task ended: the exit code of its process."""

    SUCCESS = 0
    """The task completed, or snoozed: it asked to be run again later."""
    FAILURE = 1
    """The attempt failed, whether a retry follows or not; the run was stopped, and gave the task back; or the store could not
    be reached in time."""
    NO_ID = 2
    """No task was named."""
    BAD_ID = 3
    """What was named cannot be a task's id, or its fence is no whole number."""
    NO_RECORD = 4
    """No task of this id is stored."""
    UNKNOWN_TASK = 5
    """No function of the task's name is registered here. The task stays as it was."""
    CLAIM_LOST = 6
    """The task is not this run's: somebody else owns it, it has ended, or it is not due. It stays as it was. Or it was taken
    over while it ran here."""
    CANCELLED = 7
    """The task was cancelled, before the claim or after it."""
    NO_CONFIGURATION = 8
    """The queues could not be set up: a factory or module is missing, or the configuration cannot work."""


@dataclass(frozen=True, slots=True)
class _End:
    code: RemoteExit
    reason: str


def log_end(code: RemoteExit, task_id: str, reason: str) -> None:
    """Log how a run ended, in one line that names the exit code and the reason."""
    level = logging.INFO if code is RemoteExit.SUCCESS else logging.ERROR
    words = code.name.lower().replace("_", " ")
    _log.log(level, "exit %d (%s)%s: %s", code, words, f", task {task_id}" if task_id else "", reason)


async def run_task(
    service: QueueService,
    task_id: str,
    *,
    fence: int | None = None,
    execution_ref: str | None = None,
    worker: str | None = None,
    stop: asyncio.Event | None = None,
    wait_for_store: float = WAIT_FOR_STORE,
) -> RemoteExit:
    """Claim one task by id, run it here, and store its outcome.

    Args:
        service: Open, in the running event loop.
        task_id: The task.
        fence: The fence of its reservation, which the run was started with. The run claims the task only if it is still
            dispatched under that reservation. None claims the task as it stands, if it is waiting or dispatched.
        execution_ref: The whole reference of this run; stored with the claim.
        worker: The name that the task stores as its owner, different for every run. Made from host and process unless given.
        stop: Interrupts the run when it is set: the task is given back, in at most 8 seconds.
        wait_for_store: Seconds for which an unreachable store is waited for, up to the claim.

    Returns:
        How it ended. The log has one line with the reason. Nothing that the task does or the store refuses is raised.

    Raises:
        asyncio.CancelledError: The caller was cancelled. The task was given back.
    """
    run = TaskRun(
        service, task_id, fence=fence, execution_ref=execution_ref, worker=worker, wait_for_store=wait_for_store
    )
    if stop is None:
        return await run.run()
    stopping = asyncio.create_task(_drain_at(stop, run))
    try:
        return await run.run()
    finally:
        stopping.cancel()


async def _drain_at(stop: asyncio.Event, run: TaskRun) -> None:
    await stop.wait()
    run.drain()


class TaskRun:
    """The run of one task in this process; see `run_task`.

    `drain` stops it, from the event loop of the service. A signal handler can use it as it uses a worker.
    """

    longest_leave = _UNWIND + _LAST_WRITE + _LAST_LOOK + _LET_GO
    """Seconds from `drain` to the end of `run`, at most: less than the 10 that Cloud Run gives."""

    def __init__(
        self,
        service: QueueService,
        task_id: str,
        *,
        fence: int | None = None,
        execution_ref: str | None = None,
        worker: str | None = None,
        wait_for_store: float = WAIT_FOR_STORE,
    ) -> None:
        self.worker = worker or f"{socket.gethostname()[:60]}:{os.getpid()}:{uuid_utils.uuid4().hex[:8]}"
        self._service = service
        self._operations = service.operations
        self._id = task_id
        self._fence = fence
        self._ref = execution_ref
        self._wait_for_store = wait_for_store
        self._stale_after = seconds(service.config.worker_stale_after).total_seconds()
        self._beat = seconds(service.config.worker_heartbeat_interval).total_seconds()
        self._stopping = asyncio.Event()
        self._lost = asyncio.Event()
        self._settled = asyncio.Event()
        self._tried: set[int] = set()
        """The fences under which a claim was sent."""

    def drain(self) -> None:
        """Stop: before the claim, leave the task as it is; after it, interrupt the task and give it back."""
        self._stopping.set()

    def abort(self) -> None:
        """Do as `drain`, which waits for nothing but the task's clean-up."""
        self.drain()

    async def run(self) -> RemoteExit:
        """Claim, run and settle the task; returns how that ended.

        Raises:
            asyncio.CancelledError: The caller was cancelled. The task was given back.
        """
        if self._service.home is not None:
            self._service.home.check_here("the run of a task")
        running = asyncio.create_task(self._run())
        try:
            end = await asyncio.shield(running)
        except asyncio.CancelledError:
            self.drain()
            await asyncio.wait({running})
            raise
        log_end(end.code, self._id, end.reason)
        return end.code

    async def _run(self) -> _End:
        claimed = await self._claim_in_time()
        if isinstance(claimed, _End):
            return claimed
        if self._stopping.is_set():
            return await self._release(claimed)
        with contained_exits():
            return await self._keep(claimed)

    # Before the claim

    async def _claim_in_time(self) -> TaskRecord | _End:
        """Claim, for a bounded time; a call that hangs counts as a store that cannot be reached."""
        claiming = asyncio.create_task(self._claim())
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait({claiming, stopping}, timeout=self._wait_for_store, return_when=asyncio.FIRST_COMPLETED)
            if not claiming.done() and self._tried:  # the answer may be a task that would stay claimed
                await asyncio.wait({claiming}, timeout=_LAST_CLAIM)
            if claiming.done():
                return claiming.result()
        finally:
            stopping.cancel()
            claiming.cancel()
        why = "stopped" if self._stopping.is_set() else f"the store could not be used within {self._wait_for_store:g} s"
        left = (
            "if a claim took effect unanswered, stale recovery finds the task"
            if self._tried
            else "the task was not claimed"
        )
        return _End(RemoteExit.FAILURE, f"{why}; {left}")

    async def _claim(self) -> TaskRecord | _End:
        """Claim the task under the fence that is read, and look again while the record moves or the store is away."""
        pauses = iter(_BACKOFFS)
        refused: int | None = None
        while True:
            try:
                record = (await self._operations.backend.get([self._id])).get(self._id)
                if record is None:
                    return _End(RemoteExit.NO_RECORD, "it is not stored: it never was, or retention has deleted it")
                if self._is_ours(record):  # the answer to an earlier claim was lost
                    return record
                if (end := self._judge(record, was_refused=record.fence == refused)) is not None:
                    return end
                if record.fence == refused:
                    # A transaction has locked it for a moment, such as the one in which the dispatcher stores the reference.
                    await next(pauses).wait()
                if self._stopping.is_set():
                    return _End(RemoteExit.FAILURE, "stopped before the claim; the task stays as it was")
                self._tried.add(record.fence)
                if claimed := await self._operations.claim(self._want(record)):
                    return claimed[0]
                refused = record.fence
            except BackendUnavailableError as error:
                _log.warning("the run of task %s waits for its store: %s", self._id, error)
                await next(pauses).wait()
            except QueueConfigurationError as error:
                return _End(RemoteExit.NO_CONFIGURATION, str(error))
            except Exception as error:  # noqa: BLE001  # whatever it was, the run ends with a code and a reason
                if not isinstance(error, QueueError):
                    _log.exception("the claim of task %s failed", self._id)
                return _End(RemoteExit.FAILURE, f"the store refused: {type(error).__name__}: {error}")

    def _want(self, record: TaskRecord) -> Want:
        return Want(
            worker=self.worker,
            limit=1,
            tasks=(record.held,),
            stale_after=self._stale_after,
            execution_ref=self._own_ref(record),
        )

    def _own_ref(self, record: TaskRecord) -> str | None:
        """This run's reference, where the record has none of this run yet: that of the dispatcher may be more complete."""
        stored = record.execution_ref
        known = self._ref is not None and stored is not None and same_run(stored, self._ref)
        return None if known else self._ref

    def _is_ours(self, record: TaskRecord) -> bool:
        """Whether the record shows a claim of this run."""
        return record.state is State.RUNNING and record.worker == self.worker and record.fence - 1 in self._tried

    def _judge(self, record: TaskRecord, *, was_refused: bool) -> _End | None:
        """Why the task cannot be claimed by this run; None where it may be."""
        if record.state is State.CANCELLED:
            return _End(RemoteExit.CANCELLED, f"it ({record.name}) was cancelled before this run claimed it")
        owner = f", by {record.worker}" if record.state is State.RUNNING else ""
        if record.state not in UNSTARTED:
            return _End(RemoteExit.CLAIM_LOST, f"it ({record.name}) is {record.state.value!r}{owner} already")
        if self._fence is not None and not (
            record.state is State.DISPATCHED and record.fence in (self._fence, self._fence + 1)
        ):
            return _End(
                RemoteExit.CLAIM_LOST,
                f"it ({record.name}) is {record.state.value!r} under fence {record.fence}, and this run was started for the "
                f"reservation under fence {self._fence}",
            )
        try:
            self._service.registry.get(record.name)
        except UnknownTaskError as error:
            return _End(RemoteExit.UNKNOWN_TASK, str(error))
        if was_refused:
            try:
                step(record, self._want(record).event, self._operations.clock.now())
            except IllegalTransition as error:
                return _End(RemoteExit.CLAIM_LOST, str(error))
        return None

    async def _release(self, record: TaskRecord) -> _End:
        """Give back a task that was not started: it keeps its place, and no attempt is counted."""
        words = "stopped after the claim, before the start of the task"
        writing = asyncio.create_task(self._operations.apply([Move(record, Release())]))
        await asyncio.wait({writing}, timeout=_LAST_WRITE)
        if writing.done() and not writing.cancelled() and writing.exception() is None:
            return _End(RemoteExit.FAILURE, f"{words}; given back")
        writing.cancel()
        return _End(RemoteExit.FAILURE, f"{words}; it could not be given back, and stale recovery finds it")

    # From the claim on

    async def _keep(self, record: TaskRecord) -> _End:
        """Run the claimed task, with heartbeats, and settle it."""
        holding = Holding(TaskContext(record))
        held = [holding]
        settler = Settler(self._operations, self._note_settled, delay=0.0, batch_size=1)
        pulse = Pulse(self._service, lambda: list(held), self._lose, settler.store_took_something)
        background = [asyncio.create_task(run) for run in (settler.run(), *pulse.start())]
        try:
            return await self._settle(holding, settler)
        finally:
            held.clear()
            for task in background:
                task.cancel()
            stopping = asyncio.create_task(pulse.stop(_LET_GO))
            done, _ = await asyncio.wait(background, timeout=_LET_GO)
            for task in done:
                if not task.cancelled() and (error := task.exception()) is not None:
                    _log.error("what kept task %s ended with %s: %s", self._id, type(error).__name__, error)
            await stopping

    async def _settle(self, holding: Holding, settler: Settler) -> _End:
        execution = holding.execution = asyncio.create_task(self._service.executor.execute(holding.context))
        await _first_of(execution, self._stopping, self._lost)
        if self._stopping.is_set() and not execution.done() and holding.phase is Phase.RUNNING:
            holding.interrupt(Phase.GIVING_BACK)
        if not execution.done():
            await asyncio.wait({execution}, timeout=_UNWIND)
        if not execution.done():
            _log.warning("task %s (%s) does not stop, and is left behind", self._id, holding.record.name)
        if holding.phase is Phase.LOST:
            return await self._lost_end(holding.record, "while it ran here")
        event = self._outcome(holding, execution)
        wanted = settler.put(holding, event)
        looking = asyncio.create_task(self._until_replaced())
        try:
            await _first_of(looking, self._stopping, self._settled)
        finally:
            looking.cancel()
        if looking.done() and not looking.cancelled():
            return _End(
                RemoteExit.FAILURE, f"its outcome ({wanted.state.value}) could not be stored: {looking.result()}"
            )
        if not self._settled.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(_LAST_WRITE):
                    await settler.flush()
        if not self._settled.is_set():
            return _End(
                RemoteExit.FAILURE,
                f"its outcome ({wanted.state.value}) could not be stored before the process had to end; stale recovery finds it",
            )
        if holding.stored is None:
            return await self._lost_end(holding.record, "before its outcome was stored")
        error = TaskResult[Any](self._service, holding.stored, is_new=False).error
        return _end_of(holding.record, event, holding.stored, error)

    async def _until_replaced(self) -> StoreReplacedError:
        """Return once the store is another one than before, which will never take the outcome."""
        while True:
            await asyncio.sleep(self._beat)
            try:
                await self._operations.backend.get([self._id])
            except StoreReplacedError as error:
                return error
            except Exception:  # noqa: BLE001  # the outcome is tried again
                _log.debug("the store could not be looked at", exc_info=True)

    def _outcome(self, holding: Holding, execution: asyncio.Task[Event]) -> Event:
        if not execution.done() or (execution.cancelled() and holding.phase is Phase.GIVING_BACK):
            return Requeue()
        if execution.cancelled():  # nobody here interrupted it
            cancelled = asyncio.CancelledError("the task cancelled itself")
            return self._service.executor.failure(holding.context, cancelled)
        error = execution.exception()
        return execution.result() if error is None else Fail(error_text(error))

    async def _lost_end(self, record: TaskRecord, when: str) -> _End:
        """The end of a run whose task is not its own any more: cancelled, or somebody else's."""
        looking = asyncio.create_task(self._operations.backend.get([self._id]))
        await asyncio.wait({looking}, timeout=_LAST_LOOK)
        there: TaskRecord | None = None
        known = looking.done() and not looking.cancelled() and looking.exception() is None
        if known:
            there = looking.result().get(self._id)
        looking.cancel()
        if there is not None and there.state is State.CANCELLED:
            return _End(RemoteExit.CANCELLED, f"it ({record.name}) was cancelled {when}")
        now = "not known" if not known else "deleted" if there is None else repr(there.state.value)
        owner = f", by {there.worker}" if there is not None and there.state is State.RUNNING else ""
        return _End(
            RemoteExit.CLAIM_LOST, f"it ({record.name}) was taken from this run {when}; its state is {now}{owner}"
        )

    def _lose(self, lost: list[Holding]) -> None:
        """The store does not confirm that the task is this run's."""
        lost = [one for one in lost if one.phase is Phase.RUNNING]
        for one in lost:
            one.interrupt(Phase.LOST)
            self._lost.set()
        self._operations.report_fence_losses(
            [one.record for one in lost], "it was cancelled, or recovered from this run"
        )

    def _note_settled(self, _holding: Holding) -> None:
        self._settled.set()


async def _first_of(task: asyncio.Task[Any], *events: asyncio.Event) -> None:
    """Wait for the end of a task, or for one of the events."""
    waits = {asyncio.create_task(one.wait()) for one in events}
    try:
        await asyncio.wait({*waits, task}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for one in waits:
            one.cancel()


def _end_of(claimed: TaskRecord, event: Event, stored: TaskRecord, error: TaskError | None) -> _End:
    """How a run ended whose outcome is stored."""
    name = stored.name
    if stored.state is State.COMPLETED:
        return _End(RemoteExit.SUCCESS, f"it ({name}) completed in attempt {stored.attempt}")
    if isinstance(event, Requeue):
        became = "given back" if stored.state is not State.FAILED else "failed, because it must not run a second time"
        return _End(RemoteExit.FAILURE, f"it ({name}) was interrupted, and {became}")
    if stored.attempt < claimed.attempt:  # a snooze spends none
        return _End(RemoteExit.SUCCESS, f"it ({name}) asked to be run again at {stored.due_at.isoformat()}")
    then = (
        "no attempt follows" if stored.state is State.FAILED else f"the next one is due at {stored.due_at.isoformat()}"
    )
    return _End(
        RemoteExit.FAILURE, f"it ({name}) failed in attempt {stored.attempt} of {stored.max_attempts}, {then}: {error}"
    )
