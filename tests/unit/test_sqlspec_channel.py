"""Which transport carries a queue's hints: decided when the backend is created, without any server."""

from __future__ import annotations

import json
from typing import Any

import pytest
from sqlspec.adapters.aiosqlite import AiosqliteConfig
from sqlspec.adapters.psqlpy import PsqlpyConfig  # the one PostgreSQL adapter that needs no driver to be configured
from sqlspec.adapters.sqlite import SqliteConfig
from sqlspec.extensions.events import decode_notify_payload

from litestar_queues.backends.sqlspec import SQLSpecBackendConfig
from litestar_queues.backends.sqlspec.channel import Channel, plan_channel
from litestar_queues.backends.sqlspec.stores import store_of
from litestar_queues.backends.sqlspec.wakeups import encode_hint
from litestar_queues.errors import QueueConfigurationError


class OwnConfig(PsqlpyConfig):
    """A user's own class."""


def listening(**more: Any) -> PsqlpyConfig:
    return PsqlpyConfig(connection_config={"dsn": "postgresql://app:s3cr3t@db.example.com/app"}, **more)


def polling(**more: Any) -> AiosqliteConfig:
    return AiosqliteConfig(connection_config={"database": "queue.db"}, **more)


def events(**settings: Any) -> dict[str, Any]:
    return {"extension_config": {"events": settings}}


def plan(config: Any, table_name: str = "litestar_queue_task", **options: Any) -> Channel | None:
    """What `SQLSpecBackendConfig` plans with these options."""
    given: dict[str, Any] = {"notifications": None, "channel": None, "transport": None, "settings": None}
    return plan_channel(store_of(config), config, table_name, **given | options)


def planned(config: Any, table_name: str = "litestar_queue_task", **options: Any) -> Channel:
    found = plan(config, table_name, **options)
    assert found is not None
    return found


def test_postgresql_notifies_and_sqlite_does_not_unless_asked_to() -> None:
    assert planned(listening()).transport == "notify"
    assert plan(polling()) is None
    assert plan(SqliteConfig(connection_config={"database": "queue.db"})) is None
    assert plan(listening(), notifications=False) is None


@pytest.mark.parametrize("config", [polling(), SqliteConfig(connection_config={"database": "queue.db"})])
def test_where_notifications_are_asked_for_a_table_of_events_carries_them(config: Any) -> None:
    found = planned(config, notifications=True)
    assert (found.transport, found.table, found.broadcasts) == ("poll_queue", "sqlspec_event_queue", False)
    assert found.settings["retention_seconds"] == 0


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("table_queue", "poll_queue"),
        ("listen_notify", "notify"),
        ("listen_notify_durable", "notify_queue"),
        ("poll_queue", "poll_queue"),
        ("notify", "notify"),
        ("notify_queue", "notify_queue"),
    ],
)
def test_old_names_of_transports_are_understood_wherever_they_stand(old: str, new: str) -> None:
    config = listening(**events(backend=old, queue_table="queue_events"))
    for found in (
        planned(config, notifications=True),
        planned(listening(), notifications=True, transport=old),
        planned(listening(), notifications=True, settings={"backend": old}),
        planned(listening(driver_features={"events_backend": old}), notifications=True),
    ):
        assert found.transport == new
        assert found.check(found.derive(config)) == new, "and SQLSpec takes it"
    assert config.extension_config["events"] == {"backend": old, "queue_table": "queue_events"}, (
        "the user's is the user's"
    )


def test_the_queues_own_settings_come_over_those_of_the_configuration() -> None:
    config = polling(**events(backend="table_queue", queue_table="queue_events", poll_interval=0.1))
    found = planned(config, notifications=True, settings={"queue_table": "own", "retention_seconds": 60})
    assert (found.table, found.settings["poll_interval"], found.settings["retention_seconds"]) == ("own", 0.1, 60)
    assert found.interval(found.derive(config)) == 0.1
    assert planned(config, notifications=True).table == "queue_events"


def test_events_that_the_application_keeps_in_a_table_are_no_reason_to_do_so_unasked() -> None:
    assert plan(listening(**events(backend="poll_queue"))) is None


def test_behind_a_pooler_that_takes_connections_away_workers_poll() -> None:
    assert plan(listening(driver_features={"pooler_mode": "transaction"})) is None
    assert plan(listening(driver_features={"pgbouncer": True})) is None
    assert plan(listening(driver_features={"pooler_mode": "transaction", "direct_dsn": "postgresql://db/app"}))


def test_a_pool_that_the_user_made_is_not_enough_to_listen() -> None:
    assert plan(PsqlpyConfig(connection_config={})) is None


def test_a_configuration_of_the_users_own_class_notifies_as_its_adapter_does() -> None:
    config = OwnConfig(connection_config={"dsn": "postgresql://db/app", "max_db_pool_size": 1})
    found = planned(config)
    derived = found.derive(config)
    assert (found.check(derived), isinstance(derived, OwnConfig)) == ("notify", True)
    assert derived.connection_config["max_db_pool_size"] == 2, "its own small pool"
    assert config.connection_config["max_db_pool_size"] == 1
    assert type(config) is OwnConfig


REFUSED: list[tuple[Any, dict[str, Any], str]] = [
    (listening(), {"notifications": False, "transport": "notify"}, "notifications=False contradicts notify_transport"),
    (polling(), {"notifications": False, "channel": "c"}, "notifications=False contradicts notification_channel"),
    (polling(), {"settings": {"poll_interval": 1}}, "event_settings without notifications"),
    (polling(), {"transport": "poll_queue"}, "notify_transport without notifications"),
    (listening(), {"transport": "notify_queue"}, "notifications=True is set"),
    (listening(), {"transport": "txeventq"}, "psqlpy cannot notify by 'txeventq': .*'notify', 'notify_queue'"),
    (listening(), {"notifications": True, "transport": "aq"}, "psqlpy cannot notify by 'aq'"),
    (polling(), {"notifications": True, "transport": "notify"}, "aiosqlite cannot notify by 'notify': .*'poll_queue'"),
    (polling(), {"notifications": True, "transport": "carrier_pigeon"}, "unknown transport 'carrier_pigeon'"),
    (polling(**events(backend="pigeon")), {"notifications": True}, "unknown transport 'pigeon'"),
    (
        listening(),
        {"notifications": True, "transport": "notify", "settings": {"backend": "poll_queue"}},
        "notify_transport='notify' contradicts event_settings",
    ),
    (polling(), {"notifications": True, "settings": {"colour": "red"}}, "SQLSpec refuses the events .*'colour'"),
    (polling(), {"notifications": True, "settings": {"poll_interval": -1}}, "SQLSpec refuses the events"),
    (polling(), {"notifications": True, "settings": {"queue_table": "a; b"}}, "SQLSpec refuses the events .*a; b"),
]


@pytest.mark.parametrize(("config", "options", "says"), REFUSED)
def test_what_cannot_be_is_refused_when_the_backend_is_created(config: Any, options: dict[str, Any], says: str) -> None:
    names = {"channel": "notification_channel", "transport": "notify_transport", "settings": "event_settings"}
    with pytest.raises(QueueConfigurationError, match=says):
        SQLSpecBackendConfig(
            config=config, **{names.get(name, name): value for name, value in options.items()}
        ).create_backend()


@pytest.mark.parametrize("channel", ["", "1st", "queue events", "a-b", "a.b", "a;b", 'a"b', "a\n", "\u00e4", "x" * 64])
def test_a_bad_channel_is_refused_and_named(channel: str) -> None:
    backend = SQLSpecBackendConfig(config=listening(), notification_channel=channel)
    with pytest.raises(QueueConfigurationError) as refused:
        backend.create_backend()
    assert repr(channel) in str(refused.value)


def test_a_channel_means_to_postgresql_what_it_means_without_quotes() -> None:
    assert planned(listening(), channel="Queue_Notifications").name == "queue_notifications"
    assert planned(polling(), channel="Queue_Notifications", notifications=True).name == "Queue_Notifications"


def test_queues_in_two_tables_have_two_channels() -> None:
    names = [
        "litestar_queue_task",
        "other",
        "app.other",
        "x" * 46 + "a",
        f"{'s' * 40}.{'x' * 46}a",
        f"{'s' * 40}.{'x' * 46}b",
    ]
    channels = [planned(listening(), name).name for name in names]
    assert len(set(channels)) == len(names)
    assert all(len(channel) <= 63 and channel.isidentifier() for channel in channels)


def test_a_hint_is_what_sqlspecs_listeners_read() -> None:
    hint = decode_notify_payload("c", encode_hint({"queues": ["a", "b"], "from": "me"})).payload
    assert hint == {"queues": ["a", "b"], "from": "me"}


def test_a_hint_that_is_too_large_is_for_all_queues() -> None:
    text = encode_hint({"queues": ["\u00e9" * 200 for _ in range(50)], "from": "me"})
    assert len(text.encode()) <= 7999
    assert json.loads(text)["payload"] == {"queues": None, "from": "me"}
