"""Everything that is done to tasks, built once over the port: step, commit, see what became of it, tell of it.

The service, the worker and the reaper change tasks through this class and no other way, so that events, counters and
the meaning of a refused write are the same for every backend.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from msgspec.structs import replace

from litestar_queues.backends.base import (
    DispatchingBackend,
    ObservedBackend,
    Observer,
    QueueBackend,
    TransactionalBackend,
)
from litestar_queues.clock import Clock
from litestar_queues.codec import encode
from litestar_queues.errors import (
    BackendError,
    BackendUnavailableError,
    DispatchNotSupportedError,
    KeyHeldError,
    QueueConfigurationError,
    TaskNotFoundError,
    TasksLockedError,
    TaskStateError,
    TooLargeError,
)
from litestar_queues.events.base import TaskEvent, TaskEventKind, task_event
from litestar_queues.events.dispatcher import EventDispatcher
from litestar_queues.lifecycle import (
    Cancel,
    Complete,
    Event,
    EventName,
    Expire,
    Fail,
    IllegalTransition,
    LoseHeartbeat,
    NullHeartbeat,
    Revive,
    State,
    step,
)
from litestar_queues.notifier import LocalNotifier
from litestar_queues.observability.counters import NOTIFY, SKIPPED, counted
from litestar_queues.records import Enqueued, Finished, Held, NewTask, Overdue, Stale, TaskRecord, Want
from litestar_queues.schedules.marks import is_occurrence
from litestar_queues.schedules.model import PREFIX, Schedule, keeps, read_all

__all__ = ("FIRES_SKIPPED", "OUTCOMES_WAITING", "Move", "QueueOperations", "Settled", "StaleRecovery")

_log = logging.getLogger("litestar_queues")
_TRIES = 20
"""How often an operator's change is tried again when the task moves under it. Each try loses to somebody's progress."""

_HOUR = timedelta(hours=1)
FIRES_SKIPPED = "fires_skipped"
"""The name of the counter of fires that have no occurrence of their own."""
OUTCOMES_WAITING = "outcomes_waiting"
"""The name of the counter that says how many outcomes of this process the store refuses at this moment."""


@dataclass(frozen=True, slots=True)
class Move:
    """An event that is to happen to a task, as the one who wants it knows the task."""

    task: TaskRecord
    event: Event


@dataclass(frozen=True, slots=True)
class Settled:
    """What became of a batch of moves."""

    stored: list[TaskRecord]
    """As they are stored now."""
    lost: list[TaskRecord]
    """As they would have been: refused, because the fence had moved on."""


@dataclass(frozen=True, slots=True)
class StaleRecovery:
    """What a recovery of stale tasks moved, and nothing else."""

    requeued: list[TaskRecord]
    failed: list[TaskRecord]

    @property
    def ids(self) -> list[str]:
        """All that were moved, by this call."""
        return [record.id for record in (*self.requeued, *self.failed)]


@dataclass(slots=True)
class QueueOperations:
    """The port, with what every caller needs around it.

    Args:
        backend: An open backend.
        clock: The store's time.
        events: Who is told.
        notifier: Wakes the subscribers in this process.
    """

    backend: QueueBackend
    clock: Clock
    events: EventDispatcher = field(default_factory=EventDispatcher)
    notifier: LocalNotifier = field(default_factory=LocalNotifier)
    counters: Counter[str] = field(default_factory=Counter[str])
    """How often each event happened through this process, by the event's kind; and `OUTCOMES_WAITING`, a gauge."""
    on_terminal: Callable[[Sequence[TaskRecord]], None] | None = None
    """Called with tasks that reached a terminal state through this process."""
    on_abandoned_runs: Callable[[Sequence[TaskRecord]], None] | None = None
    """Called with tasks whose runs elsewhere are wanted no more: cancelled, expired, or recovered from a silent run."""
    _observer: Observer | None = field(init=False, default=None)
    _kept_until: datetime | None = field(init=False, default=None)
    """Until where all terminal tasks are occurrences that are kept, and since when that has been known."""
    _kept_since: datetime | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        if isinstance(self.backend, ObservedBackend):
            self._observer = self.backend.observer

    async def enqueue_many(self, tasks: Sequence[NewTask]) -> list[Enqueued]:
        """Store new tasks; see the port. Wakes workers, once per batch, after the tasks can be seen."""
        with self._span("queue.enqueue"):
            answers = await self.backend.enqueue_many(tasks)
        new = [answer.record for answer in answers if answer.is_new]
        self.tell(TaskEventKind.ENQUEUE, ((record, None) for record in new))
        await self.wake(new)
        return answers

    async def enqueue_in(self, session: Any, tasks: Sequence[NewTask]) -> list[Enqueued]:
        """Store new tasks in the caller's own transaction; see `TransactionalBackend.bind`.

        Nobody is told of them: whether they will ever exist is decided later, elsewhere. A backend whose hints are part
        of the transaction wakes workers when it commits.

        Raises:
            QueueConfigurationError: The backend knows no transactions, or not those of such a session.
        """
        if not isinstance(self.backend, TransactionalBackend):
            raise QueueConfigurationError(
                f"the queue backend {self.backend.name} cannot enqueue in a transaction of yours: enqueue without session="
                " after you committed, or use a backend on the application's database"
            )
        with self._span("queue.enqueue"):
            return await self.backend.bind(session).enqueue_many(tasks)

    async def enqueue(self, task: NewTask) -> Enqueued:
        """Store one new task; see the port."""
        return (await self.enqueue_many([task]))[0]

    async def claim(self, want: Want) -> list[TaskRecord]:
        """Take tasks, to run them or to dispatch them; see the port.

        Raises:
            DispatchNotSupportedError: They are to be dispatched, and the backend cannot keep such tasks.
        """
        if want.reserve or want.execution_ref is not None:
            self.check_dispatches()
        with self._span("queue.claim"):
            claimed = await self.backend.claim(want)
        kind = TaskEventKind.RESERVE if want.reserve else TaskEventKind.CLAIM
        self.tell(
            kind, ((record, State.PENDING if record.execution_ref is None else State.DISPATCHED) for record in claimed)
        )
        return claimed

    def check_dispatches(self) -> None:
        """Make sure that the backend can keep tasks that run elsewhere.

        Raises:
            DispatchNotSupportedError: It cannot.
        """
        if not (isinstance(self.backend, DispatchingBackend) and self.backend.dispatches):
            raise DispatchNotSupportedError(
                f"the queue backend {self.backend.name} cannot keep tasks that run elsewhere: run them in a worker "
                "(execution_backend='local'), or use another queue backend"
            )

    async def claim_task(self, task_id: str, *, worker: str) -> TaskRecord | None:
        """Take one task by id; None where it cannot be claimed now."""
        record = (await self.backend.get([task_id])).get(task_id)
        if record is None:
            return None
        claimed = await self.claim(Want(worker=worker, limit=1, tasks=(record.held,)))
        return claimed[0] if claimed else None

    async def apply(self, moves: Sequence[Move], *, stale: Stale | None = None, contested: bool = False) -> Settled:
        """Let each event happen to its task, in one write.

        A refused write whose record turns out to be stored after all (the reply to an earlier try was lost) counts as
        stored. What was refused is counted, told as `fence_loss` and logged; it raises nothing.

        Args:
            moves: What is to happen.
            stale: As for the port's `commit`.
            contested: Whether others may rightly have been faster. What was refused is no fence loss then.

        Raises:
            IllegalTransition: An event cannot happen to its task; nothing was written.
        """
        now = self.clock.now()
        after = [step(move.task, move.event, now) for move in moves]
        return await self.store(list(zip(moves, after, strict=True)), stale=stale, contested=contested)

    async def store(
        self, steps: Sequence[tuple[Move, TaskRecord]], *, stale: Stale | None = None, contested: bool = False
    ) -> Settled:
        """Write what `step` made of moves; the second half of `apply`, which may be repeated after a failure."""
        if not steps:
            return Settled([], [])
        settled = await self._commit(steps, stale)
        if stale is None and not contested:
            # A stale task that was refused was saved by its owner's heartbeat: no loss, nobody to tell.
            refused = {after.id for after in settled.lost}
            for move, after in steps:
                if after.id in refused:
                    self.report_fence_losses([after], f"{_verb(move.event)} under fence {move.task.fence} was refused")
        return settled

    def report_fence_losses(self, records: Sequence[TaskRecord], why: str) -> None:
        """Count, tell and log that the caller owns these tasks no more."""
        self.tell(TaskEventKind.FENCE_LOSS, ((record, None) for record in records))
        for record in records:
            _log.warning("fence loss: task %s (%s) is no longer this worker's: %s", record.id, record.name, why)

    def report_skipped_fires(self, number: int) -> None:
        """Count fires of schedules that have no occurrence of their own."""
        self.counters[FIRES_SKIPPED] += number
        if self._observer is not None:
            self._observer.count(SKIPPED, number)

    def report_abandoned(self, record: TaskRecord) -> None:
        """Count and tell that the call of a task goes on in this process, although nobody waits for its outcome."""
        self.tell(TaskEventKind.ABANDON, [(record, None)])

    async def complete_task(self, task: TaskRecord, result: str = "null") -> TaskRecord:
        """Complete a task that the caller claimed; `result` is JSON text.

        Raises:
            TaskStateError: The caller owns it no more, or it does not run.
        """
        return await self._settle_one(Move(task, Complete(result)))

    async def fail_task(self, task: TaskRecord, error: str, *, retry_at: datetime | None = None) -> TaskRecord:
        """Fail a task that the caller claimed, for another attempt if `retry_at` and the budget allow it.

        Raises:
            TaskStateError: The caller owns it no more, or it does not run.
        """
        return await self._settle_one(Move(task, Fail(error, retry_at)))

    async def cancel_task(self, task_id: str) -> TaskRecord:
        """Cancel a task that waits or runs; a cancelled one stays as it is.

        Raises:
            TaskNotFoundError: It is not stored.
            TaskStateError: It ended in another way.
        """
        return await self._change(task_id, Cancel(), done=State.CANCELLED)

    async def revive_task(self, task_id: str) -> TaskRecord:
        """Let a failed or cancelled task run again, with a fresh budget of attempts.

        Raises:
            TaskNotFoundError: It is not stored.
            TaskStateError: It is neither failed nor cancelled, or its `expires_at` has passed.
            KeyHeldError: Another active task holds its key.
        """
        return await self._change(task_id, Revive(), done=None)

    async def touch_heartbeat(self, task: TaskRecord) -> bool:
        """Tell that the caller still runs the task; False where it owns it no more."""
        return task.id in await self.touch_heartbeats([task.held])

    async def touch_heartbeats(self, held: Sequence[Held]) -> set[str]:
        """Tell that the caller still runs these tasks; see the port.

        Progress that the store refuses is left out, and logged. What is refused all the same holds up no other heartbeat.

        Raises:
            BackendUnavailableError: The store cannot be reached, or refuses for now; nothing is known of any of them.
            TasksLockedError: Somebody's transaction has locked some of them. Those of the others are stored.
            BackendError: The store refuses one of them even without its progress. Those of the others are stored.
        """
        try:
            with self._span("queue.heartbeat"):
                return await self.backend.touch_heartbeats(held)
        except BackendUnavailableError:
            raise
        except BackendError as error:
            named = error.task_id if isinstance(error, TooLargeError) else None
            if named is None and len(held) > 1:
                return await self._touch_halves(held)
            # Without its progress, a heartbeat keeps its task.
            left_out = [replace(one, progress=None) if named in (None, one.id) else one for one in held]
            if left_out == list(held):
                raise
            _log.warning("a heartbeat goes without its progress: %s", error)
            return await self.touch_heartbeats(left_out)

    async def _touch_halves(self, held: Sequence[Held]) -> set[str]:
        half, kept, locked, refused = len(held) // 2, set[str](), set[str](), None
        for part in (held[:half], held[half:]):
            try:
                kept |= await self.touch_heartbeats(part)
            except TasksLockedError as error:
                kept |= error.kept
                locked |= error.locked
            except BackendUnavailableError:
                raise
            except BackendError as error:
                refused = error
        if refused is not None:
            raise refused
        if locked:
            raise TasksLockedError(kept, locked)
        return kept

    async def null_heartbeats(self, tasks: Sequence[TaskRecord]) -> Settled:
        """Make running tasks of the caller stale at once, so that recovery need not wait for the stale window."""
        return await self.apply([Move(task, NullHeartbeat()) for task in tasks])

    async def requeue_stale_running(self, stale_after: timedelta, *, limit: int = 1000) -> StaleRecovery:
        """Take running tasks without a heartbeat for so long from their owners, whatever windows the owners have.

        This is the word of an operator who knows that the owners are gone; `recover_stale` is for everybody else. A
        task is requeued, or fails once its budget of recoveries is spent. A heartbeat that arrives in between saves its task.

        Args:
            stale_after: How old a heartbeat makes a task stale.
            limit: The most that are moved by this call, the oldest heartbeat first.
        """
        window = stale_after.total_seconds()
        return await self._recover(Stale(at=self.clock.now(), window=window, own_windows=False), limit)

    async def recover_stale(
        self, window: timedelta, *, since: datetime | None = None, grace: float = 0.0, limit: int = 1000
    ) -> StaleRecovery:
        """Take running tasks from owners that have been silent for longer than their own windows.

        A task is requeued, or fails once its budget of recoveries is spent. A heartbeat that arrives in between saves its
        task.

        Args:
            window: The window of a task whose owner stored none.
            since: The time since which the store has been in service. Before a whole window has passed since then, the task
                is left to its owner.
            grace: Seconds between the search for stale tasks and their recovery. The owner of a task that was locked until
                a moment ago stores its heartbeat meanwhile.
            limit: The most that are moved by this call, the oldest heartbeat first.
        """
        now = self.clock.now()
        longest = None if since is None else (now - since).total_seconds()
        return await self._recover(Stale(at=now, window=window.total_seconds(), longest=longest), limit, grace)

    async def _recover(self, query: Stale, limit: int, grace: float = 0.0) -> StaleRecovery:
        with self._span("queue.recover"):
            stale = await self.backend.find(query, limit)
            if stale and grace:
                await asyncio.sleep(grace)
            moves = [Move(record, LoseHeartbeat(_heartbeat_error(record))) for record in stale]
            settled = await self.apply(moves, stale=query)
        return StaleRecovery(
            requeued=[record for record in settled.stored if record.finished_at is None],
            failed=[record for record in settled.stored if record.finished_at is not None],
        )

    async def expire_overdue(self, *, limit: int = 1000) -> list[TaskRecord]:
        """Expire unstarted tasks whose `expires_at` has passed, the earliest first; returns those that were."""
        with self._span("queue.expire"):
            overdue = await self.backend.find(Overdue(self.clock.now()), limit)
            return (await self._apply_legal(overdue, Expire())).stored

    async def delete_finished(self, older_than: timedelta, *, limit: int = 1000) -> set[str]:
        """Delete terminal tasks that finished longer ago, the earliest first; returns the ids of those that were.

        The occurrence of a fire is kept for a day at least, and until its schedule has come past that fire: a leader that
        stood still, or dies, and its successor enqueue the same fire again, and are answered that it is stored.
        """
        with self._span("queue.delete"):
            now = self.clock.now()
            before, cursors, size = now - older_than, None, limit
            if self._kept_since is not None and now - self._kept_since > _HOUR:
                self._kept_since = self._kept_until = None  # what was kept may be old enough, and some came late
            while True:
                found = await self.backend.find(Finished(before, self._kept_until), size)
                fired = [one for one in found if is_occurrence(one)]
                if fired and cursors is None:
                    cursors = {one.name: one.cursor for one in (await self._schedules()).values()}
                kept = {one.id for one in fired if keeps(one, cursors or {}, now)}
                if old := [one.held for one in found if one.id not in kept]:
                    return await self.backend.delete(old)
                if not found or len(found) < size:
                    return set()
                last = found[-1].finished_at
                if last == self._kept_until or last is None:
                    size *= 2  # all of them finished at that moment
                else:
                    self._kept_since, self._kept_until = self._kept_since or now, last

    async def _schedules(self) -> dict[str, Schedule]:
        return read_all(await self.backend.read_records(PREFIX))

    async def _apply_legal(self, records: Sequence[TaskRecord], event: Event) -> Settled:
        """Apply to those of the records that still allow it by the clock of this moment."""
        now = self.clock.now()
        steps: list[tuple[Move, TaskRecord]] = []
        for record in records:
            try:
                steps.append((Move(record, event), step(record, event, now)))
            except IllegalTransition:
                continue
        return await self.store(steps)

    async def _settle_one(self, move: Move) -> TaskRecord:
        try:
            settled = await self.apply([move])
        except IllegalTransition as error:
            raise TaskStateError(str(error)) from error
        if settled.stored:
            return settled.stored[0]
        now_stored = (await self.backend.get([move.task.id])).get(move.task.id)
        state = "deleted" if now_stored is None else f"{now_stored.state.value!r} (fence {now_stored.fence}"
        yours = "" if now_stored is None else f", yours {move.task.fence})"
        raise TaskStateError(
            f"cannot {move.event.name.value.replace('_', ' ')} task {move.task.id}: it is {state}{yours}"
        )

    async def _change(self, task_id: str, event: Event, *, done: State | None) -> TaskRecord:
        """Let an event happen to a task that the caller does not own, against whatever else happens to it."""
        seen: TaskRecord | None = None
        for _ in range(_TRIES):
            record = (await self.backend.get([task_id])).get(task_id)
            if record is None:
                raise TaskNotFoundError(f"no task {task_id!r} is stored: it never was, or retention has deleted it")
            if seen is not None and isinstance(event, Revive) and record.fence == seen.fence:
                raise KeyHeldError(f"cannot revive task {task_id}: another active task holds its key {record.key!r}")
            if record.state is done:
                return record
            try:
                after = step(record, event, self.clock.now())
            except IllegalTransition as error:
                raise TaskStateError(str(error)) from error
            if (await self._commit([(Move(record, event), after)], None)).stored:
                return after
            seen = record
        raise TaskStateError(f"cannot {_verb(event)} task {task_id}: it changed {_TRIES} times meanwhile; try again")

    async def _commit(self, steps: Sequence[tuple[Move, TaskRecord]], stale: Stale | None) -> Settled:
        """Write, find out what was stored, and tell of it; what was refused is the caller's to interpret."""
        with self._span("queue.settle"):
            ids = await self.backend.commit([after for _, after in steps], stale=stale)
            if len(ids) < len(steps):
                ids = ids | await self._stored_before([after for _, after in steps if after.id not in ids])
        stored = [(move, after) for move, after in steps if after.id in ids]
        for kind in dict.fromkeys(move.event.name for move, _ in stored):
            self.tell(kind, ((after, move.task.state) for move, after in stored if move.event.name is kind))
        records = [after for _, after in stored]
        if self.on_terminal is not None and (ended := [r for r in records if r.finished_at is not None]):
            self.on_terminal(ended)
        if self.on_abandoned_runs is not None and (left := [r for move, r in stored if _leaves_run(move)]):
            self.on_abandoned_runs(left)
        await self.wake(records)
        return Settled(records, [after for _, after in steps if after.id not in ids])

    async def _stored_before(self, refused: Sequence[TaskRecord]) -> set[str]:
        """Those of the refused writes that an earlier, unanswered try had already stored."""
        found = await self.backend.get([record.id for record in refused])
        return {record.id for record in refused if (there := found.get(record.id)) and _same_write(there, record)}

    def tell(self, kind: TaskEventKind | EventName, records: Iterable[tuple[TaskRecord, State | None]]) -> None:
        """Count and emit what happened to tasks, each given with its state before."""
        told, happened = TaskEventKind(kind.value), list(records)
        self.counters[told.value] += len(happened)
        if self._observer is not None:
            for name, n in counted(told, [record for record, _ in happened]).items():
                self._observer.count(name, n)
        if not self.events.active:
            return
        now = self.clock.now()
        events: list[TaskEvent] = [task_event(told, record, at=now, before=before) for record, before in happened]
        self.events.emit(events)

    async def wake(self, records: Iterable[TaskRecord]) -> None:
        """Hint to workers that those of the tasks that wait can be claimed."""
        queues = {
            record.queue for record in records if record.state is State.PENDING or record.state is State.SCHEDULED
        }
        if not queues:
            return
        self.notifier.notify(queues)
        if self.backend.wakeups is not None:
            await self.backend.wakeups.notify(queues)
            if self._observer is not None:
                self._observer.count(NOTIFY, 1)

    def _span(self, name: str) -> AbstractContextManager[None]:
        return nullcontext() if self._observer is None else self._observer.span(name)


def _leaves_run(move: Move) -> bool:
    """Whether a run elsewhere may go on although its task is not its own any more.

    A dispatched task is lost only once its run has ended.
    """
    if move.task.execution_ref is None or move.task.state not in (State.DISPATCHED, State.RUNNING):
        return False
    match move.event:
        case Cancel() | Expire():
            return True
        case LoseHeartbeat():
            return move.task.state is State.RUNNING
        case _:
            return False


def _verb(event: Event) -> str:
    return event.name.value.replace("_", " ")


def _same_write(there: TaskRecord, wanted: TaskRecord) -> bool:
    """Whether the stored record is what was to be written. JSON is left out: a database may write it differently."""
    return (
        there.fence == wanted.fence
        and there.state is wanted.state
        and there.attempt == wanted.attempt
        and there.due_at == wanted.due_at
        and there.worker == wanted.worker
        and there.finished_at == wanted.finished_at
    )


def _heartbeat_error(record: TaskRecord) -> str:
    last = "never" if record.heartbeat_at is None else f"last at {record.heartbeat_at.isoformat()}"
    message = f"the heartbeat of worker {record.worker} stopped ({last}) in attempt {record.attempt}"
    if record.max_recoveries == 0:
        message += "; the task must not run a second time"
    elif record.recoveries >= record.max_recoveries:
        message += f"; the task was recovered {record.recoveries} times already, which is its limit (max_recoveries)"
    return encode({"type": "HeartbeatLost", "message": message, "traceback": None}, "the error")
