"""Runs what waits, one task after the other, as workers would."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from litestar_queues.errors import QueueError
from litestar_queues.lifecycle import WAITING, Requeue, State
from litestar_queues.operations import Move
from litestar_queues.records import Held, Matching, TaskRecord, Want, queue_names, seconds
from litestar_queues.service import QueueService
from litestar_queues.serving import SERVING
from litestar_queues.testing.scheduling import fire_schedules
from litestar_queues.testing.travelling import set_offset
from litestar_queues.testing.views import EnqueuedTask

__all__ = ("DrainError", "Drained", "drain", "maintain")

_MOST = 100_000
"""Tasks that are looked at in a test's store."""
_LOOK = 0.02
"""Seconds between two looks at whether a running task waits for another one."""
_UNWIND = 2.0
"""Seconds that an interrupted task gets to clean up."""
_STEP = timedelta(milliseconds=1)


class DrainError(QueueError, AssertionError):
    """Tasks failed and the test wants to know, or a drain came to no end."""


@dataclass(frozen=True, slots=True)
class Drained:
    """What a drain ran. Iterates over `tasks`; false where nothing ran.

    Attributes:
        tasks: The tasks that ran, in the order of their first attempts, as they were afterwards.
        attempts: How many attempts that took.
        recovered: Tasks that were taken from a worker whose heartbeat had stopped.
        expired: Tasks that expired before they started.
        waiting: Tasks that still wait afterwards: scheduled for later, or for a retry.
    """

    tasks: tuple[EnqueuedTask, ...]
    attempts: int
    recovered: tuple[EnqueuedTask, ...]
    expired: tuple[EnqueuedTask, ...]
    waiting: tuple[EnqueuedTask, ...]

    @property
    def completed(self) -> tuple[EnqueuedTask, ...]:
        """Those that ran and ended well."""
        return tuple(task for task in self.tasks if task.state is State.COMPLETED)

    @property
    def failed(self) -> tuple[EnqueuedTask, ...]:
        """Those that ran, failed, and will not be retried; `task.error` says why."""
        return tuple(task for task in self.tasks if task.state is State.FAILED)

    def __iter__(self) -> Iterator[EnqueuedTask]:
        return iter(self.tasks)

    def __len__(self) -> int:
        return len(self.tasks)

    def __str__(self) -> str:
        counts = Counter(task.state.value for task in self.tasks)
        said = ", ".join(f"{count} {state}" for state, count in sorted(counts.items())) or "nothing ran"
        lines = [f"{len(self.tasks)} tasks in {self.attempts} attempts: {said}"]
        return "\n".join([*lines, *(f"  {task}" for task in self.tasks)])

    def raise_failed(self) -> None:
        """Raise where a task failed.

        Raises:
            DrainError: Tasks failed; names them, with the errors and tracebacks that were stored.
        """
        if self.failed:
            lines = [f"{len(self.failed)} of {len(self.tasks)} tasks failed"]
            for task in self.failed:
                lines += [f"  {task}", *((task.error and task.error.traceback) or "").splitlines()]
            raise DrainError("\n".join(lines))


@dataclass(frozen=True, slots=True)
class Maintained:
    """What maintenance did.

    Attributes:
        recovered: Tasks that were taken from a worker whose heartbeat had stopped: requeued, or failed.
        expired: Tasks that expired before they started.
        deleted: The ids of old tasks that were deleted, as `retention` has it.
    """

    recovered: tuple[EnqueuedTask, ...]
    expired: tuple[EnqueuedTask, ...]
    deleted: frozenset[str] = frozenset()


async def maintain(service: QueueService, *, delete: bool = True) -> Maintained:
    """Recover stale tasks, expire overdue ones and, where wanted, delete old ones: what a worker does now and then.

    What runs in this process is alive, however far the test has travelled since its last heartbeat.
    """
    operations, config = service.operations, service.config
    if delete:
        await fire_schedules(service)
    running = [Held(one.id, one.record.fence, one.latest_progress) for one in service.executor.running.values()]
    await operations.touch_heartbeats(running)
    recovery = await operations.requeue_stale_running(seconds(config.worker_stale_after), limit=_MOST)
    expired = await operations.expire_overdue(limit=_MOST)
    deleted: set[str] = set()
    if delete and config.retention is not None:
        deleted = await operations.delete_finished(seconds(config.retention), limit=_MOST)
    return Maintained(
        _views(service, [*recovery.requeued, *recovery.failed]), _views(service, expired), frozenset(deleted)
    )


async def drain(
    service: QueueService,
    *,
    with_scheduled: bool,
    queues: Sequence[str] | None,
    limit: int,
    timeout: float | timedelta,  # noqa: ASYNC109  # the tasks that ran belong into its error
) -> Drained:
    """See `QueueTester.drain`."""
    run = _Drain(service, with_scheduled, queue_names(queues), limit)
    offset, token = service.clock.offset, SERVING.set(service)
    try:
        async with asyncio.timeout(seconds(timeout).total_seconds()):
            await fire_schedules(service)  # and not again: a drain that moves time on would find fires without end
            await run.run()
    except TimeoutError as error:
        running = ", ".join(run.running) or "none"
        raise DrainError(
            f"the drain did not finish within {seconds(timeout).total_seconds():g} s and {run.attempts} attempts; running: "
            f"{running}. Does a task wait for something that only another worker, or this test, does?"
        ) from error
    finally:
        SERVING.reset(token)
        set_offset(service, offset)
    return await run.drained()


@dataclass(slots=True)
class _Drain:
    service: QueueService
    with_scheduled: bool
    queues: tuple[str, ...] | None
    limit: int
    attempts: int = 0
    ran: Counter[str] = field(default_factory=Counter[str])
    """How often each task ran, by id, in the order of the first attempts."""
    names: Counter[str] = field(default_factory=Counter[str])
    running: list[str] = field(default_factory=list[str])
    recovered: list[EnqueuedTask] = field(default_factory=list[EnqueuedTask])
    expired: list[EnqueuedTask] = field(default_factory=list[EnqueuedTask])

    async def run(self) -> None:
        tries = 0
        while True:
            if await self._claim_and_run() or await self._maintain():
                tries = 0
            elif self.with_scheduled and tries < 3 and (due := await self._first_due()) is not None:
                tries += 1  # a task that is due and still not claimed is nothing to wait for
                self._move_to(due)
            else:
                return

    async def drained(self) -> Drained:
        backend = self.service.operations.backend
        found = await backend.get(list(self.ran))
        waiting = await backend.find(Matching(states=tuple(WAITING), queues=self.queues), _MOST)
        return Drained(
            tasks=_views(self.service, [found[id_] for id_ in self.ran if id_ in found]),
            attempts=self.attempts,
            recovered=tuple(self.recovered),
            expired=tuple(self.expired),
            waiting=_views(self.service, sorted(waiting, key=lambda record: (record.due_at, record.id))),
        )

    async def _maintain(self) -> bool:
        done = await maintain(self.service, delete=False)
        self.recovered += done.recovered
        self.expired += done.expired
        return bool(done.recovered or done.expired)

    async def _claim_and_run(self, *only: TaskRecord) -> bool:
        tasks = tuple(record.held for record in only) if only else None
        queues = None if only else self.queues  # what a task waits for may be in any queue
        want = Want(worker="drain", limit=1, queues=queues, tasks=tasks)
        claimed = await self.service.operations.claim(want)
        for record in claimed:
            await self._run_one(record)
        return bool(claimed)

    async def _run_one(self, record: TaskRecord) -> None:
        self.attempts += 1
        self.ran[record.id] += 1
        self.names[record.name] += 1
        said = f"{record.name} (task {record.id})"
        self.running.append(said)
        await self._check_limit(record)
        execution = asyncio.get_running_loop().create_task(self.service.run_claimed(record))
        try:
            while not execution.done():
                await asyncio.wait({execution}, timeout=_LOOK)
                if not execution.done():
                    await self._run_what_it_waits_for()
            await execution
        finally:
            if not execution.done():
                execution.cancel()
                await asyncio.wait({execution}, timeout=_UNWIND)
        self.running.remove(said)

    async def _run_what_it_waits_for(self) -> None:
        """Run tasks whose end is waited for, which would otherwise never begin: one runs at a time."""
        found = await self.service.operations.backend.get(list(self.service.waited_for))
        for record in found.values():
            if record.state in WAITING:
                if self.with_scheduled:
                    self._move_to(record)
                await self._claim_and_run(record)

    async def _check_limit(self, record: TaskRecord) -> None:
        if self.attempts > self.limit:
            await self.service.operations.apply([Move(record, Requeue())])  # it has not begun
            often = ", ".join(f"{name} ({count} times)" for name, count in self.names.most_common(3))
            raise DrainError(
                f"the drain did not finish within {self.limit} attempts: {often}. Does a task enqueue or snooze itself without "
                "end? If not, give the drain a higher limit"
            )

    async def _first_due(self) -> TaskRecord | None:
        query = Matching(states=tuple(WAITING), queues=self.queues)
        found = await self.service.operations.backend.find(query, _MOST)
        return min(found, key=lambda one: one.due_at, default=None)

    def _move_to(self, record: TaskRecord) -> None:
        clock = self.service.clock
        ahead = record.due_at - clock.now()
        set_offset(self.service, clock.offset + max(ahead, timedelta(0)) + _STEP)


def _views(service: QueueService, records: Sequence[TaskRecord]) -> tuple[EnqueuedTask, ...]:
    return tuple(EnqueuedTask.of(service, record) for record in records)
