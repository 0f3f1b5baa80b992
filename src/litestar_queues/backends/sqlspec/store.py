"""What differs from adapter to adapter: the values that a row of `stores` holds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from litestar_queues.backends.sql.families import Family
from litestar_queues.backends.sql.limit import Cut

if TYPE_CHECKING:
    from litestar_queues.backends.sqlspec.transports import Transport

__all__ = ("Location", "QueueStore")


@dataclass(frozen=True, slots=True)
class Location:
    """Where a configuration's database is.

    Attributes:
        database: What to call it in messages; a password in it is kept out of them.
        process_local: Whether no other process can see it.
    """

    database: str
    process_local: bool = False


def _itself(driver: Any, _config: Any) -> Any:
    return driver


def _any(_config: object) -> bool:
    return True


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
        sender: What sends the statements in the place of a driver of SQLSpec's, given that and its configuration.
        cut: Ends a connection at once, for an attempt that takes too long; None where the driver has no way for that.
        matches: Which of the adapter's configurations the row is for, where the adapter has several rows.
    """

    adapter: str
    family: Family
    transport: type[Transport]
    locate: Callable[[Any], Location]
    probe: Callable[[Any], None] | None = None
    autocommit: bool = True
    arrow_from: int | None = 0
    sender: Callable[[Any, Any], Any] = _itself
    cut: Cut | None = None
    matches: Callable[[object], bool] = _any
