"""What the one who enqueued a task holds of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

import msgspec

from litestar_queues.codec import decode
from litestar_queues.context import Progress
from litestar_queues.errors import EncodingError, TaskNotFoundError, UnknownTaskError
from litestar_queues.lifecycle import TERMINAL, State
from litestar_queues.records import TaskRecord

if TYPE_CHECKING:
    from litestar_queues.service import QueueService

__all__ = ("TaskError", "TaskResult")

R = TypeVar("R")


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


class TaskResult(Generic[R]):
    """A task as it was when last looked at; `refresh` and `wait` look again."""

    def __init__(self, service: QueueService, record: TaskRecord, *, is_new: bool = True) -> None:
        self._service = service
        self._record = record
        self.is_new = is_new
        """Whether the enqueue stored it. False: an active task with its key existed, and this is that one."""

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
    def result(self) -> R | None:
        """What its function returned, as the return annotation has it; None unless it is completed.

        Raises:
            EncodingError: What it returned does not fit the annotation; `record.result` has it as JSON text.
        """
        if self._record.result is None:
            return None
        try:
            read = self._service.registry.get(self._record.name).signature.result
        except UnknownTaskError:
            return cast("R", decode(self._record.result))
        try:
            return cast("R", read.decode(self._record.result))
        except (msgspec.MsgspecError, ValueError, TypeError) as error:
            raise EncodingError(
                f"the result of task {self.id} does not fit the return annotation of {self._record.name!r}: {error}"
            ) from error

    @property
    def error(self) -> TaskError | None:
        """The failure of its last attempt; None where there is none, or a later attempt completed."""
        return None if self._record.error is None else msgspec.json.decode(self._record.error, type=TaskError)

    @property
    def progress(self) -> Progress | None:
        """How far it said it was at its last heartbeat."""
        return None if self._record.progress is None else msgspec.json.decode(self._record.progress, type=Progress)

    async def refresh(self) -> TaskResult[R]:
        """Look again.

        Raises:
            TaskNotFoundError: It is not stored any more.
        """
        found = await self._service.get(self.id)
        if found is None:
            raise TaskNotFoundError(f"task {self.id} is not stored any more: retention has deleted it")
        self._record = found.record
        return self

    async def wait(self, timeout: float | None = None) -> TaskResult[R]:  # noqa: ASYNC109  # the name users expect
        """Wait until it reaches a terminal state; look at `status`, `result` and `error` then.

        Args:
            timeout: The longest wait in seconds; None waits for ever.

        Raises:
            WaitTimeoutError: It did not, in that time. It goes on regardless.
            TaskNotFoundError: It is not stored any more.
        """
        await self._service.wait_for(self, timeout)
        return self

    def to_dict(self) -> dict[str, Any]:
        """Everything that is stored of it, as JSON values."""
        plain: dict[str, Any] = msgspec.to_builtins(self._record)
        for name in ("args", "kwargs", "metadata", "progress", "result", "error"):
            plain[name] = None if plain[name] is None else decode(plain[name])
        return plain
