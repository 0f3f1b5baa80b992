"""A limited number of threads for sync functions."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from contextvars import ContextVar, copy_context
from functools import partial
from typing import Generic, TypeVar

__all__ = ("ThreadSlots",)

T = TypeVar("T")
_DEEPEST = 100
"""How deep immediate tasks may run inside each other. Async ones meet Python's own limit at about 80."""
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
        self._free = asyncio.Semaphore(slots)
        self.busy = 0
        """How many functions run now, abandoned ones included."""

    async def run(self, function: Callable[[], T], timer: asyncio.Timeout | None = None) -> T:
        """Run the function in a thread, in this context, and return what it returns.

        Args:
            function: What to run.
            timer: A running timeout that is to count from the moment the function has a thread.

        Raises:
            RecursionError: Too many functions wait for each other.
        """
        loop, depth = asyncio.get_running_loop(), _DEPTH.get()
        if depth >= _DEEPEST:
            raise RecursionError(f"{depth} sync tasks run inside each other: does an immediate task enqueue itself?")
        if not depth:
            await self._take_slot(timer)
        free = self._leave if depth else self._release
        call = _Call(function, free, loop)
        self.busy += 1
        context = copy_context()
        context.run(_DEPTH.set, depth + 1)
        # A thread for each call: 110 us with the way there and back, where a pool takes 95.
        thread = threading.Thread(target=context.run, args=(call.run,), name="litestar-queues-task", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the machine has no thread left
            free()
            raise
        return await call.outcome

    async def _take_slot(self, timer: asyncio.Timeout | None) -> None:
        deadline, now = None if timer is None else timer.when(), asyncio.get_running_loop().time
        if timer is not None and deadline is not None and self._free.locked():
            left = deadline - now()
            timer.reschedule(None)
            await self._free.acquire()
            timer.reschedule(now() + left)
        else:
            await self._free.acquire()

    def _leave(self) -> None:
        self.busy -= 1

    def _release(self) -> None:
        self._leave()
        self._free.release()


class _Call(Generic[T]):
    """One call, which frees its slot at its end, whether anybody waits for the outcome or not."""

    def __init__(self, function: Callable[[], T], free: Callable[[], None], loop: asyncio.AbstractEventLoop) -> None:
        self._function, self._free, self._loop = function, free, loop
        self.outcome: asyncio.Future[T] = loop.create_future()

    def run(self) -> None:
        try:
            end = partial(self._returned, self._function())
        except BaseException as error:  # noqa: BLE001  # the caller's to judge
            end = partial(self._raised, error)
        with contextlib.suppress(RuntimeError):  # the loop is closed, and nobody waits for the slot
            self._loop.call_soon_threadsafe(end)

    def _returned(self, result: T) -> None:
        self._free()
        if not self.outcome.done():
            self.outcome.set_result(result)

    def _raised(self, error: BaseException) -> None:
        self._free()
        if not self.outcome.done():
            if isinstance(error, StopIteration):  # no future can hold one
                error = RuntimeError(f"a sync task raised StopIteration({error})")
            self.outcome.set_exception(error)
