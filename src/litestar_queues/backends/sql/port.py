"""The port's methods over programs: what SQL backends have in common, whatever layer they reach their database by."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Protocol, TypeVar

from litestar_queues.backends.base import Wakeups
from litestar_queues.backends.closing import UnderWay
from litestar_queues.backends.place import FilePlace
from litestar_queues.backends.retry import LostConnectionError, RefusedForNowError, with_retries
from litestar_queues.backends.sql.engine import OWNED, Engine
from litestar_queues.backends.sql.family import Kind
from litestar_queues.backends.sql.program import ConflictError, Program
from litestar_queues.errors import (
    BackendError,
    BackendUnavailableError,
    QueueConfigurationError,
    RefusedError,
    TasksLockedError,
    TooLargeError,
)
from litestar_queues.lifecycle import State
from litestar_queues.pauses import Backoffs
from litestar_queues.records import Count, Enqueued, Held, NamedRecord, NewTask, Query, Stale, TaskRecord, Want

__all__ = ("Attempts", "BoundBackend", "SqlBackend", "SqlPort")

T = TypeVar("T")
Hint = Callable[[list[str]], tuple[str, str]]
"""Makes the channel and the payload of a hint for these queues."""

_FOR_A_KEY = 3
"""How much longer than for any other conflict an enqueue waits for an open transaction that holds its key."""

_OF_A_WINDOW = 1 / 6
"""The part of a stale window for which a heartbeat waits for a task that is locked. A worker waits for a third of it."""

_BACKOFFS = Backoffs(0.02, 0.25)
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


@dataclass(frozen=True, slots=True, kw_only=True)
class SqlPort:
    """What the methods of a port need: an engine's programs, and who runs them.

    Attributes:
        database: What to call the database in messages.
        engine: Makes the programs.
        patience: Seconds for which a transaction that meets a conflict is tried again.
        attempts: Makes attempts at programs; None where the backend is not open.
        beats: The same for heartbeats; None where they go the way of everything else.
        repeats: Whether a whole transaction may be tried again: not where it is the caller's.
        writing: The line in which the writes of this process wait, where the database has one writer.
        loads_from: The number of tasks without keys from which on they are loaded in bulk.
        hint: Makes the channel and the payload that an enqueue notifies itself, inside its transaction.
        under_way: The calls that closing waits for.
        place: Where the database's file is, if it is one that others can replace.
    """

    database: str
    engine: Engine
    patience: float
    attempts: Attempts | None = None
    beats: Attempts | None = None
    repeats: bool = True
    writing: asyncio.Lock | None = None
    loads_from: int | None = None
    hint: Hint | None = None
    under_way: UnderWay = field(default_factory=UnderWay)
    place: FilePlace | None = None

    def opened(self, attempts: Attempts) -> SqlPort:
        """The same with an open transport."""
        return replace(self, attempts=attempts, writing=asyncio.Lock() if self.engine.family.one_writer else None)

    def closed(self) -> SqlPort:
        """The same without a transport."""
        return replace(self, attempts=None, beats=None)

    def bound(self, attempts: Attempts, hint: Hint | None) -> SqlPort:
        """The same inside a transaction of the caller's. The caller already has its place in the line of writers."""
        theirs = replace(self, attempts=attempts, hint=hint, beats=None, writing=None, repeats=False, loads_from=None)
        return replace(theirs, under_way=UnderWay())

    async def check_server(self) -> None:
        """Refuse a server that is too old, or set up so that it would not keep what the queue promises.

        Raises:
            QueueConfigurationError: It is one; says what is needed.
        """
        family = self.engine.family
        found = await self.run(self.engine.version())
        if (least := family.newer_than(found)) is not None:
            wanted = ".".join(str(part) for part in least)
            raise QueueConfigurationError(
                f"{self.database}: {family.name} {found} is too old for a queue: {wanted} or newer is needed"
            )
        await self._measure()
        settings = await self.run(self.engine.settings())
        for name, wanted in family.settings.items():
            if settings.get(name) != wanted:
                raise QueueConfigurationError(
                    f"{self.database}: {name} is {settings.get(name)!r}, and a queue needs {wanted!r}: another one changes "
                    f"users' texts, or takes different ones for the same"
                )

    async def run(self, program: Program[T], through: Attempts | None = None, *, patience: float | None = None) -> T:
        """Make attempts at a program until one meets no conflict.

        Args:
            program: The program.
            through: Another way than the usual one.
            patience: Seconds for which it is tried again, instead of the usual ones.
        """
        transport = through or self._transport()
        self._check_place()
        with self.under_way:
            patience = self.patience if patience is None else patience
            try:
                return await self._attempts(transport, program, patience)
            except (RefusedError, LostConnectionError) as error:
                if not self.repeats or isinstance(error, TooLargeError):
                    raise
                if not program.repeatable and isinstance(error, LostConnectionError):
                    raise
                # A server that takes less than it did refuses what is longer, or ends the connection.
                if not await self._measure():
                    raise
            return await self._attempts(transport, program, patience)

    async def _attempts(self, transport: Attempts, program: Program[T], patience: float) -> T:
        return await with_retries(
            partial(self._attempt, transport, program),
            what=f"{self.database}: {program.name}",
            patience=patience,
            repeatable=program.repeatable and self.repeats,
        )

    async def _measure(self) -> bool:
        """Ask the server, once, how much it takes, where it tells that; whether it is another size than before."""
        parts, sizes = self.engine.parts, self.engine.family.sizes
        if not sizes.told:
            return False
        before = parts.sizes
        with suppress(ConflictError, BackendError):  # what is wrong shows elsewhere
            parts.sizes = sizes.limited(await self._attempt(self._transport(), self.engine.longest()))
        return parts.sizes != before

    async def load(self, tasks: Sequence[NewTask], now: datetime | None) -> list[Enqueued] | None:
        """Store new tasks without keys by a bulk load, in one attempt; None where a statement has to do it."""
        transport = self._transport()
        self._check_place()
        try:
            with self.under_way:
                return await self._attempt(transport, self.engine.load_many(tasks, now))
        except ConflictError:
            pass  # some of it is stored already: the statement finds out, and knows how to answer
        except RefusedForNowError:
            raise
        except BackendUnavailableError as error:  # nobody knows what of it is stored: the same
            _log.warning("%s: a bulk load failed, and is done again by a statement: %s", self.database, error)
        except BackendError as error:
            if not _is_duplicate(error):
                raise
        return None

    def _check_place(self) -> None:
        if self.place is not None:
            self.place.check(self.database)

    def not_open(self) -> BackendUnavailableError:
        """What to raise where there is no transport."""
        return BackendUnavailableError(f"{self.database}: the backend is not open: call open() first")

    def _transport(self) -> Attempts:
        if self.attempts is None:
            raise self.not_open()
        return self.attempts

    async def _attempt(self, transport: Attempts, program: Program[T]) -> T:
        if self.writing is None or program.kind is Kind.READ or transport is not self.attempts:
            return await transport.attempt(program)
        # SQLite's own waiting is a sleep of up to 100 ms. With 20 tasks that enqueue at once, the 99th percentile was
        # 122 ms without this lock, and 8 ms with it.
        async with self.writing:
            return await transport.attempt(program)


class SqlBackend:
    """The port's methods, each a program of the engine's. What inherits from it opens and closes the port.

    Args:
        port: Runs the programs; another one does in its place when the backend is opened or closed.
        name: What to call the backend in messages.
        process_local: Whether no other process can see the tasks.
    """

    dispatches = True

    def __init__(self, port: SqlPort, *, name: str, process_local: bool) -> None:
        self.port = port
        self.name = name
        self.process_local = process_local

    @property
    def wakeups(self) -> Wakeups | None:
        return None

    async def now(self) -> datetime:
        return await self.port.run(self.port.engine.now())

    async def enqueue_many(self, tasks: Sequence[NewTask], *, now: datetime | None = None) -> list[Enqueued]:
        port = self.port
        if port.loads_from is not None and len(tasks) >= port.loads_from and all(new.key is None for new in tasks):
            loaded = await port.load(tasks, now)
            if loaded is not None:
                return loaded
        # In a transaction of the caller's, a limit would be one for all that the caller does there.
        program = port.engine.enqueue_many(tasks, now, bounded=port.repeats)
        keyed = any(new.key is not None for new in tasks)
        answers = await port.run(program, patience=_FOR_A_KEY * port.patience if keyed else port.patience)
        new = sorted({answer.record.queue for answer in answers if answer.is_new})
        if new and port.hint is not None:
            await port.run(port.engine.notify(*port.hint(new)))
        return answers

    async def claim(self, want: Want, *, now: datetime | None = None) -> list[TaskRecord]:
        return await self.port.run(self.port.engine.claim(want, now))

    async def touch_heartbeats(self, held: Sequence[Held], *, now: datetime | None = None) -> set[str]:
        port = self.port
        kept = await port.run(port.engine.touch_heartbeats(held, now), port.beats)
        left = [one for one in held if one.id not in kept]
        if not left or not port.engine.passes_locked_tasks:
            return kept
        # What is still as it was is locked by somebody's transaction: mostly for a moment, by a commit of ours.
        windows = [one.stale_after for one in held if one.stale_after is not None]
        ends = time.monotonic() + min([port.patience, *(_OF_A_WINDOW * window for window in windows)])
        for pause in _BACKOFFS:
            found = await port.run(port.engine.get({one.id for one in left}), port.beats)
            left = [one for one in left if (there := found.get(one.id)) is not None and _is_held(there, one)]
            if not left:
                break
            if time.monotonic() >= ends:
                raise TasksLockedError(kept, [one.id for one in left])
            await pause.wait()
            touched = await port.run(port.engine.touch_heartbeats(left, now), port.beats)
            kept |= touched
            left = [one for one in left if one.id not in kept]
        return kept

    async def commit(self, tasks: Sequence[TaskRecord], *, stale: Stale | None = None) -> set[str]:
        beats_only = all(task.state is State.RUNNING and task.heartbeat_at is None for task in tasks)
        through = self.port.beats if beats_only else None
        return await self.port.run(self.port.engine.commit(tasks, stale), through)

    async def get(self, ids: Collection[str]) -> dict[str, TaskRecord]:
        return await self.port.run(self.port.engine.get(ids))

    async def find(self, query: Query, limit: int) -> list[TaskRecord]:
        return await self.port.run(self.port.engine.find(query, limit))

    async def count(self, queues: tuple[str, ...] | None = None) -> list[Count]:
        return await self.port.run(self.port.engine.count(queues))

    async def next_due(self, queues: tuple[str, ...] | None = None) -> datetime | None:
        return await self.port.run(self.port.engine.next_due(queues))

    async def delete(self, held: Sequence[Held]) -> set[str]:
        return await self.port.run(self.port.engine.delete(held))

    async def lock(self, name: str, owner: str, ttl: timedelta, *, now: datetime | None = None) -> bool:
        return await self.port.run(self.port.engine.lock(name, owner, ttl, now))

    async def unlock(self, name: str, owner: str) -> bool:
        return await self.port.run(self.port.engine.unlock(name, owner))

    async def read_records(self, prefix: str) -> dict[str, NamedRecord]:
        return await self.port.run(self.port.engine.read_records(prefix))

    async def write_records(self, records: Sequence[NamedRecord]) -> set[str]:
        return await self.port.run(self.port.engine.write_records(records)) if records else set()


class BoundBackend(SqlBackend):
    """A backend inside a transaction of the application's. It owns no connection and no pool."""

    async def open(self) -> None:
        """Do nothing: the session is the caller's, and open."""

    async def close(self) -> None:
        """Wait for the calls that are under way; the session stays as it is."""
        self.port, port = self.port.closed(), self.port
        await port.under_way.ended()

    async def create_schema(self) -> None:
        raise QueueConfigurationError("the tables are not created in a session of the application's")

    async def claim(self, want: Want, *, now: datetime | None = None) -> list[TaskRecord]:
        raise _refused("claim")

    async def touch_heartbeats(self, held: Sequence[Held], *, now: datetime | None = None) -> set[str]:
        raise _refused("touch_heartbeats")

    async def lock(self, name: str, owner: str, ttl: timedelta, *, now: datetime | None = None) -> bool:
        raise _refused("lock")

    async def unlock(self, name: str, owner: str) -> bool:
        raise _refused("unlock")


def _refused(method: str) -> QueueConfigurationError:
    return QueueConfigurationError(
        f"{method} cannot run in the application's transaction: other clients have to see it at once; call it on the backend "
        f"itself"
    )


def _is_held(there: TaskRecord, one: Held) -> bool:
    return there.fence == one.fence and there.state in OWNED


def _is_duplicate(error: BackendError) -> bool:
    """Whether a row was refused because there is one like it."""
    cause = error.__cause__
    return any(cls.__name__ in ("UniqueViolationError", "IntegrityError") for cls in type(cause).__mro__)
