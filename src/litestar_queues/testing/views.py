"""Stored tasks as a test looks at them: values instead of JSON text."""

from __future__ import annotations

import reprlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from litestar_queues.codec import Signature, decode
from litestar_queues.errors import TaskArgumentError, UnknownTaskError
from litestar_queues.lifecycle import State
from litestar_queues.records import TaskRecord
from litestar_queues.result import TaskError, TaskResult

if TYPE_CHECKING:
    from litestar_queues.context import Progress
    from litestar_queues.service import QueueService

__all__ = ("EnqueuedTask", "bind", "call_text", "short")

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 120


def short(value: object) -> str:
    """The value for a message, cut where it is long."""
    return _SHORT.repr(value)


def bind(signature: Signature, args: Iterable[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments by the names of their parameters, defaults filled in.

    Raises:
        TaskArgumentError: They do not fit the function.
    """
    try:
        bound = signature.signature.bind(*args, **kwargs)
    except TypeError as error:
        raise TaskArgumentError(
            f"the arguments do not fit task {signature.name!r}: {error}; its signature is "
            f"{signature.name}{signature.signature}"
        ) from error
    bound.apply_defaults()
    return dict(bound.arguments)


def call_text(name: str, arguments: Mapping[str, Any]) -> str:
    """A call for a message: `mail.welcome(address='ada@example.org')`."""
    return f"{name}({', '.join(f'{key}={short(value)}' for key, value in arguments.items())})"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class EnqueuedTask:
    """A stored task, as it was when the test looked.

    Attributes:
        handle: What `enqueue` returns; with `refresh`, `wait` and the rest.
        args: The positional arguments, as the values that the function gets: a UUID is a UUID.
        kwargs: The keyword arguments, likewise.
        arguments: All arguments by the names of their parameters, defaults filled in. Where the task is not registered
            here, or its parameters have changed, positional ones have their positions as names.
    """

    handle: TaskResult[Any]
    args: tuple[Any, ...] = field(init=False)
    kwargs: Mapping[str, Any] = field(init=False)
    arguments: Mapping[str, Any] = field(init=False)

    @classmethod
    def of(cls, service: QueueService, record: TaskRecord) -> EnqueuedTask:
        """The view of a record."""
        made = cls(TaskResult(service, record, is_new=False))
        try:
            signature = service.registry.get(record.name).signature
            args, kwargs = signature.decode(record.args, record.kwargs)
            arguments = bind(signature, args, kwargs)
        except (UnknownTaskError, TaskArgumentError):
            args, kwargs = decode(record.args), decode(record.kwargs)
            arguments = {**{str(place): value for place, value in enumerate(args)}, **kwargs}
        for name, value in {"args": tuple(args), "kwargs": kwargs, "arguments": arguments}.items():
            object.__setattr__(made, name, value)
        return made

    def __repr__(self) -> str:
        return f"<EnqueuedTask {self}>"

    def __str__(self) -> str:
        said = [f"queue {self.queue!r}"]
        said += [f"priority {self.priority}"] if self.priority else []
        said += [f"key {self.key!r}"] if self.key else []
        said += [f"due in {self.delay.total_seconds():.0f} s"] if self.state is State.SCHEDULED else []
        said += [str(self.error)] if self.error else []
        return f"{call_text(self.name, self.arguments)}: {self.state.value}, {', '.join(said)}"

    @property
    def record(self) -> TaskRecord:
        """Everything that is stored of it, arguments as JSON text."""
        return self.handle.record

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
    def state(self) -> State:
        return self.record.state

    @property
    def priority(self) -> int:
        return self.record.priority

    @property
    def key(self) -> str | None:
        """The key; also the one that `unique_by` made."""
        return self.record.key

    @property
    def attempt(self) -> int:
        """How many attempts were begun and counted."""
        return self.record.attempt

    @property
    def retries(self) -> int:
        """How many attempts may follow the first."""
        return self.record.max_attempts - 1

    @property
    def timeout(self) -> float | None:
        """The longest that one attempt may take, in seconds."""
        return self.record.timeout

    @property
    def due_at(self) -> datetime:
        return self.record.due_at

    @property
    def expires_at(self) -> datetime | None:
        return self.record.expires_at

    @property
    def delay(self) -> timedelta:
        """From the enqueue until it is due: zero where it was due at once."""
        return max(self.record.due_at - self.record.created_at, timedelta(0))

    @property
    def metadata(self) -> Mapping[str, Any]:
        value: Mapping[str, Any] = decode(self.record.metadata)
        return value

    @property
    def result(self) -> Any:
        """What its function returned; see `TaskResult.result`."""
        return self.handle.result

    @property
    def error(self) -> TaskError | None:
        """The failure of its last attempt; see `TaskResult.error`."""
        return self.handle.error

    @property
    def progress(self) -> Progress | None:
        """How far it said it was."""
        return self.handle.progress
