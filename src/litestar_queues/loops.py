"""A service belongs to the event loop that it was opened in; calls from elsewhere are carried over to it.

Litestar's test clients run the application, its lifespan included, in a thread of their own. Locks, pools and events of
a backend belong to the loop of that thread. Code in another loop must not touch them.
"""

from __future__ import annotations

import asyncio
import functools
import os
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, Generic, Protocol, TypeVar, cast

from litestar_queues.errors import QueueConfigurationError, QueueError

__all__ = ("HomeLoop", "carried")

T = TypeVar("T")
_LOOK = 0.2
"""Seconds between two looks at whether the other loop still runs. The end of a call is noticed at once."""
_HOW = (
    "in a test, open the service (or the test client) in the test itself or in a fixture of the same loop; "
    "litestar_queues.testing has helpers for tests without a loop"
)


class HomeLoop:
    """The event loop in which this is made.

    Raises:
        QueueError: No asyncio event loop runs here.
    """

    def __init__(self) -> None:
        loop = _running()
        if loop is None:
            raise QueueError(f"a queue service needs a running asyncio event loop, and none runs here: {_HOW}")
        self._loop, self._pid = loop, os.getpid()

    @property
    def is_here(self) -> bool:
        """Whether the caller runs in this loop."""
        return _running() is self._loop

    @property
    def is_closed(self) -> bool:
        """Whether the loop has ended, so that nothing will ever run in it again."""
        return self._loop.is_closed()

    @property
    def is_running(self) -> bool:
        """Whether the loop runs now, in this thread or another one. In a forked child it is a copy that nobody runs."""
        return self._pid == os.getpid() and self._loop.is_running()

    def check_here(self, what: str) -> None:
        """Refuse a caller in another loop.

        Raises:
            QueueError: The caller runs elsewhere; the text begins with `what`.
        """
        if not self.is_here:
            raise QueueError(f"{what} has to run in the event loop in which its queue service was opened: {_HOW}")

    async def run(self, function: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run an async function in this loop, and return what it returns.

        The context variables of the caller hold there, too. If the caller is cancelled, so is the function, and the caller
        waits for its end.

        Raises:
            QueueError: The loop does not run, or stops meanwhile; or the caller has no asyncio event loop.
        """
        if self.is_here:
            return await function()
        if _running() is None:
            raise QueueError(
                "no asyncio event loop runs here, and the methods of a queue service are awaited in one: in a sync task, use "
                "current_task().run_async(service.enqueue, ...); in a sync test, use QueueTester of litestar_queues.testing"
            )
        call = self._start(function)
        done, cancelled = asyncio.wrap_future(call.outcome), None
        while not done.done():
            try:
                await asyncio.wait({done}, timeout=_LOOK)
            except asyncio.CancelledError as error:
                cancelled = error
                call.cancel()
            if not done.done() and not self.is_running:
                done.cancel()
                raise self._gone() from cancelled
        if cancelled is not None:
            done.exception()
            raise cancelled
        return done.result()

    def run_blocking(self, function: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """As `run`, for a thread that may block meanwhile.

        Raises:
            QueueError: The loop does not run, stops meanwhile, or is the caller's own, which blocking would stop.
        """
        if self.is_here:
            raise QueueError(
                "this would block the event loop that it waits for: in async code, use the async form and await it "
                "(AsyncQueueTester, or the fixture async_queue_tester)"
            )
        call = self._start(function)
        try:
            while True:
                try:
                    return call.outcome.result(_LOOK)
                except TimeoutError:
                    if call.outcome.done():
                        raise
                    if not self.is_running:
                        raise self._gone() from None
        except KeyboardInterrupt:
            call.cancel()
            raise

    def _start(self, function: Callable[[], Coroutine[Any, Any, T]]) -> _Call[T]:
        if not self.is_running:
            ended = "has ended" if self.is_closed else "does not run now"
            raise QueueError(f"this queue service belongs to another event loop, which {ended}: {_HOW}")
        call = _Call(self._loop, function)
        try:
            self._loop.call_soon_threadsafe(call.start)
        except RuntimeError as error:  # it was closed since
            raise self._gone() from error
        return call

    @staticmethod
    def _gone() -> QueueError:
        return QueueError(
            "the event loop of the queue service stopped before this call came to its end; whether the call took effect "
            f"is not known: {_HOW}"
        )


class _Call(Generic[T]):
    """One call in another loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, function: Callable[[], Coroutine[Any, Any, T]]) -> None:
        self.outcome: Future[T] = Future()
        self._loop, self._function = loop, function
        self._task: asyncio.Task[T] | None = None

    def start(self) -> None:
        """Begin, in the loop of the call and the context of the caller.

        An error before the first await is the outcome, too: the loop would only log it, and the caller wait for ever.
        """
        try:
            self._task = self._loop.create_task(self._function())
        except Exception as error:  # noqa: BLE001  # whatever the function raises is the caller's
            if self.outcome.set_running_or_notify_cancel():
                self.outcome.set_exception(error)
            return
        self._task.add_done_callback(self._ended)

    def cancel(self) -> None:
        """Have the call cancelled. Not an error where it has ended, or its loop has."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._cancel)

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def _ended(self, task: asyncio.Task[T]) -> None:
        if not self.outcome.set_running_or_notify_cancel():
            return  # nobody waits any more
        if task.cancelled():
            self.outcome.set_exception(QueueError("the call was cancelled in the event loop of its queue service"))
        elif (error := task.exception()) is not None:
            self.outcome.set_exception(error)
        else:
            self.outcome.set_result(task.result())


class _HasHome(Protocol):
    @property
    def home(self) -> HomeLoop | None: ...


M = TypeVar("M", bound=Callable[..., Coroutine[Any, Any, Any]])


def carried(method: M) -> M:
    """Let a method be called from any event loop: it runs in its object's `home`.

    A `session=` cannot change loops. Given one, a call from another loop raises `QueueConfigurationError`.
    """

    @functools.wraps(method)
    async def call(self: _HasHome, /, *args: Any, **kwargs: Any) -> Any:
        home = self.home
        if home is None or home.is_here:
            return await method(self, *args, **kwargs)
        if kwargs.get("session") is not None:
            raise QueueConfigurationError(
                "this queue service belongs to another event loop, and a session cannot be used in two: enqueue with "
                "session= in the application itself (a handler or a task), or without session= here"
            )
        return await home.run(lambda: method(self, *args, **kwargs))

    return cast("M", call)


def _running() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
