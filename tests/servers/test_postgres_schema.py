from __future__ import annotations

import asyncio
import multiprocessing
from pathlib import Path
from typing import Any, Literal

import anyio
import asyncpg
import pytest
from postgres_lab import dsn, server
from schema_lab import dump_postgres
from sqlspec.adapters.asyncpg import AsyncpgConfig
from sqlspec.adapters.asyncpg.data_dictionary import AsyncpgDataDictionary
from sqlspec.adapters.psqlpy import PsqlpyConfig
from sqlspec.adapters.psycopg import PsycopgAsyncConfig, PsycopgSyncConfig
from waiting import DEADLINE

from litestar_queues.backends.sqlspec import SQLSpecBackendConfig
from litestar_queues.backends.sqlspec.migrating import VERSIONS
from litestar_queues.errors import QueueConfigurationError
from litestar_queues.records import NewTask, Want

__all__ = ("dsn", "server")

pytestmark = pytest.mark.anyio

MIGRATED: dict[str, Any] = {"create_schema": False, "run_migrations": True}


def asyncpg_config(dsn: str, **options: Any) -> AsyncpgConfig:
    return AsyncpgConfig(connection_config={"dsn": dsn, "min_size": 1, "max_size": 4}, **options)


def psycopg_config(dsn: str, **options: Any) -> PsycopgAsyncConfig:
    return PsycopgAsyncConfig(connection_config={"conninfo": dsn, "min_size": 1, "max_size": 4}, **options)


def psycopg_sync_config(dsn: str, **options: Any) -> PsycopgSyncConfig:
    return PsycopgSyncConfig(connection_config={"conninfo": dsn, "min_size": 1, "max_size": 4}, **options)


def psqlpy_config(dsn: str, **options: Any) -> PsqlpyConfig:
    return PsqlpyConfig(connection_config={"dsn": dsn, "max_db_pool_size": 4}, **options)


CONFIGS = {
    "asyncpg": asyncpg_config,
    "psycopg": psycopg_config,
    "psycopg-sync": psycopg_sync_config,
    "psqlpy": psqlpy_config,
}
ADAPTERS = pytest.mark.parametrize("adapter", list(CONFIGS))


async def opened(config: Any, **options: Any) -> None:
    backend = SQLSpecBackendConfig(config=config, **options).create_backend()
    await backend.open()
    await backend.close()


async def ask(dsn: str, query: str) -> list[Any]:
    connection = await asyncpg.connect(dsn)
    rows = await connection.fetch(query)
    await connection.close()
    return [row[0] for row in rows]


async def do(dsn: str, script: str) -> None:
    connection = await asyncpg.connect(dsn)
    await connection.execute(script)
    await connection.close()


@ADAPTERS
async def test_migrations_make_the_same_tables_as_create_schema(adapter: str, dsn: str) -> None:
    await opened(CONFIGS[adapter](dsn))
    created = await dump_postgres(dsn)
    assert len(created[0]) > 30
    assert len(created[1]) > 10
    await do(dsn, "DROP TABLE litestar_queue_task, litestar_queue_task_lock, litestar_queue_task_record")
    await opened(CONFIGS[adapter](dsn), **MIGRATED)
    assert await dump_postgres(dsn) == created
    assert await ask(dsn, "SELECT version_num FROM ddl_migrations") == [*VERSIONS]
    await opened(CONFIGS[adapter](dsn), **MIGRATED)


@ADAPTERS
async def test_a_migration_that_fails_is_an_error_and_the_next_call_works(adapter: str, dsn: str) -> None:
    await do(dsn, "CREATE TABLE litestar_queue_task (id text)")
    with pytest.raises(QueueConfigurationError, match=r"ext_litestar_queues_0001 was not applied: .*active_key"):
        await opened(CONFIGS[adapter](dsn), **MIGRATED)
    assert await ask(dsn, "SELECT version_num FROM ddl_migrations") == []
    await opened(CONFIGS[adapter](dsn), table_name="another")


@pytest.mark.parametrize("options", [MIGRATED, {"create_schema": True}], ids=["migrations", "create_schema"])
@pytest.mark.parametrize("held", ["ROW EXCLUSIVE", "SHARE UPDATE EXCLUSIVE"])
async def test_opening_does_not_wait_for_those_who_use_the_table(held: str, options: dict[str, Any], dsn: str) -> None:
    await opened(asyncpg_config(dsn), **options)
    connection = await asyncpg.connect(dsn)
    async with connection.transaction():
        await connection.execute(f"LOCK TABLE litestar_queue_task, litestar_queue_task_lock IN {held} MODE")
        await asyncio.wait_for(opened(asyncpg_config(dsn), **options), DEADLINE)
    await connection.close()


async def test_an_index_that_was_dropped_is_made_again(dsn: str) -> None:
    await opened(asyncpg_config(dsn))
    whole = await dump_postgres(dsn)
    await do(dsn, "DROP INDEX litestar_queue_task_ready")
    assert await dump_postgres(dsn) != whole
    await opened(asyncpg_config(dsn))
    assert await dump_postgres(dsn) == whole


@pytest.mark.parametrize("options", [MIGRATED, {"create_schema": True}], ids=["migrations", "create_schema"])
@pytest.mark.parametrize("table", ["order", "Tasks", "User", "_", "Ops.Tasks", "select.table", "x" * 47])
async def test_odd_names_are_used_as_they_are(table: str, options: dict[str, Any], dsn: str) -> None:
    schema, _, name = table.rpartition(".")
    if schema:
        await do(dsn, f'CREATE SCHEMA "{schema}"')
    backend = SQLSpecBackendConfig(config=asyncpg_config(dsn), table_name=table, **options).create_backend()
    await backend.open()
    await backend.enqueue_many([NewTask(id="a", name="app.task", key="k")])
    assert [task.id for task in await backend.claim(Want(worker="w", limit=1, queues=("default",)))] == ["a"]
    await backend.close()
    made = "SELECT tablename FROM pg_tables WHERE schemaname = '{}' AND tablename <> 'ddl_migrations' ORDER BY 1"
    assert await ask(dsn, made.format(schema or "public")) == [name, f"{name}_lock", f"{name}_record"]
    indexes = f"SELECT indexname FROM pg_indexes WHERE schemaname = '{schema or 'public'}' AND tablename = '{name}'"
    assert {f"{name}_key", f"{name}_queue_scheduled"} <= set(await ask(dsn, indexes))


async def test_two_namespaces_do_not_see_each_other(dsn: str) -> None:
    await do(dsn, "CREATE SCHEMA one; CREATE SCHEMA two")
    names = ("one.tasks", "two.tasks", "tasks", "Tasks")
    backends = [SQLSpecBackendConfig(config=asyncpg_config(dsn), table_name=n).create_backend() for n in names]
    for number, backend in enumerate(backends):
        await backend.open()
        assert [a.is_new for a in await backend.enqueue_many([NewTask(id="a", name=f"t{number}", key="k")])] == [True]
    for number, backend in enumerate(backends):
        assert [task.name for task in await backend.claim(Want(worker="w", limit=9))] == [f"t{number}"]
        await backend.close()
    definitions = "SELECT array_agg(replace(indexdef, schemaname || '.', '') ORDER BY indexname)::text FROM pg_indexes "
    one, two = [await ask(dsn, f"{definitions} WHERE schemaname = '{schema}'") for schema in ("one", "two")]
    assert one == two


async def test_a_schema_that_is_not_there_is_named(dsn: str) -> None:
    with pytest.raises(QueueConfigurationError, match='schema "nowhere" does not exist'):
        await opened(asyncpg_config(dsn), table_name="nowhere.tasks")


async def test_the_records_stand_where_those_of_the_application_do_and_the_table_where_its_name_says(dsn: str) -> None:
    await do(dsn, "CREATE SCHEMA app")
    settings: dict[str, Any] = {"default_schema": "app", "version_table_name": "versions"}
    await opened(asyncpg_config(dsn, migration_config=settings), **MIGRATED)
    assert await ask(dsn, "SELECT version_num FROM app.versions") == [*VERSIONS]
    assert await ask(dsn, "SELECT count(*) FROM public.litestar_queue_task") == [0]


APP_MIGRATION = """
def up(context):
    return ["CREATE TABLE of_the_app (id integer)"]

def down(context):
    return ["DROP TABLE of_the_app"]
"""


@ADAPTERS
async def test_the_migrations_of_the_application_are_left_to_it(adapter: str, dsn: str, tmp_path: Path) -> None:
    (tmp_path / "0001_first.py").write_text(APP_MIGRATION)
    config = CONFIGS[adapter](dsn, migration_config={"script_location": str(tmp_path)})
    await opened(config, **MIGRATED)
    versions = "SELECT version_num FROM ddl_migrations ORDER BY execution_sequence"
    assert await ask(dsn, versions) == [*VERSIONS]
    running = config.migrate_up(use_logger=True, echo=False)
    if running is not None:
        await running
    assert await ask(dsn, versions) == [*VERSIONS, "0001"]
    closing = config.close_pool()
    if closing is not None:
        await closing


def _open_at_once(adapter: str, dsn: str, options: dict[str, Any], barrier: Any, results: Any) -> None:
    async def run() -> None:
        backend = SQLSpecBackendConfig(config=CONFIGS[adapter](dsn), **options).create_backend()
        barrier.wait(60)
        await backend.open()
        await backend.close()

    try:
        anyio.run(run)
        results.put(None)
    except BaseException as error:
        results.put(repr(error))
        raise


@pytest.mark.parametrize("adapter", ["asyncpg", "psycopg-sync"])
@pytest.mark.parametrize("options", [MIGRATED, {"create_schema": True}], ids=["migrations", "create_schema"])
async def test_eight_processes_that_start_at_the_same_moment_make_one_schema(
    adapter: str, options: dict[str, Any], dsn: str
) -> None:
    spawn = multiprocessing.get_context("spawn")
    barrier, results = spawn.Barrier(8), spawn.Queue()
    arguments = (adapter, dsn, options, barrier, results)
    processes = [spawn.Process(target=_open_at_once, args=arguments) for _ in range(8)]
    for process in processes:
        process.start()
    assert [await asyncio.to_thread(results.get, timeout=DEADLINE) for _ in processes] == [None] * 8
    for process in processes:
        process.join(60)
    together = await dump_postgres(dsn)
    await do(dsn, "DROP TABLE litestar_queue_task, litestar_queue_task_lock, litestar_queue_task_record")
    await opened(asyncpg_config(dsn))
    assert await dump_postgres(dsn) == together
    if options is MIGRATED:
        assert await ask(dsn, "SELECT version_num FROM ddl_migrations") == [*VERSIONS]


@pytest.mark.parametrize("has_skip_locked", [True, False])
async def test_claims_are_exclusive_with_skip_locked_and_where_the_dictionary_denies_it(
    has_skip_locked: Literal[True, False], dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    async def answer(_self: Any, _driver: Any, feature: str) -> bool:
        asked.append(feature)
        return has_skip_locked

    monkeypatch.setattr(AsyncpgDataDictionary, "get_feature_flag", answer)
    config, sent = asyncpg_config(dsn), set[str]()
    backend = SQLSpecBackendConfig(config=config).create_backend()
    await backend.open()
    assert asked == ["supports_skip_locked"]
    config.get_observability_runtime().register_lifecycle_hook(
        "on_query_start", lambda context: sent.add(context["sql"])
    )
    await backend.enqueue_many([NewTask(id=f"{i:03}", name="app.task") for i in range(200)])

    async def work(name: str) -> list[str]:
        mine: list[str] = []
        while claimed := await backend.claim(Want(worker=name, limit=7)):
            mine += [task.id for task in claimed]
        return mine

    claimed = [id_ for ids in await asyncio.gather(*(work(f"w{i}") for i in range(8))) for id_ in ids]
    await backend.close()
    assert sorted(claimed) == [f"{i:03}" for i in range(200)]
    assert any("SKIP LOCKED" in statement for statement in sent) == has_skip_locked
