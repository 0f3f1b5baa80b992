"""Runs one claimed task in this process, and says what became of it as an event of the lifecycle."""

from __future__ import annotations

import asyncio
import logging
import threading
import traceback
from datetime import datetime, timedelta
from typing import Any

from litestar_queues.clock import Clock
from litestar_queues.codec import encode
from litestar_queues.context import CONTEXT, SnoozeRequest, TaskContext
from litestar_queues.errors import (
    EncodingError,
    InvalidTaskError,
    NonRetryableError,
    TaskArgumentError,
    UnknownTaskError,
)
from litestar_queues.execution.threads import ThreadSlots
from litestar_queues.lifecycle import Complete, Event, Fail, Snooze
from litestar_queues.options import after
from litestar_queues.records import TaskRecord
from litestar_queues.task import DEFAULT_BACKOFF, Task, TaskRegistry

__all__ = ("ResultError", "TaskExecutor", "error_text")

_log = logging.getLogger("litestar_queues.tasks")
_TRACEBACK_MAX = 16_000
_MESSAGE_MAX = 4_000


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

    async def execute(self, context: TaskContext, *, retry_at_once: bool = False) -> Event:
        """Run the task and return its outcome; never raises for what the task does.

        Args:
            context: The claimed task.
            retry_at_once: Retry without waiting for the backoff.

        Raises:
            asyncio.CancelledError: The caller cancelled; the task was interrupted, and its outcome is the caller's.
        """
        record = context.record
        try:
            return Complete(await self.run(context))
        except SnoozeRequest as request:
            try:
                return Snooze(after(self._clock.now(), request.delay, "the snooze"))
            except InvalidTaskError as error:
                return self.failure(context, error, retry_at_once=retry_at_once)
        except (UnknownTaskError, TaskArgumentError, ResultError) as error:
            _log.error("task %s (%s) cannot run: %s", record.id, record.name, error)  # the text says it all
            return Fail(error_text(error.__cause__ if isinstance(error, ResultError) else error))
        except NonRetryableError as error:
            _log.warning("task %s (%s) failed for good: %s", record.id, record.name, error)
            return Fail(error_text(error))
        except asyncio.CancelledError as error:
            current = asyncio.current_task()
            if current is not None and current.cancelling():
                raise
            return self.failure(context, error, retry_at_once=retry_at_once)
        except (KeyboardInterrupt, GeneratorExit):  # the process, or this coroutine, is to end
            raise
        except BaseException as error:  # noqa: BLE001  # whatever a task raises is its outcome
            return self.failure(context, error, retry_at_once=retry_at_once)

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
        record = context.record
        if context.is_last_attempt:
            _log.error(
                "task %s (%s) failed in its last attempt (%d)", record.id, record.name, record.attempt, exc_info=error
            )
            return Fail(error_text(error))
        now = self._clock.now()
        retry_at = now if retry_at_once else self._retry_at(record, now)
        _log.warning(
            "task %s (%s) failed in attempt %d of %d, the next one in %.1f s: %s",
            record.id, record.name, record.attempt, record.max_attempts, (retry_at - now).total_seconds(), _message(error),
        )  # fmt: skip
        return Fail(error_text(error), retry_at=retry_at)

    def _retry_at(self, record: TaskRecord, now: datetime) -> datetime:
        try:
            return now + timedelta(seconds=self._registry.get(record.name).backoff.delay(record.attempt))
        except Exception:  # noqa: BLE001  # a backoff of the user's own must not cost the task its retries
            _log.exception("the backoff of task %s (%s) failed, and the usual one is taken", record.id, record.name)
            return now + timedelta(seconds=DEFAULT_BACKOFF.delay(record.attempt))

    async def _run(self, task: Task[Any, Any], context: TaskContext) -> str:
        record = context.record
        args, kwargs = task.signature.decode(record.args, record.kwargs)
        result = await (
            self._call(task, args, kwargs)
            if record.timeout is None
            else self._call_in_time(task, args, kwargs, context)
        )
        try:
            return encode(result, f"the result of task {record.name!r}")
        except EncodingError as error:
            # Running again would repeat what the task did, and end here again.
            raise ResultError from error

    async def _call(
        self, task: Task[Any, Any], args: list[Any], kwargs: dict[str, Any], timer: asyncio.Timeout | None = None
    ) -> Any:
        if task.is_async:
            return await task.function(*args, **kwargs)
        return await self._threads.run(lambda: task.function(*args, **kwargs), timer)

    async def _call_in_time(
        self, task: Task[Any, Any], args: list[Any], kwargs: dict[str, Any], context: TaskContext
    ) -> Any:
        timer = asyncio.timeout(context.record.timeout)
        try:
            async with timer:
                return await self._call(task, args, kwargs, timer)
        except TimeoutError as error:
            if not timer.expired():  # the task's own
                raise
            context.stop()
            raise TimeoutError(
                f"attempt {context.attempt} took longer than its timeout of {context.record.timeout:g} s"
            ) from error


class ResultError(Exception):
    """The task ran to its end, and its result cannot be stored."""


def error_text(error: BaseException | None) -> str:
    """An exception as JSON text: its type, its message and its traceback, bounded in size."""
    if error is None:
        return encode({"type": "Unknown", "message": "", "traceback": None}, "the error")
    lines = "".join(traceback.format_exception(error))
    described = {
        "type": type(error).__qualname__,
        "message": _message(error),
        "traceback": _storable(lines[-_TRACEBACK_MAX:]),
    }
    return encode(described, "the error")


def _message(error: BaseException) -> str:
    try:
        return _storable(str(error)[:_MESSAGE_MAX])
    except Exception:  # noqa: BLE001  # an exception whose own text fails
        return "(its text could not be read)"


def _storable(text: str) -> str:
    return text.replace("\x00", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode()
