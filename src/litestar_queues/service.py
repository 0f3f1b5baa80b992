"""What applications enqueue with, and look at tasks through."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import nullcontext
from datetime import datetime
from inspect import isawaitable
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar, TypeVarTuple, Unpack, cast, overload

import msgspec

from litestar_queues.backends.base import EndHints, QueueBackend
from litestar_queues.calls import AnyTask, checked_calls, make_call
from litestar_queues.clock import StoreClock, SystemClock
from litestar_queues.config import QueueConfig
from litestar_queues.context import TaskContext
from litestar_queues.errors import (
    InvalidTaskError,
    QueueConfigurationError,
    QueueError,
    TaskArgumentError,
    WaitTimeoutError,
)
from litestar_queues.events.dispatcher import EventDispatcher
from litestar_queues.execution.executor import TaskExecutor
from litestar_queues.execution.local import IMMEDIATE
from litestar_queues.execution.registry import ExecutionBackends, in_order
from litestar_queues.execution.runs import RunEnds
from litestar_queues.immediate import ImmediateHeart
from litestar_queues.lifecycle import Event, Requeue, Snooze, State
from litestar_queues.loops import HomeLoop, carried
from litestar_queues.notifier import LocalNotifier
from litestar_queues.operations import Move, QueueOperations, Settled
from litestar_queues.options import (
    Duration,
    EnqueueOptions,
    UniqueBy,
)
from litestar_queues.records import Enqueued, NewTask, TaskRecord, Want, queue_names, seconds
from litestar_queues.result import TaskResult
from litestar_queues.schedules.managing import Schedules
from litestar_queues.serving import OPEN
from litestar_queues.task import (
    Task,
    TaskCall,
    TaskOf,
    TaskRegistry,
    TaskTemplate,
    default_registry,
    import_task_modules,
)

__all__ = ("QueueService", "QueueStats")

P = ParamSpec("P")
R = TypeVar("R")
Ts = TypeVarTuple("Ts")
_FIRST_LOOK, _LONGEST_PAUSE = 0.02, 1.0
"""Seconds between two looks at a task that somebody waits for: doubling from the first to the second."""
_PAUSE_WITH_HINTS = 5.0
"""The same where its end is heard: a look is needed then only if that hint is lost."""

_log = logging.getLogger("litestar_queues")


class QueueStats(msgspec.Struct, frozen=True):
    """How many tasks are in each state.

    Attributes:
        queues: Per queue.
        totals: Over all queues that were asked for.
    """

    queues: dict[str, dict[State, int]]
    totals: dict[State, int]


class QueueService:
    """Enqueues tasks and answers for them. Open it before use: `async with QueueService(config) as service`.

    Args:
        config: The queues.
        registry: Where tasks are found by name.
    """

    def __init__(self, config: QueueConfig | None = None, *, registry: TaskRegistry = default_registry) -> None:
        self.config = config or QueueConfig()
        self.registry = registry
        self.clock = StoreClock()
        self.events = EventDispatcher(self.config.event_sinks)
        self.execution = ExecutionBackends(self.config.execution_backend)
        """Where tasks run."""
        self._run_ends = RunEnds(self.execution)
        self._notifier = LocalNotifier()
        self._backend: QueueBackend | None = None
        self._operations: QueueOperations | None = None
        self._executor: TaskExecutor | None = None
        self._immediate: ImmediateHeart | None = None
        self._waiting: dict[str, set[asyncio.Event]] = {}
        self.home: HomeLoop | None = None
        """The event loop that the service was opened in. Its async methods may be called from other loops as well."""

    async def open(self) -> None:
        """Import the task modules and make the store usable. Harmless when repeated.

        Raises:
            QueueConfigurationError: The configuration cannot work.
            BackendUnavailableError: The store cannot be reached or opened.
        """
        if self._operations is not None:
            if self.home is None or not self.home.is_closed:
                return
            self.abandon()
        home = HomeLoop()
        import_task_modules(self.config.task_modules)
        backend = self._backend or self.config.create_backend()
        opening: object = backend.open()
        if not isawaitable(opening):
            raise QueueConfigurationError(
                f"{type(backend).__qualname__}.open() returned no awaitable: the methods of a backend are `async def`"
            )
        await opening
        try:
            await self.clock.sync(backend)
        except BaseException:
            await backend.close()
            raise
        self._backend, self.home = backend, home
        self._operations = QueueOperations(
            backend, self.clock, events=self.events, notifier=self._notifier, on_terminal=self._on_terminal,
            on_abandoned_runs=self._run_ends.end,
        )  # fmt: skip
        OPEN.append(self)

    async def close(self) -> None:
        """Hand on the last events and release the store. Harmless when repeated."""
        if self._operations is None:
            return
        if self.home is not None and not self.home.is_here:
            if self.home.is_running:
                await self.home.run(self.close)
            else:
                self.abandon()
            return
        self._operations = self._executor = self.home = None
        OPEN.remove(self)
        immediate, self._immediate = self._immediate, None
        if immediate is not None:
            await immediate.stop()
        await self._run_ends.close()
        await self.execution.close()
        await self.events.flush()
        if self._backend is not None:
            await self._backend.close()

    def abandon(self) -> None:
        """Forget a store whose event loop is gone, so that the service can be opened again. Harmless when repeated."""
        if self._operations is None:
            return
        _log.warning(
            "a queue service was left open when its event loop ended, and its store (%s) could not be closed: close it "
            "where it was opened, with `async with`",
            self._operations.backend.name,
        )
        if self._immediate is not None:
            self._immediate.leave()
        self._operations = self._executor = self._backend = self.home = self._immediate = None
        self.execution = ExecutionBackends(self.config.execution_backend)
        self._run_ends = RunEnds(self.execution)
        self.events, self._notifier = EventDispatcher(self.config.event_sinks), LocalNotifier()
        self._waiting = {}
        OPEN.remove(self)

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def operations(self) -> QueueOperations:
        """What the service does everything through.

        Raises:
            QueueError: The service is not open.
        """
        if self._operations is None:
            raise QueueError("this queue service is not open: use `async with QueueService(config) as service`")
        return self._operations

    @property
    def schedules(self) -> Schedules:
        """The schedules that are kept in the store."""
        return Schedules(self)

    def make_task(self, call: TaskCall[Any]) -> NewTask:
        """The task that a call makes at this moment.

        Raises:
            InvalidTaskError: The arguments or options cannot be stored.
            DispatchNotSupportedError: The task is to run elsewhere, and the queue backend cannot keep such tasks.
        """
        task = self._new_task(call, 0, [call], self.clock.now())
        if self.execution.is_remote(task.execution_backend):
            self.operations.check_dispatches()
        return task

    @property
    def executor(self) -> TaskExecutor:
        """Runs tasks in this process."""
        if self._executor is None:
            self._executor = TaskExecutor(self.registry, self.clock, threads=self.config.threads)
        return self._executor

    @overload
    async def enqueue(
        self, task: Task[P, R] | TaskTemplate[P, R], /, *args: P.args, **kwargs: P.kwargs
    ) -> TaskResult[R]: ...
    @overload
    async def enqueue(
        self,
        task: TaskOf[Callable[[*Ts], TaskCall[R]]],
        /,
        *args: *Ts,
        session: Any = None,
        **options: Unpack[EnqueueOptions],
    ) -> TaskResult[R]: ...
    @overload
    async def enqueue(
        self,
        task: str,
        /,
        *args: Any,
        session: Any = None,
        queue: str | None = None,
        priority: int | None = None,
        retries: int | None = None,
        max_recoveries: int | None = None,
        requeue_on_stale: bool | None = None,
        timeout: Duration | None = None,  # noqa: ASYNC109  # an option of the task
        key: str | None = None,
        unique_by: UniqueBy | None = None,
        delay: Duration | None = None,
        run_after: datetime | Duration | None = None,
        expires_in: Duration | None = None,
        expires_at: datetime | None = None,
        metadata: Mapping[str, Any] | None = None,
        description: str | None = None,
        execution_backend: str | None = None,
        execution_profile: str | None = None,
        **kwargs: Any,
    ) -> TaskResult[Any]: ...
    @overload
    async def enqueue(
        self, task: TaskCall[R], /, *, session: Any = None, **options: Unpack[EnqueueOptions]
    ) -> TaskResult[R]: ...
    @carried  # type: ignore[misc]  # mypy takes *args: Any for narrower than *args: *Ts
    async def enqueue(
        self, task: AnyTask | TaskOf[Any], /, *args: Any, session: Any = None, **kwargs: Any
    ) -> TaskResult[Any]:
        """Store a task, to be run by a worker.

        With `session` it is stored in the transaction that is open there: it is there for workers and everybody else when
        that commits, and never was when that rolls back. Where the backend sends hints, workers hear of it with the
        commit; nobody is told an `enqueue` event. Such a task is run by a worker, also where it is an immediate one.

        Args:
            task: The task, the task with options (`task.using(delay=30)`), a call of it (`task.call(...)`), or its
                registered name. Type checkers check arguments and options of the first three.
            *args: Its arguments.
            session: A session of the layer through which the backend reaches its database, whose transaction is to hold
                the task.
            **kwargs: Its keyword arguments, and options: see `TaskOptions`. Type checkers refuse a call that has both;
                write `task.using(...)` for the options there.

        Returns:
            The stored task, or the active task that holds its key (`is_new` is false then).

        Raises:
            UnknownTaskError: No task of this name is registered here.
            InvalidTaskError: Arguments or options cannot be stored; nothing was.
            QueueConfigurationError: The backend cannot work in such a session.
            DispatchNotSupportedError: The task is to run elsewhere, and the queue backend cannot keep such tasks.
            BackendUnavailableError: The store cannot be reached; whether the task was stored is not known.
        """
        call = make_call(self.registry, cast("AnyTask", task), args, kwargs)
        if session is not None and not isinstance(task, TaskCall) and "session" in call.task.signature.parameters:
            raise TaskArgumentError(
                f"session is a parameter of task {call.task.name!r} and an option of enqueue: enqueue task.call(...), which "
                "has the argument, or give the parameter another name"
            )
        (result,) = await self._enqueue([call], session)
        return result

    @overload
    def prepare(self, task: Task[P, R] | TaskTemplate[P, R], /, *args: P.args, **kwargs: P.kwargs) -> TaskCall[R]: ...
    @overload
    def prepare(
        self,
        task: TaskOf[Callable[[*Ts], TaskCall[R]]],
        /,
        *args: *Ts,
        **options: Unpack[EnqueueOptions],
    ) -> TaskCall[R]: ...
    @overload
    def prepare(
        self,
        task: str,
        /,
        *args: Any,
        queue: str | None = None,
        priority: int | None = None,
        retries: int | None = None,
        max_recoveries: int | None = None,
        requeue_on_stale: bool | None = None,
        timeout: Duration | None = None,
        key: str | None = None,
        unique_by: UniqueBy | None = None,
        delay: Duration | None = None,
        run_after: datetime | Duration | None = None,
        expires_in: Duration | None = None,
        expires_at: datetime | None = None,
        metadata: Mapping[str, Any] | None = None,
        description: str | None = None,
        execution_backend: str | None = None,
        execution_profile: str | None = None,
        **kwargs: Any,
    ) -> TaskCall[Any]: ...
    @overload
    def prepare(self, task: TaskCall[R], /, **options: Unpack[EnqueueOptions]) -> TaskCall[R]: ...
    def prepare(  # type: ignore[misc]  # as enqueue
        self, task: AnyTask | TaskOf[Any], /, *args: Any, **kwargs: Any
    ) -> TaskCall[Any]:
        """The call that `enqueue` would store, checked as far as that is possible without the store.

        Works before the service is open, too; durations are then judged by this machine's clock.

        Raises:
            UnknownTaskError: No task of this name is registered here.
            InvalidTaskError: Arguments or options cannot be stored.
        """
        call = make_call(self.registry, cast("AnyTask", task), args, kwargs)
        self._new_task(call, 0, [call], (SystemClock() if self._operations is None else self.clock).now())
        return call

    @overload
    async def enqueue_many(self, calls: Iterable[TaskCall[R]], *, session: Any = None) -> list[TaskResult[R]]: ...
    @overload
    async def enqueue_many(self, calls: Iterable[TaskCall[Any]], *, session: Any = None) -> list[TaskResult[Any]]: ...
    @carried
    async def enqueue_many(self, calls: Iterable[TaskCall[Any]], *, session: Any = None) -> list[TaskResult[Any]]:
        """Store tasks in one write: all of them, or none.

        Args:
            calls: Calls of tasks: `task.call(...)`, or `task.using(priority=5).call(...)`.
            session: As for `enqueue`.

        Returns:
            For each, in order, what `enqueue` returns.

        Raises:
            InvalidTaskError: One of them cannot be stored; nothing was.
            QueueConfigurationError: The backend cannot work in such a session.
            BackendUnavailableError: The store cannot be reached; whether the tasks were stored is not known.
        """
        return await self._enqueue(checked_calls(calls), session)

    @carried
    async def get(self, task_id: str) -> TaskResult[Any] | None:
        """A task by id; None where it is not stored."""
        record = (await self.operations.backend.get([task_id])).get(task_id)
        return None if record is None else TaskResult(self, record, is_new=False)

    @carried
    async def cancel(self, task_id: str) -> TaskResult[Any]:
        """Cancel a task. One that runs is stopped at its worker's next heartbeat, and a run elsewhere is ended as well.

        Raises:
            TaskNotFoundError: It is not stored.
            TaskStateError: It ended in another way.
        """
        return TaskResult(self, await self.operations.cancel_task(task_id), is_new=False)

    @carried
    async def retry(self, task_id: str) -> TaskResult[Any]:
        """Let a failed or cancelled task run again, with a fresh budget of attempts.

        Raises:
            TaskNotFoundError: It is not stored.
            TaskStateError: It is neither failed nor cancelled, or its `expires_at` has passed.
            KeyHeldError: Another active task holds its key.
        """
        return TaskResult(self, await self.operations.revive_task(task_id), is_new=False)

    @carried
    async def stats(self, queues: Sequence[str] | None = None) -> QueueStats:
        """How many tasks are in each state, in these queues or in all.

        Raises:
            QueueConfigurationError: `queues` is one text instead of a list of names.
        """
        per_queue: dict[str, dict[State, int]] = {}
        totals = dict.fromkeys(State, 0)
        for count in await self.operations.backend.count(queue_names(queues)):
            per_queue.setdefault(count.queue, dict.fromkeys(State, 0))[count.state] += count.tasks
            totals[count.state] += count.tasks
        return QueueStats(dict(sorted(per_queue.items())), totals)

    @carried
    async def wait_for(self, result: TaskResult[Any], timeout: float | None) -> None:  # noqa: ASYNC109  # as TaskResult.wait
        """Refresh the result until it is finished; see `TaskResult.wait`."""
        if result.is_finished:
            return
        hint = asyncio.Event()
        self._waiting.setdefault(result.id, set()).add(hint)
        wakeups = self.operations.backend.wakeups
        ends = wakeups if isinstance(wakeups, EndHints) else None
        try:
            async with asyncio.timeout(timeout):
                with nullcontext() if ends is None else ends.listening_for_end(result.id, hint.set):
                    await self._look_until_finished(result, hint, ends)
        except TimeoutError as error:
            raise WaitTimeoutError(
                f"task {result.id} ({result.record.name}) was still {result.status.value} after {timeout} s; "
                "it goes on regardless: wait longer, or look at whether a worker serves "
                f"the queue {result.record.queue!r}"
            ) from error
        finally:
            hints = self._waiting[result.id]
            hints.discard(hint)
            if not hints:
                del self._waiting[result.id]

    @staticmethod
    async def _look_until_finished(result: TaskResult[Any], hint: asyncio.Event, ends: EndHints | None) -> None:
        pause = _FIRST_LOOK
        while not (await result.refresh()).is_finished:
            try:
                async with asyncio.timeout(_PAUSE_WITH_HINTS if ends is not None and ends.hears_ends else pause):
                    await hint.wait()
            except TimeoutError:
                pause = min(pause * 2, _LONGEST_PAUSE)
            hint.clear()

    @property
    def waited_for(self) -> Collection[str]:
        """The ids of the tasks whose end somebody waits for now, with `TaskResult.wait`."""
        return tuple(self._waiting)

    def _on_terminal(self, records: Sequence[TaskRecord]) -> None:
        for record in records:
            for hint in self._waiting.get(record.id, ()):
                hint.set()

    async def _enqueue(self, calls: Sequence[TaskCall[Any]], session: Any) -> list[TaskResult[Any]]:
        operations = self.operations
        now = self.clock.now()
        tasks = [self._new_task(call, index, calls, now) for index, call in enumerate(calls)]
        if any(self.execution.is_remote(name) for name in {task.execution_backend for task in tasks}):
            operations.check_dispatches()
        if session is not None:
            answers = await operations.enqueue_in(session, tasks)
            _warn_of_shared_keys(tasks, answers)
            return [TaskResult(self, answer.record, is_new=answer.is_new) for answer in answers]
        answers = await operations.enqueue_many(tasks)
        _warn_of_shared_keys(tasks, answers)
        return [TaskResult(self, await self._run_now(answer), is_new=answer.is_new) for answer in answers]

    def _new_task(self, call: TaskCall[Any], index: int, calls: Sequence[TaskCall[Any]], now: datetime) -> NewTask:
        backend = call.options.execution_backend or self.execution.name_of(in_order(self.config.execution_backend)[0])
        try:
            self._check_execution(call, backend)
            return call.new_task(now, execution_backend=backend, max_recoveries=self.config.max_recoveries)
        except InvalidTaskError as error:
            if len(calls) > 1:
                error.add_note(f"(task {index + 1} of {len(calls)}; none of them was stored)")
            raise

    def _check_execution(self, call: TaskCall[Any], backend: str) -> None:
        try:
            self.execution.check(backend, call.options.execution_profile)
        except InvalidTaskError as error:
            raise InvalidTaskError(f"task {call.task.name!r} cannot be enqueued: {error}") from None

    @property
    def _heart(self) -> ImmediateHeart:
        if self._immediate is None:
            self._immediate = ImmediateHeart(self.operations, self.config)
        return self._immediate

    async def run_claimed(self, record: TaskRecord, *, retry_at_once: bool = False) -> tuple[Event, Settled]:
        """Run a task that the caller claimed, here, and store its outcome.

        Args:
            record: The task as it was claimed.
            retry_at_once: Retry without waiting for the backoff.

        Returns:
            The outcome, and what became of its write.

        Raises:
            asyncio.CancelledError: The caller was cancelled; the task was given back.
        """
        context = TaskContext(record)
        try:
            with self._heart.keeping(context):
                event = await self.executor.execute(context, retry_at_once=retry_at_once)
        except asyncio.CancelledError:
            await asyncio.shield(self.operations.apply([Move(context.latest_record, Requeue())]))
            raise
        return event, await self.operations.apply([Move(context.latest_record, event)])

    async def _run_now(self, answer: Enqueued) -> TaskRecord:
        """Run a new task here if it is immediate and due; its retries too, without their waits."""
        record = answer.record
        if not answer.is_new or record.execution_backend != IMMEDIATE:
            return record
        stale_after = seconds(self.config.worker_stale_after).total_seconds()
        while record.state is State.PENDING:
            claimed = await self.operations.claim(
                Want(worker=IMMEDIATE, limit=1, tasks=(record.held,), stale_after=stale_after)
            )
            if not claimed:  # a worker was faster
                break
            event, settled = await self.run_claimed(claimed[0], retry_at_once=True)
            if not settled.stored:
                break
            record = settled.stored[0]
            if isinstance(event, Snooze):  # whatever it waits for, the caller does not
                break
        return (await self.operations.backend.get([record.id])).get(record.id, record)


def _warn_of_shared_keys(tasks: Sequence[NewTask], answers: Sequence[Enqueued]) -> None:
    """Log each task that was not stored because a task of another function holds its key."""
    for new, answer in zip(tasks, answers, strict=True):
        if not answer.is_new and answer.record.name != new.name:
            _log.warning(
                "task %r was not enqueued: the key %r belongs to the active task %s of %r; all functions share their keys, so "
                "put the name of the function into the key",
                new.name, new.key, answer.record.id, answer.record.name,
            )  # fmt: skip
