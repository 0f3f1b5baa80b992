"""A watched memory backend that has a second client, as a backend with a server has."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Callable
from typing import Any, cast

from queue_lab import Lab, WatchedBackend
from waiting import DEADLINE

from litestar_queues import BackendUnavailableError
from litestar_queues.backends.memory import MemoryBackend

__all__ = ("HEART", "FirstClient", "SecondClient", "apart_lab", "hearts")

HEART = "litestar-queues-heart"


class _Locked:
    """The memory backend for several threads: one call at a time, none of which waits for anything."""

    def __init__(self) -> None:
        self.inner = MemoryBackend()
        self._lock = threading.Lock()

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.inner, name)
        if not inspect.iscoroutinefunction(found):
            return found

        async def call(*args: Any, **kwargs: Any) -> Any:
            with self._lock:
                return await found(*args, **kwargs)

        return call


class FirstClient(WatchedBackend):
    """The backend that the service opens."""

    name = "first"
    process_local = False

    def __init__(self) -> None:
        super().__init__(cast("MemoryBackend", _Locked()))
        self.second = SecondClient(self)

    def apart(self) -> WatchedBackend:
        self.second.home = asyncio.get_running_loop()
        return self.second


class SecondClient(WatchedBackend):
    """Another client of the same store. It is called in the thread, and watched from the first one."""

    name = "second"

    def __init__(self, first: FirstClient) -> None:
        super().__init__(first.inner)
        self.home: asyncio.AbstractEventLoop | None = None
        self.is_open = self.was_closed = False
        self.raises: dict[str, list[BaseException]] = {}
        """Kinds of calls, with what the next ones raise."""
        self.hangs: dict[str, bool] = {}
        """Kinds of calls that never answer; True for those that cannot be cancelled either."""
        self.threads: set[str] = set()
        self._first = first
        self._called = threading.Condition()

    async def open(self) -> None:
        await self._call("open")

    async def close(self) -> None:
        await self._call("close")

    async def _call(self, kind: str, *args: Any, **kwargs: Any) -> Any:
        with self._called:
            self.calls.append((kind, args))
            self.threads.add(threading.current_thread().name)
        try:
            if errors := self.raises.get(kind):
                raise errors.pop(0)
            await self._hang(kind)
            if kind in ("open", "close"):
                if kind in self.away:
                    raise ConnectionError("the second client cannot be opened")
                self.is_open, self.was_closed = kind == "open", kind == "close"
                return None
            if kind in self.away:
                raise BackendUnavailableError("the second client is away")
            return await getattr(self.inner, kind)(*args, **kwargs)
        finally:
            with self._called:
                self._called.notify_all()
            if self.home is not None and not self.home.is_closed():
                self.home.call_soon_threadsafe(self._first.stir.set)

    async def _hang(self, kind: str) -> None:
        while kind in self.hangs:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                if not self.hangs[kind]:
                    raise

    def block_until(self, condition: Callable[[], Any]) -> None:
        """Keep the calling thread until a condition holds; looked at after each call in the other thread."""
        with self._called:
            assert self._called.wait_for(condition, DEADLINE / 10)

    def block_for(self, calls: int, kind: str = "touch_heartbeats") -> None:
        """Keep the calling thread until there were so many calls more."""
        before = len(self.of(kind))
        self.block_until(lambda: len(self.of(kind)) >= before + calls)


def apart_lab(**config: Any) -> tuple[Lab, SecondClient]:
    """A service on the first client, which is not open yet, and the second client."""
    first = FirstClient()
    defaults: dict[str, Any] = {
        "worker_heartbeat_interval": 0.01,
        "worker_stale_after": 60,
        "maintenance_interval": 0.02,
    }
    return Lab(backend=first, **{**defaults, **config}), first.second


def hearts() -> list[threading.Thread]:
    """The threads of heartbeats in this process."""
    return [thread for thread in threading.enumerate() if thread.name == HEART]
