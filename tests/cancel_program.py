"""A program that cancels each method of a backend at each of its steps, and looks whether the process is well.

`python cancel_program.py TARGET CONFIG` runs on a target of the matrix, and the configuration that it gave, as JSON. Prints
what went wrong, and exits 1 where anything did. A crash is an exit code of its own.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from datetime import timedelta
from importlib import import_module
from typing import Any
from uuid import uuid4

from litestar_queues.backends.base import QueueBackend
from litestar_queues.lifecycle import Complete, step
from litestar_queues.records import Held, Matching, NewTask, TaskRecord, Want

DEADLINE = 60.0
"""Seconds for what a healthy process does in some milliseconds."""
MORE = 2
"""Turns beyond those that were counted: another run may need one more."""
MOST = 60
"""Turns at which the opening of a backend is cancelled; where it takes more, they are spread over it."""

faults: Counter[str] = Counter()
Method = Callable[[QueueBackend], Coroutine[Any, Any, object]]


class SteppedLoop(asyncio.SelectorEventLoop):
    """A loop that counts its own turns, and cancels a task at one of them."""

    def __init__(self) -> None:
        super().__init__()
        self.turns = 0
        self.victims: list[asyncio.Task[Any]] = []
        self.at = -1

    def _run_once(self) -> None:
        self.turns += 1
        if self.turns == self.at:
            for victim in self.victims:
                victim.cancel()
        super()._run_once()  # type: ignore[misc]  # the loop's own


async def steps_of(loop: SteppedLoop, *calls: Coroutine[Any, Any, object]) -> int:
    """How many turns of the loop the calls take together."""
    before = loop.turns
    tasks = [asyncio.ensure_future(call) for call in calls]
    await asyncio.wait(tasks)
    return loop.turns - before


async def cancelled_at(loop: SteppedLoop, turn: int, *calls: Coroutine[Any, Any, object]) -> None:
    """Run calls, and cancel them all at this turn."""
    loop.victims = [asyncio.ensure_future(call) for call in calls]
    loop.at = loop.turns + turn
    _, hanging = await asyncio.wait(loop.victims, timeout=DEADLINE)
    loop.at = -1
    faults["a cancelled call does not end"] += len(hanging)
    for call in loop.victims:
        if call.done() and not call.cancelled() and (error := call.exception()) is not None:
            faults[f"a cancelled call raised {type(error).__name__}: {str(error)[:200]}"] += 1


def innocent() -> None:
    """What has nothing to do with the database raises nothing."""
    for what in (lambda: sorted([3, 1]), lambda: json.dumps({"a": 1}), lambda: logging.getLogger("x").info("y")):
        try:
            what()
        except BaseException as error:  # noqa: BLE001  # a stray one of any class
            faults[f"innocent code raised {type(error).__name__}"] += 1


async def well(backend: QueueBackend) -> None:
    """The pool gives connections, for as many calls at once as there may be."""
    innocent()
    try:
        async with asyncio.timeout(DEADLINE):
            await asyncio.gather(*(backend.count() for _ in range(6)))
    except Exception as error:  # noqa: BLE001  # told at the end
        faults[f"a call afterwards raised {type(error).__name__}: {str(error)[:200]}"] += 1


async def closed(backend: QueueBackend) -> None:
    """The backend closes."""
    try:
        async with asyncio.timeout(DEADLINE):
            await backend.close()
    except Exception as error:  # noqa: BLE001  # as above
        faults[f"close() raised {type(error).__name__}: {str(error)[:200]}"] += 1
    await alone()


async def alone() -> None:
    """No task goes on."""
    gc.collect()
    others = asyncio.all_tasks() - {asyncio.current_task()}
    if others:
        _, others = await asyncio.wait(others, timeout=DEADLINE / 4)
    for other in others:
        faults[f"a task is left: {other.get_coro()!r}"[:200]] += 1


def new(number: int = 1) -> list[NewTask]:
    return [NewTask(id=uuid4().hex, name="app.task") for _ in range(number)]


class Stock:
    """Tasks in every state, so that each method finds one."""

    def __init__(self) -> None:
        self.running: list[TaskRecord] = []
        self.finished: list[TaskRecord] = []

    async def fill(self, backend: QueueBackend, number: int) -> None:
        await backend.enqueue_many(new(3 * number))
        now = await backend.now()
        done = [step(one, Complete("null"), now) for one in await backend.claim(Want(worker="w", limit=number))]
        await backend.commit(done)
        self.finished = done
        self.running = await backend.claim(Want(worker="w", limit=number))

    def methods(self) -> dict[str, Method]:
        """Each method of the port, with arguments that give it something to do."""

        async def commit(backend: QueueBackend) -> object:
            one = self.running.pop()
            return await backend.commit([step(one, Complete("null"), one.created_at)])

        return {
            "now": lambda backend: backend.now(),
            "enqueue_many of one": lambda backend: backend.enqueue_many(new()),
            "enqueue_many of two with keys": lambda backend: backend.enqueue_many(
                [NewTask(id=uuid4().hex, name="app.task", key=uuid4().hex) for _ in range(2)]
            ),
            "claim": lambda backend: backend.claim(Want(worker="w", limit=1)),
            "touch_heartbeats": lambda backend: backend.touch_heartbeats([Held("a", 1), self.running[0].held]),
            "commit": commit,
            "get": lambda backend: backend.get(["a"]),
            "find": lambda backend: backend.find(Matching(), 2),
            "count": lambda backend: backend.count(),
            "next_due": lambda backend: backend.next_due(),
            "delete": lambda backend: backend.delete([self.finished.pop().held]),
            "lock": lambda backend: backend.lock("maintenance", "w", timedelta(seconds=9)),
            "unlock": lambda backend: backend.unlock("maintenance", "w"),
        }


async def cancel_methods(loop: SteppedLoop, opening: Callable[[], Coroutine[Any, Any, QueueBackend]]) -> int:
    """Cancel each method at each of its turns, on connections that are there."""
    cancelled = 0
    stock = Stock()
    backend = await opening()
    await stock.fill(backend, 150)
    for name, method in stock.methods().items():
        await method(backend)
        turns = await steps_of(loop, method(backend))
        for turn in range(1, turns + MORE):
            if not stock.running or not stock.finished:
                await stock.fill(backend, 150)
            before = faults.total()
            await cancelled_at(loop, turn, method(backend))
            await well(backend)
            cancelled += 1
            tell(before, f"{name} at turn {turn} of {turns}")
    await closed(backend)
    return cancelled


async def cancel_connecting(loop: SteppedLoop, opening: Callable[[], Coroutine[Any, Any, QueueBackend]]) -> int:
    """Cancel calls that have connections opened: more at once than there are."""

    def calls(backend: QueueBackend) -> list[Coroutine[Any, Any, object]]:
        return [*(backend.claim(Want(worker="w", limit=1)) for _ in range(2)), backend.count(), backend.now()]

    backend = await opening()
    turns = await steps_of(loop, *calls(backend))
    await closed(backend)
    for turn in range(1, turns + MORE):
        before = faults.total()
        backend = await opening()
        await cancelled_at(loop, turn, *calls(backend))
        await well(backend)
        await closed(backend)
        tell(before, f"connecting at turn {turn} of {turns}")
    return turns


async def cancel_ends(loop: SteppedLoop, opening: Callable[[], Coroutine[Any, Any, QueueBackend]]) -> int:
    """Cancel the opening and the closing of a backend at each turn."""
    turns = await steps_of(loop, opened_and_closed(opening))
    for turn in range(1, turns + MORE, 1 + turns // MOST):
        before = faults.total()
        await cancelled_at(loop, turn, opened_and_closed(opening))
        innocent()
        await alone()
        backend = await opening()
        await well(backend)
        await closed(backend)
        tell(before, f"opening and closing at turn {turn} of {turns}")
    return len(range(1, turns + MORE, 1 + turns // MOST))


async def opened_and_closed(opening: Callable[[], Awaitable[QueueBackend]]) -> None:
    backend = await opening()
    await backend.close()


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def tell(before: int, where: str) -> None:
    if faults.total() > before:
        say(f"{'and' if before else 'first'} here: {where}")


def target_of(name: str) -> Any:
    """The target of the matrix."""
    hosted = {**import_module("litestar_queues_matrix.sqlserver").TARGETS}
    hosted |= import_module("litestar_queues_matrix.alchemy").ALCHEMY
    if name in hosted:
        return hosted[name]
    module = {"aiosqlite": "sqlite", "alchemy-aiosqlite": "alchemy"}.get(name, name)
    return getattr(import_module(f"litestar_queues_matrix.{module}"), name.replace("-", "_"))


async def main(loop: SteppedLoop, name: str, config: dict[str, Any]) -> None:
    target = target_of(name)

    async def opening() -> QueueBackend:
        opened: QueueBackend = await target.open(config)
        return opened

    counts: list[int] = []
    for one in (cancel_methods, cancel_connecting, cancel_ends):
        counts.append(await one(loop, opening))
        say(f"{one.__name__}: {counts[-1]}")
    say(f"{name}: cancelled {counts[0]} calls, {counts[1]} groups that connect, {counts[2]} openings and closings")


def stray(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    faults[f"the loop was told: {context.get('message')}: {context.get('exception')!r}"[:200]] += 1


if __name__ == "__main__":
    logging.basicConfig(level=logging.CRITICAL)
    with asyncio.Runner(loop_factory=SteppedLoop) as runner:
        stepped = runner.get_loop()
        assert isinstance(stepped, SteppedLoop)
        stepped.set_exception_handler(stray)
        runner.run(main(stepped, sys.argv[1], json.loads(sys.argv[2])))
    for fault, times in faults.items():
        if times:
            say(f"{times}x {fault}")
    sys.exit(1 if faults.total() else 0)
