"""What a running task can know and say of itself."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from litestar_queues.codec import decode, encode
from litestar_queues.errors import InvalidTaskError, NonRetryableError, QueueError
from litestar_queues.options import check_duration
from litestar_queues.records import TaskRecord, seconds
from litestar_queues.schedules.marks import fire_of, schedule_of

if TYPE_CHECKING:
    from litestar_queues.execution.threads import ThreadSlot

__all__ = ("Progress", "SnoozeRequest", "TaskContext", "current_task", "non_retryable", "snooze")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a task has come: `done` from 0 to 1, and what it is doing."""

    done: float
    message: str | None = None


@dataclass(slots=True)
class TaskContext:
    """The task that runs here. May be used from the task's own thread and from the threads that it starts."""

    record: TaskRecord
    _stopped: bool = False
    _progress: str | None = None
    loop: asyncio.AbstractEventLoop | None = None
    """The event loop of the worker, once the task runs."""
    loop_thread: int | None = None
    """The thread that the loop runs in."""
    slot: ThreadSlot | None = None
    """The thread that is reserved for the task."""

    @property
    def id(self) -> str:
        return self.record.id

    @property
    def name(self) -> str:
        return self.record.name

    @property
    def queue(self) -> str:
        return self.record.queue

    @property
    def attempt(self) -> int:
        """The number of this attempt, the first being 1."""
        return self.record.attempt

    @property
    def recoveries(self) -> int:
        """How often stale recovery requeued the task since an attempt ended by itself: its workers went silent."""
        return self.record.recoveries

    @property
    def max_attempts(self) -> int:
        return self.record.max_attempts

    @property
    def is_last_attempt(self) -> bool:
        """Whether no retry will follow a failure."""
        return self.record.attempt >= self.record.max_attempts

    @property
    def metadata(self) -> Mapping[str, Any]:
        """What was enqueued with the task for others to read."""
        value: Mapping[str, Any] = decode(self.record.metadata)
        return value

    @property
    def schedule(self) -> str | None:
        """The name of the schedule that enqueued the task; None where none did."""
        return schedule_of(self.record)

    @property
    def fire(self) -> datetime | None:
        """The moment of the fire that enqueued the task, in UTC: the same however late it runs. None where none did."""
        return fire_of(self.record)

    @property
    def cancelled(self) -> bool:
        """Whether this attempt is to stop: cancelled, timed out, taken over by another worker, or the worker is leaving.

        An async task is interrupted at its next `await`. A sync task runs in a thread, which nothing can interrupt: a
        long one should look here from time to time, and return.
        """
        return self._stopped

    def progress(self, done: float, message: str | None = None) -> None:
        """Say how far the task has come. Costs nothing: it is stored with the worker's next heartbeat.

        Args:
            done: From 0 to 1.
            message: What the task is doing, for people.

        Raises:
            InvalidTaskError: `done` lies outside 0 to 1.
        """
        if not 0 <= done <= 1:
            raise InvalidTaskError(f"progress lies between 0 and 1, not at {done!r}")
        self._progress = encode({"done": done, "message": message}, "the progress")

    @property
    def latest_progress(self) -> str | None:
        """The progress as JSON text, for the next heartbeat."""
        return self._progress

    @property
    def latest_record(self) -> TaskRecord:
        """The task as it was claimed, with the progress that it has made since."""
        return self.record if self._progress is None else self.record.evolve(progress=self._progress)

    def run_async(self, function: Callable[..., Coroutine[Any, Any, T]], *args: Any) -> T:
        """Run an async function in the worker's event loop, from a sync task, and return what it returns.

        `current_task().run_async(other.enqueue, 3)` enqueues another task, for example.

        Raises:
            QueueError: This is the event loop's own thread: await the function instead. Or it is a process that the task
                forked, in which the worker's event loop does not run.
        """
        if self.loop is None or threading.get_ident() == self.loop_thread:
            raise QueueError(
                "run_async() is for sync tasks, which run in a thread of the worker's process: in an async task, await the "
                "function instead; in a process that the task forked, use a queue service of its own"
            )
        return asyncio.run_coroutine_threadsafe(function(*args), self.loop).result()

    def stop(self) -> None:
        """Tell the task that this attempt is to end."""
        self._stopped = True


class SnoozeRequest(BaseException):
    """Carries a task's wish to be run again later out of its function.

    No `Exception`, so that an `except Exception` in the task does not swallow it.
    """

    def __init__(self, delay: timedelta) -> None:
        super().__init__(delay)
        self.delay = delay


CONTEXT: ContextVar[TaskContext] = ContextVar("litestar_queues_task")


def current_task() -> TaskContext:
    """The task that runs here.

    Raises:
        QueueError: No task runs here.
    """
    try:
        return CONTEXT.get()
    except LookupError:
        raise QueueError(
            "no task runs here: current_task() is for code that a worker runs; in a test, run the function with perform() "
            "or perform_sync() of litestar_queues.testing"
        ) from None


def non_retryable(reason: str | BaseException) -> NoReturn:
    """End this attempt as failed, and make no other, whatever the budget.

    Args:
        reason: What to store as the error; an exception is kept as the cause.

    Raises:
        NonRetryableError: Always.
    """
    if isinstance(reason, BaseException):
        raise NonRetryableError(f"{type(reason).__name__}: {reason}") from reason
    raise NonRetryableError(reason)


def snooze(delay: float | timedelta) -> NoReturn:
    """End this attempt here and run the task again later. Spends no attempt.

    Args:
        delay: How long to wait, in seconds or as a timedelta; not negative.

    Raises:
        InvalidTaskError: The delay is negative, or no duration.
        SnoozeRequest: Otherwise, always.
    """
    check_duration("the snooze", delay)
    raise SnoozeRequest(seconds(delay))
