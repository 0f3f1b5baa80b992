"""The execution backends that are built in: workers run their tasks, or the enqueue does."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from litestar_queues.errors import QueueError
from litestar_queues.execution.base import Failed, RunState, Started
from litestar_queues.records import TaskRecord

__all__ = ("IMMEDIATE", "LOCAL", "HereExecution")

LOCAL = "local"
"""Runs a task in a worker."""
IMMEDIATE = "immediate"
"""Runs a task inside its enqueue. One that waits, for a delay or a retry, is run by a worker."""


class HereExecution:
    """Runs tasks in the processes of the application.

    Args:
        name: What tasks call it.
    """

    is_remote = False
    fallback: str | None = None

    def __init__(self, name: str) -> None:
        self.name = name

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    def check_profile(self, profile: str | None) -> None:
        """Accept every profile: it means nothing here, and a task that runs here in a test keeps its own."""

    async def dispatch(self, tasks: Sequence[TaskRecord]) -> list[Started | Failed]:
        raise QueueError(f"the execution backend {self.name!r} dispatches nothing: workers run its tasks")

    async def status(self, refs: Collection[str]) -> Mapping[str, RunState]:
        return {}

    async def cancel(self, ref: str) -> None: ...
