"""What a case is given: a store with any number of actors, tasks to put into it, and `check`, which keeps evidence.

A case is a function `test_...`, `async` or not, under `@guarantee("KEY-01")`. It opens its actors itself, says what
must hold with `check`, never sleeps, and passes `now=` where time matters.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from concurrent.futures import BrokenExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, Literal, TypeVar
from uuid import UUID

import pytest

from litestar_queues.backends.base import QueueBackend
from litestar_queues.errors import BackendUnavailableError
from litestar_queues.lifecycle import State
from litestar_queues.records import NewTask, TaskRecord
from litestar_queues_conformance.answers import Answers, typed
from litestar_queues_conformance.compare import difference
from litestar_queues_conformance.guarantees import GUARANTEES
from litestar_queues_conformance.moments import SLACK, Present, Telling
from litestar_queues_conformance.outcomes import Result, Violation
from litestar_queues_conformance.patience import SLOW, slowness_so_far
from litestar_queues_conformance.target import Target
from litestar_queues_conformance.telling import told_to

__all__ = (
    "CASE_SECONDS",
    "T0",
    "Check",
    "NoEvidence",
    "NotFoundOut",
    "Store",
    "ToldIn",
    "Violation",
    "at",
    "guarantee",
    "not_found_out",
)

CASE_SECONDS = 60.0
"""How many fair seconds a case may take, unless it says otherwise; see `patience`."""
T0 = datetime(2031, 5, 17, 10, 20, 30, 123_456, tzinfo=UTC)
"""When cases take place that pass `now=`: not this machine's time, and with microseconds."""

C = TypeVar("C", bound=Callable[..., Any])
ToldIn = Literal["both", "given"]


def at(seconds: float = 0, *, microseconds: int = 0) -> datetime:
    """A time so long after `T0`, or before it."""
    return T0 + timedelta(seconds=seconds, microseconds=microseconds)


class NoEvidence(Exception):
    """A case ended without having checked what it is there to check."""


class NotFoundOut(Exception):
    """A case met its deadline, or lost one of its processes: it says nothing about the backend. The text says why."""


def not_found_out(error: BaseException) -> NotFoundOut | None:
    """What the error says where it says nothing about the backend; None where it is an error of the backend's.

    A store that is "not available now" counts as slow, and not as wrong, where the machine was slow: its own time
    limits are not fair.
    """
    match error:
        case NotFoundOut():
            return error
        case BaseExceptionGroup():
            reasons = [not_found_out(one) for one in error.exceptions]  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType, reportUnknownMemberType]  # of any errors
            return None if None in reasons else reasons[0]
        case BrokenExecutor():
            return NotFoundOut(f"another process ended: {error}")
        case BackendUnavailableError() if (slowness := slowness_so_far()) >= SLOW:
            return NotFoundOut(
                f"the machine was {slowness:.0f} times slower than usual, and the store did not answer in its own time: "
                f"{type(error).__name__}: {error}"
            )
        case _:
            return None


def guarantee(*ids: str, deadline: float = CASE_SECONDS, time: ToldIn = "both") -> Callable[[C], C]:
    """Make a function a case for these guarantees; each needs at least one `check` in every run of it.

    Args:
        *ids: The guarantees, as they are registered.
        deadline: Fair seconds after which the case is given up as not found out, whatever it waits for; see `patience`.
        time: In which modes of time the case runs, each in a test of its own: "given" runs it with given times alone. A case
            that has an argument `time` is given the mode, and sees to it itself.

    Raises:
        ValueError: An id is not registered, or none is given.
    """
    unknown = [id_ for id_ in ids if id_ not in GUARANTEES]
    if unknown or not ids:
        raise ValueError(f"no such guarantee: {', '.join(unknown) or 'none was named'}; they stand in guarantees.py")
    mark = pytest.mark.guarantee(*ids, deadline=deadline, time=time)

    def decorate(case: C) -> C:
        mark(case)
        return case

    return decorate


class Check:
    """Says that something must hold, and remembers that it was asked: `check("KEY-01", holds, "what was to hold")`."""

    def __init__(self, ids: Iterable[str]) -> None:
        self._evidence: dict[str, int] = dict.fromkeys(ids, 0)
        self._violations: list[str] = []
        self._unknown: dict[str, str] = {}
        self._absent: dict[str, str] = {}
        self._partial: dict[str, str] = {}
        self._figures: dict[str, tuple[Result, str]] = {}

    def __call__(self, id_: str, holds: object, message: str) -> None:
        """Raises `Violation` unless `holds` is true."""
        __tracebackhide__ = True
        self._record(id_, None if holds else message)

    def equal(self, id_: str, actual: Any, expected: Any, message: str) -> None:
        """Raises `Violation`, naming what differs, unless both are equal: of the same types, and records field by field.

        A record's JSON texts are compared as values, in which `1`, `1.0` and `true` differ.
        """
        __tracebackhide__ = True
        found = difference(actual, expected)
        self._record(id_, None if found is None else f"{message}: {found}")

    @contextmanager
    def works(self, id_: str, what: str) -> Generator[None]:
        """Raises `Violation` where the block ends with an error: `with check.works("KEY-07", "enqueueing another key")`."""
        __tracebackhide__ = True
        try:
            yield
        except Violation:
            raise
        except Exception as error:
            if (reason := not_found_out(error)) is not None:
                raise reason from error
            self._record(id_, f"{what} raised {type(error).__name__}: {error}")
            raise  # never reached
        self._record(id_, None)

    def unknown(self, id_: str, why: str) -> None:
        """Say that nothing can be found out here: the guarantee then counts as not found out."""
        self._evidence_for(id_)
        self._unknown[id_] = why

    def absent(self, id_: str, capability: str) -> None:
        """Say that the guarantee was found absent, as the target declares; after the checks which found that."""
        if not self._evidence_for(id_):
            raise ValueError(f"{id_} cannot be absent before a check found that")
        self._absent[id_] = f"{capability} is declared absent, and is absent"

    def partial(self, id_: str, what: str) -> None:
        """Say that less was checked than a whole run checks, as the suite was told."""
        self._evidence_for(id_)
        self._partial[id_] = what

    def figure(self, id_: str, word: Result, text: str) -> None:
        """Say what was measured: the word stands in the table, and the text beside it. This is evidence, and no verdict."""
        self._record(id_, None)
        self._figures[id_] = word, text

    @property
    def figures(self) -> Mapping[str, tuple[Result, str]]:
        """What was measured of the case's guarantees: a word, and the figures in words."""
        return self._figures

    @property
    def evidence(self) -> Mapping[str, int]:
        """How often each of the case's guarantees was checked."""
        return self._evidence

    @property
    def violations(self) -> list[str]:
        """What was not kept, also where the case swallowed it."""
        return self._violations

    @property
    def unknowns(self) -> Mapping[str, str]:
        """The guarantees of which nothing could be found out, each with the reason."""
        return self._unknown

    @property
    def absences(self) -> Mapping[str, str]:
        """The guarantees that were found absent, as declared, each with the capability."""
        return self._absent

    @property
    def parts(self) -> Mapping[str, str]:
        """The guarantees that were checked in part only, each with the part."""
        return self._partial

    def _evidence_for(self, id_: str) -> int:
        __tracebackhide__ = True
        if id_ not in self._evidence:
            raise ValueError(f"this case is not marked for {id_}: name it in @guarantee(...)")
        return self._evidence[id_]

    def _record(self, id_: str, violation: str | None) -> None:
        __tracebackhide__ = True
        self._evidence[id_] = self._evidence_for(id_) + 1
        if violation is not None:
            self._violations.append(f"{id_}: {violation}")
            raise Violation(f"{id_}: {violation}")


class Store:
    """A new, empty store of the target, and its clients. Whatever a case opened is closed and removed after it."""

    def __init__(
        self,
        target_name: str,
        target: Target,
        env: Mapping[str, str],
        random: Random,
        telling: Telling | None = None,
        *,
        answers: Answers | None = None,
    ) -> None:
        self.target_name = target_name
        """What `load_target` takes, in this process or another."""
        self.target = target
        self.random = random
        """Everything that a case draws comes from here, so that one seed repeats it."""
        self.telling = telling
        """How the case's times become those of calls; None passes them as they are."""
        self.answers = Answers() if answers is None else answers
        """The wrong types that the clients of this run have answered."""
        self._env = env
        self.config: dict[str, Any] = target.config(env)
        """What `target.open` takes, in this process or another."""
        self._actors: list[QueueBackend] = []
        self._others: list[Store] = []

    @property
    def multi_process(self) -> bool:
        """Whether other processes can open this store."""
        return self.target.capabilities.multi_process

    def slack(self, since: datetime) -> timedelta:
        """How much later than the case says something ends that began at this time: by the store's own clock, if that is now."""
        return SLACK if isinstance(self.telling, Present) and self.telling.moment == since else timedelta(0)

    @property
    def states(self) -> tuple[State, ...]:
        """The states that a task of this store can be in."""
        return tuple(one for one in State if one is not State.DISPATCHED or self.target.capabilities.dispatch)

    async def actor(self) -> QueueBackend:
        """Another opened client of this store."""
        backend = await self.target.open(self.config)
        self._actors.append(backend)
        return await told_to(typed(backend, self.answers), self.telling)

    async def actors(self, n: int) -> list[QueueBackend]:
        """So many opened clients of this store."""
        return [await self.actor() for _ in range(n)]

    def another(self) -> Store:
        """A second store of the same target, isolated from this one."""
        other = Store(self.target_name, self.target, self._env, self.random, self.telling, answers=self.answers)
        self._others.append(other)
        return other

    def in_each_way(self) -> Iterator[Store]:
        """A further store for each of the target's `ways`; one where it has none."""
        for way in getattr(self.target, "ways", ("",)):
            other = self.another()
            if way:
                other.config["way"] = way
            yield other

    async def aclose(self) -> None:
        """Close every client and remove every store."""
        for other in self._others:
            await other.aclose()
        while self._actors:
            await self._actors.pop().close()
        await self.target.reset(self.config)

    def new_id(self) -> str:
        """An id that no other task has."""
        return str(UUID(int=self.random.getrandbits(128), version=4))

    def new_task(self, **fields: Any) -> NewTask:
        """A task with its own id, and these fields."""
        given: dict[str, Any] = {"id": self.new_id(), "name": "conformance.task"}
        return NewTask(**given | fields)

    def new_tasks(self, n: int, **fields: Any) -> list[NewTask]:
        """So many tasks, their ids ascending, each with these fields."""
        return [self.new_task(id=id_, **fields) for id_ in sorted(self.new_id() for _ in range(n))]

    async def enqueue(self, actor: QueueBackend, *, now: datetime = T0, **fields: Any) -> TaskRecord:
        """Enqueue one task with these fields, and answer with its record, or with the holder of its key."""
        [enqueued] = await actor.enqueue_many([self.new_task(**fields)], now=now)
        return enqueued.record
