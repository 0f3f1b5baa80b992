"""Finds dispatched tasks whose runs ended, or vanished, without claiming them. One worker at a time does it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import timedelta

from litestar_queues.backoff import FixedBackoff
from litestar_queues.codec import encode
from litestar_queues.errors import QueueError
from litestar_queues.execution.base import RunState
from litestar_queues.lifecycle import IllegalTransition, LoseHeartbeat, step
from litestar_queues.operations import Move
from litestar_queues.records import Dispatched, TaskRecord
from litestar_queues.service import QueueService
from litestar_queues.worker.hold import Hold

__all__ = ("Reconciler",)

_log = logging.getLogger("litestar_queues.worker")
_LOCK = "dispatch"
_STEP = 500
"""Tasks per search."""
_PATIENCE = 20.0
"""Seconds for which an execution backend is asked about the runs of one step."""


class Reconciler:
    """Looks up the runs of dispatched tasks that were not heard of.

    The lock only saves work: were two reconcilers to run, the fence decides, and each task is moved once. A run whose state
    cannot be learned counts as active.

    Args:
        service: Open.
        owner: The name to hold the lock under.
        interval: How often it looks.
        hold: While it is held, nothing is done.
    """

    def __init__(self, service: QueueService, *, owner: str, interval: timedelta, hold: Hold) -> None:
        self._service = service
        self._operations = service.operations
        self._owner = owner
        self._interval = interval
        self._hold = hold

    async def run(self) -> None:
        """Look every interval, until cancelled; a store that is away is looked at again later."""
        pauses = FixedBackoff(self._interval.total_seconds(), jitter=0.2)
        try:
            while True:
                await asyncio.sleep(pauses.delay(1))
                try:
                    if not self._hold():
                        await self.look()
                except QueueError as error:
                    _log.warning("dispatched tasks could not be looked after: %s", error)
        finally:
            with suppress(QueueError, TimeoutError):
                async with asyncio.timeout(1):
                    for name in self._service.execution.remote:
                        await self._operations.backend.unlock(f"{_LOCK}:{name}", self._owner)

    async def look(self) -> None:
        """Look after all that are silent, in bounded steps; after those of an execution backend if no other worker does."""
        for name in self._service.execution.remote:
            await self._look(name)

    async def _look(self, name: str) -> None:
        backend, operations = self._operations.backend, self._operations
        # A worker that dies with the lock holds up the others, so that it does not last for the longest reply.
        while await backend.lock(f"{_LOCK}:{name}", self._owner, 3 * self._interval):
            found = await backend.find(Dispatched(at=operations.clock.now(), execution_backends=(name,)), _STEP)
            if not found:
                return
            states = await self._states(name, [one for one in found if one.execution_ref is not None])
            active = [one for one in found if one.execution_ref is not None and states[one.id] is RunState.ACTIVE]
            ended = [one for one in found if one.execution_ref is None or states[one.id] is not RunState.ACTIVE]
            heard = await operations.touch_heartbeats([one.held for one in active]) if active else set[str]()
            moved = await self._lose(ended, states)
            if not heard and not moved:
                return  # others were faster with all of them, or the store does not take it

    async def _states(self, name: str, records: Sequence[TaskRecord]) -> dict[str, RunState]:
        """What is known of the runs of these tasks, by the ids of the tasks."""
        refs = {one.id: one.execution_ref or "" for one in records}
        states = await self._ask(name, sorted(refs.values())) if refs else dict[str, RunState]()
        return {id_: states.get(ref, RunState.ACTIVE) for id_, ref in refs.items()}

    async def _ask(self, name: str, refs: Sequence[str]) -> Mapping[str, RunState]:
        try:
            async with asyncio.timeout(_PATIENCE):
                return await (await self._service.execution.opened(name)).status(refs)
        except Exception as error:  # noqa: BLE001  # whatever it was: nothing is known, and the runs count as active
            _log.warning(
                "the state of %d runs of %r is not known now, and they count as active: %s: %s",
                len(refs), name, type(error).__name__, error,
            )  # fmt: skip
            return {}

    async def _lose(self, records: Sequence[TaskRecord], states: Mapping[str, RunState]) -> bool:
        now = self._operations.clock.now()
        steps: list[tuple[Move, TaskRecord]] = []
        for one in records:
            event = LoseHeartbeat(_error(one, states.get(one.id)))
            with suppress(IllegalTransition):
                steps.append((Move(one, event), step(one, event, now)))
        settled = await self._operations.store(steps, contested=True)
        for record in settled.stored:
            if record.finished_at is None:
                _log.warning(
                    "task %s (%s) was dispatched, and no run claimed it: it is dispatched again (recovery %d of %d)",
                    record.id, record.name, record.recoveries, record.max_recoveries,
                )  # fmt: skip
            else:
                _log.error(
                    "task %s (%s) was dispatched, and no run claimed it: it has failed, for its budget of %d recoveries is spent",
                    record.id, record.name, record.max_recoveries,
                )  # fmt: skip
        return bool(settled.stored)


def _error(record: TaskRecord, state: RunState | None) -> str:
    if record.execution_ref is None:
        message = f"the dispatcher {record.worker} stored no run within {record.stale_after or 0:g} s after it reserved the task"
    elif state is RunState.VANISHED:
        message = f"the run {record.execution_ref} is not known to {record.execution_backend!r} any more, and has not claimed the task"
    else:
        ended = "ended" if state is None else f"ended as {state.value!r}"
        message = f"the run {record.execution_ref} {ended} without claiming the task: its log says why"
    if record.recoveries >= record.max_recoveries:
        message += f"; the task was recovered {record.recoveries} times already, which is its limit (max_recoveries)"
    return encode({"type": "DispatchLost", "message": message, "traceback": None}, "the error")
