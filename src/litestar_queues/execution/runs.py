"""Ends runs elsewhere whose tasks are not theirs any more."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from litestar_queues.execution.registry import ExecutionBackends
from litestar_queues.records import TaskRecord

__all__ = ("RunEnds",)

_log = logging.getLogger("litestar_queues")
_LONGEST = 10.0
"""Seconds for which one run's service is waited for, and the longest that `close` takes."""
_AT_ONCE = 20
"""Calls at once."""


class RunEnds:
    """Has runs ended in the background: it is the run's own claim or heartbeat that makes sure of it.

    Args:
        execution: Where tasks run.
    """

    def __init__(self, execution: ExecutionBackends) -> None:
        self._execution = execution
        self._ending: set[asyncio.Task[None]] = set()
        self._limit = asyncio.Semaphore(_AT_ONCE)

    def end(self, records: Sequence[TaskRecord]) -> None:
        """End the runs of these tasks, soon. What fails is logged."""
        for record in records:
            if record.execution_ref is not None and self._execution.is_remote(record.execution_backend):
                ending = asyncio.get_running_loop().create_task(
                    self._end(record.id, record.execution_backend, record.execution_ref)
                )
                self._ending.add(ending)
                ending.add_done_callback(self._ending.discard)

    async def close(self) -> None:
        """Wait for what is under way, for a bounded time."""
        if self._ending:
            _, late = await asyncio.wait(set(self._ending), timeout=_LONGEST)
            for ending in late:
                ending.cancel()
        self._limit = asyncio.Semaphore(_AT_ONCE)  # the next event loop has its own

    async def _end(self, task_id: str, name: str, ref: str) -> None:
        try:
            async with self._limit, asyncio.timeout(_LONGEST):
                await (await self._execution.opened(name)).cancel(ref)
        except Exception as error:  # noqa: BLE001  # whatever it was: the run finds out at its claim, or its next heartbeat
            _log.warning(
                "the run %s of task %s could not be ended (%s: %s): it ends by itself, at its claim or its next heartbeat",
                ref, task_id, type(error).__name__, error,
            )  # fmt: skip
