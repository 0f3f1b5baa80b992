"""Dispatch: waiting tasks of a remote execution backend are reserved, and a run is started elsewhere for each."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import TypeAlias

from litestar_queues.codec import encode
from litestar_queues.errors import BackendError, QueueError
from litestar_queues.execution.base import ExecutionBackend, Failed, Outlook, Started, same_run
from litestar_queues.lifecycle import Dispatch, Divert, Event, IllegalTransition, Release, Snooze, step
from litestar_queues.operations import Move
from litestar_queues.pauses import Backoffs
from litestar_queues.records import TaskRecord, Want
from litestar_queues.service import QueueService
from litestar_queues.worker.hold import Hold

__all__ = ("Dispatcher",)

_log = logging.getLogger("litestar_queues.worker")
_AT_ONCE = 100
"""The most tasks of one execution backend that one worker dispatches at a time."""
_BATCH = 25
"""How many of them are one call, so that a slow one holds up no others."""
_RESERVED = 2
"""How many times as long as a dispatch a reservation lasts: the rest is for storing the reference."""
_STORE = Backoffs()
_CLAIM = Backoffs()
_AWAY = Backoffs(first=1.0, longest=60.0)
"""Pauses while a service takes nothing at the moment."""
_REFUSED = Backoffs(first=5.0, longest=300.0)
"""How long the tasks of one profile are put off that the service refuses until somebody changes something."""
_SHORTEST_POLL = 0.02
_NEXT = 1.0
"""Seconds for which the other tasks of a profile wait while one of them tries whether it is still refused."""

Answer: TypeAlias = "Started | Failed"


class Dispatcher:
    """Dispatches the tasks of one remote execution backend, for one worker.

    The fence decides who owns a task. So a dispatcher that dies leaves reservations that run out, and at most one run for
    each of them, which loses its claim if the task is dispatched again.

    Args:
        service: Open.
        backend: The name of the execution backend.
        worker: The name to reserve tasks under.
        queues: The queues to serve; None: all.
        longest: Seconds after which a dispatch is given up. A reservation lasts for twice as long.
        check_after: Seconds for which a run may be silent before it is looked up.
        poll: The longest pause between two looks at an idle store, in seconds.
        hold: While it is held, nothing is reserved.
    """

    def __init__(
        self,
        service: QueueService,
        backend: str,
        *,
        worker: str,
        queues: tuple[str, ...] | None,
        longest: float,
        check_after: float,
        poll: float,
        hold: Hold,
    ) -> None:
        self._service = service
        self._operations = service.operations
        self._name = backend
        self._worker = worker
        self._queues = queues
        self._longest = longest
        self._reservation = _RESERVED * longest
        self._check_after = check_after
        self._poll = poll
        self._hold = hold
        self._leaving = asyncio.Event()
        self._dispatching: set[asyncio.Task[None]] = set()
        self._under_way = 0
        self._away = _Trouble(_AWAY)
        self._refused: dict[str | None, _Trouble] = {}
        self._listener = self._operations.notifier.listen(queues)

    @property
    def nudge(self) -> asyncio.Event:
        """Set whenever the dispatcher should look again."""
        return self._listener.event

    async def run(self) -> None:
        """Dispatch until `leave` is called; then let what is under way end. Cancel it to end at once."""
        try:
            await self._reserve_until_leaving()
            if self._dispatching:
                await asyncio.wait(set(self._dispatching))
        finally:
            for dispatching in self._dispatching:
                dispatching.cancel()
            self._listener.close()

    def leave(self) -> None:
        """Reserve nothing more."""
        self._leaving.set()
        self.nudge.set()

    async def _reserve_until_leaving(self) -> None:
        backoffs = iter(_CLAIM)
        poll = _SHORTEST_POLL
        while not self._leaving.is_set():
            room = 0 if self._hold() or self._away.lasts else _AT_ONCE - self._under_way
            if room <= 0:
                await self._pause(min(self._poll, self._away.left) if self._away.lasts else self._poll)
                continue
            self.nudge.clear()
            try:
                reserved = await self._operations.claim(
                    Want(
                        worker=self._worker,
                        limit=1
                        if self._away.tries
                        else min(room, _BATCH),  # after an outage, one task tries whether it is over
                        queues=self._queues,
                        execution_backends=(self._name,),
                        stale_after=self._reservation,
                        reserve=True,
                    )
                )
                pause = await self._until_due(poll) if not reserved else 0.0
            except QueueError as error:
                pause = next(backoffs).seconds
                _log.warning(
                    "no task could be reserved for %r, the next try is in %.1f s: %s", self._name, pause, error
                )
                await self._pause(pause)
                continue
            backoffs = iter(_CLAIM)
            poll = _SHORTEST_POLL if reserved else min(poll * 2, self._poll)
            if reserved:
                self._start(reserved)
                if self._away.tries:
                    await asyncio.wait(set(self._dispatching))
            if pause:
                await self._pause(pause)

    async def _until_due(self, poll: float) -> float:
        due = await self._operations.backend.next_due(self._queues)
        if due is None:
            return poll
        return min(poll, max((due - self._operations.clock.now()).total_seconds(), 0.001))

    async def _pause(self, longest: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(longest):
                await self.nudge.wait()
        self.nudge.clear()

    def _start(self, reserved: Sequence[TaskRecord]) -> None:
        self._under_way += len(reserved)
        dispatching = asyncio.get_running_loop().create_task(self._dispatch(reserved))
        self._dispatching.add(dispatching)

        def ended(task: asyncio.Task[None]) -> None:
            self._dispatching.discard(task)
            self._under_way -= len(reserved)
            self.nudge.set()
            if not task.cancelled() and (error := task.exception()) is not None:
                _log.error("a dispatch for %r failed, and its reservations run out", self._name, exc_info=error)

        dispatching.add_done_callback(ended)

    async def _dispatch(self, reserved: Sequence[TaskRecord]) -> None:
        since = time.monotonic()
        tried, refused = self._split(reserved)
        steps: list[tuple[TaskRecord, Event]] = [
            (one, Snooze(self._again_at(one.execution_profile))) for one in refused
        ]
        started: dict[str, str] = {}
        if tried:
            backend, answers = await self._answers(tried)
            if self._away.tries and any(isinstance(one, Started) for one in answers):
                _log.info("the execution backend %r takes tasks again", self._name)
                self._away.over()
            for record, answer in zip(tried, answers, strict=True):
                if isinstance(answer, Started):
                    started[record.id] = answer.ref
                    if self._refused.pop(record.execution_profile, None) is not None:
                        what = _profile(record.execution_profile)
                        _log.info("the execution backend %r takes the tasks of %s again", self._name, what)
                    steps.append((record, Dispatch(answer.ref, self._check_after)))
                elif (event := self._after_failure(record, answer, backend)) is not None:
                    steps.append((record, event))
        await self._store(steps, started, until=since + self._reservation)

    def _split(self, reserved: Sequence[TaskRecord]) -> tuple[list[TaskRecord], list[TaskRecord]]:
        """Those that are tried, and those that wait: of a profile that was refused, one tries from time to time."""
        tried: list[TaskRecord] = []
        wait: list[TaskRecord] = []
        trying: set[str | None] = set()
        for one in reserved:
            trouble = self._refused.get(one.execution_profile)
            if trouble is not None and (trouble.lasts or one.execution_profile in trying):
                wait.append(one)
            else:
                tried.append(one)
                trying.add(one.execution_profile)
        return tried, wait

    async def _answers(self, records: Sequence[TaskRecord]) -> tuple[ExecutionBackend | None, Sequence[Answer]]:
        """What the execution backend answers for each task; it need not keep its own promises."""
        backend: ExecutionBackend | None = None
        try:
            async with asyncio.timeout(self._longest):
                backend = await self._service.execution.opened(self._name)
                answers = await backend.dispatch(records)
            if len(answers) == len(records):
                return backend, answers
            reason = f"{len(answers)} answers came for {len(records)} tasks"
        except TimeoutError:
            reason = f"the dispatch took longer than {self._longest:g} s"
        except Exception as error:  # noqa: BLE001  # whatever it was, the reservations run out
            if not isinstance(error, QueueError):
                _log.exception("the execution backend %r failed", self._name)
            reason = f"{type(error).__name__}: {error}"
            if backend is None:  # it could not be opened
                return None, [Failed(reason, Outlook.FOR_NOW)] * len(records)
        self._away.again()
        return backend, [Failed(reason, Outlook.UNCLEAR)] * len(records)

    def _after_failure(self, record: TaskRecord, failed: Failed, backend: ExecutionBackend | None) -> Event | None:
        """What happens to a task for which no run was started, as far as is known."""
        match failed.outlook:
            case Outlook.UNCLEAR:
                _log.warning(
                    "whether a run was started for task %s (%s) is not known, and its reservation stays for up to %g s: %s",
                    record.id, record.name, self._reservation, failed.reason,
                )  # fmt: skip
                return None
            case Outlook.FOR_NOW:
                if self._away.again():
                    _log.warning(
                        "the execution backend %r takes no task now, and is tried again in %.1f s: %s",
                        self._name, self._away.left, failed.reason,
                    )  # fmt: skip
                return Release()
            case Outlook.REFUSED:
                fallback = None if backend is None else backend.fallback
                if fallback is not None and fallback != self._name:
                    _log.warning(
                        "task %s (%s) goes to the execution backend %r, because %r refused it: %s",
                        record.id, record.name, fallback, self._name, failed.reason,
                    )  # fmt: skip
                    error = {"type": "DispatchRefused", "message": failed.reason, "traceback": None}
                    return Divert(fallback, encode(error, "the error"))
                trouble = self._refused.setdefault(record.execution_profile, _Trouble(_REFUSED))
                if trouble.again():
                    _log.error(
                        "the execution backend %r refuses the tasks of %s, which are tried again in %.0f s: %s",
                        self._name, _profile(record.execution_profile), trouble.left, failed.reason,
                    )  # fmt: skip
                return Snooze(self._again_at(record.execution_profile))

    def _again_at(self, profile: str | None) -> datetime:
        return self._operations.clock.now() + timedelta(seconds=max(self._refused[profile].left, _NEXT))

    async def _store(
        self, events: Sequence[tuple[TaskRecord, Event]], started: dict[str, str], *, until: float
    ) -> None:
        """Store what became of reservations, for as long as these last; a run whose task is not its own is ended."""
        now = self._operations.clock.now()
        steps: list[tuple[Move, TaskRecord]] = []
        for record, event in events:
            with suppress(IllegalTransition):
                steps.append((Move(record, event), step(record, event, now)))
        for pause in _STORE:
            try:
                settled = await self._operations.store(steps, contested=True)
                await self._end_orphans([one for one in settled.lost if one.id in started], started)
            except QueueError as error:
                if time.monotonic() > until:
                    _log.error(
                        "what became of %d dispatches to %r could not be stored, and their reservations have run out: %s",
                        len(steps), self._name, error,
                    )  # fmt: skip
                    return
                _log.warning("what became of %d dispatches to %r is not stored yet: %s", len(steps), self._name, error)
                await pause.wait()
            else:
                return

    async def _end_orphans(self, lost: Sequence[TaskRecord], started: dict[str, str]) -> None:
        """End the runs whose tasks were cancelled, expired or taken by another run before their references were stored."""
        if not lost:
            return
        found = await self._operations.backend.get([one.id for one in lost])
        for one in lost:
            ref, stored = started[one.id], found.get(one.id)
            if stored is not None and stored.execution_ref is not None and same_run(stored.execution_ref, ref):
                continue  # the run was faster than the answer about it, and has brought its own reference
            _log.warning("the run %s of task %s (%s) is not wanted any more, and is ended", ref, one.id, one.name)
            try:
                async with asyncio.timeout(self._longest):
                    await (await self._service.execution.opened(self._name)).cancel(ref)
            except (BackendError, QueueError, TimeoutError) as error:
                _log.warning("the run %s could not be ended, and loses its claim instead: %s", ref, error)


class _Trouble:
    """Something that does not work for a while, tried again after pauses that grow."""

    def __init__(self, backoffs: Backoffs) -> None:
        self._backoffs = backoffs
        self._until = 0.0
        self.tries = 0

    @property
    def left(self) -> float:
        return max(0.0, self._until - time.monotonic())

    @property
    def lasts(self) -> bool:
        return self.left > 0

    def again(self) -> bool:
        """Note another failure; false where the pause after an earlier one has not passed: both tell of the same."""
        if self.lasts:
            return False
        self.tries += 1
        self._until = time.monotonic() + self._backoffs.after(self.tries).seconds
        return True

    def over(self) -> None:
        self._until, self.tries = 0.0, 0


def _profile(profile: str | None) -> str:
    return "no profile" if profile is None else f"the profile {profile!r}"
