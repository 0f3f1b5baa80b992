from __future__ import annotations

import asyncio
import multiprocessing
from collections.abc import Callable
from typing import Any

import anyio
import pytest
from mariadb_lab import ask, server, settings
from sqlspec.adapters.aiomysql import AiomysqlConfig
from sqlspec.adapters.asyncmy import AsyncmyConfig
from sqlspec.adapters.mysqlconnector import MysqlConnectorAsyncConfig, MysqlConnectorSyncConfig
from sqlspec.adapters.pymysql import PyMysqlConfig
from waiting import DEADLINE

from litestar_queues.backends.sqlspec import SQLSpecBackendConfig
from litestar_queues.backends.sqlspec.migrating import VERSIONS
from litestar_queues.errors import QueueConfigurationError

__all__ = ("server", "settings")

pytestmark = pytest.mark.anyio

MIGRATED: dict[str, Any] = {"create_schema": False, "run_migrations": True}


def _aiomysql(database: str, **login: Any) -> AiomysqlConfig:
    return AiomysqlConfig(connection_config={"db": database, "minsize": 1, "maxsize": 4, **login})


CONFIGS: dict[str, Callable[..., Any]] = {
    "aiomysql": _aiomysql,
    "asyncmy": lambda **login: AsyncmyConfig(connection_config={"minsize": 1, "maxsize": 4, **login}),
    "mysqlconnector": lambda **login: MysqlConnectorAsyncConfig(connection_config={"ssl_disabled": True, **login}),
    "mysqlconnector-sync": lambda **login: MysqlConnectorSyncConfig(connection_config={"pool_size": 4, **login}),
    "pymysql": lambda **login: PyMysqlConfig(connection_config={"connect_timeout": 10, **login}),
}
ADAPTERS = pytest.mark.parametrize("adapter", list(CONFIGS))


async def opened(config: Any, **options: Any) -> None:
    backend = SQLSpecBackendConfig(config=config, **options).create_backend()
    await backend.open()
    await backend.close()


def dump(settings: dict[str, Any]) -> dict[str, str]:
    tables = [name for (name,) in ask(settings, "SHOW TABLES") if name != "ddl_migrations"]
    return {name: ask(settings, f"SHOW CREATE TABLE `{name}`")[0][1] for name in tables}


def applied(settings: dict[str, Any]) -> list[str]:
    return [version for (version,) in ask(settings, "SELECT version_num FROM ddl_migrations")]


@ADAPTERS
async def test_migrations_make_the_same_tables_as_create_schema(adapter: str, settings: dict[str, Any]) -> None:
    await opened(CONFIGS[adapter](**settings))
    created = dump(settings)
    assert len(created) == 3
    await opened(CONFIGS[adapter](**settings), **MIGRATED)
    assert dump(settings) == created, "what create_schema made is taken over"
    for table in ("litestar_queue_task", "litestar_queue_task_lock", "litestar_queue_task_record", "ddl_migrations"):
        ask(settings, f"DROP TABLE {table}")
    await opened(CONFIGS[adapter](**settings), **MIGRATED)
    assert dump(settings) == created
    assert applied(settings) == [*VERSIONS]
    await opened(CONFIGS[adapter](**settings), **MIGRATED)


@ADAPTERS
async def test_a_migration_that_fails_is_an_error_and_the_next_call_works(
    adapter: str, settings: dict[str, Any]
) -> None:
    ask(settings, "CREATE VIEW litestar_queue_task_lock AS SELECT 1 AS one")
    ask(settings, "CREATE TABLE litestar_queue_task (id varchar(36))")
    with pytest.raises(QueueConfigurationError, match="litestar_queue_task"):
        await opened(CONFIGS[adapter](**settings), **MIGRATED)
    await opened(CONFIGS[adapter](**settings), table_name="another")


def _open_at_once(adapter: str, settings: dict[str, Any], options: dict[str, Any], barrier: Any, results: Any) -> None:
    async def run() -> None:
        backend = SQLSpecBackendConfig(config=CONFIGS[adapter](**settings), **options).create_backend()
        barrier.wait(60)
        await backend.open()
        await backend.close()

    try:
        anyio.run(run)
        results.put(None)
    except BaseException as error:
        results.put(repr(error))
        raise


@pytest.mark.parametrize("adapter", ["asyncmy", "pymysql"])
@pytest.mark.parametrize("options", [MIGRATED, {"create_schema": True}], ids=["migrations", "create_schema"])
async def test_eight_processes_that_start_at_the_same_moment_make_one_schema(
    adapter: str, options: dict[str, Any], settings: dict[str, Any]
) -> None:
    spawn = multiprocessing.get_context("spawn")
    barrier, results = spawn.Barrier(8), spawn.Queue()
    arguments = (adapter, settings, options, barrier, results)
    processes = [spawn.Process(target=_open_at_once, args=arguments) for _ in range(8)]
    for process in processes:
        process.start()
    assert [await asyncio.to_thread(results.get, timeout=DEADLINE) for _ in processes] == [None] * 8
    for process in processes:
        process.join(60)
    together = dump(settings)
    for table in together:
        ask(settings, f"DROP TABLE {table}")
    await opened(CONFIGS[adapter](**settings))
    assert dump(settings) == together
    if options is MIGRATED:
        assert applied(settings) == [*VERSIONS]
