"""The port: what a queue backend promises.

A backend stores what it is told and decides only where several clients choose at once: who gets a key, who gets a task,
whose task it still is. Everything else is `lifecycle.step` in the caller, then `commit`. The conformance suite tests
each sentence of these docstrings.

For every method: a batch is atomic (all of it takes effect, or none of it, also when the client dies in the middle, and no
reader sees a part of it); a reader sees each record as it is before a write or after it; an empty batch does nothing; `now`
is the time to use instead of the store's own clock, which tests set; a store that cannot be reached raises
`BackendUnavailableError`, and after that error the caller cannot know whether a write took effect, so that it has to read
before it repeats one. A call that is cancelled takes effect wholly or not at all, perhaps only after it has ended, and
leaves no lock behind.

Where a connection is lost in the middle of a call, a backend may make the call again if that has no further effect: a
`commit`, `delete` or `write_records` then leaves out of its answer what its own first try did, so that a caller reads before
it takes a refusal for somebody else's doing. A claim is never made again if the first may have taken tasks.

A refusal stores nothing of a batch, and its class says what to do. `BackendUnavailableError`: the store refuses for now, and
workers try again until it does not. `RefusedError`: the store will never take this, because of what it is. `TooLargeError`: the
same, with the size and the limit; `task_id` names the task, or is None where only the whole batch is too large. Any other
exception is unknown: a worker takes the batch apart, and keeps the outcome that is refused.

Many asyncio tasks of one event loop call one backend object at the same time. The values are `msgspec` structs: `msgspec.json`
writes and reads a `TaskRecord`, with its times to the microsecond. Four words mean sets of states, which
`litestar_queues.lifecycle` defines: a *waiting* task is pending or scheduled (`WAITING`), an *unstarted* task is waiting or
dispatched (`UNSTARTED`), an *active* task is unstarted or running (`ACTIVE`), and every other task is *terminal* (`TERMINAL`). `TaskRecord.active_key` is the key that a task holds.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from typing import Any, Protocol, runtime_checkable

from litestar_queues.records import Count, Enqueued, Held, NamedRecord, NewTask, Query, Stale, TaskRecord, Want

__all__ = (
    "ApartBackend",
    "BackendConfig",
    "DispatchingBackend",
    "EndHints",
    "ObservedBackend",
    "Observer",
    "QueueBackend",
    "RemarkedBackend",
    "TransactionalBackend",
    "Wakeups",
)


@runtime_checkable
class QueueBackend(Protocol):
    """Where tasks are stored."""

    @property
    def name(self) -> str:
        """What to call this backend in messages: `memory`, `sqlspec[aiosqlite]`."""
        ...

    @property
    def process_local(self) -> bool:
        """Whether other processes cannot see these tasks, so that only a worker inside this process can run them."""
        ...

    @property
    def wakeups(self) -> Wakeups | None:
        """How workers in other processes are told of new tasks; None where they can only poll."""
        ...

    async def open(self) -> None:
        """Make the store usable, creating the schema where that is configured; once before any other call.

        What is missing of the schema is created: all of it, or a single table or index. What is stored stays. If `open`
        raises, or is cancelled, it has released everything that it took.

        Raises:
            QueueConfigurationError: The configuration cannot work.
            BackendUnavailableError: The store cannot be reached or opened; named, without credentials.
        """
        ...

    async def close(self) -> None:
        """Release every connection, thread and event-loop task that `open` or later calls made. Harmless when repeated."""
        ...

    async def create_schema(self) -> None:
        """Create what is missing of the schema. Safe when repeated, and from many processes at the same moment."""
        ...

    async def now(self) -> datetime:
        """The store's clock, in UTC, with microseconds."""
        ...

    async def enqueue_many(self, tasks: Sequence[NewTask], *, now: datetime | None = None) -> list[Enqueued]:
        """Store new tasks, and answer for each, in order.

        A new task is stored as `records.admit` has it. One whose key an active task holds is not stored: the answer is
        the holder, unchanged, with `is_new` false. Of several with one key in a batch, the first counts. A terminal task
        holds no key, and stays as it is. Repeating a batch with the same ids after an unclear failure stores nothing
        twice, and answers as for the first time.
        """
        ...

    async def claim(self, want: Want, *, now: datetime | None = None) -> list[TaskRecord]:
        """Take up to `want.limit` tasks that match, each as `step(task, want.event, now)` has it.

        A limit of any size is legal; one that is larger than `records.LIMIT_MAX` means the same as that.

        The tasks are waiting, due, not overdue, and the first in `records.claim_order` over all that match; the answer
        is in that order. A claim by id (`want.tasks`) that is no reservation (`want.reserve`) takes dispatched tasks, too. It
        gives a task once, and counts it once towards the limit, however often the claim names it. No task is given to two
        claimers under one fence. Where more than 1,000 scheduled tasks come
        due between two claims, at least the 1,000 longest due of them, and `want.limit` more, take part.
        """
        ...

    async def touch_heartbeats(self, held: Sequence[Held], *, now: datetime | None = None) -> set[str]:
        """Set the heartbeat of each task that is running or dispatched under the fence given.

        Its progress and its `stale_after` are set where they are given. Where a batch names a task several times under one
        fence, that is one heartbeat: the last progress and the last `stale_after` that are given count.

        Returns:
            The ids of those. An absent one is no longer the caller's, for whatever reason.

        Raises:
            TasksLockedError: Somebody's transaction has locked some of the tasks, in a store that knows such locks. They hold
                up no other heartbeat of the batch.
        """
        ...

    async def commit(self, tasks: Sequence[TaskRecord], *, stale: Stale | None = None) -> set[str]:
        """Store each task where the stored fence is one below the task's own, whatever else is stored.

        Everything that a transition can change is written: `state`, `attempt`, `fence`, `due_at`, `worker`, `progress`,
        `result`, `error`, `execution_ref`, `execution_backend`, `started_at`, `heartbeat_at`, `finished_at`, `recoveries`,
        `stale_after` and `history` (`records.MUTABLE`); the rest of a record never changes. With `stale`, a task is stored
        only if, besides, that query would still find the stored one; a store with locks on rows leaves out those that
        somebody's transaction has locked, and does not wait for them. A task that would take a key from another active task
        is not stored. Where a batch names a task several times, the first of these outcomes counts, and no other is stored,
        also if the first is refused.

        Returns:
            The ids of those that were stored.
        """
        ...

    async def get(self, ids: Collection[str]) -> dict[str, TaskRecord]:
        """The records of those of the ids that are stored."""
        ...

    async def find(self, query: Query, limit: int) -> list[TaskRecord]:
        """Up to `limit` tasks that match, in the order that the query's class names, then by id; `limit` is that of `claim`.

        Among stale tasks, a store with locks on rows leaves out those that somebody's transaction has locked.
        """
        ...

    async def count(self, queues: tuple[str, ...] | None = None) -> list[Count]:
        """How many tasks are in each state, per queue; a pair without tasks may be left out.

        A scheduled task whose time has come may be counted as scheduled or as pending.
        """
        ...

    async def next_due(self, queues: tuple[str, ...] | None = None) -> datetime | None:
        """When the first scheduled task comes due; None without one. Pending tasks do not count."""
        ...

    async def delete(self, held: Sequence[Held]) -> set[str]:
        """Forget terminal tasks that are still under the fence given, each once, however often the batch names it.

        Returns:
            The ids of those.
        """
        ...

    async def lock(self, name: str, owner: str, ttl: timedelta, *, now: datetime | None = None) -> bool:
        """Take the lock, or prolong it, until `ttl` from now.

        Name and owner are compared character by character. Each has at most `records.LOCK_MAX` characters, and neither NUL nor
        half of a surrogate pair.

        Returns:
            Whether `owner` holds it now: it was free, had run out, or was the owner's already.
        """
        ...

    async def unlock(self, name: str, owner: str) -> bool:
        """Give the lock back.

        Returns:
            Whether it was the owner's; another's stays as it is. Of a lock that ran out, and that nobody has taken since,
            either answer is right.
        """
        ...

    async def read_records(self, prefix: str) -> dict[str, NamedRecord]:
        """The named records whose names begin with `prefix`, by name."""
        ...

    async def write_records(self, records: Sequence[NamedRecord]) -> set[str]:
        """Store each named record where the stored version is one below its own; a name that is not stored has version 0.

        A name has at most `records.LOCK_MAX` characters. The names in a batch are distinct.

        Returns:
            The names of those that were stored.
        """
        ...


@runtime_checkable
class TransactionalBackend(Protocol):
    """A backend that can work inside a transaction of the application's."""

    def bind(self, session: Any) -> QueueBackend:
        """The same port inside the transaction that `session` has open, for as long as that lasts.

        What is written through it is there for others when the caller commits, and never was when the caller rolls back;
        nothing of it commits, rolls back or closes anything. A conflict with another transaction is not tried again,
        since that takes the whole of the caller's: it is a `BackendError` that says so. The caller rolls back then.

        Each method works inside the transaction, or raises `QueueConfigurationError` before it does anything. This is the same
        for all backends:

        - `now`, `enqueue_many`, `commit`, `get`, `find`, `count`, `next_due`, `delete`, `read_records` and `write_records` work.
          They see what the transaction has written.
        - `claim`, `touch_heartbeats`, `lock` and `unlock` are refused: other clients have to see these at once, and not
          when the application commits.
        - `create_schema` is refused: on some databases it would commit the transaction.
        - `open` and `close` leave the session as it is.

        Another transaction can take a key before this one ends. Then `enqueue_many` or the caller's commit raises an error, and
        nothing of this transaction is stored. A task that was returned as new is never lost without an error.

        Args:
            session: What the application's own database layer calls a session, or a driver.

        Raises:
            QueueConfigurationError: `session` is not of this backend's kind; names the kind.
        """
        ...


@runtime_checkable
class DispatchingBackend(Protocol):
    """A backend that keeps tasks which run elsewhere: in the state `dispatched`, until their run claims them by id."""

    @property
    def dispatches(self) -> bool:
        """Whether it does: `claim` knows `Want.reserve` and `Want.execution_ref`, and `find` the query `Dispatched`."""
        ...


@runtime_checkable
class ApartBackend(Protocol):
    """A backend whose store can be reached a second time, from the event loop of another thread."""

    def apart(self) -> QueueBackend | None:
        """A client of the same store on connections of its own, at most two of them, not open yet.

        It is opened, used and closed in one event loop, which need not be that of this backend. It creates no schema. It is
        None where the application handed over a live object whose settings are not known: no other thread may use that.
        """
        ...


class Observer(Protocol):
    """Where monitoring listens. It is told from above the port, in one place: a backend only says who listens."""

    def count(self, name: str, n: int) -> None:
        """Add to a counter; the names are those of `observability.counters`."""
        ...

    def span(self, name: str) -> AbstractContextManager[None]:
        """What is done inside is one operation of the queue, with this name."""
        ...


@runtime_checkable
class ObservedBackend(Protocol):
    """A backend whose database layer has a monitoring of its own."""

    @property
    def observer(self) -> Observer | None:
        """Who is to be told; None where that was switched off."""
        ...


class Wakeups(Protocol):
    """Hints that tasks may have come due: polling is the truth.

    A hint may be lost or doubled, and may come when others have claimed its tasks already. A batch gives one hint, however
    many tasks and queues it has. A call that leaves nothing more to run gives none.
    """

    async def notify(self, queues: Collection[str]) -> None:
        """Wake those who wait for one of these queues through other clients, after the tasks can be seen.

        Whether those are woken, too, who wait through this client, is open: they can be told without the store. Never
        raises for a lost hint, and may return before the hint is on its way.
        """
        ...

    async def wait(self, queues: tuple[str, ...] | None, seconds: float) -> bool:
        """Wait until a hint for one of the queues (None: any) came since this task's last call, or the time is over.

        A client that is closed meanwhile lets go of those who wait.

        Returns:
            Whether a hint came.

        Raises:
            BackendUnavailableError: The client was closed before.
        """
        ...


@runtime_checkable
class EndHints(Protocol):
    """What wakeups may offer besides: hints of the ends of tasks, so that who waits for one need not look again and again."""

    @property
    def hears_ends(self) -> bool:
        """Whether ends are heard now, as far as is known. Where they are not, whoever waits has to look."""
        ...

    def listening_for_end(self, task_id: str, hear: Callable[[], None]) -> AbstractContextManager[None]:
        """Have `hear` called when the task may have ended, for as long as the block lasts.

        It is called, too, whenever hints are heard again after a time in which they were not.
        """
        ...


@runtime_checkable
class RemarkedBackend(Protocol):
    """A backend whose store can be set up so that an operator should know of it."""

    async def remarks(self) -> Sequence[str]:
        """What an operator should know of the store as it is set up: one sentence each, none where all is well."""
        ...


@runtime_checkable
class BackendConfig(Protocol):
    """What `QueueConfig(queue_backend=...)` takes beside a name or a backend: it makes the backend when one is needed."""

    def create_backend(self) -> QueueBackend:
        """A backend that is not open yet.

        Raises:
            QueueConfigurationError: The configuration cannot work.
            MissingDependencyError: A package is missing; names the extra.
        """
        ...
