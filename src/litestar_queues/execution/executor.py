"""Runs one claimed task in this process, and says what became of it as an event of the lifecycle."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import traceback
from datetime import datetime, timedelta
from typing import Any

from litestar_queues.clock import Clock
from litestar_queues.codec import encode
from litestar_queues.context import CONTEXT, SnoozeRequest, TaskContext
from litestar_queues.errors import (
    InvalidTaskError,
    NonRetryableError,
    TaskArgumentError,
    UnknownTaskError,
)
from litestar_queues.execution.exits import original
from litestar_queues.execution.forks import end_child
from litestar_queues.execution.threads import ThreadSlots
from litestar_queues.lifecycle import Complete, Event, Fail, Snooze
from litestar_queues.options import after
from litestar_queues.records import TaskRecord
from litestar_queues.task import DEFAULT_BACKOFF, Task, TaskRegistry

__all__ = ("ResultError", "TaskExecutor", "error_text")

_log = logging.getLogger("litestar_queues.tasks")
_TRACEBACK_MAX = 16_000
_MESSAGE_MAX = 4_000
_FRAMES_MAX = 50
"""How many frames of each traceback are kept, the innermost."""
_CAUSES_MAX = 50
"""The most causes and members of groups that are formatted: each takes about a millisecond of the event loop."""


class TaskExecutor:
    """Runs tasks of a registry.

    Args:
        registry: Where functions are found by name.
        clock: The store's time.
        threads: How many sync functions may run at once.
    """

    def __init__(self, registry: TaskRegistry, clock: Clock, *, threads: int) -> None:
        self._registry = registry
        self._clock = clock
        self._threads = ThreadSlots(threads)
        self.running: dict[str, TaskContext] = {}
        """What runs now, by the id of the task."""

    @property
    def threads(self) -> ThreadSlots:
        """Where sync functions run."""
        return self._threads

    @property
    def knows_async(self) -> bool:
        """Whether an async task is registered here."""
        return any(self._registry.get(name).is_async for name in self._registry.names())

    def reserve(self, context: TaskContext) -> bool:
        """Reserve the thread that the task needs to start at once; False where none is free.

        An async task needs none, and so does one that is not registered here, which fails at once.
        """
        try:
            if self._registry.get(context.name).is_async:
                return True
        except UnknownTaskError:
            return True
        context.slot = self._threads.reserve()
        return context.slot is not None

    def still_runs(self, task_id: str) -> bool:
        """Whether an earlier attempt of the task still runs in this process, although nobody waits for its outcome."""
        return task_id in self.running or self._threads.still_runs(task_id)

    async def execute(self, context: TaskContext, *, retry_at_once: bool = False) -> Event:
        """Run the task and return its outcome; never raises for what the task does.

        Args:
            context: The claimed task.
            retry_at_once: Retry without waiting for the backoff.

        Raises:
            asyncio.CancelledError: The caller cancelled; the task was interrupted, and its outcome is the caller's.
        """
        try:
            return await self._execute(context, retry_at_once=retry_at_once)
        except BaseException as error:  # whatever it is, the task must not stay without an outcome
            if _is_ours(error):
                raise
            _log_error(error, "the outcome of task %s (%s) could not be made", context.id, context.name)
            last = context.is_last_attempt
            return Fail(error_text(error), None if last else self._usual_retry_at(context.record, self._clock.now()))

    async def _execute(self, context: TaskContext, *, retry_at_once: bool) -> Event:
        record = context.record
        try:
            return Complete(await self.run(context))
        except SnoozeRequest as request:
            try:
                return Snooze(after(self._clock.now(), request.delay, "the snooze"))
            except InvalidTaskError as error:
                return self.failure(context, error, retry_at_once=retry_at_once)
        except (UnknownTaskError, TaskArgumentError, ResultError) as error:
            cause = error.__cause__ if isinstance(error, ResultError) and error.__cause__ is not None else error
            _log.error("task %s (%s) cannot run: %s", record.id, record.name, _message(cause))  # it says it all
            return Fail(error_text(cause))
        except NonRetryableError as error:
            _log.warning("task %s (%s) failed for good: %s", record.id, record.name, _message(error))
            return Fail(error_text(error))
        except BaseException as error:  # whatever a task raises is its outcome
            if _is_ours(error):
                raise
            return self.failure(context, original(error), retry_at_once=retry_at_once)

    async def run(self, context: TaskContext) -> str:
        """Run the task, and return its result as JSON text; `execute` makes an event of whatever this raises.

        Raises:
            UnknownTaskError: No task of this name is registered here.
            TaskArgumentError: The stored arguments do not fit the function.
            ResultError: The function returned what cannot be stored.
            BaseException: Whatever the function raises.
        """
        context.loop, context.loop_thread = asyncio.get_running_loop(), threading.get_ident()
        token = CONTEXT.set(context)
        self.running[context.id] = context
        try:
            return await self._run(self._registry.get(context.record.name), context)
        finally:
            if self.running.get(context.id) is context:
                del self.running[context.id]
            CONTEXT.reset(token)

    def failure(self, context: TaskContext, error: BaseException, *, retry_at_once: bool = False) -> Fail:
        """The outcome of an attempt that ended with this error: to be retried, while the budget lasts."""
        record, text = context.record, error_text(error)
        if context.is_last_attempt:
            _log_error(error, "task %s (%s) failed in its last attempt (%d)", record.id, record.name, record.attempt)
            return Fail(text)
        now = self._clock.now()
        retry_at = now if retry_at_once else self._retry_at(record, now)
        _log.warning(
            "task %s (%s) failed in attempt %d of %d, the next one in %.1f s: %s",
            record.id, record.name, record.attempt, record.max_attempts, (retry_at - now).total_seconds(), _message(error),
        )  # fmt: skip
        return Fail(text, retry_at=retry_at)

    def _retry_at(self, record: TaskRecord, now: datetime) -> datetime:
        try:
            return now + timedelta(seconds=self._registry.get(record.name).backoff.delay(record.attempt))
        except BaseException as error:  # noqa: BLE001  # a backoff of the user's own must not cost the task its retries
            _log_error(error, "the backoff of task %s (%s) failed, and the usual one is taken", record.id, record.name)
            return self._usual_retry_at(record, now)

    @staticmethod
    def _usual_retry_at(record: TaskRecord, now: datetime) -> datetime:
        return now + timedelta(seconds=DEFAULT_BACKOFF.delay(record.attempt))

    async def _run(self, task: Task[Any, Any], context: TaskContext) -> str:
        record = context.record
        args, kwargs = task.signature.decode(record.args, record.kwargs)
        result = await (
            self._call(task, args, kwargs, context)
            if record.timeout is None
            else self._call_in_time(task, args, kwargs, context)
        )
        try:
            return encode(result, f"the result of task {record.name!r}")
        except BaseException as error:  # the result's own code may take part, and raise what it likes
            # Running again would repeat what the task did, and end here again.
            raise ResultError from error

    async def _call(
        self,
        task: Task[Any, Any],
        args: list[Any],
        kwargs: dict[str, Any],
        context: TaskContext,
        timer: asyncio.Timeout | None = None,
    ) -> Any:
        if not task.is_async:
            return await self._threads.run(
                lambda: task.function(*args, **kwargs), timer, slot=context.slot, record=context.record
            )
        pid = os.getpid()
        try:
            result = await task.function(*args, **kwargs)
        except BaseException as error:
            if os.getpid() != pid:
                end_child(error)
            raise
        if os.getpid() != pid:
            end_child(None)
        return result

    async def _call_in_time(
        self, task: Task[Any, Any], args: list[Any], kwargs: dict[str, Any], context: TaskContext
    ) -> Any:
        timer = asyncio.timeout(context.record.timeout)
        try:
            async with timer:
                return await self._call(task, args, kwargs, context, timer)
        except TimeoutError as error:
            if not timer.expired():  # the task's own
                raise
            context.stop()
            where = f", and its call still ran in a thread of {context.record.worker}"
            raise TimeoutError(
                f"attempt {context.attempt} took longer than its timeout of {context.record.timeout:g} s"
                f"{where if self._threads.still_runs(context.id) else ''}"
            ) from error


class ResultError(Exception):
    """The task ran to its end, and its result cannot be stored."""


def error_text(error: BaseException | None) -> str:
    """An exception as JSON text: its type, its message and its traceback, bounded in size. Never raises."""
    if error is None:
        return encode({"type": "Unknown", "message": "", "traceback": None}, "the error")
    described = {"type": _type_name(error), "message": _message(error), "traceback": _traceback(error)}
    return encode(described, "the error")


def _type_name(error: BaseException) -> str:
    try:
        return _storable(str(type(error).__qualname__)[:_MESSAGE_MAX])
    except BaseException:  # noqa: BLE001  # a metaclass of the user's own takes part
        return "Unknown"


def _message(error: BaseException) -> str:
    try:
        return _storable(str(error)[:_MESSAGE_MAX])
    except BaseException:  # noqa: BLE001  # an exception whose own text fails
        return "(its text could not be read)"


def _traceback(error: BaseException) -> str:
    """As Python prints it, with the causes, unless there are too many of them to look at while others wait."""
    try:
        if _is_small(error):
            lines = "".join(traceback.format_exception(error, limit=-_FRAMES_MAX))
        else:
            frames = "".join(traceback.format_tb(error.__traceback__, limit=-_FRAMES_MAX))
            lines = f"{frames}{_type_name(error)}: {_message(error)}\n(with more causes than are kept)\n"
        return _storable(lines[-_TRACEBACK_MAX:])
    except BaseException:  # noqa: BLE001  # code of the exception's own takes part
        return "(its traceback could not be read)"


def _log_error(error: BaseException, text: str, *args: object) -> None:
    """Log an exception in a form that its own code, and the number of its causes, cannot spoil."""
    try:
        if _is_small(error):
            _log.error(text, *args, exc_info=error)
            return
    except BaseException:  # noqa: BLE001  # code of the exception's own, or of a log handler, takes part
        _log.debug("an exception could not be logged as it is")
    _log.error(f"{text}\n%s", *args, _traceback(error))


def _is_small(error: BaseException) -> bool:
    """Whether the exception has few enough causes and members for Python to format."""
    waiting: list[BaseException] = [error]
    seen: set[int] = set()
    while waiting:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        if len(seen) > _CAUSES_MAX:
            return False
        waiting.extend(cause for cause in (one.__cause__, one.__context__) if cause is not None)
        if isinstance(one, BaseExceptionGroup):
            members: tuple[BaseException, ...] = one.exceptions  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]  # of any kind
            waiting.extend(members[: _CAUSES_MAX + 1])
    return True


def _is_ours(error: BaseException) -> bool:
    """Whether the exception comes from the caller, and not from the task: a cancellation, or the end of the coroutine."""
    if isinstance(error, asyncio.CancelledError):
        current = asyncio.current_task()
        return current is not None and current.cancelling() > 0
    if isinstance(error, GeneratorExit):
        try:
            asyncio.get_running_loop()
        except RuntimeError:  # nobody runs this coroutine any more
            return True
    return False


def _storable(text: str) -> str:
    return text.replace("\x00", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode()
