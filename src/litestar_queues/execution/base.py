"""The port of execution backends: where a task runs.

A *local* execution backend leaves its tasks to the workers, which claim and run them. A *remote* one starts a run
elsewhere for each task. Its tasks take another way: a dispatcher in a worker reserves waiting tasks for a bounded time,
has the backend start a run for each, and stores the run's reference. The run claims its own task by id, under the fence
that it was started with, and the attempt counts from there. `litestar_queues.execution.remote` is what runs there.

The queue decides with the fence who owns a task, so that an execution backend guarantees nothing of its own. A run that
was started twice, was forgotten, or comes late loses its claim.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, runtime_checkable

from litestar_queues.records import REF_MAX, TaskRecord, check_name

__all__ = ("ExecutionBackend", "ExecutionBackendConfig", "Failed", "Outlook", "RunState", "Started", "same_run")


class RunState(StrEnum):
    """What is known of a run elsewhere."""

    ACTIVE = "active"
    """It waits for its start, or runs; or nothing can be learned of it now, which counts as the same."""
    SUCCEEDED = "succeeded"
    """It has ended well."""
    FAILED = "failed"
    """It has ended badly."""
    CANCELLED = "cancelled"
    """Somebody has ended it."""
    VANISHED = "vanished"
    """No run of this reference is known there any more."""


class Outlook(StrEnum):
    """What a failed dispatch means for the next one."""

    FOR_NOW = "for_now"
    """The service takes nothing at the moment (a quota, an outage): all of its tasks wait, and keep their places."""
    REFUSED = "refused"
    """The service will not take such tasks until somebody changes something: a permission, a job's name."""
    UNCLEAR = "unclear"
    """A run may have been started: the reservation stays, and either its run claims the task or it runs out."""


@dataclass(frozen=True, slots=True)
class Started:
    """A run was started for the task. `ref` is its whole name, by which `status` and `cancel` know it.

    Raises:
        QueueConfigurationError: `ref` is longer than `records.REF_MAX`, or cannot be stored.
    """

    ref: str

    def __post_init__(self) -> None:
        check_name("reference of the run", self.ref, REF_MAX)


@dataclass(frozen=True, slots=True)
class Failed:
    """No run was started, as far as is known.

    Attributes:
        reason: One sentence for the log and the task's history: what is wrong, and what to do. Without credentials.
        outlook: What this means for the next dispatch.
    """

    reason: str
    outlook: Outlook


def same_run(one: str, other: str) -> bool:
    """Whether two references name one run: only what follows their last slash counts.

    A run may know itself by that part alone, and a service may write one place in two ways. Two runs that are taken for one
    cost nothing: the fence lets one of them claim the task.
    """
    return one.rpartition("/")[2] == other.rpartition("/")[2]


@runtime_checkable
class ExecutionBackend(Protocol):
    """Where tasks run. Many asyncio tasks of one event loop call one object at the same time."""

    @property
    def name(self) -> str:
        """What tasks call it in `execution_backend`: at most 50 characters."""
        ...

    @property
    def is_remote(self) -> bool:
        """Whether runs are started elsewhere. If not, workers run its tasks, and `dispatch` is never called."""
        ...

    @property
    def fallback(self) -> str | None:
        """The execution backend that gets the tasks that this one refuses; None where they wait."""
        ...

    async def open(self) -> None:
        """Make it usable; called before the first `dispatch`, `status` or `cancel`. It may connect later.

        Raises:
            QueueConfigurationError: The configuration cannot work.
        """
        ...

    async def close(self) -> None:
        """Release what `open` and later calls made. Runs go on. Harmless when repeated."""
        ...

    def check_profile(self, profile: str | None) -> None:
        """Refuse an `execution_profile` that it does not know, at the enqueue; needs no `open`.

        Raises:
            InvalidTaskError: It is one; names the known ones.
        """
        ...

    async def dispatch(self, tasks: Sequence[TaskRecord]) -> list[Started | Failed]:
        """Start one run for each task, and return without waiting for its end.

        A run gets the task's id and `task.fence` on its way, and nothing else of the task: it reads the record. The
        results stand in the order of the tasks. Cancelled in the middle, it may have started any of them.

        Returns:
            For each task the run's reference, or why there is none. It raises nothing for what the service answers.
        """
        ...

    async def status(self, refs: Collection[str]) -> Mapping[str, RunState]:
        """What is known of these runs. One that is left out, or cannot be learned of now, counts as active."""
        ...

    async def cancel(self, ref: str) -> None:
        """End a run. One that has ended, or is not known, stays as it is.

        Raises:
            BackendError: The service refused, or cannot be reached; without credentials.
        """
        ...


@runtime_checkable
class ExecutionBackendConfig(Protocol):
    """What `QueueConfig(execution_backend=...)` takes beside a name or an execution backend: it makes one."""

    def create_execution_backend(self) -> ExecutionBackend:
        """An execution backend that is not open yet.

        Raises:
            QueueConfigurationError: The configuration cannot work.
            MissingDependencyError: A package is missing; names the extra.
        """
        ...
