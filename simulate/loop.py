"""An event loop whose clock jumps to the next timer, and whose callbacks belong to processes that freeze and die."""

from __future__ import annotations

import asyncio
import random
import selectors
import time
import uuid
from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import Context, ContextVar, copy_context
from itertools import count
from typing import Any, TypeVarTuple
from unittest import mock

import uuid_utils

from litestar_queues import clock

__all__ = ("OUTSIDE", "Domain", "Stalled", "VirtualLoop", "virtual_time")

Ts = TypeVarTuple("Ts")
_BEGIN = 1000.0
_BUSY = 300_000
"""Turns of the loop at one moment of its clock; a run needs some hundreds."""


class Stalled(RuntimeError):
    """The clock cannot move on: no timer is left, or callbacks keep calling each other."""


class _Selector(selectors.SelectSelector):
    """Waits for nothing: the time that it is asked to wait has passed when it returns."""

    def __init__(self) -> None:
        super().__init__()
        self.now = _BEGIN
        self._turns = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise Stalled("no timer is left, so that nothing can happen any more")
        if timeout > 0:
            self.now += timeout
            self._turns = 0
        self._turns += 1
        if self._turns > _BUSY:
            raise Stalled(f"{_BUSY} turns of the loop at {self.now:.3f}: callbacks keep calling each other")
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """Runs a minute of sleeping in no time.

    A callback whose context belongs to a `Domain` runs only while that domain does.
    """

    def __init__(self) -> None:
        self._clock = _Selector()
        super().__init__(self._clock)

    def time(self) -> float:
        return self._clock.now

    def call_soon(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        domain = _DOMAIN.get() if context is None else context.get(_DOMAIN)
        if domain is None:
            return super().call_soon(callback, *args, context=context)
        call = _Call(domain, callback, args, copy_context() if context is None else context)
        call.handle = super().call_soon(call, context=call.context)
        return call.handle

    def call_at(
        self, when: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        domain = _DOMAIN.get() if context is None else context.get(_DOMAIN)
        if domain is None:
            return super().call_at(when, callback, *args, context=context)
        call = _Call(domain, callback, args, copy_context() if context is None else context)
        handle = super().call_at(when, call, context=call.context)
        call.handle = handle
        return handle


class Domain:
    """What belongs to one process: tasks that are created in its context, and the callbacks and timers of those."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.stopped = False
        self._held: list[_Call] = []
        self.context = OUTSIDE.copy()
        """Create the first task in this context; those that it creates inherit it."""
        self.context.run(_DOMAIN.set, self)

    def stop(self) -> None:
        """Run nothing more. The callbacks that come due are held back."""
        self.stopped = True

    def go_on(self, loop: VirtualLoop) -> None:
        """Run again, beginning with what was held back, in its order."""
        self.stopped = False
        held, self._held = self._held, []
        for call in held:
            asyncio.SelectorEventLoop.call_soon(loop, call, context=call.context)

    def hold(self, call: _Call) -> None:
        """Keep a callback that came due."""
        self._held.append(call)


class _Call:
    """A callback of a domain. Its handle is asked again before it runs, since it can be cancelled while it is held."""

    __slots__ = ("args", "callback", "context", "domain", "handle")

    def __init__(
        self, domain: Domain, callback: Callable[..., object], args: tuple[Any, ...], context: Context
    ) -> None:
        self.domain, self.callback, self.args, self.context = domain, callback, args, context
        self.handle: asyncio.Handle | None = None

    def __call__(self) -> None:
        if self.handle is not None and self.handle.cancelled():
            return
        if self.domain.stopped:
            self.domain.hold(self)
        else:
            self.callback(*self.args)


_DOMAIN: ContextVar[Domain | None] = ContextVar("simulate_domain", default=None)
OUTSIDE = Context()
"""The context of what belongs to no process: the network, the store, the run itself."""


@contextmanager
def virtual_time(seed: int) -> Generator[VirtualLoop, None, None]:
    """A loop in whose time `time.monotonic` and `since_boot` run, with ids and the module `random` anew from the seed."""
    loop, numbers, state = VirtualLoop(), count(1), random.getstate()

    def read_clock(_: int) -> float:
        return loop.time()

    def next_id() -> uuid.UUID:
        return uuid.UUID(int=next(numbers))

    random.seed(seed)
    try:
        with (
            mock.patch.object(time, "monotonic", loop.time),
            mock.patch.object(time, "clock_gettime", read_clock, create=True),
            mock.patch.object(clock, "_BOOT", 0),
            mock.patch.object(uuid_utils, "uuid7", next_id),
            mock.patch.object(uuid_utils, "uuid4", next_id),
        ):
            yield loop
    finally:
        random.setstate(state)
        loop.close()
