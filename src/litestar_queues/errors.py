"""The errors that users see. Each text says what is wrong and what to do about it."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial
from typing import Any

__all__ = (
    "BackendError",
    "BackendUnavailableError",
    "DispatchNotSupportedError",
    "EncodingError",
    "InvalidScheduleError",
    "InvalidTaskError",
    "KeyHeldError",
    "MissingDependencyError",
    "NonRetryableError",
    "QueueConfigurationError",
    "QueueError",
    "RefusedError",
    "ScheduleNotFoundError",
    "StoreReplacedError",
    "TaskArgumentError",
    "TaskNotFinishedError",
    "TaskNotFoundError",
    "TaskStateError",
    "TasksLockedError",
    "TooLargeError",
    "UnknownTaskError",
    "WaitTimeoutError",
)


class QueueError(Exception):
    """The base of every error that this package raises."""


class QueueConfigurationError(QueueError):
    """The configuration contradicts itself, or names what does not exist."""


class DispatchNotSupportedError(QueueConfigurationError):
    """The queue backend cannot keep tasks that run elsewhere, and a remote execution backend needs that."""


class MissingDependencyError(QueueError, ImportError):
    """A feature needs a package that is not installed; names the extra to install."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(
            f"the package {package!r} is not installed: `pip install {package}` brings it, as does the extra {extra!r} of "
            "litestar-queues"
        )
        self.package = package
        self.extra = extra

    def __reduce__(self) -> tuple[type[MissingDependencyError], tuple[str, str]]:
        """As it was made: an exception is otherwise pickled and copied by its text."""
        return type(self), (self.package, self.extra)


class InvalidTaskError(QueueError, ValueError):
    """What was to be enqueued is refused, and nothing was stored."""


class EncodingError(InvalidTaskError):
    """A value cannot be written as JSON, or would not come back as it was."""


class TaskArgumentError(InvalidTaskError, TypeError):
    """The arguments do not fit the signature of the task's function."""


class InvalidScheduleError(InvalidTaskError):
    """What was said of a schedule contradicts itself, or means times that never come; nothing was stored."""


class UnknownTaskError(QueueError, LookupError):
    """No task of this name is registered in this process."""


class ScheduleNotFoundError(QueueError, LookupError):
    """No schedule of this name is stored."""


class TaskNotFoundError(QueueError, LookupError):
    """No task with this id is stored; retention may have deleted it."""


class TaskStateError(QueueError):
    """The task's state does not allow what was asked, or the caller no longer owns the task."""


class TaskNotFinishedError(TaskStateError):
    """The task has no result yet: it has not reached a terminal state."""


class KeyHeldError(TaskStateError):
    """Another active task holds the key."""


class WaitTimeoutError(QueueError, TimeoutError):
    """A task did not reach a terminal state in the time given; it goes on regardless."""


class BackendError(QueueError):
    """The store refused or failed, for a reason that the backend does not know; carries no credentials."""


class BackendUnavailableError(BackendError):
    """The store cannot be reached, or refuses for now; the same call may work later.

    A backend raises it for every refusal that passes by itself or by an operator's hand: a server that fails over, a full
    disk, a table that is being rebuilt. A worker keeps an outcome for as long as the store raises this.
    """


class TasksLockedError(BackendUnavailableError):
    """Somebody's transaction has locked tasks whose heartbeats were to be stored. Those of the others are stored.

    Attributes:
        kept: The ids of the tasks whose heartbeats are stored.
        locked: The ids of those that are locked. As far as can be seen, they are still the caller's.
    """

    def __init__(self, kept: Collection[str], locked: Collection[str]) -> None:
        self.kept = frozenset(kept)
        self.locked = frozenset(locked)
        some = ", ".join(sorted(self.locked)[:5])
        super().__init__(
            f"a transaction of somebody else holds locks on {len(self.locked)} tasks ({some}{', ...' if len(locked) > 5 else ''}), "
            f"so that their heartbeats cannot be stored: end it"
        )

    def __reduce__(self) -> tuple[type[TasksLockedError], tuple[frozenset[str], frozenset[str]]]:
        """As it was made: an exception is otherwise pickled and copied by its text."""
        return type(self), (self.kept, self.locked)


class RefusedError(BackendError):
    """The store will never take this, because of what it is: the same call ends in the same way."""


class TooLargeError(RefusedError, InvalidTaskError):
    """A task, its outcome or its progress is larger than the store takes; nothing of the call was stored.

    Attributes:
        size: Bytes that it takes on the way to the store.
        limit: Bytes that the store takes at most.
        task_id: The task that is too large; None where a whole batch is.
    """

    def __init__(self, text: str, *, size: int, limit: int, task_id: str | None = None) -> None:
        super().__init__(text)
        self.size = size
        self.limit = limit
        self.task_id = task_id

    def __reduce__(self) -> tuple[Callable[..., TooLargeError], tuple[Any, ...]]:
        """As it was made: an exception is otherwise pickled and copied by its text."""
        return partial(type(self), size=self.size, limit=self.limit, task_id=self.task_id), self.args


class StoreReplacedError(BackendUnavailableError):
    """The store was emptied, deleted or replaced by another one while it was in use. Nothing is written to it."""


class NonRetryableError(QueueError):
    """Raised inside a task: this attempt failed, and no other shall be made."""
