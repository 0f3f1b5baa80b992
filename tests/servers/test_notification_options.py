"""What the adapters plan that cannot be configured without their drivers. No server is needed for it."""

from __future__ import annotations

from typing import Any

import pytest
from sqlspec.adapters.asyncpg import AsyncpgConfig
from sqlspec.adapters.cockroach_asyncpg import CockroachAsyncpgConfig
from sqlspec.adapters.oracledb import OracleAsyncConfig, OracleSyncConfig
from sqlspec.adapters.psycopg import PsycopgAsyncConfig, PsycopgSyncConfig

from litestar_queues.backends.sqlspec.channel import Channel, plan_channel
from litestar_queues.backends.sqlspec.stores import store_of
from litestar_queues.errors import QueueConfigurationError

URL = "postgresql://app:s3cr3t@db.example.com/app"


def plan(config: Any, **options: Any) -> Channel | None:
    given: dict[str, Any] = {"notifications": None, "channel": None, "transport": None, "settings": None}
    return plan_channel(store_of(config), config, "litestar_queue_task", **given | options)


def oracle(cls: Any = OracleAsyncConfig, **events: Any) -> Any:
    return cls(
        connection_config={
            "host": "db.example.com",
            "port": 1521,
            "service_name": "FREEPDB1",
            "user": "queue_app",
            "password": "...",
            "min": 1,
            "max": 5,
        },
        extension_config={"events": events} if events else None,
    )


def test_async_drivers_of_postgresql_notify_unasked() -> None:
    for config in (
        AsyncpgConfig(connection_config={"dsn": URL}),
        PsycopgAsyncConfig(connection_config={"conninfo": URL}),
    ):
        found = plan(config)
        assert found is not None
        assert (found.transport, found.check(found.derive(config))) == ("notify", "notify")
    assert plan(PsycopgSyncConfig(connection_config={"conninfo": URL})) is None
    sync = plan(PsycopgSyncConfig(connection_config={"conninfo": URL}), notifications=True)
    assert sync is not None
    assert sync.transport == "notify"


def test_a_pool_of_one_connection_does_not_turn_listening_into_a_table() -> None:
    found = plan(AsyncpgConfig(connection_config={"dsn": URL, "max_size": 1, "min_size": 1}))
    assert found is not None
    assert found.transport == "notify"


def test_cockroachdb_on_asyncpg_only_polls() -> None:
    config = CockroachAsyncpgConfig(connection_config={"dsn": URL})
    assert plan(config) is None
    with pytest.raises(QueueConfigurationError, match="cockroach_asyncpg has no notifications"):
        plan(config, notifications=True)


@pytest.mark.parametrize("cls", [OracleAsyncConfig, OracleSyncConfig])
@pytest.mark.parametrize("transport", ["aq", "txeventq"])
def test_oracles_own_queues_carry_hints_where_they_are_asked_for(cls: Any, transport: str) -> None:
    assert plan(oracle(cls)) is None
    config = oracle(cls, backend=transport, aq_queue="LQ_EVENTS_TXQ")
    assert plan(config) is None, "the application's events are its own"
    settings = {"aq_queue": "LQ_EVENTS_TXQ"}
    for found in (
        plan(config, notifications=True),
        plan(config, notifications=True, transport=transport, settings=settings),
        plan(oracle(cls), notifications=True, transport=transport, settings=settings),
    ):
        assert found is not None
        assert (found.transport, found.table, found.settings["aq_queue"]) == (transport, None, "LQ_EVENTS_TXQ")
        assert found.check(found.derive(config)) == transport


def test_oracle_has_no_listen_and_postgresql_no_queues_of_oracles() -> None:
    with pytest.raises(QueueConfigurationError, match="oracledb cannot notify by 'notify'"):
        plan(oracle(), notifications=True, transport="listen_notify")
    with pytest.raises(QueueConfigurationError, match="asyncpg cannot notify by 'txeventq'"):
        plan(AsyncpgConfig(connection_config={"dsn": URL}), notifications=True, transport="txeventq")
