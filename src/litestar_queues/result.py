"""What the one who enqueued a task holds of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

import msgspec

from litestar_queues.codec import decode
from litestar_queues.context import Progress
from litestar_queues.errors import (
    EncodingError,
    QueueError,
    TaskNotFinishedError,
    TaskNotFoundError,
    UnknownTaskError,
)
from litestar_queues.lifecycle import TERMINAL, State
from litestar_queues.records import TaskRecord

if TYPE_CHECKING:
    from litestar_queues.service import QueueService

__all__ = ("TaskError", "TaskFailedError", "TaskResult")

R_co = TypeVar("R_co", covariant=True)


class TaskError(msgspec.Struct, frozen=True):
    """The failure of an attempt, as it was stored.

    Attributes:
        type: The exception's class.
        message: Its text.
        traceback: Its traceback, the end of it where it is long.
    """

    type: str
    message: str
    traceback: str | None = None

    def __str__(self) -> str:
        return f"{self.type}: {self.message}"


class TaskFailedError(QueueError):
    """The task ended without a result: it failed, was cancelled, or expired.

    Attributes:
        task_name: The task's name.
        task_id: Its id.
        status: The terminal state.
        error: The stored error of its last attempt; None where no attempt failed.
    """

    def __init__(self, task_name: str, task_id: str, status: State, error: TaskError | None = None) -> None:
        super().__init__(task_name, task_id, status, error)  # what pickle makes it from again
        self.task_name = task_name
        self.task_id = task_id
        self.status = status
        self.error = error

    def __str__(self) -> str:
        reason = "" if self.error is None else f"; the error of its last attempt: {self.error}"
        return f"task {self.task_id} ({self.task_name}) has no result, it is {self.status.value}{reason}"


class TaskResult(Generic[R_co]):
    """A task as it was when last looked at; `refresh` and `wait` look again."""

    is_new: bool
    """Whether the enqueue stored the task. False: an active task with its key existed, and this is that one."""

    def __init__(self, service: QueueService, record: TaskRecord, *, is_new: bool = True) -> None:
        self._service = service
        self._record = record
        self.is_new = is_new

    def __repr__(self) -> str:
        return f"<TaskResult {self.id} {self._record.name!r} {self.status.value}>"

    @property
    def id(self) -> str:
        return self._record.id

    @property
    def record(self) -> TaskRecord:
        """Everything that is stored of it."""
        return self._record

    @property
    def status(self) -> State:
        return self._record.state

    @property
    def is_finished(self) -> bool:
        """Whether it reached a terminal state."""
        return self._record.state in TERMINAL

    @property
    def attempt(self) -> int:
        """How many attempts were begun and counted."""
        return self._record.attempt

    @property
    def result(self) -> R_co | None:
        """What its function returned, as the return annotation has it; None unless it is completed.

        Raises:
            EncodingError: What it returned does not fit the annotation; `record.result` has it as JSON text.
        """
        if self._record.result is None:
            return None
        try:
            read = self._service.registry.get(self._record.name).signature.result
        except UnknownTaskError:
            return cast("R_co", decode(self._record.result))
        try:
            return cast("R_co", read.decode(self._record.result))
        except (msgspec.MsgspecError, ValueError, TypeError) as error:
            raise EncodingError(
                f"the result of task {self.id} does not fit the return annotation of {self._record.name!r}: {error}"
            ) from error

    def value(self) -> R_co:
        """Return what its function returned, as the return annotation has it: None only where the function returned None.

        Looks at the task as it was last read, like every property: a retry by an operator since then is not seen.

        Raises:
            TaskFailedError: It failed, was cancelled, or expired. The error carries what was stored.
            TaskNotFinishedError: It has not reached a terminal state.
            EncodingError: What it returned does not fit the annotation; `record.result` has it as JSON text.
        """
        if not self.is_finished:
            raise TaskNotFinishedError(
                f"task {self.id} ({self._record.name}) has no result yet, it was {self.status.value} when last looked at: "
                "await result.wait() first"
            )
        self._raise_if_failed()
        return cast("R_co", self.result)

    def _raise_if_failed(self) -> None:
        if self.status is not State.COMPLETED:
            raise TaskFailedError(self._record.name, self.id, self.status, self.error)

    @property
    def error(self) -> TaskError | None:
        """The failure of its last attempt; None where there is none, or a later attempt completed."""
        return None if self._record.error is None else msgspec.json.decode(self._record.error, type=TaskError)

    @property
    def recoveries(self) -> int:
        """How often stale recovery requeued it since an attempt ended by itself."""
        return self._record.recoveries

    @property
    def history(self) -> list[dict[str, Any]]:
        """What went wrong before its last attempt, the latest last: event, attempt, time, and the error's type and message."""
        try:
            return msgspec.json.decode(self._record.history or "[]", type=list[dict[str, Any]])
        except msgspec.MsgspecError:  # somebody edited it
            return []

    @property
    def progress(self) -> Progress | None:
        """How far it said it was at its last heartbeat."""
        return None if self._record.progress is None else msgspec.json.decode(self._record.progress, type=Progress)

    async def refresh(self) -> TaskResult[R_co]:
        """Look again.

        Raises:
            TaskNotFoundError: It is not stored any more.
        """
        found = await self._service.get(self.id)
        if found is None:
            raise TaskNotFoundError(f"task {self.id} is not stored any more: retention has deleted it")
        self._record = found.record
        return self

    async def wait(self, timeout: float | None = None, *, raises: bool = False) -> TaskResult[R_co]:  # noqa: ASYNC109  # the name users expect
        """Wait until it reaches a terminal state; look at `status`, `result` and `error` then, or take its `value()`.

        Args:
            timeout: The longest wait in seconds; None waits for ever.
            raises: Whether to raise where it does not complete.

        Raises:
            WaitTimeoutError: It did not, in that time. It goes on regardless.
            TaskNotFoundError: It is not stored any more.
            TaskFailedError: With `raises`: it failed, was cancelled, or expired.
        """
        await self._service.wait_for(self, timeout)
        if raises:
            self._raise_if_failed()
        return self

    def to_dict(self) -> dict[str, Any]:
        """Everything that is stored of it, as JSON values."""
        plain: dict[str, Any] = msgspec.to_builtins(self._record)
        for name in ("args", "kwargs", "metadata", "progress", "result", "error", "history"):
            plain[name] = None if plain[name] is None else decode(plain[name])
        return plain
