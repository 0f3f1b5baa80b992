"""Work that must not be cancelled in the middle."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import anyio

__all__ = ("cancellations", "ended", "heed_cancellation", "to_the_end", "whole")

T = TypeVar("T")


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
    task = asyncio.ensure_future(cleaning)
    with anyio.CancelScope(shield=True):
        await asyncio.shield(task)


async def whole(work: Coroutine[Any, Any, T]) -> T:
    """Await what must not be cancelled in the middle: whoever is cancelled leaves when it has ended."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await to_the_end(ended(task))
        raise


async def ended(task: asyncio.Task[Any]) -> None:
    """Await the end of a task, however it ends."""
    await asyncio.wait({task})
    if not task.cancelled():
        task.exception()  # was raised before, or comes from a release
