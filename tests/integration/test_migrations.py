from __future__ import annotations

import multiprocessing
import sqlite3
from pathlib import Path
from typing import Any

import anyio
import pytest
from sqlspec import SQLSpec
from sqlspec.adapters.aiosqlite import AiosqliteConfig
from sqlspec.adapters.sqlite import SqliteConfig
from waiting import DEADLINE

from litestar_queues.backends.sql.families import SQLITE
from litestar_queues.backends.sql.schema import schema_of
from litestar_queues.backends.sqlspec import SQLSpecBackendConfig
from litestar_queues.backends.sqlspec.migrating import VERSIONS
from litestar_queues.errors import QueueConfigurationError
from litestar_queues.records import NewTask

pytestmark = pytest.mark.anyio

CONFIGS: dict[str, type[Any]] = {"aiosqlite": AiosqliteConfig, "sqlite": SqliteConfig}
ADAPTERS = pytest.mark.parametrize("adapter", list(CONFIGS))
MIGRATED: dict[str, Any] = {"create_schema": False, "run_migrations": True}
OURS = ["ext_litestar_queues_0001", "ext_litestar_queues_0002", "ext_litestar_queues_0003"]


def config_for(adapter: str, path: Path | str, **options: Any) -> Any:
    return CONFIGS[adapter](connection_config={"database": str(path)}, **options)


async def opened(config: Any, **options: Any) -> None:
    backend = SQLSpecBackendConfig(config=config, **options).create_backend()
    await backend.open()
    await backend.close()


def ask(path: Path, query: str) -> list[Any]:
    connection = sqlite3.connect(path)
    rows = connection.execute(query).fetchall()
    connection.close()
    return [row[0] for row in rows]


def applied(path: Path, table: str = "ddl_migrations") -> list[str]:
    return ask(path, f"SELECT version_num FROM {table} ORDER BY execution_sequence")


def dump(path: Path) -> list[Any]:
    tables = "SELECT type || ' ' || name || ' ' || coalesce(sql, '') FROM sqlite_schema"
    return ask(path, f"{tables} WHERE tbl_name <> 'ddl_migrations' ORDER BY name")


@ADAPTERS
async def test_migrations_make_the_same_tables_as_create_schema(adapter: str, tmp_path: Path) -> None:
    created, migrated = tmp_path / "created.db", tmp_path / "migrated.db"
    await opened(config_for(adapter, created))
    await opened(config_for(adapter, migrated), **MIGRATED)
    assert dump(created) == dump(migrated)
    assert len(dump(created)) > 10
    assert applied(migrated) == OURS == list(VERSIONS)


@ADAPTERS
async def test_they_are_applied_once_and_tasks_stay(adapter: str, tmp_path: Path) -> None:
    path = tmp_path / "queue.db"
    for number in range(3):
        backend = SQLSpecBackendConfig(config=config_for(adapter, path), **MIGRATED).create_backend()
        await backend.open()
        assert len(await backend.get([f"{earlier}" for earlier in range(number)])) == number
        await backend.enqueue_many([NewTask(id=f"{number}", name="app.task")])
        await backend.close()
    assert applied(path) == OURS


@ADAPTERS
async def test_tables_that_create_schema_made_are_taken_over(adapter: str, tmp_path: Path) -> None:
    path = tmp_path / "queue.db"
    await opened(config_for(adapter, path))
    before = dump(path)
    await opened(config_for(adapter, path), **MIGRATED)
    assert dump(path) == before
    assert applied(path) == OURS


@ADAPTERS
async def test_where_both_are_on_the_migrations_make_the_tables(adapter: str, tmp_path: Path) -> None:
    path = tmp_path / "queue.db"
    await opened(config_for(adapter, path), create_schema=True, run_migrations=True)
    assert applied(path) == OURS


async def test_a_database_in_memory_can_be_migrated() -> None:
    backend = SQLSpecBackendConfig(config=config_for("aiosqlite", ":memory:"), **MIGRATED).create_backend()
    await backend.open()
    assert await backend.count() == []
    await backend.close()


APP_MIGRATION = '''
"""The application's own."""

def up(context):
    return ["CREATE TABLE of_the_app (id INTEGER)"]

def down(context):
    return ["DROP TABLE of_the_app"]
'''


@ADAPTERS
async def test_the_migrations_of_the_application_are_left_to_it(adapter: str, tmp_path: Path) -> None:
    path, folder = tmp_path / "queue.db", tmp_path / "migrations"
    folder.mkdir()
    (folder / "0001_first.py").write_text(APP_MIGRATION)
    config = config_for(adapter, path, migration_config={"script_location": str(folder)})
    await opened(config, **MIGRATED)
    assert applied(path) == OURS, "theirs is pending"
    running = config.migrate_up(use_logger=True, echo=False)
    if running is not None:
        await running
    assert applied(path) == [*OURS, "0001"]
    assert ask(path, "SELECT count(*) FROM of_the_app") == [0]
    closing = config.close_pool()
    if closing is not None:
        await closing
    await opened(config_for(adapter, path), **MIGRATED)
    assert applied(path) == [*OURS, "0001"]


@ADAPTERS
async def test_the_application_can_run_ours_in_its_own_flow(adapter: str, tmp_path: Path) -> None:
    path = tmp_path / "queue.db"
    config = config_for(adapter, path)
    where = "litestar_queues.backends.sqlspec:migrations"
    config.add_extension_migrations("litestar_queues", where, {"table_name": "app_tasks"})

    async def migrate(way: str, *revision: str) -> None:
        running = getattr(config, f"migrate_{way}")(*revision, use_logger=True, echo=False)
        if running is not None:
            await running

    await migrate("up")
    await opened(config, create_schema=False, table_name="app_tasks")
    await migrate("down")
    assert applied(path) == OURS[:-1]
    await migrate("up")
    await opened(config, create_schema=False, table_name="app_tasks")
    await migrate("down", "base")
    assert applied(path) == []
    assert dump(path) == []
    closing = config.close_pool()
    if closing is not None:
        await closing


@ADAPTERS
async def test_the_names_of_the_table_and_of_the_records_are_those_configured(adapter: str, tmp_path: Path) -> None:
    path = tmp_path / "queue.db"
    config = config_for(adapter, path, migration_config={"version_table_name": "app_versions"})
    await opened(config, table_name="order", **MIGRATED)
    assert applied(path, "app_versions") == OURS
    assert {"order", "order_lock", "order_record", "app_versions"} == set(
        ask(path, "SELECT name FROM sqlite_schema WHERE type = 'table'")
    )


@ADAPTERS
async def test_a_second_table_under_one_record_is_refused(adapter: str, tmp_path: Path) -> None:
    path = tmp_path / "queue.db"
    config = config_for(adapter, path)
    await opened(config, **MIGRATED)
    with pytest.raises(QueueConfigurationError, match=r"'two'.*'litestar_queue_task'.*version_table_name"):
        SQLSpecBackendConfig(config=config, table_name="two", **MIGRATED)
    with pytest.raises(QueueConfigurationError, match=r"ddl_migrations records .* for another table"):
        await opened(config_for(adapter, path), table_name="two", **MIGRATED)


@ADAPTERS
async def test_a_migration_that_fails_is_an_error_and_the_next_call_works(adapter: str, tmp_path: Path) -> None:
    path = tmp_path / "queue.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE litestar_queue_task (id TEXT)")
    connection.close()
    with pytest.raises(
        QueueConfigurationError, match=r"queue\.db'.*ext_litestar_queues_0001 was not applied: .*active_key"
    ):
        await opened(config_for(adapter, path), **MIGRATED)
    assert applied(path) == []
    await opened(config_for(adapter, path), table_name="another")


@ADAPTERS
async def test_with_both_off_nothing_is_touched(adapter: str, tmp_path: Path) -> None:
    path = tmp_path / "queue.db"
    config = config_for(adapter, path)
    with pytest.raises(QueueConfigurationError, match=r"'litestar_queue_task' is not there.*create_schema=True"):
        await opened(config, create_schema=False)
    assert ask(path, "SELECT count(*) FROM sqlite_schema") == [0]
    assert config.extension_config == {}


async def test_a_pool_without_settings_cannot_be_migrated(tmp_path: Path) -> None:
    config = config_for("aiosqlite", tmp_path / "queue.db")
    config.connection_instance, config.connection_config = object(), {}
    with pytest.raises(QueueConfigurationError, match="needs the connection settings"):
        SQLSpecBackendConfig(config=config, **MIGRATED).create_backend()


@ADAPTERS
async def test_opening_a_complete_schema_sends_only_what_reads(adapter: str, tmp_path: Path) -> None:
    path = tmp_path / "queue.db"
    await opened(config_for(adapter, path), **MIGRATED)
    for options in ({"create_schema": True}, MIGRATED):
        spec, config = SQLSpec(), config_for(adapter, path)
        spec.add_config(config)
        sent: list[str] = []
        config.get_observability_runtime().register_lifecycle_hook(
            "on_query_start", lambda context, sent=sent: sent.append(context["sql"].strip())
        )
        await opened(config, sqlspec=spec, **options)
        assert len(sent) >= 3
        assert [statement for statement in sent if not statement.startswith("SELECT")] == []
        closing = config.close_pool()
        if closing is not None:
            await closing


def _migrate_at_once(adapter: str, path: Path, barrier: Any, results: Any) -> None:
    async def run() -> None:
        config = config_for(adapter, path)
        backend = SQLSpecBackendConfig(config=config, **MIGRATED).create_backend()
        barrier.wait(60)
        await backend.open()
        await backend.close()

    try:
        anyio.run(run)
        results.put(None)
    except BaseException as error:
        results.put(repr(error))
        raise


@ADAPTERS
def test_eight_processes_that_start_at_the_same_moment_migrate_once(adapter: str, tmp_path: Path) -> None:
    path = tmp_path / "queue.db"
    spawn = multiprocessing.get_context("spawn")
    barrier, results = spawn.Barrier(8), spawn.Queue()
    processes = [spawn.Process(target=_migrate_at_once, args=(adapter, path, barrier, results)) for _ in range(8)]
    for process in processes:
        process.start()
    assert [results.get(timeout=DEADLINE) for _ in processes] == [None] * 8
    for process in processes:
        process.join(60)
    assert applied(path) == OURS


def older(path: Path) -> None:
    """A table as version 1 of the schema had it."""
    connection = sqlite3.connect(path)
    for text in schema_of(SQLITE).texts(version=1):
        connection.execute(text)
    connection.close()


@ADAPTERS
@pytest.mark.parametrize("options", [{}, MIGRATED], ids=["create_schema", "run_migrations"])
async def test_an_older_table_is_brought_up_to_date(adapter: str, tmp_path: Path, options: dict[str, Any]) -> None:
    path = tmp_path / "queue.db"
    older(path)
    await opened(config_for(adapter, path), **options)
    new = tmp_path / "new.db"
    await opened(config_for(adapter, new), **options)
    assert dump(path) == dump(new)
    await opened(config_for(adapter, path), create_schema=False, migration_timeout=0)


@ADAPTERS
async def test_after_the_limit_the_advice_for_an_older_table_is_given(adapter: str, tmp_path: Path) -> None:
    path = tmp_path / "queue.db"
    older(path)
    before = dump(path)
    says = r"version 1 of the schema, and this release needs 3: apply the migration ext_litestar_queues_0003, or set create"
    with pytest.raises(QueueConfigurationError, match=says):
        await opened(config_for(adapter, path), create_schema=False, migration_timeout=0)
    assert dump(path) == before


@ADAPTERS
async def test_whoever_may_not_change_an_older_table_waits_for_who_may(
    adapter: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "queue.db"
    older(path)
    async with anyio.create_task_group() as group:
        options = {"create_schema": False, "migration_timeout": DEADLINE}
        group.start_soon(lambda: opened(config_for(adapter, path), **options))
        with anyio.fail_after(DEADLINE):
            while "waiting for up to" not in caplog.text:  # noqa: ASYNC110  # a log has no event
                await anyio.sleep(0.01)
        await opened(config_for(adapter, path), **MIGRATED)
    assert caplog.text.count("waiting for up to") == 1, "said once"


@pytest.mark.parametrize("options", [{}, MIGRATED], ids=["create_schema", "run_migrations"])
async def test_several_that_upgrade_at_one_moment_do_it_once(tmp_path: Path, options: dict[str, Any]) -> None:
    path = tmp_path / "queue.db"
    older(path)
    async with anyio.create_task_group() as group:
        for adapter in [*CONFIGS] * 4:
            group.start_soon(lambda adapter=adapter: opened(config_for(adapter, path), **options))
    assert ask(path, "SELECT version FROM litestar_queue_task_record") == [2], "once for each version"


@ADAPTERS
async def test_a_table_that_is_no_queues_is_said_to_be_none(adapter: str, tmp_path: Path) -> None:
    path = tmp_path / "queue.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE litestar_queue_task (id TEXT)")
    connection.close()
    with pytest.raises(QueueConfigurationError, match=r"is no queue's: it has no column .*: choose another table_name"):
        await opened(config_for(adapter, path))
    assert len(dump(path)) == 1, "and it is left as it is"
