"""NTF: clients that wake each other."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Generator, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, ClassVar, cast

from litestar_queues.backends.base import QueueBackend
from litestar_queues.backends.memory import MemoryBackend
from litestar_queues.errors import BackendUnavailableError
from litestar_queues.records import Enqueued, NewTask, TaskRecord, Want
from litestar_queues_conformance.patience import TURN
from litestar_queues_conformance.saboteurs.base import Benign, InProcessTarget, Saboteur
from litestar_queues_conformance.target import Capabilities


class _Hints:
    """The wakeups of one client."""

    def __init__(self, store: _Hinting) -> None:
        self._store = store
        self._marks: dict[tuple[str, ...] | None, asyncio.Event] = {}
        self.waiting = 0
        self.closed = False

    async def notify(self, queues: Collection[str]) -> None:
        await self._store.tell(self, set(queues))

    async def wait(self, queues: tuple[str, ...] | None, seconds: float) -> bool:
        if self.closed:
            raise BackendUnavailableError("closed")
        mark = self._marks.setdefault(queues, asyncio.Event())
        self.waiting += 1
        try:
            if not mark.is_set():
                with suppress(TimeoutError):
                    async with asyncio.timeout(seconds):
                        await mark.wait()
        finally:
            self.waiting -= 1
        woken = mark.is_set() and not self.closed
        mark.clear()
        return woken

    def hear(self, queues: Collection[str]) -> None:
        for wanted, mark in self._marks.items():
            if wanted is None or not set(wanted).isdisjoint(queues):
                mark.set()

    def close(self) -> None:
        self.closed = True
        for mark in self._marks.values():
            mark.set()


class _Client:
    """A client of its own."""

    def __init__(self, store: _Hinting) -> None:
        self._store = store
        self.wakeups = store.new_hints()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def close(self) -> None:
        self.wakeups.close()
        await self._store.close()


class _HintingTarget(InProcessTarget):
    capabilities = Capabilities(
        multi_process=False,
        durable=False,
        server_clock=False,
        notifications=True,
        transactional=False,
        columns=False,
        dispatch=True,
    )

    def client(self, store: MemoryBackend) -> QueueBackend:
        return cast("QueueBackend", _Client(cast("_Hinting", store)))

    async def cut_connections(self, config: dict[str, Any]) -> int | None:
        store = cast("_Hinting | None", self.stores.get(config["store"]))
        if store is None:
            return 0
        store.cut = True
        return store.listeners


class _SilentTarget(_HintingTarget):
    capabilities = InProcessTarget.capabilities


class _Hinting(MemoryBackend):
    """A store whose clients hear each other."""

    target_type: ClassVar[type[InProcessTarget]] = _HintingTarget
    cut = False

    def new_hints(self) -> _Hints:
        hints = _Hints(self)
        self._ears.append(hints)
        return hints

    @property
    def _ears(self) -> list[_Hints]:
        ears: list[_Hints] = self.__dict__.setdefault("_all_ears", [])
        return ears

    @property
    def listeners(self) -> int:
        return len(self._ears)

    async def tell(self, speaker: _Hints | None, queues: set[str]) -> None:
        for ear in self._ears:
            if ear is not speaker:
                ear.hear(queues)


class HintsItsClients(_Hinting, Benign):
    """Has hints, among clients in one process."""


class DoublesItsHints(_Hinting, Benign):
    """Each hint comes a second time, a little later."""

    async def tell(self, speaker: _Hints | None, queues: set[str]) -> None:
        await super().tell(speaker, queues)
        for _ in range(10):
            await asyncio.sleep(0)
        await super().tell(speaker, queues)


class HidesWhatWasNotHinted(_Hinting, Saboteur):
    """What is enqueued while a client waits for hints is found once a hint was given."""

    guarantee = "NTF-01"

    @property
    def _hidden(self) -> set[str]:
        hidden: set[str] = self.__dict__.setdefault("_all_hidden", set())
        return hidden

    async def enqueue_many(self, tasks: Sequence[NewTask], *, now: datetime | None = None) -> list[Enqueued]:
        if any(ear.waiting for ear in self._ears):
            self._hidden.update(task.id for task in tasks)
        return await super().enqueue_many(tasks, now=now)

    async def tell(self, speaker: _Hints | None, queues: set[str]) -> None:
        self._hidden.clear()
        await super().tell(speaker, queues)

    def candidates(self, want: Want, now: datetime) -> Generator[TaskRecord, None, None]:
        yield from (record for record in super().candidates(want, now) if record.id not in self._hidden)


class HasHintsAndSaysNo(_Hinting, Saboteur):
    """Has wakeups that its target does not declare."""

    guarantee = "NTF-02"
    target_type: ClassVar[type[InProcessTarget]] = _SilentTarget


class HintsBeforeItStores(_Hinting, Saboteur):
    """A hint goes out before the batch is stored."""

    guarantee = "NTF-03"

    async def enqueue_many(self, tasks: Sequence[NewTask], *, now: datetime | None = None) -> list[Enqueued]:
        await self.tell(None, {task.queue for task in tasks})
        for _ in range(10):
            await asyncio.sleep(0)
        return await super().enqueue_many(tasks, now=now)


class HintsForHeldKeys(_Hinting, Saboteur):
    """A batch is hinted at, whatever of it was stored."""

    guarantee = "NTF-04"

    async def enqueue_many(self, tasks: Sequence[NewTask], *, now: datetime | None = None) -> list[Enqueued]:
        answers = await super().enqueue_many(tasks, now=now)
        await self.tell(None, {task.queue for task in tasks})
        return answers


class HintsQueueByQueue(_Hinting, Saboteur):
    """A batch in several queues gives several hints, one after another."""

    guarantee = "NTF-05"

    async def tell(self, speaker: _Hints | None, queues: set[str]) -> None:
        for queue in sorted(queues):
            await super().tell(speaker, {queue})
            for _ in range(10):
                await asyncio.sleep(0)


class HintsNameOneQueue(_Hinting, Saboteur):
    """Of the queues of a hint, one is told."""

    guarantee = "NTF-06"

    async def tell(self, speaker: _Hints | None, queues: set[str]) -> None:
        await super().tell(speaker, set(sorted(queues)[-1:]))


class DeafAfterACut(_Hinting, Saboteur):
    """After its connections were cut, a client hears nothing any more."""

    guarantee = "NTF-07"

    async def tell(self, speaker: _Hints | None, queues: set[str]) -> None:
        if not self.cut:
            await super().tell(speaker, queues)


class _WaitsOn(_Hints):
    async def wait(self, queues: tuple[str, ...] | None, seconds: float) -> bool:
        return await super().wait(queues, 3600.0 if 0 < seconds < TURN else seconds)


class DoesNotWaitShortly(_Hinting, Saboteur):
    """A wait of less than a tenth of a second lasts until a hint comes."""

    guarantee = "NTF-08"

    def new_hints(self) -> _Hints:
        hints = _WaitsOn(self)
        self._ears.append(hints)
        return hints


class WaitsOnAfterClosing(_Hinting, Saboteur):
    """A client that is closed does not let go of those who wait."""

    guarantee = "NTF-30"

    def new_hints(self) -> _Hints:
        hints = super().new_hints()
        hints.close = lambda: None  # type: ignore[method-assign]
        return hints
