"""Closing a backend while calls of its own are under way."""

from __future__ import annotations

import asyncio
from types import TracebackType

__all__ = ("UnderWay",)


class UnderWay:
    """The calls that have not come to their end: `with under_way:` counts one.

    A pool that is closed under a call cuts its connection off, waits for it for ever, or leaves it open, each driver in
    its own way. Whoever closes a backend therefore lets no call begin, and awaits `ended` before the pool is closed.
    """

    def __init__(self) -> None:
        self._calls = 0
        self._waiting: list[asyncio.Future[None]] = []

    def __enter__(self) -> None:
        self._calls += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._calls -= 1
        if self._calls:
            return
        for waiting in self._waiting:
            if not waiting.done():  # else whoever closes was cancelled
                waiting.set_result(None)
        self._waiting.clear()

    async def ended(self) -> None:
        """Await the end of every call; each has its own limit, so that this ends too."""
        while self._calls:
            waiting = asyncio.get_running_loop().create_future()
            self._waiting.append(waiting)
            await waiting
