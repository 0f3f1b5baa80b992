"""What an application does with its own models on a server: migrations, schemas, keys, and other backends beside it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from advanced_alchemy.base import BigIntAuditBase, UUIDAuditBase
from advanced_alchemy.config import EngineConfig, SQLAlchemyAsyncConfig
from alchemy_lab import SWAPPED, model, odd_model, registry, run_every_statement, runs_a_task, work
from alembic_lab import by_name, differences, migrate, take_back
from sqlalchemy.ext.asyncio import AsyncSession
from waiting import DEADLINE

from litestar_queues import QueueConfig, QueueService, Worker
from litestar_queues.backends.advanced_alchemy import AdvancedAlchemyBackendConfig
from litestar_queues.backends.advanced_alchemy.dialects import dialect_of
from litestar_queues.backends.advanced_alchemy.table import QueueTable
from litestar_queues.backends.base import QueueBackend
from litestar_queues.backends.sqlspec import SQLSpecBackendConfig
from litestar_queues.clock import SystemClock
from litestar_queues.columns import STATES
from litestar_queues.operations import QueueOperations
from litestar_queues.records import NewTask, Want
from litestar_queues_matrix.alchemy import ALCHEMY
from litestar_queues_matrix.servers import ask
from litestar_queues_matrix.sqlserver import TARGETS, SqlServerTarget

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def _only_through_advanced_alchemy(target: SqlServerTarget) -> None:
    if target.adapter.name not in ALCHEMY:
        pytest.skip("about Advanced Alchemy alone")


@pytest.fixture
def url(database: Any) -> str:
    return str(database.url)


@pytest.fixture
def config(target: SqlServerTarget, url: str) -> SQLAlchemyAsyncConfig:
    made: SQLAlchemyAsyncConfig = target.adapter.config(url)
    return made


@pytest.fixture
def sync_engine(url: str) -> Iterator[sa.Engine]:
    scheme = "postgresql+psycopg" if url.startswith("postgresql") else "mysql+pymysql"
    engine = sa.create_engine(f"{scheme}://{url.partition('://')[2]}")
    yield engine
    engine.dispose()


@pytest.mark.parametrize("base", [UUIDAuditBase, BigIntAuditBase], ids=lambda base: base.__name__)
async def test_autogenerate_makes_the_tables_and_finds_no_difference_then(
    base: type[Any], config: SQLAlchemyAsyncConfig, sync_engine: sa.Engine
) -> None:
    made = model(base=base)
    with sync_engine.begin() as connection:
        migrate(connection, made.metadata)
        sequence = made.__table__.c.id.default
        if getattr(connection.dialect, "is_mariadb", False) and isinstance(sequence, sa.Sequence):
            connection.execute(sa.schema.CreateSequence(sequence))  # of which Alembic knows nothing
    with sync_engine.connect() as connection:
        assert differences(connection, made.metadata) == []
    await runs_a_task(AdvancedAlchemyBackendConfig(sqlalchemy_config=config, model_class=made))
    with sync_engine.connect() as connection:
        connection.execute(sa.text("SELECT 1"))
        assert differences(connection, made.metadata) == []


@pytest.mark.parametrize("way", ["create_schema", "autogenerate"])
async def test_an_older_table_is_brought_up_to_date(
    config: SQLAlchemyAsyncConfig, sync_engine: sa.Engine, way: str
) -> None:
    made = model()
    creating = AdvancedAlchemyBackendConfig(sqlalchemy_config=config, model_class=made, create_schema=True)
    await runs_a_task(creating)
    with sync_engine.begin() as connection:
        take_back(connection, made.__table__)
    if way == "autogenerate":
        with sync_engine.begin() as connection:
            migrate(connection, made.metadata)
        await runs_a_task(AdvancedAlchemyBackendConfig(sqlalchemy_config=config, model_class=made))
    else:
        backends = [creating.create_backend() for _ in range(4)]
        await asyncio.gather(*(backend.open() for backend in backends))
        for backend in backends:
            await backend.close()
        await runs_a_task(creating)
    with sync_engine.connect() as connection:
        assert differences(connection, made.metadata) == []
        records = connection.execute(sa.text("SELECT name, version, value FROM app_queue_task_record"))
        assert [tuple(row) for row in records] == ([("schema", 1, "2")] if way == "create_schema" else [])


async def test_a_state_of_a_later_version_is_let_in(
    config: SQLAlchemyAsyncConfig, sync_engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = model()
    await runs_a_task(AdvancedAlchemyBackendConfig(sqlalchemy_config=config, model_class=made, create_schema=True))
    monkeypatch.setitem(STATES, 3, (*STATES[1], "reserved"))  # type: ignore[misc]
    monkeypatch.setattr("litestar_queues.backends.advanced_alchemy.schema.VERSION", 3)
    monkeypatch.setattr("litestar_queues.backends.sql.schema.VERSION", 3)
    made = model()
    with sync_engine.connect() as connection:
        seen = [type(one).__name__ for one in by_name(connection, made.metadata)]
        assert seen == ["DropConstraintOp", "CreateCheckConstraintOp"], "Alembic's plugin, told of by the page"
    await runs_a_task(AdvancedAlchemyBackendConfig(sqlalchemy_config=config, model_class=made, create_schema=True))
    with sync_engine.begin() as connection:
        assert by_name(connection, made.metadata) == []
        connection.execute(sa.text("UPDATE app_queue_task SET state = 'reserved'"))
    with sync_engine.begin() as connection, pytest.raises((sa.exc.IntegrityError, sa.exc.OperationalError)):
        connection.execute(sa.text("UPDATE app_queue_task SET state = 'dreaming'"))


@pytest.mark.parametrize("base", [UUIDAuditBase, BigIntAuditBase], ids=lambda base: base.__name__)
async def test_a_model_in_a_schema_runs_tasks(base: type[Any], config: SQLAlchemyAsyncConfig, url: str) -> None:
    ask.execute(url, "CREATE SCHEMA IF NOT EXISTS ops")
    made = model(base=base, __table_args__={"schema": "ops"})
    try:
        id_ = await runs_a_task(
            AdvancedAlchemyBackendConfig(sqlalchemy_config=config, model_class=made, create_schema=True)
        )
        async with AsyncSession(config.get_engine()) as session:
            row = await session.scalar(sa.select(made))
        await config.get_engine().dispose()
        assert row is not None
        assert (row.task_id, row.state) == (id_, "completed")
        assert row.finished_at >= row.enqueued_at
    finally:
        ask.execute(url, f"DROP SCHEMA ops{' CASCADE' if url.startswith('postgresql') else ''}")


async def test_every_statement_stands_on_a_model_whose_names_are_odd(sync_engine: sa.Engine) -> None:
    made = QueueTable.of(odd_model(lambda attribute: f'{attribute} "of" %s :it', 'Odd "tasks" :it', "The Ops"))
    dialect = dialect_of(sync_engine.dialect.name)
    time = dialect.family.bind_time(SystemClock().now())
    with sync_engine.begin() as connection:
        connection.execute(sa.schema.CreateSchema("The Ops"))
        made.tasks.metadata.create_all(connection)
    try:
        with sync_engine.connect() as connection:
            run_every_statement(connection, dialect.statements(made), time)
    finally:
        with sync_engine.begin() as connection:
            made.tasks.metadata.drop_all(connection)
            connection.execute(sa.schema.DropSchema("The Ops"))


async def test_a_task_runs_in_columns_with_the_names_of_others(config: SQLAlchemyAsyncConfig) -> None:
    made = odd_model(SWAPPED.__getitem__)
    await runs_a_task(AdvancedAlchemyBackendConfig(sqlalchemy_config=config, model_class=made, create_schema=True))


async def test_heartbeats_stay_on_time_while_the_main_engine_is_exhausted(
    target: SqlServerTarget, url: str, config: SQLAlchemyAsyncConfig
) -> None:
    small = SQLAlchemyAsyncConfig(
        connection_string=config.connection_string,
        engine_config=EngineConfig(pool_size=1, max_overflow=0, pool_timeout=1),
    )
    beats = target.adapter.config(url).get_engine()
    backend = AdvancedAlchemyBackendConfig(
        sqlalchemy_config=small,
        create_schema=True,
        heartbeat_session_maker=lambda: AsyncSession(beats),
        notifications=None,
    ).create_backend()
    await backend.open()
    await backend.enqueue_many([NewTask(id="a", name="app.task")])
    [claimed] = await backend.claim(Want(worker="w", limit=1))
    async with small.get_engine().connect():
        touched = await asyncio.wait_for(backend.touch_heartbeats([claimed.held]), DEADLINE)
        assert touched == {"a"}
    await backend.close()
    await beats.dispose()


async def test_workers_on_sqlspec_and_on_advanced_alchemy_share_a_database_and_no_tasks(
    target: SqlServerTarget, url: str, config: SQLAlchemyAsyncConfig
) -> None:
    beside = {"alchemy-asyncpg": "asyncpg", "alchemy-psycopg": "psycopg", "alchemy-asyncmy": "asyncmy"}
    other = TARGETS[beside[target.adapter.name]].adapter.config(url)
    made = [
        SQLSpecBackendConfig(config=other, table_name="sqlspec_task"),
        AdvancedAlchemyBackendConfig(sqlalchemy_config=config, model_class=model("mail_task"), create_schema=True),
        AdvancedAlchemyBackendConfig(sqlalchemy_config=config, model_class=model("report_task"), create_schema=True),
    ]
    services = [QueueService(QueueConfig(queue_backend=one), registry=registry) for one in made]
    for service in services:
        await service.open()
    workers = [Worker(service) for service in services for _ in range(2)]
    running = [asyncio.create_task(worker.run()) for worker in workers]
    enqueued = [await service.enqueue_many([work.call() for _ in range(60)]) for service in services]
    async with asyncio.timeout(DEADLINE):
        for results in enqueued:
            for result in results:
                await result.wait(DEADLINE)
                assert (result.status, result.attempt, result.result) == ("completed", 1, 42)
    for worker in workers:
        worker.drain()
    await asyncio.gather(*running)
    for service, results in zip(services, enqueued, strict=True):
        backend: QueueBackend = service.operations.backend
        assert sum(count.tasks for count in await backend.count()) == 60
        assert set(await backend.get([result.id for result in results])) == {result.id for result in results}
        operations = QueueOperations(backend, SystemClock())
        recovery = await operations.requeue_stale_running(timedelta(0))
        assert recovery.requeued == []
        await service.close()
