"""Which of SQLSpec's event transports carries the hints of a queue, and over which configuration.

Nothing here changes the user's configuration: what listens or publishes does so on a copy with a small pool of its own,
so that neither the size of the user's pool nor the application's own events are touched.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, get_args

from sqlspec.core.splitter import split_sql_script
from sqlspec.exceptions import SQLSpecError
from sqlspec.extensions.events import (
    AsyncEventChannel,
    BaseEventQueueStore,
    SyncEventChannel,
    build_queue_backend,
    get_runtime_hints,
    load_native_backend,
    resolve_event_poll_interval,
)

from litestar_queues.backends.sql.options import channel_name, refuses_notifications
from litestar_queues.backends.sqlspec.pools import ADAPTERS, derived_config
from litestar_queues.backends.sqlspec.store import EventTransport, QueueStore
from litestar_queues.errors import QueueConfigurationError

__all__ = ("Channel", "plan_channel")

_log = logging.getLogger("litestar_queues")

_OLD_NAMES = {"table_queue": "poll_queue", "listen_notify": "notify", "listen_notify_durable": "notify_queue"}
_NAMES: tuple[str, ...] = get_args(EventTransport)
_TABLED = ("notify_queue", "poll_queue")
_EVENTS_TABLE = "sqlspec_event_queue"


@dataclass(frozen=True, slots=True)
class Channel:
    """How hints travel.

    Attributes:
        name: The channel.
        transport: The name that SQLSpec has for it.
        store: The row of the configuration's adapter.
        settings: SQLSpec's settings of its events extension.
    """

    name: str
    transport: str
    store: QueueStore
    settings: Mapping[str, Any]

    @property
    def broadcasts(self) -> bool:
        """Whether every listener hears everything, and nothing is kept for later; else one of them takes each event."""
        return self.transport == "notify"

    @property
    def table(self) -> str | None:
        """The table in which events are kept, where there is one."""
        return str(self.settings.get("queue_table") or _EVENTS_TABLE) if self.transport in _TABLED else None

    def derive(self, config: Any) -> Any:
        """A copy of the configuration with the channel's settings, and a small pool of its own."""
        events = {**config.extension_config, "events": dict(self.settings)}
        return derived_config(config, self.store.small_pool, extension_config=events)

    def open(self, derived: Any) -> Any:
        """What sends and hears over a configuration that `derive` made; no connection is opened yet.

        For a sync configuration SQLSpec's channel; for an async one the channel's inner part, because of which less is
        in the way of a cancellation.
        """
        if not derived.is_async:
            return SyncEventChannel(derived)
        settings = dict(self.settings)
        if self.transport == "poll_queue":
            return build_queue_backend(derived, settings, adapter_name=self.store.adapter)
        return load_native_backend(derived, self.transport, settings, adapter_name=self.store.adapter)

    def check(self, derived: Any) -> str:
        """The transport that SQLSpec chooses, which knows the settings that it takes."""
        channel = AsyncEventChannel(derived) if derived.is_async else SyncEventChannel(derived)
        return channel.backend_name

    def interval(self, derived: Any) -> float:
        """Seconds between two looks, where it looks, and between two checks of the connection, where it listens."""
        return resolve_event_poll_interval(
            self.settings.get("event_poll_interval"),
            self.settings.get("poll_interval"),
            get_runtime_hints(self.store.adapter, derived).poll_interval,
        )

    def create_statements(self, derived: Any) -> list[str]:
        """What creates the table of events, each statement by itself: Oracle's come as two blocks in one text."""
        module = import_module(f"{ADAPTERS}{self.store.adapter}.events.store")
        stores: list[type[BaseEventQueueStore[Any]]] = [
            found
            for found in vars(module).values()
            if isinstance(found, type)
            and issubclass(found, BaseEventQueueStore)
            and found.__module__ == module.__name__
        ]
        of_kind = [one for one in stores if ("Async" if derived.is_async else "Sync") in one.__name__]
        scripts = (of_kind or stores)[0](derived).create_statements()
        dialect = str(derived.statement_config.dialect)
        return [one for text in scripts for one in split_sql_script(text, dialect, strip_trailing_terminator=True)]


def plan_channel(
    store: QueueStore,
    config: Any,
    table_name: str,
    *,
    notifications: bool | None,
    channel: str | None,
    transport: str | None,
    settings: Mapping[str, Any] | None,
) -> Channel | None:
    """The channel that a configuration asks for; None where its workers only poll.

    Where nothing is asked for, that is LISTEN and NOTIFY on the async drivers of PostgreSQL, which need no table and no
    rights, and nothing on the others.

    Raises:
        QueueConfigurationError: The options contradict each other, or the database cannot do what they say.
    """
    given = {"notification_channel": channel, "notify_transport": transport, "event_settings": settings}
    asked = [name for name, value in given.items() if value is not None]
    own = {**(settings or {})}
    events = {**_mapping(config.extension_config.get("events")), **own}
    offered = store.events
    wanted = _transport(transport, "notify_transport") or _transport(events.get("backend"), "the events' backend")
    if transport is not None and own.get("backend") is not None and _modern(own["backend"]) != wanted:
        raise QueueConfigurationError(
            f"notify_transport={transport!r} contradicts event_settings['backend']={own['backend']!r}: name one transport"
        )
    if wanted is None:
        features = _mapping(config.driver_features)
        wanted = _transport(features.get("events_backend"), "driver_features['events_backend']") or "".join(offered[:1])
    refused = refuses_notifications(notifications, asked)
    free = wanted == "notify" and config.is_async and "notify" in offered and _can_listen(config)
    if refused or (notifications is None and not free and not asked):
        return None
    if not offered:
        raise QueueConfigurationError(
            f"{store.adapter} has no notifications under SQLSpec: leave them out, workers poll"
        )
    if wanted not in offered:
        raise QueueConfigurationError(
            f"{store.adapter} cannot notify by {wanted!r}: what it has is {', '.join(map(repr, offered))}"
        )
    if notifications is None and not free:
        raise QueueConfigurationError(
            f"{' and '.join(asked)} without notifications: {store.adapter} does not notify by {wanted!r} unless "
            f"notifications=True is set"
        )
    events.pop("backend", None)
    if wanted in _TABLED:
        events.setdefault("retention_seconds", 0)  # a hint that was heard is of no more use
    planned = Channel(
        channel_name(channel, table_name, folded=wanted in ("notify", "notify_queue")),
        wanted,
        store,
        {**events, "backend": wanted},
    )
    return planned if _is_possible(planned, config, explicit=bool(notifications or asked)) else None


def _is_possible(planned: Channel, config: Any, *, explicit: bool) -> bool:
    """Whether SQLSpec gives what was planned: some problems it answers with a table of events, and a line in its log."""
    try:
        found = planned.check(planned.derive(config))
    except (SQLSpecError, ValueError, TypeError) as error:
        raise QueueConfigurationError(f"SQLSpec refuses the events of {planned.store.adapter}: {error}") from error
    if found == planned.transport:
        return True
    problem = f"SQLSpec would use {found!r} instead of {planned.transport!r} for the events of {planned.store.adapter}"
    if explicit:
        raise QueueConfigurationError(f"{problem}: its log says why; leave out the notifications, and workers poll")
    _log.warning("%s: workers poll, and no notifications are sent", problem)
    return False


def _mapping(value: Any) -> dict[str, Any]:
    return dict(value) if isinstance(value, Mapping) else {}  # pyright: ignore[reportUnknownArgumentType]  # users' settings


def _modern(name: Any) -> str:
    return _OLD_NAMES.get(str(name), str(name))


def _transport(name: Any, where: str) -> str | None:
    if name is None:
        return None
    if (modern := _modern(name)) not in _NAMES:
        raise QueueConfigurationError(
            f"{where} names an unknown transport {name!r}: the known ones are {', '.join(_NAMES)}, "
            f"and for older configurations {', '.join(_OLD_NAMES)}"
        )
    return modern


def _can_listen(config: Any) -> bool:
    """Whether a connection of our own can be opened, and stays the same one: behind some poolers it does not."""
    features = _mapping(config.driver_features)
    pooled = features.get("pooler_mode") or (
        "transaction" if features.get("pgbouncer") or features.get("pgbouncer_mode") else "session"
    )
    return bool(config.connection_config) and (str(pooled).lower() == "session" or bool(features.get("direct_dsn")))
