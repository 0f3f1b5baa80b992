"""SCM-07: what a client leaves behind that was closed."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from litestar_queues.backends.base import ApartBackend, QueueBackend
from litestar_queues.errors import QueueError
from litestar_queues.lifecycle import Complete, step
from litestar_queues.records import Want
from litestar_queues_conformance.harness import T0, Check, Store, at, guarantee
from litestar_queues_conformance.moves import RESULT
from litestar_queues_conformance.patience import Deadline
from litestar_queues_conformance.target import CountsSessions, Spoils

_ROUNDS = 6
_WARM_UP = 2
"""Rounds after which what libraries keep for all clients is there."""
_SOON = 5.0
"""Fair seconds within which what a client releases in the background has gone."""
_LOOK = 0.05
_FILES = Path("/proc/self/fd")
_OF_THE_LOOP = ("asyncio_", "AnyIO worker thread", "pace of the machine", "deadline of a case")
"""How the threads are called that are the event loop's, whoever made them necessary, or the suite's."""


@dataclass(frozen=True, slots=True)
class _Holdings:
    """What this process, and a server for it, hold at one moment."""

    threads: int
    files: int
    """0 where the platform does not say."""
    tasks: int
    sessions: int
    """0 where nobody counts them."""

    @classmethod
    async def now(cls, store: Store) -> _Holdings:
        sessions = await store.target.sessions(store.config) if isinstance(store.target, CountsSessions) else None
        threads = [one for one in threading.enumerate() if not one.name.startswith(_OF_THE_LOOP)]
        return cls(len(threads), _open_files(), len(asyncio.all_tasks()), sessions or 0)

    def more_than(self, before: _Holdings) -> str:
        """What there is more of, in words."""
        pairs = ((name, getattr(before, name), getattr(self, name)) for name in self.__slots__)
        return ", ".join(f"{now - was} {name} more than the {was} before" for name, was, now in pairs if now > was)


def _open_files() -> int:
    return len(os.listdir(_FILES)) if _FILES.is_dir() else 0  # noqa: PTH208  # an iterator would be a file of its own


async def _checked(store: Store, check: Check, what: str, turn: Callable[[int], Awaitable[None]]) -> None:
    """Do the same several times, and compare what is held afterwards with what was held after the first times."""
    for number in range(_WARM_UP):
        await turn(number)
    before = await _settled(store)
    for number in range(_ROUNDS):
        await turn(number)
    gc.collect()  # what is only waiting for that is no leak
    deadline = Deadline(_SOON)
    while (more := (await _Holdings.now(store)).more_than(before)) and deadline.left > 0:
        await asyncio.sleep(_LOOK)  # no event tells
        gc.collect()
    check("SCM-07", not more, f"after {_ROUNDS} times {what}: {more}")


async def _settled(store: Store) -> _Holdings:
    """What is held once two looks, one after the other, agree: what is released in the background is gone by then."""
    gc.collect()
    found, deadline = await _Holdings.now(store), Deadline(_SOON)
    while deadline.left > 0:
        await asyncio.sleep(_LOOK)
        again = await _Holdings.now(store)
        if again == found:
            break
        found = again
    return found


async def _work(store: Store, client: QueueBackend) -> None:
    """Some of everything, and several calls at once, so that a pool has to have several connections."""
    batches = [store.new_tasks(2, queue=f"q{n}") for n in range(4)]
    await asyncio.gather(*(client.enqueue_many(batch, now=T0) for batch in batches), client.count(), client.now())
    claimed = await client.claim(Want(worker="worker-a", limit=3), now=at(1))
    await client.touch_heartbeats([one.held for one in claimed], now=at(2))
    await client.commit([step(one, Complete(RESULT), at(3)) for one in claimed])
    if client.wakeups is not None:
        await client.wakeups.notify(["q0"])
        await client.wakeups.wait(("q0",), 0.01)


async def _closed(client: QueueBackend) -> None:
    await client.close()
    await client.close()


# Nothing of this has to do with time: once is enough, in every case of this file.
@guarantee("SCM-07", time="given", deadline=180.0)
async def test_a_client_that_was_closed_has_released_everything(store: Store, check: Check) -> None:
    async def turn(_: int) -> None:
        client = await store.target.open(store.config)
        try:
            await _work(store, client)
            apart = client.apart() if isinstance(client, ApartBackend) else None
            if apart is not None:
                try:
                    await apart.open()
                    await apart.count()
                finally:
                    await _closed(apart)
        finally:
            await _closed(client)

    await _checked(store, check, "opening, working and closing twice", turn)


@guarantee("SCM-07", time="given", deadline=180.0)
async def test_a_client_that_was_closed_during_its_calls_has_released_everything(store: Store, check: Check) -> None:
    async def turn(number: int) -> None:
        client = await store.target.open(store.config)
        calls = [asyncio.ensure_future(client.enqueue_many(store.new_tasks(3), now=T0)) for _ in range(4)]
        for _ in range(number):
            await asyncio.sleep(0)  # no pause: each turn closes at another point of the calls
        await asyncio.gather(client.close(), client.close())
        for call in calls:
            with suppress(QueueError):
                await call

    await _checked(store, check, "closing during calls", turn)


@guarantee("SCM-07", time="given", deadline=180.0)
async def test_an_open_that_is_cancelled_has_released_everything(store: Store, check: Check) -> None:
    began = time.monotonic()
    client = await store.target.open(store.config)
    usual = time.monotonic() - began
    await client.close()

    async def turn(number: int) -> None:
        opening = asyncio.ensure_future(store.target.open(store.config))
        # Each turn cancels at another point: after so many steps of the event loop, or so long a part of the usual time.
        if number % 2:
            await asyncio.wait([opening], timeout=usual * number / _ROUNDS)
        for _ in range(0 if number % 2 else number // 2):
            await asyncio.sleep(0)
        opening.cancel()
        with suppress(asyncio.CancelledError):
            await (await opening).close()

    await _checked(store, check, "cancelling `open`", turn)


@guarantee("SCM-07", time="given", deadline=180.0)
async def test_an_open_that_fails_has_released_everything(store: Store, check: Check) -> None:
    if not isinstance(store.target, Spoils):
        check("SCM-07", True, "an open that fails: the target cannot make one")
        if store.target.capabilities.columns:
            check.unknown("SCM-07", "the target cannot make `open` fail: it has no `spoil`")
        return
    await store.target.spoil(store.config)
    refused = list[Exception]()

    async def turn(_: int) -> None:
        try:
            client: Any = await store.target.open(store.config)
        except Exception as error:  # noqa: BLE001  # whatever it says: SCM-07 is about what it leaves
            refused.append(error)
        else:
            await client.close()

    await _checked(store, check, "an `open` that fails", turn)
    if len(refused) < _ROUNDS + _WARM_UP:
        check.unknown("SCM-07", "`spoil` of the target does not make `open` fail")
