"""What lies between the processes and the store: delays, lost replies, refusals, silence."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from random import Random
from typing import Any, cast

from litestar_queues.backends.base import QueueBackend
from litestar_queues.backends.memory import MemoryBackend
from litestar_queues.errors import BackendError, BackendUnavailableError
from simulate.journal import Journal, Spans, short
from simulate.loop import OUTSIDE, VirtualLoop
from simulate.store import SharedStore

__all__ = ("Line", "Network", "Noise", "Trouble", "port_of")

_LOCAL = frozenset({"open", "close"})
_READS = frozenset({"now", "get", "find", "count", "next_due", "create_schema"})


class Trouble(StrEnum):
    """What can be wrong between a process and the store."""

    AWAY = "away"
    """Calls are refused as unavailable, and replies on their way are lost."""
    SILENT = "silent"
    """Calls and replies vanish; the caller waits until the trouble is over, or until its driver gives up."""
    REFUSING = "refusing"
    """The store refuses every call, with an error that does not say that it is away."""
    READ_ONLY = "read-only"
    """The store refuses what writes, in the same way."""
    SLOW = "slow"
    """Each way takes up to two seconds."""


@dataclass(frozen=True, slots=True)
class Noise:
    """How often a single call goes wrong, without any trouble: shares of 1."""

    lost: float = 0.0
    """It took effect, and the reply was lost."""
    away: float = 0.0
    refused: float = 0.0
    silent: float = 0.0


@dataclass(slots=True, eq=False)
class Line:
    """The way between one process and the store."""

    process: str
    troubles: list[Trouble] = field(default_factory=list[Trouble])
    spans: Spans = field(default_factory=Spans)
    """When this process could not beat in peace, for whatever reason."""
    own: Spans = field(default_factory=Spans)
    """The same, without what everybody suffered."""
    closed: bool = False
    """Whether the process has ended, so that nothing of it arrives and nothing reaches it."""
    over: bool = False
    """Whether the run has ended, and every call is refused at once."""


@dataclass(slots=True, eq=False)
class _Call:
    line: Line
    kind: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    reply: asyncio.Future[Any]
    hung: bool = False


class Network:
    """Carries calls to the store and replies back.

    Args:
        loop: In whose time it works.
        store: The store.
        journal: Where each call is written.
        rng: Decides about every call.
        noise: How often a single call goes wrong.
    """

    def __init__(self, loop: VirtualLoop, store: SharedStore, journal: Journal, rng: Random, noise: Noise) -> None:
        self._loop, self._store, self._journal, self._rng = loop, store, journal, rng
        self.noise = noise
        self.everybody: list[Trouble] = []
        self.outages = Spans()
        """When the store was away for everybody."""

    async def call(self, line: Line, kind: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """One call of the port."""
        if kind in _LOCAL:
            return None
        if line.over:
            raise BackendUnavailableError("the run is over")
        call = _Call(line, kind, args, kwargs, self._loop.create_future())
        noise, drawn = self.noise, self._rng.random()
        if drawn < noise.away + noise.refused + noise.silent:
            self._note_noise(line, kind)
            if drawn < noise.away:
                self._later(self._refuse, call, BackendUnavailableError("the connection was refused"))
            elif drawn < noise.away + noise.refused:
                self._later(self._refuse, call, BackendError("the store refused this call"))
            else:
                self._hang(call, self._rng.uniform(2, 40), self._arrive)
        else:
            self._later(self._arrive, call)
        return await call.reply

    def _arrive(self, call: _Call) -> None:
        """A call is at the store."""
        line = call.line
        if line.closed and self._rng.random() < 0.5:  # it was still on its way when the process ended
            return
        trouble = self._trouble(line)
        if trouble is Trouble.AWAY:
            self._refuse(call, BackendUnavailableError("the store is away"))
        elif trouble is Trouble.SILENT:
            self._hang(call, self._rng.uniform(5, 60), self._arrive)
        elif trouble is Trouble.REFUSING or (trouble is Trouble.READ_ONLY and not _reads(call.kind)):
            self._refuse(call, BackendError(f"the store refuses: it is {trouble}"))
        else:
            self._serve(call)

    def _serve(self, call: _Call) -> None:
        self._store.caller = call.line.process
        try:
            answer = _at_once(getattr(self._store, call.kind)(*call.args, **call.kwargs))
        except Exception as error:  # noqa: BLE001  # whatever the store raises is the caller's
            self._later(self._refuse, call, error)
            return
        self._journal.write(call.line.process, f"{call.kind}{_told(call.args, answer)}")
        if self._rng.random() < self.noise.lost:
            self._note_noise(call.line, call.kind)
            self._later(self._refuse, call, BackendUnavailableError("the reply was lost"))
        else:
            self._later(self._return, call, answer)

    def _return(self, call: _Call, answer: object) -> None:
        """A reply is at the process, unless it was lost on its way."""
        trouble = self._trouble(call.line)
        if trouble is Trouble.AWAY:
            self._refuse(call, BackendUnavailableError("the connection was lost before the reply came"))
        elif trouble is Trouble.SILENT:
            error = BackendUnavailableError("the reply never came")
            self._hang(call, self._rng.uniform(5, 60), lambda hung: self._refuse(hung, error))
        elif not call.reply.done():
            call.reply.set_result(answer)

    def _refuse(self, call: _Call, error: Exception) -> None:
        if not call.reply.done():
            self._journal.write(call.line.process, f"{call.kind} !! {error}")
            call.reply.set_exception(error)

    def _hang(self, call: _Call, longest: float, then: Callable[[_Call], None]) -> None:
        """Keep the caller waiting; then the call goes on, or its driver has given up."""
        if call.hung or self._rng.random() < 0.5:
            error = BackendUnavailableError("no reply came, and the driver gave up")
            self._loop.call_later(longest, self._refuse, call, error, context=OUTSIDE)
        else:
            call.hung = True
            self._loop.call_later(longest, then, call, context=OUTSIDE)

    def _later(self, step: Callable[..., None], *args: Any) -> None:
        line: Line = args[0].line
        slow = Trouble.SLOW in line.troubles or Trouble.SLOW in self.everybody
        pause = self._rng.uniform(0.1, 2.0) if slow else self._rng.uniform(0.0005, 0.005)
        self._loop.call_later(pause, step, *args, context=OUTSIDE)

    def _trouble(self, line: Line) -> Trouble | None:
        return next((one for one in (*self.everybody, *line.troubles) if one is not Trouble.SLOW), None)

    def _note_noise(self, line: Line, kind: str) -> None:
        if kind == "touch_heartbeats":
            line.spans.add(self._journal.now, self._journal.now + 0.01)
            line.own.add(self._journal.now, self._journal.now + 0.01)


class _Port:
    """The port as one process has it: every method of the memory backend, through the network."""

    name = "simulated"
    process_local = True  # so that heartbeats need neither a thread nor a connection of their own
    wakeups = None

    def __init__(self, network: Network, line: Line) -> None:
        self._network, self._line = network, line

    def __getattr__(self, kind: str) -> Callable[..., Coroutine[Any, Any, Any]]:
        if kind.startswith("_") or not callable(getattr(MemoryBackend, kind, None)):
            raise AttributeError(kind)

        async def call(*args: Any, **kwargs: Any) -> Any:
            return await self._network.call(self._line, kind, args, kwargs)

        return call


def port_of(network: Network, line: Line) -> QueueBackend:
    """The store as the process at the end of this line reaches it."""
    return cast("QueueBackend", _Port(network, line))


def _reads(kind: str) -> bool:
    return kind in _READS or kind.startswith("read_")


def _at_once(method: Coroutine[Any, Any, Any]) -> Any:
    """The result of a coroutine that awaits nothing: no method of the memory backend does."""
    try:
        method.send(None)
    except StopIteration as done:
        return done.value
    raise RuntimeError("a method of the store awaited something")


def _told(args: Sequence[Any], answer: object) -> str:
    """A call and its answer, for the trace."""
    if isinstance(answer, set):
        kept = sorted(short(one) for one in cast("set[str]", answer))
        return f" {' '.join(_ids(args[0]))} -> {' '.join(kept) or 'none'}"
    return f" -> {' '.join(_ids(cast('object', answer)))}" if isinstance(answer, list) else ""


def _ids(values: object) -> list[str]:
    """Those of tasks and of what is held."""
    if not isinstance(values, list | tuple):
        return []
    return [short(one.id) for one in cast("Sequence[Any]", values) if hasattr(one, "fence")]
