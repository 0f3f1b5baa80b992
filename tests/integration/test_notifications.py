"""Workers that are told of new tasks through a table of SQLSpec's events, in a SQLite file."""

from __future__ import annotations

import asyncio
import logging
import re
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from sqlspec.adapters.aiosqlite import AiosqliteConfig
from sqlspec.adapters.sqlite import SqliteConfig
from waiting import DEADLINE

from litestar_queues import QueueConfig, QueueService
from litestar_queues.backends.base import QueueBackend
from litestar_queues.backends.sqlspec import SQLSpecBackendConfig
from litestar_queues.errors import BackendUnavailableError, QueueConfigurationError
from litestar_queues.task import TaskRegistry, task
from litestar_queues.worker import Worker

pytestmark = pytest.mark.anyio

BOTH = pytest.mark.parametrize("kind", [AiosqliteConfig, SqliteConfig])


def backend_config(database: Path, kind: Any = AiosqliteConfig, **options: Any) -> SQLSpecBackendConfig:
    config = kind(
        connection_config={"database": str(database)},
        extension_config={"events": {"queue_table": "queue_events", "poll_interval": 0.01}},
    )
    return SQLSpecBackendConfig(**{"config": config, "notifications": True} | options)


async def opened(database: Path, kind: Any = AiosqliteConfig, **options: Any) -> QueueBackend:
    backend = backend_config(database, kind, **options).create_backend()
    await backend.open()
    return backend


def rows(database: Path, table: str) -> int:
    with sqlite3.connect(database) as connection:
        (found,) = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
    connection.close()
    return int(found)


@pytest.mark.parametrize("transport", ["table_queue", "poll_queue"])
async def test_the_documented_configuration_wakes_a_worker(tmp_path: Path, transport: str) -> None:
    registry = TaskRegistry()
    ran = asyncio.Event()

    @task("app.noop", registry=registry)
    async def noop() -> None:
        ran.set()

    def config() -> QueueConfig:
        sqlspec_config = AiosqliteConfig(
            connection_config={"database": str(tmp_path / "queue.db")},
            extension_config={"events": {"backend": transport, "queue_table": "queue_events", "poll_interval": 0.1}},  # type: ignore[typeddict-item]
        )
        return QueueConfig(
            queue_backend=SQLSpecBackendConfig(
                config=sqlspec_config,
                create_schema=False,
                run_migrations=True,
                notifications=True,
                notification_channel="queue_notifications",
            ),
            execution_backend="local",
            worker_poll_interval=3600,  # only a hint can wake it once it is idle
        )

    async with QueueService(config(), registry=registry) as app, QueueService(config(), registry=registry) as service:
        worker = Worker(service)
        running = asyncio.create_task(worker.run())
        async with asyncio.timeout(DEADLINE):
            while not ran.is_set():  # the first hint may come before the worker listens
                await app.enqueue(noop)
                await asyncio.wait({asyncio.ensure_future(ran.wait())}, timeout=0.5)
        worker.drain()
        await running


async def test_the_how_to_works_as_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = Path(__file__).parents[2] / "docs" / "how-to" / "notifications.md"
    (code,) = re.findall(r"^```python\n(.*?)^```$", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(code, names)
    backend = names["config"].create_backend()
    await backend.open()
    assert backend.wakeups is not None
    await backend.close()
    assert rows(tmp_path / "queue.db", "queue_events") == 0


@BOTH
async def test_hints_that_were_heard_are_kept_nowhere(tmp_path: Path, kind: Any) -> None:
    a, b = await opened(tmp_path / "q.db", kind), await opened(tmp_path / "q.db", kind)
    assert a.wakeups is not None
    assert b.wakeups is not None
    await a.wakeups.notify(["mail"])
    assert await b.wakeups.wait(("mail",), 20)
    await a.close()
    await b.close()
    assert rows(tmp_path / "q.db", "queue_events") == 0


@BOTH
async def test_a_hint_is_still_sent_by_a_client_that_is_closed_at_once(tmp_path: Path, kind: Any) -> None:
    a = await opened(tmp_path / "q.db", kind)
    assert a.wakeups is not None
    await a.wakeups.notify(["mail"])
    await a.close()
    assert rows(tmp_path / "q.db", "queue_events") == 1
    with pytest.raises(BackendUnavailableError):
        await a.wakeups.wait(None, 1)


async def test_many_hints_at_once_become_few(tmp_path: Path) -> None:
    a = await opened(tmp_path / "q.db")
    assert a.wakeups is not None
    for n in range(500):
        await a.wakeups.notify([f"q{n % 3}"])
    await a.close()
    assert 1 <= rows(tmp_path / "q.db", "queue_events") <= 2


async def test_without_the_table_of_events_the_backend_does_not_open(tmp_path: Path) -> None:
    await (await opened(tmp_path / "q.db", notifications=None)).close()
    with pytest.raises(QueueConfigurationError, match="queue_events"):
        await opened(tmp_path / "q.db", create_schema=False)


async def test_a_database_in_memory_has_nobody_to_tell() -> None:
    config = AiosqliteConfig(connection_config={"database": ":memory:"})
    backend = SQLSpecBackendConfig(config=config, notifications=True).create_backend()
    await backend.open()
    assert backend.wakeups is None
    await backend.close()


async def test_hints_that_are_lost_are_warned_of_once_and_break_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    a = await opened(tmp_path / "q.db")
    assert a.wakeups is not None
    with sqlite3.connect(tmp_path / "q.db") as connection:
        connection.execute("DROP TABLE queue_events")
    connection.close()
    with caplog.at_level(logging.WARNING, "litestar_queues"):
        await a.wakeups.notify(["mail"])
        assert not await a.wakeups.wait(("mail",), 0.3)
        await a.close()
    assert len([record for record in caplog.records if "workers poll meanwhile" in record.message]) == 1


async def test_a_wait_that_is_cancelled_leaves_a_client_that_can_be_closed(tmp_path: Path) -> None:
    before = asyncio.all_tasks()
    backend = await opened(tmp_path / "q.db")
    assert backend.wakeups is not None
    waiting = asyncio.create_task(backend.wakeups.wait(None, 60))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait({waiting})
    async with asyncio.timeout(DEADLINE):
        await backend.close()
    assert asyncio.all_tasks() == before
