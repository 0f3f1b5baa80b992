"""Bursts: several processes do the same thing to one store at the same moment, many times over.

An action is what one client does in one round: a function at the top of a module, so that a process can find it. Before
every round all clients meet at a barrier. What an action returns, or raises, is its answer; the case judges the answers
once all rounds are over. Nothing sleeps.

The start of the processes has a time limit of its own. The deadline of a burst begins when all clients stand at the
first barrier, and begins again with every round that any of them ends. A client that is late, or was lost, says nothing
about the backend: the case has found out nothing then. What a client raises outside of its action does.

Where other processes cannot see a store, the same actions run as tasks of one process: there are no other processes
that could do harm, and what gives way in the middle of an operation is still caught.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import threading
import traceback
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from random import Random
from threading import BrokenBarrierError
from typing import Any, Protocol

import pytest

from litestar_queues.backends.base import QueueBackend
from litestar_queues.errors import BackendUnavailableError
from litestar_queues_conformance.answers import Answers, typed, wrong_type
from litestar_queues_conformance.harness import Check, NotFoundOut, Store, not_found_out
from litestar_queues_conformance.moments import Present, Telling
from litestar_queues_conformance.patience import START_SECONDS, Deadline, Late, Stopwatch, starting, within
from litestar_queues_conformance.target import Target, load_target
from litestar_queues_conformance.telling import told_to

__all__ = (
    "CLIENTS",
    "BurstFailed",
    "Client",
    "ClientRaised",
    "Crew",
    "Raised",
    "burst",
    "crew_of",
    "end_with_parent",
    "refuse_errors",
)

CLIENTS = 4
"""How many clients take part, unless a case says otherwise."""
SECONDS = 45.0
"""Fair seconds in which some client ends a round; see `patience`."""
_LAST_WORDS = 2.0
"""Fair seconds that a process has for saying why it ended, once another has failed."""
_LOOK = 0.25
"""Seconds between two looks at the clients."""


class BurstFailed(NotFoundOut):
    """A client was lost or late; says which, how far all of them were, and how long what took."""


class ClientRaised(Exception):
    """A client could not open or close the store, or raised outside its action; carries its traceback."""


class _ClientUnavailable(ClientRaised, BackendUnavailableError):
    """The same, where the client's error says: not now."""


@dataclass(frozen=True, slots=True)
class Raised:
    """What an action raised, in the place of its answer."""

    traceback: str
    unavailable: bool = False
    """Whether it is an error that says: not now."""


@dataclass(frozen=True, slots=True)
class Client:
    """What an action is given: its own client of the store, and which of the clients it is."""

    index: int
    target: Target
    config: dict[str, Any]
    backend: QueueBackend | None
    """Opened before the first round; None where actions open clients themselves."""
    telling: Telling | None = None
    """How the case's times become those of calls."""

    async def open(self, config: dict[str, Any]) -> QueueBackend:
        """Another client of this store."""
        return await told_to(typed(await self.target.open(config), Answers()), self.telling)

    @property
    def opened(self) -> QueueBackend:
        """The client of the store."""
        assert self.backend is not None, "this burst opens its clients itself"  # noqa: S101  # a mistake in a case
        return self.backend


def refuse_errors(check: Check, id_: str, what: str, answers: Sequence[Any]) -> None:
    """Check that no client's action raised.

    Raises:
        Violation: One did; under LIF-21 where a client answered with a wrong type.
        NotFoundOut: One did because the store was not available, on a machine that was slow.
    """
    for answer in answers:
        if isinstance(answer, Raised):
            reason = not_found_out(BackendUnavailableError(answer.traceback)) if answer.unavailable else None
            if reason is not None:
                raise reason
            if (wrong := wrong_type(answer.traceback)) is not None:
                raise wrong
            check(id_, False, f"{what} raised:\n{answer.traceback}")


class Action(Protocol):
    """What one client does in one round."""

    __module__: str
    __name__: str

    def __call__(self, client: Client, given: Any, /) -> Awaitable[Any]: ...


@dataclass(frozen=True, slots=True)
class _Order:
    """A burst, as it is sent to a process."""

    config: dict[str, Any]
    action: Action
    rounds: Sequence[Any]
    opens: bool
    telling: Telling | None


@dataclass(frozen=True, slots=True)
class _Here:
    """A process has opened the store, and stands at the first barrier."""


@dataclass(frozen=True, slots=True)
class _Answers:
    """What a process sends back in the end."""

    rounds: list[Any]
    moments: dict[datetime, None]
    """Those of the case at which it called the store."""


@dataclass(frozen=True, slots=True)
class _Failure:
    """What a process sends back in its place."""

    traceback: str
    consequence: bool
    """Whether it failed only because another one broke the barrier."""
    unavailable: bool
    """Whether its error says: not now."""


class Crew:
    """Processes that wait for bursts; started once, because starting them takes longer than most bursts."""

    def __init__(self, target_name: str, clients: int = CLIENTS) -> None:
        self.clients = clients
        self._target_name = target_name
        self._processes: list[SpawnProcess] = []
        self._pipes: list[Connection] = []
        self._barrier: Any = None
        self._ended: Any = None
        """How many rounds each client has ended, in memory that all of them share."""

    def run(self, order: _Order, seconds: float = SECONDS, start_seconds: float = START_SECONDS) -> list[list[Any]]:
        """Each round's answers, in the order of the clients.

        Args:
            order: What each client does.
            seconds: Fair seconds in which some client ends a round.
            start_seconds: Fair seconds in which all clients reach the first barrier.

        Raises:
            ClientRaised: A client raised outside its action.
            BurstFailed: A process ended, or did not answer in time. In either case all are killed.
        """
        try:
            with starting():
                if not self._processes:
                    self._start()
                self._ended[:] = [0] * self.clients
                for pipe in self._pipes:
                    pipe.send(order)
                collected = _Collected(self.clients, len(order.rounds))
                self._collect(
                    collected,
                    start_seconds,
                    until=lambda: len(collected.here | collected.answers.keys()) == self.clients,
                )
            collected.watch = Stopwatch()
            self._collect(collected, seconds, until=lambda: len(collected.answers) == self.clients)
        except BaseException:
            self.close()
            raise
        if isinstance(order.telling, Present):
            order.telling.moments |= collected.moments
        by_client = [collected.answers[index] for index in range(self.clients)]
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
        self._ended = context.RawArray("L", self.clients)
        for index in range(self.clients):
            ours, theirs = context.Pipe()
            process = context.Process(
                target=_serve,
                args=(theirs, self._barrier, self._ended, self._target_name, index),
                daemon=True,
                name=f"burst-{index}",
            )
            process.start()
            theirs.close()
            self._processes.append(process)
            self._pipes.append(ours)

    def _collect(self, collected: _Collected, seconds: float, *, until: Callable[[], bool]) -> None:
        """Take what the clients send, until that is all, or one has failed, or no round has ended for so long."""
        deadline, ended = Deadline(seconds), list(self._ended)
        while not until():
            waiting = {pipe: i for i, pipe in enumerate(self._pipes) if i not in collected.answers}
            for pipe in wait(list(waiting), _LOOK):
                assert isinstance(pipe, Connection)  # noqa: S101  # it is one of those that were given
                collected.take(waiting[pipe], pipe)
            if collected.failures or collected.lost:
                if collected.failures:
                    self._hear_last_words(collected)
                collected.give_up(list(self._ended))
            if ended != (ended := list(self._ended)):
                deadline.restart()
            elif deadline.left <= 0 and not until():
                collected.late = True
                collected.give_up(ended)

    def _hear_last_words(self, collected: _Collected) -> None:
        """The first to fail breaks the barrier for the others, who then fail too: one moment more to hear why."""
        deadline = Deadline(_LAST_WORDS)
        while deadline.left > 0:
            heard = collected.answers.keys() | collected.failures.keys() | collected.lost
            waiting = {pipe: i for i, pipe in enumerate(self._pipes) if i not in heard}
            if not waiting:
                return
            for pipe in wait(list(waiting), _LOOK):
                assert isinstance(pipe, Connection)  # noqa: S101  # it is one of those that were given
                collected.take(waiting[pipe], pipe)


def crew_of(session: pytest.Session, target_name: str) -> Crew:
    """The processes that all cases of a run share; the run ends them."""
    crew: Crew | None = session.stash.get(_CREW, None)
    if crew is None:
        crew = session.stash[_CREW] = Crew(target_name)
        session.addfinalizer(crew.close)
    return crew


_CREW = pytest.StashKey[Crew]()


class _Collected:
    """What the clients of one burst have sent so far."""

    def __init__(self, clients: int, rounds: int) -> None:
        self.clients, self.rounds = clients, rounds
        self.here = set[int]()
        self.answers = dict[int, list[Any]]()
        self.failures = dict[int, _Failure]()
        self.lost = set[int]()
        self.moments = dict[datetime, None]()
        self.late = False
        self._started = Stopwatch()
        self.watch: Stopwatch | None = None
        """Runs from the moment on in which all clients stood at the barrier."""

    def take(self, index: int, pipe: Connection) -> None:
        """Take what a client sent."""
        said: _Here | _Answers | _Failure
        try:
            said = pipe.recv()
        except (EOFError, OSError):
            self.lost.add(index)
            return
        match said:
            case _Here():
                self.here.add(index)
            case _Answers():
                self.answers[index] = said.rounds
                self.moments |= said.moments
            case _Failure():
                self.failures[index] = said

    def give_up(self, ended: Sequence[int]) -> None:
        """Raise what has gone wrong, the first cause first."""
        causes = [one for _, one in sorted(self.failures.items()) if not one.consequence]
        if causes:
            kind = _ClientUnavailable if all(one.unavailable for one in causes) else ClientRaised
            raise kind("\n".join(one.traceback for one in causes))
        if self.lost:
            who = ", ".join(f"client {index}" for index in sorted(self.lost))
            raise BurstFailed(f"{who} ended without a word: {self._how_far(ended)}")
        late = ", ".join(str(index) for index in range(self.clients) if index not in self.answers)
        raise BurstFailed(f"no answer in time from the clients {late}: {self._how_far(ended)}")

    def _how_far(self, ended: Sequence[int]) -> str:
        if self.watch is None:
            return f"{len(self.here)} of {self.clients} clients have reached the barrier after {self._started}"
        return f"the slowest client is in round {min(min(ended) + 1, self.rounds)} of {self.rounds} after {self.watch}"


async def burst(
    store: Store,
    action: Action,
    rounds: Sequence[Any],
    *,
    crew: Crew,
    opens: bool = False,
    seconds: float = SECONDS,
) -> list[list[Any]]:
    """Run an action in every client, once for each round, from one barrier on; each round's answers, by client.

    Args:
        store: Where; each client opens it for itself.
        action: What each does; an exception of it becomes a `Raised` in the place of its answer.
        rounds: What the action is given, round by round.
        crew: The processes, used where other processes can see the store.
        opens: Whether the action opens its clients itself.
        seconds: Fair seconds in which some client ends a round.

    Raises:
        ClientRaised: A client raised outside its action.
        BurstFailed: A client was lost or late.
    """
    if store.telling is not None:
        await store.telling.begin(await store.actor())
    order = _Order(store.config, action, rounds, opens, store.telling)
    if store.multi_process:
        return crew.run(order, seconds)
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
    clients = [
        Client(index, store.target, store.config, backend, store.telling) for index, backend in enumerate(backends)
    ]
    deadline = Deadline(seconds)
    try:
        async with within(deadline), asyncio.TaskGroup() as group:
            running = [
                group.create_task(_rounds(client, order, meet(client.index), deadline.restart)) for client in clients
            ]
    except Late:
        raise BurstFailed(f"no client has ended a round in time, {deadline.watch} after the first") from None
    return [list(answers) for answers in zip(*(task.result() for task in running), strict=True)]


def _serve(pipe: Connection, barrier: Any, ended: Any, target_name: str, index: int) -> None:
    """A process of a crew: one burst after another, until it is killed or the pipe is closed."""
    threading.Thread(target=end_with_parent, daemon=True).start()
    target = load_target(target_name)
    while True:
        try:
            order: _Order = pipe.recv()
        except EOFError:
            return
        is_here = False

        async def meet() -> None:
            nonlocal is_here
            if not is_here:
                pipe.send(_Here())
                is_here = True
            # Blocks this process's event loop, which has nothing else to do: nothing stands between the barrier and
            # the first statement. How long it may take is for the parent to say.
            barrier.wait()

        def note() -> None:
            ended[index] += 1

        try:
            answers = asyncio.run(_take_part(target, index, order, meet, note))
        except BaseException as error:  # noqa: BLE001  # carried to the parent, which raises it
            barrier.abort()
            told = f"client {index}: {traceback.format_exc()}"
            consequence, unavailable = isinstance(error, BrokenBarrierError), isinstance(error, BackendUnavailableError)
            pipe.send(_Failure(told, consequence, unavailable))
        else:
            pipe.send(_Answers(answers, order.telling.moments if isinstance(order.telling, Present) else {}))


def end_with_parent() -> None:
    """Nobody else ends a process that stands at the barrier."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


async def _take_part(
    target: Target, index: int, order: _Order, meet: Callable[[], Awaitable[None]], note: Callable[[], None]
) -> list[Any]:
    backend = None if order.opens else await _opened(target, order)
    try:
        return await _rounds(Client(index, target, order.config, backend, order.telling), order, meet, note)
    finally:
        if backend is not None:
            await backend.close()


async def _opened(target: Target, order: _Order) -> QueueBackend:
    # A wrong type is reported by the process of the case, whose clients answer the same.
    return await told_to(typed(await target.open(order.config), Answers()), order.telling)


async def _rounds(
    client: Client, order: _Order, meet: Callable[[], Awaitable[None]], note: Callable[[], None]
) -> list[Any]:
    answers: list[Any] = []
    for given in order.rounds:
        await meet()
        try:
            answers.append(await order.action(client, given))
        except Exception as error:  # noqa: BLE001  # an answer like any other: the case judges it
            answers.append(Raised(traceback.format_exc(), isinstance(error, BackendUnavailableError)))
        note()
    return answers
