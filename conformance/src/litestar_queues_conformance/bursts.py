"""Bursts: several processes do the same thing to one store at the same moment, many times over.

A script is what one client does in one round: a function at the top of a module, so that a process can find it. Before
every round all clients meet at a barrier. What a script returns, or raises, is its answer; the case judges the answers
once all rounds are over. Nothing sleeps, and everything has a deadline.

Where other processes cannot see a store, the same scripts run as tasks of one process: there are no other processes
that could do harm, and what gives way in the middle of an operation is still caught.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import time
import traceback
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from random import Random
from threading import BrokenBarrierError
from typing import Any, Protocol

from litestar_queues.backends.base import QueueBackend
from litestar_queues_conformance.harness import Store
from litestar_queues_conformance.target import Target, load_target

__all__ = ("CLIENTS", "BurstFailed", "Client", "Crew", "Raised", "burst")

CLIENTS = 4
"""How many clients take part, unless a case says otherwise."""
SECONDS = 45.0
"""How long a burst may take, processes' start included."""
_LAST_WORDS = 2.0
"""Seconds that a process has for saying why it ended, once another has failed."""


class BurstFailed(Exception):
    """A client did not get as far as answering every round; says why, with its traceback."""


@dataclass(frozen=True, slots=True)
class Raised:
    """What a script raised, in the place of its answer."""

    traceback: str


@dataclass(frozen=True, slots=True)
class Client:
    """What a script is given: its own client of the store, and which of the clients it is."""

    index: int
    target: Target
    config: dict[str, Any]
    backend: QueueBackend | None
    """Opened before the first round; None where scripts open clients themselves."""

    @property
    def opened(self) -> QueueBackend:
        """The client of the store."""
        assert self.backend is not None, "this burst opens its clients itself"  # noqa: S101  # a mistake in a case
        return self.backend


class Script(Protocol):
    """What one client does in one round."""

    __module__: str
    __name__: str

    def __call__(self, client: Client, given: Any, /) -> Awaitable[Any]: ...


@dataclass(frozen=True, slots=True)
class _Order:
    """A burst, as it is sent to a process."""

    config: dict[str, Any]
    script: Script
    rounds: Sequence[Any]
    opens: bool
    seconds: float


@dataclass(frozen=True, slots=True)
class _Answers:
    """What a process sends back; in its place, a text says why there is nothing to send."""

    rounds: list[Any]


class Crew:
    """Processes that wait for bursts; started once, because starting them takes longer than most bursts."""

    def __init__(self, target_name: str, clients: int = CLIENTS) -> None:
        self.clients = clients
        self._target_name = target_name
        self._processes: list[SpawnProcess] = []
        self._pipes: list[Connection] = []
        self._barrier: Any = None

    def run(self, order: _Order) -> list[list[Any]]:
        """Each round's answers, in the order of the clients.

        Raises:
            BurstFailed: A process raised outside its script, ended, or did not answer in time. All are killed then.
        """
        deadline = time.monotonic() + order.seconds
        try:
            if not self._processes:
                self._start()
            for pipe in self._pipes:
                pipe.send(order)
            by_client = self._collect(deadline)
        except BaseException:
            self.close()
            raise
        return [list(answers) for answers in zip(*by_client, strict=True)]

    def close(self) -> None:
        """Kill every process. The next burst starts new ones."""
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.join()
            process.close()
        for pipe in self._pipes:
            pipe.close()
        self._processes.clear()
        self._pipes.clear()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._barrier = context.Barrier(self.clients)  # kept: a process that is still starting opens it by name
        for index in range(self.clients):
            ours, theirs = context.Pipe()
            process = context.Process(
                target=_serve,
                args=(theirs, self._barrier, self._target_name, index),
                daemon=True,
                name=f"burst-{index}",
            )
            process.start()
            theirs.close()
            self._processes.append(process)
            self._pipes.append(ours)

    def _collect(self, deadline: float) -> list[list[Any]]:
        answers: dict[int, list[Any]] = {}
        failures: dict[int, str] = {}
        while waiting := {pipe: i for i, pipe in enumerate(self._pipes) if i not in answers and i not in failures}:
            ready = wait(list(waiting), max(deadline - time.monotonic(), 0))
            if not ready:
                late = ", ".join(str(index) for index in waiting.values())
                failures[self.clients] = f"no answer in time from the clients {late}"
                break
            for pipe, index in waiting.items():
                if pipe in ready:
                    said: _Answers | str
                    try:
                        said = pipe.recv()
                    except (EOFError, OSError):
                        said = f"client {index} ended without a word"
                    if isinstance(said, str):
                        failures[index] = said
                    else:
                        answers[index] = said.rounds
            if failures:
                # The first to fail breaks the barrier for the others, who then fail too: one moment more to hear why.
                deadline = min(deadline, time.monotonic() + _LAST_WORDS)
        if failures:
            telling = [text for text in failures.values() if BrokenBarrierError.__name__ not in text]
            raise BurstFailed("\n".join(telling or failures.values()))
        return [answers[index] for index in range(self.clients)]


async def burst(
    store: Store,
    script: Script,
    rounds: Sequence[Any],
    *,
    crew: Crew,
    opens: bool = False,
    seconds: float = SECONDS,
) -> list[list[Any]]:
    """Run a script in every client, once for each round, from one barrier on; each round's answers, by client.

    Args:
        store: Where; each client opens it for itself.
        script: What each does; an exception of it becomes a `Raised` in the place of its answer.
        rounds: What the script is given, round by round.
        crew: The processes, used where other processes can see the store.
        opens: Whether the script opens its clients itself.
        seconds: How long all of it may take.

    Raises:
        BurstFailed: A client did not come through.
    """
    order = _Order(store.config, script, rounds, opens, seconds)
    if store.multi_process:
        return crew.run(order)
    barrier = asyncio.Barrier(crew.clients)
    drawn = [Random(store.random.random()) for _ in range(crew.clients)]  # noqa: S311  # repeatable is what it is for

    def meet(index: int) -> Callable[[], Awaitable[None]]:
        async def met() -> None:
            await barrier.wait()
            # Who comes first is drawn: in one process it would be the same one in every round.
            for _ in range(drawn[index].randrange(3)):
                await asyncio.sleep(0)

        return met

    backends = [None if opens else await store.actor() for _ in range(crew.clients)]
    clients = [Client(index, store.target, store.config, backend) for index, backend in enumerate(backends)]
    async with asyncio.timeout(seconds), asyncio.TaskGroup() as group:
        running = [group.create_task(_rounds(client, order, meet(client.index))) for client in clients]
    return [list(answers) for answers in zip(*(task.result() for task in running), strict=True)]


def _serve(pipe: Connection, barrier: Any, target_name: str, index: int) -> None:
    """A process of a crew: one burst after another, until it is killed or the pipe is closed."""
    target = load_target(target_name)
    while True:
        try:
            order: _Order = pipe.recv()
        except EOFError:
            return

        async def meet(seconds: float = order.seconds) -> None:
            # Blocks this process's event loop, which has nothing else to do: nothing stands between the barrier and
            # the first statement.
            barrier.wait(seconds)

        try:
            answers = asyncio.run(_take_part(target, index, order, meet))
        except BaseException:  # noqa: BLE001  # carried to the parent, which raises it
            barrier.abort()
            pipe.send(f"client {index}: {traceback.format_exc()}")
        else:
            pipe.send(_Answers(answers))


async def _take_part(target: Target, index: int, order: _Order, meet: Callable[[], Awaitable[None]]) -> list[Any]:
    backend = None if order.opens else await target.open(order.config)
    try:
        return await _rounds(Client(index, target, order.config, backend), order, meet)
    finally:
        if backend is not None:
            await backend.close()


async def _rounds(client: Client, order: _Order, meet: Callable[[], Awaitable[None]]) -> list[Any]:
    answers: list[Any] = []
    for given in order.rounds:
        await meet()
        try:
            answers.append(await order.script(client, given))
        except Exception:  # noqa: BLE001  # an answer like any other: the case judges it
            answers.append(Raised(traceback.format_exc()))
    return answers
