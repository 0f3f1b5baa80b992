"""What differs from adapter to adapter: the values that an adapter's row holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeVar

from sqlspec import SQLSpec

from litestar_queues.backends.sql.families import Family
from litestar_queues.backends.sql.limit import Cut
from litestar_queues.backends.sql.program import Program
from litestar_queues.backends.sqlspec.failures import SQLSpecFailures
from litestar_queues.backends.sqlspec.sending import THROUGH_DRIVER, Way

__all__ = ("LISTEN", "POLL", "EventTransport", "Location", "QueueStore", "Transport", "is_async", "is_sync")

T = TypeVar("T")

EventTransport = Literal["notify", "notify_queue", "poll_queue", "aq", "txeventq"]
LISTEN: tuple[EventTransport, ...] = ("notify", "notify_queue", "poll_queue")
"""SQLSpec's events where the database has LISTEN and NOTIFY."""
POLL: tuple[EventTransport, ...] = ("poll_queue",)
"""SQLSpec's events where only a table can carry them."""


@dataclass(frozen=True, slots=True)
class Location:
    """Where a configuration's database is.

    Attributes:
        database: What to call it in messages; a password in it is kept out of them.
        process_local: Whether no other process can see it.
        path: The path of its file, where it is one that other processes open, too.
    """

    database: str
    process_local: bool = False
    path: str | None = None


def _any(_config: object) -> bool:
    return True


def is_async(config: object) -> bool:
    """Match the configurations of an async driver."""
    return bool(getattr(config, "is_async", False))


def is_sync(config: object) -> bool:
    """Match the configurations of a sync driver."""
    return not is_async(config)


class Transport(Protocol):
    """Makes attempts at programs."""

    def __init__(
        self,
        spec: SQLSpec,
        config: Any,
        store: QueueStore,
        failures: SQLSpecFailures,
        *,
        limit: float | None = None,
        small: bool = False,
    ) -> None:
        """Prepare attempts in a registry, on a configuration that is registered there.

        Args:
            spec: The registry.
            config: The configuration.
            store: The adapter.
            failures: Words the errors.
            limit: Seconds for which an attempt may go on, or None.
            small: Use at most two connections, also where the driver has no pool whose settings say so (`small_pool`).
        """
        ...

    async def attempt(self, program: Program[T]) -> T:
        """Run the program in a transaction, and commit it.

        Raises:
            ConflictError: Another transaction got in the way; nothing was stored.
            BackendUnavailableError: The database cannot be reached; what was stored is unknown.
            BackendError: It refused a statement; nothing was stored.
        """
        ...

    async def ask(self, question: Callable[[Any], Any]) -> Any:
        """What a driver answers to a question that changes nothing; an answer of an async driver is awaited."""
        ...

    async def close(self) -> None:
        """Release what the transport itself made; the pool is its owner's."""
        ...


@dataclass(frozen=True, slots=True)
class QueueStore:
    """How tasks are stored through one adapter.

    Attributes:
        adapter: `x` for the configurations of `sqlspec.adapters.x`; for one from elsewhere, the name of the module of
            its configuration's class.
        family: The statements that its databases understand.
        transport: How a program reaches them.
        locate: Where a configuration's database is; raises QueueConfigurationError for one that cannot hold a queue.
        probe: Looks whether the database can be opened, in a thread, where the adapter itself would not say why not.
        autocommit: Whether a statement outside of `begin` and `commit` takes effect by itself. Where it does not, the
            driver opens a transaction of its own, which has to be committed too.
        arrow_from: The number of tasks from which on an Arrow load was measured to be faster than the family's statement;
            0 where it never was, and None where the adapter's load cannot be used: it cannot load what the table holds, or
            is no part of a transaction.
        way: How a statement is sent on a connection of the driver's.
        cut: Ends a connection at once, for an attempt that takes too long; None where the driver has no way for that.
        matches: Which of the adapter's configurations the row is for, where the adapter has several rows.
        small_pool: The settings of a pool of at most two connections, which the listener of hints and the migrations open
            for themselves; empty where the driver has no pool.
        events: The transports of SQLSpec's events, the default first; empty where it has none, so that workers poll.
    """

    adapter: str
    family: Family
    transport: type[Transport]
    locate: Callable[[Any], Location]
    probe: Callable[[Any], None] | None = None
    autocommit: bool = True
    arrow_from: int | None = 0
    way: Way = THROUGH_DRIVER
    cut: Cut | None = None
    matches: Callable[[object], bool] = _any
    small_pool: Mapping[str, int] = field(default_factory=dict[str, int])
    events: tuple[EventTransport, ...] = ()
