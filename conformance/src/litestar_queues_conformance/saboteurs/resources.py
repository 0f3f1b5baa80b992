"""SCM: what a half schema costs, and what a client leaves behind."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Collection, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

import msgspec

from litestar_queues.clock import Clock
from litestar_queues.records import TaskRecord, Want, claim_order
from litestar_queues_conformance.saboteurs.base import Benign, InProcessTarget, Saboteur

_PARTS = {"tasks": "tasks", "tasks_ready": "", "locks": "locks", "records": "records"}


class _HalvingTarget(InProcessTarget):
    """Pretends that a store in memory has tables, which can be dropped."""

    async def parts(self, config: dict[str, Any]) -> Mapping[str, str]:
        missing: set[str] = self.stores[config["store"]].__dict__.setdefault("missing", set())
        return {part: holds for part, holds in _PARTS.items() if part not in missing}

    async def halve(self, config: dict[str, Any], part: str) -> None:
        store = self.stores[config["store"]]
        store.__dict__["missing"].add(part)
        if _PARTS[part] == "tasks":
            for record in list(store.tasks.values()):
                store.forget(record)
        elif _PARTS[part] == "locks":
            store.locks.clear()
        elif _PARTS[part] == "records":
            store.records.clear()


class _Halved(Saboteur):
    target_type: ClassVar[type[InProcessTarget]] = _HalvingTarget
    missing: set[str]

    async def open(self) -> None:
        await super().open()
        self.__dict__.setdefault("missing", set()).clear()


class ForgetsAnIndex(_Halved):
    """A missing index is not created where its table is there."""

    guarantee = "SCM-06"

    async def open(self) -> None:
        kept = self.__dict__.get("missing", set[str]()) & {"tasks_ready"}
        await super().open()
        self.missing |= kept


class RefusesHalfASchema(_Halved):
    """A schema without its table of locks cannot be opened."""

    guarantee = "SCM-06"

    async def open(self) -> None:
        if "locks" in self.__dict__.get("missing", ()):
            raise RuntimeError("there is no table of locks")
        await super().open()


class StartsAnewWithHalfASchema(_Halved):
    """Where a table is missing, all tables are created anew."""

    guarantee = "SCM-08"

    async def open(self) -> None:
        if self.__dict__.get("missing", set[str]()) & {"locks", "records"}:
            self.tasks.clear()
            self.keys.clear()
        await super().open()


class CompletesItsSchema(Benign):
    """Has tables in memory, and creates those that are missing."""

    target_type: ClassVar[type[InProcessTarget]] = _HalvingTarget

    async def open(self) -> None:
        await super().open()
        self.__dict__.setdefault("missing", set()).clear()


class LeavesAThread(Saboteur):
    """Every client starts a thread, which nobody ends."""

    guarantee = "SCM-07"

    async def open(self) -> None:
        await super().open()
        threading.Thread(target=_wait, args=(asyncio.get_running_loop(),), daemon=True).start()


def _wait(loop: asyncio.AbstractEventLoop) -> None:
    """Wait until the loop is closed: a whole run would have thousands of threads otherwise."""
    while not loop.is_closed():
        threading.Event().wait(0.5)


class LeavesATask(Saboteur):
    """Every client starts a task in the event loop, which nobody ends."""

    guarantee = "SCM-07"

    def __init__(self, clock: Clock | None = None) -> None:
        super().__init__(clock)
        self._waiting = list[asyncio.Task[Any]]()

    async def open(self) -> None:
        await super().open()
        self._waiting.append(asyncio.ensure_future(asyncio.Event().wait()))


class LeavesAFile(Saboteur):
    """Every client opens a file, which nobody closes."""

    guarantee = "SCM-07"

    def __init__(self, clock: Clock | None = None) -> None:
        super().__init__(clock)
        self._files = list[BinaryIO]()  # until the store itself is gone: a whole run would have too many open files

    async def open(self) -> None:
        await super().open()
        self._files.append(Path(os.devnull).open("rb"))  # noqa: ASYNC230, SIM115  # that is the defect


class LeavesATaskWhereOpenIsCancelled(Saboteur):
    """An `open` that is cancelled leaves the task behind that it started."""

    guarantee = "SCM-07"

    def __init__(self, clock: Clock | None = None) -> None:
        super().__init__(clock)
        self._waiting = list[asyncio.Task[Any]]()

    async def open(self) -> None:
        started = asyncio.ensure_future(asyncio.Event().wait())
        self._waiting.append(started)
        await asyncio.sleep(0)
        started.cancel()
        await super().open()


class LeavesATaskWhereItIsClosedTwice(Saboteur):
    """Closing a client again starts a task that nobody ends."""

    guarantee = "SCM-07"

    def __init__(self, clock: Clock | None = None) -> None:
        super().__init__(clock)
        self._opened = 0
        self._waiting = list[asyncio.Task[Any]]()

    async def open(self) -> None:
        self._opened += 1
        await super().open()

    async def close(self) -> None:
        if not self._opened:
            self._waiting.append(asyncio.ensure_future(asyncio.Event().wait()))
        self._opened = max(self._opened - 1, 0)
        await super().close()


class KeepsOneThread(Benign):
    """Starts one thread for all clients, and keeps it."""

    _thread: ClassVar[threading.Thread | None] = None

    async def open(self) -> None:
        await super().open()
        if KeepsOneThread._thread is None:
            KeepsOneThread._thread = threading.Thread(target=threading.Event().wait, daemon=True)
            KeepsOneThread._thread.start()


class LetsGoAfterItsClosing(Benign):
    """Ends a task and a thread of each client a moment after its closing returned."""

    def __init__(self, clock: Clock | None = None) -> None:
        super().__init__(clock)
        self._ending = set[asyncio.Task[Any]]()

    async def close(self) -> None:
        await super().close()
        ending = asyncio.ensure_future(asyncio.sleep(0.05))
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)
        threading.Timer(0.05, int).start()


class ReadsThemAll(Saboteur):
    """A claim looks at every task of the store."""

    guarantee = "CST-01"

    async def claim(self, want: Want, *, now: datetime | None = None) -> list[TaskRecord]:
        sorted(self.tasks.values(), key=claim_order)
        return await super().claim(want, now=now)


class KeepsEveryAnswer(Saboteur):
    """A client keeps what it was answered, for ever."""

    guarantee = "CST-02"

    def __init__(self, clock: Clock | None = None) -> None:
        super().__init__(clock)
        self._answers = list[bytes]()

    async def get(self, ids: Collection[str]) -> dict[str, TaskRecord]:
        found = await super().get(ids)
        self._answers.append(msgspec.json.encode(found) * 10)
        return found
