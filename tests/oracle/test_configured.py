"""Oracle's adapters, as far as they can be configured and asked without a server."""

from __future__ import annotations

import asyncio
import socket
from types import SimpleNamespace
from typing import Any

import page_lab
import pytest
from page_lab import sample
from sqlspec.adapters.oracledb import OracleAsyncConfig, OracleSyncConfig
from sqlspec.core.splitter import split_sql_script

from litestar_queues.backends.sql.families import ORACLE
from litestar_queues.backends.sql.schema import schema_of
from litestar_queues.backends.sqlspec import SQLSpecBackendConfig
from litestar_queues.backends.sqlspec.migrating import down, up
from litestar_queues.backends.sqlspec.stores import store_of
from litestar_queues.backends.sqlspec.wakeups import SQLSpecWakeups
from litestar_queues.columns import VERSION
from litestar_queues.errors import BackendUnavailableError, QueueConfigurationError
from litestar_queues_matrix.servers import ServerUnavailable, sources
from litestar_queues_matrix.sqlserver import TARGETS

both = pytest.mark.parametrize("cls", [OracleAsyncConfig, OracleSyncConfig])


def config(cls: Any, **connection: Any) -> Any:
    defaults = {"host": "db.example.com", "port": 1521, "service_name": "FREEPDB1", "user": "app", "password": "s3cr3t"}
    return cls(connection_config={**defaults, "min": 1, "max": 5, **connection})


@both
def test_a_configuration_gets_oracles_statements(cls: Any) -> None:
    assert store_of(config(cls)).family is ORACLE
    assert SQLSpecBackendConfig(config=config(cls)).create_backend().name == "sqlspec[oracledb]"


@both
@pytest.mark.parametrize("transport", ["aq", "txeventq"])
def test_a_queue_of_oracles_carries_hints_where_it_is_asked_for(cls: Any, transport: str) -> None:
    made: Any = SQLSpecBackendConfig(
        config=config(cls), notifications=True, notify_transport=transport, event_settings={"aq_queue": "LQ_EVENTS_TXQ"}
    ).create_backend()
    channel = made._channel
    assert (channel.transport, channel.broadcasts, channel.table) == (transport, False, None)
    opened = channel.open(channel.derive(made._config))
    told = opened if cls is OracleAsyncConfig else opened._backend
    assert (told.backend_name, told._queue_name) == (transport, "LQ_EVENTS_TXQ")
    quiet: Any = SQLSpecBackendConfig(config=config(cls)).create_backend()
    assert quiet._channel is None, "nothing is asked of a DBA who was not asked"


@both
@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"aq_visibility": "NEVER"}, "SQLSpec refuses the events|instead of"),
        ({"colour": "red"}, "SQLSpec refuses the events .*'colour'"),
    ],
)
def test_settings_that_sqlspec_does_not_know_are_refused(cls: Any, settings: dict[str, Any], says: str) -> None:
    with pytest.raises(QueueConfigurationError, match=says):
        SQLSpecBackendConfig(
            config=config(cls), notifications=True, notify_transport="aq", event_settings=settings
        ).create_backend()


@both
def test_an_arrow_load_is_refused_because_it_would_lock_the_table(cls: Any) -> None:
    with pytest.raises(QueueConfigurationError, match="bulk_insert='arrow' cannot be: the adapter oracledb"):
        SQLSpecBackendConfig(config=config(cls), bulk_insert="arrow").create_backend()


@both
def test_the_migration_has_the_statements_of_create_schema_each_whole(cls: Any) -> None:
    context = SimpleNamespace(config=config(cls), extension_config={"table_name": "ops.tasks"})
    versions = range(1, VERSION + 1)
    created = [text for version in versions for text in up(context, version)]
    assert created == schema_of(ORACLE, "ops.tasks").texts()
    for text in (*created, *(text for version in versions for text in down(context, version))):
        assert split_sql_script(text, dialect="oracle", strip_trailing_terminator=True) == [text]
    made: Any = SQLSpecBackendConfig(config=config(cls), run_migrations=True, create_schema=False).create_backend()
    assert made._migrator._records == '"DDL_MIGRATIONS"', "as SQLSpec's own tracker of Oracle has it"


@pytest.mark.anyio
@both
async def test_a_server_that_is_not_there_is_unavailable_and_no_password_is_told(cls: Any) -> None:
    with socket.socket() as bound:  # a port on which nobody listens
        bound.bind(("127.0.0.1", 0))
        there = config(cls, host="127.0.0.1", port=bound.getsockname()[1], tcp_connect_timeout=5)
        backend = SQLSpecBackendConfig(config=there).create_backend()
        with pytest.raises(BackendUnavailableError, match=r"oracledb database 127\.0\.0\.1:.*no connection") as refused:
            await backend.open()
    assert "s3cr3t" not in str(refused.value)


@pytest.mark.parametrize("name", ["oracledb", "oracledb-sync"])
def test_the_real_one_is_not_run_with_the_reason_and_says_how_it_is_had(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "_docker", lambda: "Docker does not answer")
    said = str(TARGETS[name].unavailable({}))
    assert "set LITESTAR_QUEUES_ORACLE_URL to the address of one that runs" in said
    assert "gvenzl/oracle-free" in said
    with pytest.raises(ServerUnavailable):
        TARGETS[name].config({})
    assert TARGETS[name].unavailable({"LITESTAR_QUEUES_ORACLE_URL": "oracle://u:p@h:1521/FREEPDB1"}) is None


@both
def test_the_table_of_events_is_created_block_by_block(cls: Any) -> None:
    made: Any = SQLSpecBackendConfig(config=config(cls), notifications=True).create_backend()
    blocks = made._channel.create_statements(made._channel.derive(made._config))
    assert [text.split()[0] for text in blocks] == ["BEGIN", "BEGIN"]
    assert [text.count("EXECUTE IMMEDIATE") for text in blocks] == [1, 1]
    assert all(text.endswith("END;") for text in blocks)


def test_the_sample_of_the_documentation_is_taken() -> None:
    made: Any = sample(page_lab.ORACLE)["config"].queue_backend.create_backend()
    assert (made._channel.transport, made._channel.settings["aq_queue"]) == ("txeventq", "LQ_EVENTS_TXQ")
    assert "**Not run on an Oracle.**" in page_lab.PAGE


def test_a_hint_that_cannot_be_waited_for_is_not_asked_for_without_a_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLSpec answers a queue that fails, or is not there, as it does one that is empty: at once, and with nothing."""
    made: Any = SQLSpecBackendConfig(
        config=config(OracleAsyncConfig), notifications=True, notify_transport="aq", event_settings={"aq_queue": "LQ"}
    ).create_backend()
    wakeups = SQLSpecWakeups(made._channel, made._config, made._failures, made._notify)
    pauses: list[float] = []
    asked: list[str] = []

    class Events:
        async def dequeue(self, channel: str, _interval: float) -> None:
            asked.append(channel)
            assert len(asked) == len(pauses) + 1, "asked again without a pause"

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            raise asyncio.CancelledError

    async def hear() -> None:
        monkeypatch.setattr(asyncio, "sleep", sleep)
        await wakeups._hear(Events(), 5.0)

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(hear())
    assert all(4.5 < pause <= 5.0 for pause in pauses)
