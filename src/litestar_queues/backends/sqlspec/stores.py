"""Which of SQLSpec's adapters can hold a queue: one row each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from litestar_queues.backends.sql.families import SQLITE, Family
from litestar_queues.backends.sqlspec.sqlite import AiosqliteTransport, locate, locate_in_threads, probe
from litestar_queues.backends.sqlspec.transports import Location, ThreadTransport, Transport
from litestar_queues.errors import QueueConfigurationError

__all__ = ("QueueStore", "register_queue_store", "store_of")

_ADAPTERS = "sqlspec.adapters."


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
    """

    adapter: str
    family: Family
    transport: type[Transport]
    locate: Callable[[Any], Location]
    probe: Callable[[Any], None] | None = None


_STORES: dict[str, QueueStore] = {}


def register_queue_store(store: QueueStore) -> None:
    """Make an adapter usable, or replace how it is used."""
    _STORES[store.adapter] = store


def store_of(config: object) -> QueueStore:
    """The store for a configuration, or for the class that it inherits from.

    Raises:
        QueueConfigurationError: There is none for its adapter; lists those that there are.
    """
    cls = type(config)
    for base in cls.__mro__:
        module = base.__module__
        adapter = module.removeprefix(_ADAPTERS).split(".")[0] if module.startswith(_ADAPTERS) else module
        if adapter in _STORES:
            return _STORES[adapter]
    raise QueueConfigurationError(
        f"there is no queue store for {cls.__module__}.{cls.__qualname__}: SQLSpecBackendConfig(config=...) takes a "
        f"configuration of one of these SQLSpec adapters: {', '.join(sorted(_STORES))}"
    )


register_queue_store(QueueStore("aiosqlite", SQLITE, AiosqliteTransport, locate, probe))
register_queue_store(QueueStore("sqlite", SQLITE, ThreadTransport, locate_in_threads, probe))
