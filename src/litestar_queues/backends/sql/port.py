"""The port's methods over programs: what SQL backends have in common, whatever layer they reach their database by."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Protocol, TypeVar

from litestar_queues.backends.closing import UnderWay
from litestar_queues.backends.retry import with_retries
from litestar_queues.backends.sql.engine import Engine
from litestar_queues.backends.sql.family import Kind
from litestar_queues.backends.sql.program import ConflictError, Program
from litestar_queues.errors import BackendError, BackendUnavailableError, QueueConfigurationError
from litestar_queues.lifecycle import State
from litestar_queues.records import Count, Enqueued, Held, NewTask, Query, TaskRecord, Want

__all__ = ("Attempts", "SqlPort")

T = TypeVar("T")

_log = logging.getLogger("litestar_queues")


class Attempts(Protocol):
    """Makes attempts at programs."""

    async def attempt(self, program: Program[T]) -> T:
        """Run the program in a transaction, and commit it.

        Raises:
            ConflictError: Another transaction got in the way; nothing was stored.
            BackendUnavailableError: The database cannot be reached; what was stored is unknown.
            BackendError: It refused a statement; nothing was stored.
        """
        ...


class SqlPort:
    """The port's methods, each a program of the engine's.

    What inherits from it opens and closes a transport, and creates the schema.
    """

    _database: str
    """What to call the database in messages."""
    _engine: Engine
    _transport: Any = None
    """Makes the attempts (`Attempts`), where it is open; what inherits knows more of it."""
    _under_way: UnderWay
    """The calls that closing waits for."""
    _patience: float
    _repeats: bool = True
    """Whether a whole transaction may be tried again: not where it is the caller's."""
    _writing: asyncio.Lock | None = None
    """For whom writes of this process wait in line, where the database has one writer."""
    _loads_from: int | None = None
    """The number of tasks without keys from which on they are loaded in bulk."""
    _hint: Callable[[list[str]], tuple[str, str]] | None = None
    """Makes the channel and the payload that an enqueue notifies itself, inside its transaction."""

    async def now(self) -> datetime:
        return await self._run(self._engine.now())

    async def enqueue_many(self, tasks: Sequence[NewTask], *, now: datetime | None = None) -> list[Enqueued]:
        if self._loads_from is not None and len(tasks) >= self._loads_from and all(new.key is None for new in tasks):
            try:
                with self._under_way:
                    return await self._attempt(self._opened(), self._engine.load_many(tasks, now))
            except ConflictError:
                pass  # some of it is stored already: the statement finds out, and knows how to answer
            except BackendUnavailableError as error:  # nobody knows what of it is stored: the same
                _log.warning("%s: a bulk load failed, and is done again by a statement: %s", self._database, error)
            except BackendError as error:
                if not _is_duplicate(error):
                    raise
        answers = await self._run(self._engine.enqueue_many(tasks, now))
        new = sorted({answer.record.queue for answer in answers if answer.is_new})
        if new and self._hint is not None:
            await self._run(self._engine.notify(*self._hint(new)))
        return answers

    async def claim(self, want: Want, *, now: datetime | None = None) -> list[TaskRecord]:
        return await self._run(self._engine.claim(want, now))

    async def touch_heartbeats(self, held: Sequence[Held], *, now: datetime | None = None) -> set[str]:
        return await self._run(self._engine.touch_heartbeats(held, now), self._beats_through())

    async def commit(self, tasks: Sequence[TaskRecord], *, stale_before: datetime | None = None) -> set[str]:
        beats_only = all(task.state is State.RUNNING and task.heartbeat_at is None for task in tasks)
        through = self._beats_through() if beats_only else None
        return await self._run(self._engine.commit(tasks, stale_before), through)

    async def get(self, ids: Collection[str]) -> dict[str, TaskRecord]:
        return await self._run(self._engine.get(ids))

    async def find(self, query: Query, limit: int) -> list[TaskRecord]:
        return await self._run(self._engine.find(query, limit))

    async def count(self, queues: tuple[str, ...] | None = None) -> list[Count]:
        return await self._run(self._engine.count(queues))

    async def next_due(self, queues: tuple[str, ...] | None = None) -> datetime | None:
        return await self._run(self._engine.next_due(queues))

    async def delete(self, held: Sequence[Held]) -> set[str]:
        return await self._run(self._engine.delete(held))

    async def lock(self, name: str, owner: str, ttl: timedelta, *, now: datetime | None = None) -> bool:
        return await self._run(self._engine.lock(name, owner, ttl, now))

    async def unlock(self, name: str, owner: str) -> bool:
        return await self._run(self._engine.unlock(name, owner))

    async def _check_server(self) -> None:
        """Refuse a server that is too old, or set up so that it would not keep what the queue promises.

        Raises:
            QueueConfigurationError: It is one; says what is needed.
        """
        family = self._engine.family
        found = await self._run(self._engine.version())
        if (least := family.newer_than(found)) is not None:
            wanted = ".".join(str(part) for part in least)
            raise QueueConfigurationError(
                f"{self._database}: {family.name} {found} is too old for a queue: {wanted} or newer is needed"
            )
        settings = await self._run(self._engine.settings())
        for name, wanted in family.settings.items():
            if settings.get(name) != wanted:
                raise QueueConfigurationError(
                    f"{self._database}: {name} is {settings.get(name)!r}, and a queue needs {wanted!r}: another one changes "
                    f"users' texts, or takes different ones for the same"
                )

    def _opened(self) -> Attempts:
        if self._transport is None:
            raise BackendUnavailableError(f"{self._database}: the backend is not open: call open() first")
        opened: Attempts = self._transport
        return opened

    async def _run(self, program: Program[T], through: Attempts | None = None) -> T:
        transport = through or self._opened()
        with self._under_way:
            return await with_retries(
                partial(self._attempt, transport, program),
                what=f"{self._database}: {program.name}",
                patience=self._patience,
                repeatable=program.repeatable and self._repeats,
            )

    async def _attempt(self, transport: Attempts, program: Program[T]) -> T:
        main: object = self._transport
        if self._writing is None or program.kind is Kind.READ or transport is not main:
            return await transport.attempt(program)
        # SQLite's own waiting is a sleep of up to 100 ms. With 20 tasks that enqueue at once, the 99th percentile was
        # 122 ms without this lock, and 8 ms with it.
        async with self._writing:
            return await transport.attempt(program)

    def _beats_through(self) -> Attempts | None:
        """The way of heartbeats; None where it is that of everything else."""
        return None


def _is_duplicate(error: BackendError) -> bool:
    """Whether a row was refused because there is one like it."""
    cause = error.__cause__
    return any(cls.__name__ in ("UniqueViolationError", "IntegrityError") for cls in type(cause).__mro__)
