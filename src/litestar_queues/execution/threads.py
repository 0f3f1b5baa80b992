"""A limited number of threads for sync functions."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections import deque
from collections.abc import Callable
from contextvars import ContextVar, copy_context
from functools import partial
from typing import Any, Generic, TypeVar

from litestar_queues.execution.exits import TaskExit
from litestar_queues.execution.forks import end_child
from litestar_queues.records import TaskRecord

__all__ = ("ThreadSlot", "ThreadSlots")

T = TypeVar("T")
_DEEPEST = 100
"""How deep immediate tasks may run inside each other. Async ones meet Python's own limit at about 80."""
_GRACE = 1.0
"""Seconds that an abandoned function has to return before it counts as hanging: one that looks at `cancelled` does so."""
_DEPTH: ContextVar[int] = ContextVar("litestar_queues_thread_depth", default=0)
"""How many of the threads here wait for what runs in this context."""


class ThreadSlots:
    """Runs functions in daemon threads, at most so many at once.

    Python cannot stop a thread. A function whose caller was cancelled or timed out runs on, and keeps its slot until it
    returns: the number of threads stays bounded, whatever the functions do. It ends with the process at the latest:
    a worker that has given its task back must not be kept from exiting, which the threads of a pool would do.

    A function that is called on behalf of another one (a sync task enqueues an immediate one) takes no slot: the other
    one waits for it, and would wait for ever if all slots were held by such.
    """

    def __init__(self, slots: int) -> None:
        self.slots = slots
        """How many functions may run at once."""
        self.busy = 0
        """How many functions run now, abandoned ones included."""
        self.on_free: set[Callable[[], None]] = set()
        """Called after a slot has become free."""
        self.on_hang: set[Callable[[TaskRecord], None]] = set()
        """Called with the task of an abandoned function that has not returned within a second."""
        self._taken = 0
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._abandoned: set[_Call[Any]] = set()

    @property
    def free(self) -> int:
        """How many functions can start at once."""
        return max(0, self.slots - self._taken - len(self._waiters))

    @property
    def abandoned(self) -> int:
        """How many slots are held by functions that nobody waits for any more."""
        return len(self._abandoned)

    @property
    def hanging(self) -> list[TaskRecord]:
        """The tasks of those functions that were abandoned more than a second ago."""
        return [call.record for call in self._abandoned if call.hangs and call.record is not None]

    def still_runs(self, task_id: str) -> bool:
        """Whether an abandoned function of this task still runs."""
        return any(call.record is not None and call.record.id == task_id for call in self._abandoned)

    def allow(self, slots: int) -> None:
        """Have at least so many slots from now on."""
        for _ in range(self.slots, slots):
            self.slots += 1
            self._taken += 1
            self._release()

    def reserve(self) -> ThreadSlot | None:
        """Take a slot for a function that is to run soon; None where no slot is free."""
        if not self.free:
            return None
        self._taken += 1
        return ThreadSlot(self._release)

    async def run(
        self,
        function: Callable[[], T],
        timer: asyncio.Timeout | None = None,
        *,
        slot: ThreadSlot | None = None,
        record: TaskRecord | None = None,
    ) -> T:
        """Run the function in a thread, in this context, and return what it returns.

        Args:
            function: What to run.
            timer: A running timeout that is to count from the moment the function has a thread.
            slot: A reserved slot; without one, the function waits for its turn.
            record: The task that the function belongs to.

        Raises:
            RecursionError: Too many functions wait for each other.
        """
        loop, depth = asyncio.get_running_loop(), _DEPTH.get()
        if depth >= _DEEPEST:
            raise RecursionError(f"{depth} sync tasks run inside each other: does an immediate task enqueue itself?")
        if not depth and (slot is None or not slot.use()):
            await self._take_slot(timer)
        call: _Call[T] = _Call(function, record, loop, partial(self._ended, has_slot=not depth))
        self.busy += 1
        context = copy_context()
        context.run(_DEPTH.set, depth + 1)
        # A thread for each call: 110 us with the way there and back, where a pool takes 95.
        thread = threading.Thread(target=context.run, args=(call.run,), name="litestar-queues-task", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the machine has no thread left
            call.end()
            raise
        try:
            return await call.outcome
        except asyncio.CancelledError:
            if not call.ended and not depth:
                self._abandon(call, loop)
            raise

    async def _take_slot(self, timer: asyncio.Timeout | None) -> None:
        if self.free:
            self._taken += 1
            return
        deadline, now = None if timer is None else timer.when(), asyncio.get_running_loop().time
        if timer is not None and deadline is not None:
            left = deadline - now()
            timer.reschedule(None)
            await self._wait_for_slot()
            timer.reschedule(now() + left)
        else:
            await self._wait_for_slot()

    async def _wait_for_slot(self) -> None:
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.cancelled():
                with contextlib.suppress(ValueError):  # a slot that became free at this moment has passed it over
                    self._waiters.remove(waiter)
            else:
                self._release()
            raise

    def _abandon(self, call: _Call[Any], loop: asyncio.AbstractEventLoop) -> None:
        self._abandoned.add(call)
        call.grace = loop.call_later(_GRACE, self._hangs, call)

    def _hangs(self, call: _Call[Any]) -> None:
        call.hangs = True
        if call.record is not None:
            for each in tuple(self.on_hang):
                each(call.record)

    def _ended(self, call: _Call[Any], *, has_slot: bool) -> None:
        self.busy -= 1
        if call.grace is not None:
            call.grace.cancel()
        self._abandoned.discard(call)
        if has_slot:
            self._release()

    def _release(self) -> None:
        while self._waiters:
            if not (waiter := self._waiters.popleft()).done():
                waiter.set_result(None)  # the slot passes to it
                return
        self._taken -= 1
        for each in tuple(self.on_free):
            each()


class ThreadSlot:
    """A reserved slot: used once, or given back."""

    __slots__ = ("_release",)

    def __init__(self, release: Callable[[], None]) -> None:
        self._release: Callable[[], None] | None = release

    def use(self) -> bool:
        """Hand the slot over to the function that starts now; False where it was used or given back before."""
        usable, self._release = self._release is not None, None
        return usable

    def give_back(self) -> None:
        """Free the slot if no function has used it."""
        release, self._release = self._release, None
        if release is not None:
            release()


class _Call(Generic[T]):
    """One call, which frees its slot at its end, whether anybody waits for the outcome or not."""

    def __init__(
        self,
        function: Callable[[], T],
        record: TaskRecord | None,
        loop: asyncio.AbstractEventLoop,
        on_end: Callable[[_Call[T]], None],
    ) -> None:
        self._function, self._loop, self._on_end, self._pid = function, loop, on_end, os.getpid()
        self.record = record
        self.outcome: asyncio.Future[T] = loop.create_future()
        self.ended = self.hangs = False
        self.grace: asyncio.TimerHandle | None = None

    def run(self) -> None:
        try:
            result = self._function()
            self._leave_if_forked(None)
            end = partial(self._returned, result)
        except BaseException as error:  # noqa: BLE001  # the caller's to judge
            self._leave_if_forked(error)
            end = partial(self._raised, error)
        with contextlib.suppress(RuntimeError):  # the loop is closed, and nobody waits for the slot
            self._loop.call_soon_threadsafe(end)

    def end(self) -> None:
        """Free the slot."""
        self.ended = True
        self._on_end(self)

    def _leave_if_forked(self, error: BaseException | None) -> None:
        if os.getpid() != self._pid:
            end_child(error)

    def _returned(self, result: T) -> None:
        self.end()
        if not self.outcome.done():
            self.outcome.set_result(result)

    def _raised(self, error: BaseException) -> None:
        self.end()
        if not self.outcome.done():
            if isinstance(error, StopIteration):  # no future can hold one
                stopped = RuntimeError("a sync task raised StopIteration")
                stopped.__cause__ = error
                error = stopped
            elif isinstance(
                error, GeneratorExit
            ):  # it would close the coroutines that wait, and skip what they do next
                error = TaskExit.of(error)
            self.outcome.set_exception(error)
