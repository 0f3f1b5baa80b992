"""Work that must not be cancelled in the middle."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import anyio

__all__ = ("Background", "cancellations", "ended", "heed_cancellation", "once_open", "to_the_end", "whole")

T = TypeVar("T")

_going: set[asyncio.Task[Any]] = set()
"""Tasks whose callers may have left: an event loop itself does not keep a task alive."""


def cancellations() -> int:
    """How often the current task was told to end."""
    task = asyncio.current_task()
    return 0 if task is None else task.cancelling()


def heed_cancellation(before: int) -> None:
    """End the current task if it was told to since then.

    A driver that waits with `asyncio.wait_for` forgets it, up to Python 3.11, where its answer comes at that very moment.
    Who cancels a loop of calls, as a worker that stops, would wait for ever.
    """
    if cancellations() > before:
        raise asyncio.CancelledError


async def to_the_end(cleaning: Coroutine[Any, Any, Any]) -> None:
    """Await what gives a connection back, which goes on by itself where the caller is cancelled, even repeatedly."""
    task = _started(cleaning)
    with anyio.CancelScope(shield=True):
        await asyncio.shield(task)


async def whole(work: Coroutine[Any, Any, T], *, patience: float | None = None) -> T:
    """Await work that must not be cancelled in the middle: a cancelled caller leaves when the work has ended.

    With `patience`, the caller waits for that many seconds. Then the work is cancelled after all: it hangs.
    """
    task = _started(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await to_the_end(ended(task, patience=patience))
        raise


async def once_open(work: Coroutine[Any, Any, T], is_open: asyncio.Event, *, patience: float) -> T:
    """Await work that opens something first. It is cancelled with its caller, but not before `is_open` is set.

    An opening that takes longer than `patience` seconds is cancelled all the same.
    """
    task = _started(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await to_the_end(_cancelled_once_open(task, is_open, patience))
        raise


async def _cancelled_once_open(task: asyncio.Task[Any], is_open: asyncio.Event, patience: float) -> None:
    opening = asyncio.ensure_future(is_open.wait())
    await asyncio.wait({task, opening}, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
    opening.cancel()
    task.cancel()
    await ended(task, patience=patience)


async def ended(task: asyncio.Task[Any], *, patience: float | None = None) -> None:
    """Await the end of a task, however it ends. With `patience`, cancel it after that many seconds."""
    await asyncio.wait({task}, timeout=patience)
    if not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=patience)
    if task.done() and not task.cancelled():
        task.exception()  # was raised before, or comes from a release


class Background:
    """Work that goes on after its caller was cancelled, until it ends by itself."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def start(self, work: Coroutine[Any, Any, Any]) -> None:
        """Let work go on by itself."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def opened(
        self, opening: Coroutine[Any, Any, T], give_back: Callable[[T], Coroutine[Any, Any, None]], *, patience: float
    ) -> T:
        """Await the opening of something.

        A cancelled caller leaves at once. The opening goes on for at most `patience` seconds, in which a driver leaves no
        half-made connection behind, and what it opened is given back.
        """
        task = _started(opening)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            self.start(_undone(task, give_back, patience))
            raise

    async def ended(self) -> None:
        """Await the end of all of it."""
        while self._tasks:
            await asyncio.wait(self._tasks)


async def _undone(
    opening: asyncio.Task[T], give_back: Callable[[T], Coroutine[Any, Any, None]], patience: float
) -> None:
    await ended(opening, patience=patience)
    if opening.done() and not opening.cancelled() and opening.exception() is None:
        await give_back(opening.result())


def _started(work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    task = asyncio.ensure_future(work)
    _going.add(task)
    task.add_done_callback(_going.discard)
    return task
