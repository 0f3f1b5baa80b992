"""Runs one task's function as a worker would, without a queue."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Generic, ParamSpec, TypeVar, cast, overload

from litestar_queues.clock import SystemClock
from litestar_queues.context import Progress, SnoozeRequest, TaskContext
from litestar_queues.errors import InvalidTaskError, NonRetryableError, QueueError, TaskArgumentError
from litestar_queues.execution.executor import ResultError, TaskExecutor
from litestar_queues.lifecycle import State
from litestar_queues.loops import HomeLoop
from litestar_queues.records import admit
from litestar_queues.result import TaskResult
from litestar_queues.service import QueueService
from litestar_queues.task import Task, TaskCall, TaskRegistry, TaskTemplate

__all__ = ("Performed", "perform", "perform_sync")

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Performed(Generic[R]):
    """What became of one attempt.

    Attributes:
        context: What `current_task()` was in the function.
        error: What the function raised; None where it returned or snoozed.
        snoozed: The delay that `snooze` asked for; None where it was not called.
    """

    context: TaskContext
    error: BaseException | None
    snoozed: timedelta | None
    _handle: TaskResult[R]
    _final: bool

    @property
    def value(self) -> R:
        """What the function returned, written as JSON and read back as the return annotation has it.

        Raises:
            BaseException: What the function raised.
            QueueError: The function snoozed.
            EncodingError: The value does not fit the return annotation.
        """
        if self.error is not None:
            raise self.error
        if self.snoozed is not None:
            raise QueueError(f"task {self.context.name!r} returned nothing: it snoozed for {self.snoozed}")
        return cast("R", self._handle.result)

    @property
    def progress(self) -> Progress | None:
        """How far the function said it was, the last time it did."""
        return self._handle.progress

    @property
    def would_retry(self) -> bool:
        """Whether a worker would run the task again after this failure."""
        return self.error is not None and not self._final and not self.context.is_last_attempt


@overload
async def perform(task: TaskCall[R], /, *, attempt: int = 1, raises: bool = True) -> Performed[R]: ...
@overload
async def perform(task: Task[P, R] | TaskTemplate[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Performed[R]: ...
async def perform(task: Any, /, *args: Any, **kwargs: Any) -> Performed[Any]:
    """Run a task's function once, here and now, as a worker would: nothing is stored, and no service is needed.

    Arguments and result make their way through JSON. `current_task()` works in the function, and so does the task's
    timeout. `perform(task, *args, **kwargs)` gives everything to the function; `perform(task.call(...))` takes options.

    Args:
        task: The task, a template of it (`task.using(metadata=...)`), or a call of either (`task.call(...)`).
        *args: Its arguments.
        **kwargs: Its keyword arguments. With a call: `attempt`, the number that the attempt has (1), and `raises`, whether
            what the function raises is raised here (True), or kept as `Performed.error`.

    Raises:
        BaseException: What the function raised: its own exception, `NonRetryableError` after `non_retryable`, or
            `TimeoutError` after its timeout. Snoozing is no error.
        InvalidTaskError: The arguments do not fit, or the task has no such attempt.
        QueueError: No asyncio event loop runs here.
    """
    HomeLoop()
    attempt, raises = 1, True
    if isinstance(task, TaskCall):
        attempt, raises = kwargs.pop("attempt", 1), kwargs.pop("raises", True)
    call = _call_of(task, args, kwargs)
    performed = await _perform(call, attempt)
    if raises and performed.error is not None:
        raise performed.error
    return performed


@overload
def perform_sync(task: TaskCall[R], /, *, attempt: int = 1, raises: bool = True) -> Performed[R]: ...
@overload
def perform_sync(task: Task[P, R] | TaskTemplate[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Performed[R]: ...
def perform_sync(task: Any, /, *args: Any, **kwargs: Any) -> Performed[Any]:
    """As `perform`, for tests without an event loop: it runs one for the function.

    Raises:
        QueueError: An event loop runs here: await `perform` instead.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(perform(task, *args, **kwargs))
    raise QueueError("an event loop runs here: use `await perform(...)` in async code")


def _call_of(task: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> TaskCall[Any]:
    if isinstance(task, TaskCall):
        if args or kwargs:
            raise TaskArgumentError("a call has its arguments already: perform takes attempt= and raises= with it")
        given: TaskCall[Any] = cast("Any", task)
        return given
    if isinstance(task, Task | TaskTemplate):
        return cast("Task[..., Any]", task).call(*args, **kwargs)
    raise TaskArgumentError(f"perform takes a task or a call of it, not {type(task).__qualname__}: put @task on it")


async def _perform(call: TaskCall[Any], attempt: int) -> Performed[Any]:
    now = SystemClock().now()
    record = admit(call.new_task(now), now)
    if not 1 <= attempt <= record.max_attempts:
        raise InvalidTaskError(
            f"task {record.name!r} has no attempt {attempt!r}, but {record.max_attempts}: give it more with "
            f"task.using(retries=...).call(...)"
        )
    record = record.evolve(
        state=State.RUNNING, attempt=attempt, fence=1, worker="perform", started_at=now, heartbeat_at=now
    )
    registry = TaskRegistry()
    registry.add(call.task)
    context = TaskContext(record)
    error, snoozed, result = None, None, None
    running = asyncio.get_running_loop().create_task(
        _attempt(TaskExecutor(registry, SystemClock(), threads=1), context)
    )
    outcome = await running
    match outcome:
        case str():
            result = outcome
        case SnoozeRequest():
            snoozed = outcome.delay
        case ResultError():
            error = outcome.__cause__
        case asyncio.CancelledError():
            error = QueueError(f"task {record.name!r} cancelled itself")
            error.__cause__ = outcome
        case _:
            error = outcome
    stored = context.latest_record.evolve(result=result)
    handle: TaskResult[Any] = TaskResult(QueueService(registry=registry), stored)
    final = isinstance(outcome, (NonRetryableError, TaskArgumentError, ResultError))
    return Performed(context, error, snoozed, handle, final)


async def _attempt(executor: TaskExecutor, context: TaskContext) -> str | BaseException:
    """The result as JSON text, or what the function raised; a context of its own."""
    try:
        return await executor.run(context)
    except asyncio.CancelledError as error:
        current = asyncio.current_task()
        if current is not None and current.cancelling():
            context.stop()
            raise
        return error
    except (KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:  # noqa: BLE001  # whatever a task raises is its outcome
        return error
