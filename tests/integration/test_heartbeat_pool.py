from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from heartbeat_lab import beat_while_exhausted
from sqlspec import SQLSpec
from sqlspec.adapters.aiosqlite import AiosqliteConfig
from sqlspec.adapters.sqlite import SqliteConfig
from waiting import DEADLINE

from litestar_queues.backends.sqlspec import SQLSpecBackendConfig
from litestar_queues.backends.sqlspec.adapters import sqlite
from litestar_queues.errors import QueueConfigurationError
from litestar_queues.records import Held

pytestmark = pytest.mark.anyio


def config(path: Path, size: int = 1, **options: Any) -> AiosqliteConfig:
    return AiosqliteConfig(connection_config={"database": str(path / "queue.db"), "pool_size": size}, **options)


async def test_heartbeats_stay_on_time_while_the_main_pool_is_exhausted(tmp_path: Path) -> None:
    assert await beat_while_exhausted(config(tmp_path), config(tmp_path), 1)


async def test_without_a_pool_of_their_own_they_do_not(tmp_path: Path) -> None:
    assert not await beat_while_exhausted(config(tmp_path), None, 1)


@pytest.mark.parametrize(
    ("main_key", "own_key", "becomes"),
    [(None, None, "queue_heartbeat"), ("tasks", "tasks", "tasks_heartbeat"), (None, "beats", "beats")],
)
async def test_its_counters_are_told_apart_from_those_of_the_main_pool(
    main_key: str | None, own_key: str | None, becomes: str, tmp_path: Path
) -> None:
    spec = SQLSpec()
    main, heartbeats = config(tmp_path, bind_key=main_key), config(tmp_path, bind_key=own_key)
    spec.add_config(main)
    backend = SQLSpecBackendConfig(config=main, sqlspec=spec, heartbeat_pool_config=heartbeats).create_backend()
    await backend.open()
    assert set(spec.configs) == {id(main), id(heartbeats)}
    assert heartbeats.bind_key == heartbeats.get_observability_runtime().bind_key == becomes
    assert main.bind_key == main_key
    await backend.close()
    assert heartbeats.connection_instance is None
    await main.close_pool()


async def test_it_can_be_opened_again_with_the_backend(tmp_path: Path) -> None:
    heartbeats = config(tmp_path)
    backend = SQLSpecBackendConfig(config=config(tmp_path), heartbeat_pool_config=heartbeats).create_backend()
    for _ in range(2):
        await backend.open()
        assert await backend.touch_heartbeats([Held("a", 1)]) == set()
        assert heartbeats.connection_instance is not None
        await backend.close()


async def test_a_file_that_cannot_be_opened_is_warned_of_at_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "_PATIENCE", 10 * DEADLINE)  # who tries again meets the test's deadline
    missing = config(tmp_path / "missing")
    backend = SQLSpecBackendConfig(config=config(tmp_path), heartbeat_pool_config=missing).create_backend()
    await asyncio.wait_for(backend.open(), DEADLINE)
    assert await backend.touch_heartbeats([Held("a", 1)]) == set()
    await backend.close()
    assert caplog.text.count("heartbeats share the main pool") == 1
    assert "check that its directory exists" in caplog.text


def test_one_of_another_adapter_is_refused(tmp_path: Path) -> None:
    other = SqliteConfig(connection_config={"database": str(tmp_path / "queue.db")})
    with pytest.raises(QueueConfigurationError, match=r"heartbeat_pool_config is a SqliteConfig, .* of one adapter"):
        SQLSpecBackendConfig(config=config(tmp_path), heartbeat_pool_config=other).create_backend()


def test_the_main_configuration_itself_is_refused(tmp_path: Path) -> None:
    main = config(tmp_path)
    with pytest.raises(QueueConfigurationError, match="make a second configuration"):
        SQLSpecBackendConfig(config=main, heartbeat_pool_config=main).create_backend()
