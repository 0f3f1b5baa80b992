from __future__ import annotations

import asyncio
import multiprocessing
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

import anyio
import pytest
from mysql_lab import ask, connection_of, server, url
from sqlspec.adapters.aiomysql import AiomysqlConfig
from sqlspec.adapters.asyncmy import AsyncmyConfig
from sqlspec.adapters.mysqlconnector import MysqlConnectorAsyncConfig, MysqlConnectorSyncConfig
from sqlspec.adapters.pymysql import PyMysqlConfig
from waiting import DEADLINE

from litestar_queues.backends.sqlspec import SQLSpecBackendConfig
from litestar_queues.backends.sqlspec.stores import store_of
from litestar_queues.errors import BackendUnavailableError, QueueConfigurationError
from litestar_queues.records import NewTask, Want

__all__ = ("server", "url")

pytestmark = pytest.mark.anyio

MIGRATED: dict[str, Any] = {"create_schema": False, "run_migrations": True}
CONFIGS: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    "asyncmy": (AsyncmyConfig, {"maxsize": 4}),
    "aiomysql": (AiomysqlConfig, {"maxsize": 4}),
    "mysqlconnector": (MysqlConnectorAsyncConfig, {"pool_size": 2, "ssl_disabled": True}),
    "mysqlconnector-sync": (MysqlConnectorSyncConfig, {"pool_size": 2, "ssl_disabled": True}),
    "pymysql": (PyMysqlConfig, {}),
}
ADAPTERS = pytest.mark.parametrize("adapter", list(CONFIGS))
BOTH_WAYS = pytest.mark.parametrize("options", [MIGRATED, {"create_schema": True}], ids=["migrations", "create_schema"])


def config_of(adapter: str, url: str, **settings: Any) -> Any:
    made, own = CONFIGS[adapter]
    return made(connection_config={**connection_of(url), **own, **settings})


async def opened(config: Any, **options: Any) -> None:
    backend = SQLSpecBackendConfig(config=config, **options).create_backend()
    await backend.open()
    await backend.close()


def tables(url: str) -> list[str]:
    return sorted(name for (name,) in ask(url, "SHOW TABLES") if "migrations" not in name)


def dump(url: str) -> list[str]:
    return [ask(url, f"SHOW CREATE TABLE `{name}`")[0][1] for name in tables(url)]


@ADAPTERS
async def test_migrations_make_the_same_tables_as_create_schema(adapter: str, url: str) -> None:
    await opened(config_of(adapter, url))
    created = dump(url)
    assert len(created) == 3
    ask(url, "DROP TABLE litestar_queue_task, litestar_queue_task_lock, litestar_queue_task_record")
    await opened(config_of(adapter, url), **MIGRATED)
    assert dump(url) == created
    await opened(config_of(adapter, url), **MIGRATED)
    await opened(config_of(adapter, url))


async def test_the_tables_say_themselves_how_they_store_and_compare_text(url: str) -> None:
    await opened(config_of("pymysql", url))
    found = ask(
        url,
        "SELECT DISTINCT engine, table_collation, row_format FROM information_schema.tables "
        "WHERE table_schema = DATABASE()",
    )
    assert found in ([("InnoDB", "utf8mb4_0900_bin", "Dynamic")], [("InnoDB", "utf8mb4_nopad_bin", "Dynamic")])
    collations = "SELECT DISTINCT collation_name FROM information_schema.columns WHERE table_schema = DATABASE()"
    assert {name for (name,) in ask(url, collations)} == {None, found[0][1]}


@BOTH_WAYS
@pytest.mark.parametrize("table", ["order", "Tasks", "key", "_", "elsewhere.Tasks", "x" * 48])
async def test_odd_names_are_used_as_they_are(table: str, options: dict[str, Any], url: str) -> None:
    database, _, name = table.rpartition(".")
    where = url
    if database:
        database = f"{connection_of(url)['database']}_{database}"
        where = f"{url.rpartition('/')[0]}/{database}"
        ask(url, f"CREATE DATABASE {database}")
        table = f"{database}.{name}"
    await opened(config_of("asyncmy", url), table_name=table, **options)
    backend = SQLSpecBackendConfig(config=config_of("asyncmy", url), table_name=table, **options).create_backend()
    await backend.open()
    await backend.enqueue_many([NewTask(id="a", name="app.task", key="k")])
    assert [task.id for task in await backend.claim(Want(worker="w", limit=1, queues=("default",)))] == ["a"]
    await backend.close()
    assert tables(where) == sorted([name, f"{name}_lock", f"{name}_record"])
    if database:
        assert tables(url) == []
        ask(url, f"DROP DATABASE {database}")


async def test_a_database_that_is_not_there_is_named(url: str) -> None:
    with pytest.raises(QueueConfigurationError, match="nowhere"):
        await opened(config_of("asyncmy", url), table_name="nowhere.tasks")


def _open_at_once(adapter: str, url: str, options: dict[str, Any], barrier: Any, results: Any) -> None:
    async def run() -> None:
        backend = SQLSpecBackendConfig(config=config_of(adapter, url), **options).create_backend()
        barrier.wait(60)
        await backend.open()
        await backend.close()

    try:
        anyio.run(run)
        results.put(None)
    except BaseException as error:
        results.put(repr(error))
        raise


@BOTH_WAYS
@pytest.mark.parametrize("adapter", ["asyncmy", "pymysql"])
async def test_eight_processes_that_start_at_the_same_moment_make_one_schema(
    adapter: str, options: dict[str, Any], url: str
) -> None:
    spawn = multiprocessing.get_context("spawn")
    barrier, results = spawn.Barrier(8), spawn.Queue()
    arguments = (adapter, url, options, barrier, results)
    processes = [spawn.Process(target=_open_at_once, args=arguments) for _ in range(8)]
    for process in processes:
        process.start()
    assert [await asyncio.to_thread(results.get, timeout=DEADLINE) for _ in processes] == [None] * 8
    for process in processes:
        process.join(60)
    together = dump(url)
    ask(url, "DROP TABLE litestar_queue_task, litestar_queue_task_lock, litestar_queue_task_record")
    await opened(config_of("pymysql", url))
    assert dump(url) == together


@ADAPTERS
async def test_more_callers_than_the_pool_has_connections_wait_for_one(adapter: str, url: str) -> None:
    backend = SQLSpecBackendConfig(config=config_of(adapter, url)).create_backend()
    await backend.open()
    await backend.enqueue_many([NewTask(id=f"{i:02}", name="app.task") for i in range(60)])
    claimed = await asyncio.gather(*(backend.claim(Want(worker=f"w{i}", limit=2)) for i in range(30)))
    assert sorted(task.id for tasks in claimed for task in tasks) == [f"{i:02}" for i in range(60)]
    await backend.close()


@pytest.mark.parametrize("adapter", ["mysqlconnector", "mysqlconnector-sync"])
async def test_a_pool_that_the_application_has_emptied_is_waited_for_and_then_named(adapter: str, url: str) -> None:
    config = config_of(adapter, url, pool_size=1)
    backend = SQLSpecBackendConfig(config=config, lock_timeout=0.3).create_backend()
    await backend.open()
    async with AsyncExitStack() as stack:
        if adapter == "mysqlconnector":
            await stack.enter_async_context(config.provide_session())
        else:
            stack.enter_context(config.provide_session())
        with pytest.raises(BackendUnavailableError, match="pool exhausted"):
            await backend.next_due()
    assert await backend.next_due() is None
    await backend.close()


@ADAPTERS
def test_the_database_is_named_without_credentials(adapter: str) -> None:
    by_parts = config_of(adapter, "mysql://app:s3cr3t@db.example:3307/queues")
    by_url = CONFIGS[adapter][0](connection_config={"dsn": "mysql://app:s3cr3t@db.example:3307/queues"})
    for config in (by_parts, by_url):
        location = store_of(config).locate(config)
        assert location.database == f"{adapter.removesuffix('-sync')} database db.example:3307/queues"
        assert not location.process_local


@ADAPTERS
def test_connections_that_miscount_what_they_stored_are_refused(adapter: str) -> None:
    flags: dict[str, Any] = {"client_flags": [2]} if "connector" in adapter else {"client_flag": 2}
    with pytest.raises(QueueConfigurationError, match="FOUND_ROWS"):
        SQLSpecBackendConfig(config=config_of(adapter, "mysql://app:x@db/queues", **flags)).create_backend()
