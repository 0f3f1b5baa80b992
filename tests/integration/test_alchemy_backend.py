"""The Advanced Alchemy backend on SQLite: what is refused, whose the engine is, and how transactions begin and end."""

from __future__ import annotations

import asyncio
import gc
import sqlite3
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from advanced_alchemy.config import EngineConfig, SQLAlchemyAsyncConfig, SQLAlchemySyncConfig
from alchemy_lab import registry, runs_a_task, sqlite, work
from heartbeat_lab import beats_during
from sqlalchemy import AsyncAdaptedQueuePool, Engine, event, select, text
from sqlalchemy.ext.asyncio import (
    AsyncEngine,
    AsyncSession,
    async_scoped_session,
    async_sessionmaker,
    create_async_engine,
)
from sqlalchemy.orm import Session
from waiting import DEADLINE

from litestar_queues import QueueConfig, QueueService
from litestar_queues.backends.advanced_alchemy import AdvancedAlchemyBackendConfig, QueueTaskModel
from litestar_queues.backends.base import QueueBackend, TransactionalBackend
from litestar_queues.errors import BackendError, BackendUnavailableError, QueueConfigurationError
from litestar_queues.lifecycle import Complete, step
from litestar_queues.records import Held, NamedRecord, NewTask, Want

pytestmark = pytest.mark.anyio


def configured(config: Any, **options: Any) -> AdvancedAlchemyBackendConfig:
    return AdvancedAlchemyBackendConfig(sqlalchemy_config=config, **{"create_schema": True, **options})


@pytest.fixture
async def config(tmp_path: Path) -> AsyncIterator[SQLAlchemyAsyncConfig]:
    config = sqlite(tmp_path)
    yield config
    await config.get_engine().dispose()


@pytest.fixture
async def backend(config: SQLAlchemyAsyncConfig) -> AsyncIterator[QueueBackend]:
    backend = configured(config).create_backend()
    await backend.open()
    yield backend
    await backend.close()


# What is refused


def test_a_sync_configuration_is_refused() -> None:
    with pytest.raises(
        QueueConfigurationError, match=r"takes .* SQLAlchemyAsyncConfig, not SQLAlchemySyncConfig; a sync"
    ):
        configured(SQLAlchemySyncConfig(connection_string="sqlite://")).create_backend()


def test_what_is_no_configuration_is_refused() -> None:
    with pytest.raises(QueueConfigurationError, match=r"not str$"):
        configured("sqlite+aiosqlite:///queue.db").create_backend()


def test_a_configuration_that_names_no_database_is_refused() -> None:
    with pytest.raises(QueueConfigurationError, match="needs a connection_string or an engine_instance"):
        configured(SQLAlchemyAsyncConfig()).create_backend()


@pytest.mark.parametrize("url", ["mssql+aioodbc://u:s3cr3t@db/queues", "cockroachdb+asyncpg://db/queues"])
def test_a_dialect_without_statements_is_refused_with_a_list_of_those_that_have_some(url: str) -> None:
    with pytest.raises(QueueConfigurationError, match=r"dialect '\w+'.*: postgresql, sqlite, mysql, mariadb") as error:
        configured(SQLAlchemyAsyncConfig(connection_string=url)).create_backend()
    assert "s3cr3t" not in str(error.value)


async def test_a_database_in_memory_with_one_connection_for_everybody_is_refused() -> None:
    backend = configured(SQLAlchemyAsyncConfig(connection_string="sqlite+aiosqlite://")).create_backend()
    assert backend.process_local
    with pytest.raises(QueueConfigurationError, match=r"SQLite in memory: .* use a file, or queue_backend='memory'"):
        await backend.open()


async def test_one_in_memory_with_connections_of_their_own_runs_tasks() -> None:
    url = "sqlite+aiosqlite:///file:queue_of_a_test?mode=memory&cache=shared&uri=true"
    engine_config: Any = EngineConfig(poolclass=AsyncAdaptedQueuePool)
    await runs_a_task(configured(SQLAlchemyAsyncConfig(connection_string=url, engine_config=engine_config)))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"lock_timeout": 0}, "lock_timeout must be a positive number"),
        ({"answer_timeout": -1}, "answer_timeout must be a positive number"),
        ({"notifications": True}, "notifications cannot be had through aiosqlite"),
        ({"notification_channel": "a"}, "notifications cannot be had through aiosqlite"),
        ({"notifications": False, "notification_channel": "a"}, "contradicts notification_channel"),
    ],
)
async def test_options_that_cannot_work_are_refused(
    options: dict[str, Any], said: str, config: SQLAlchemyAsyncConfig
) -> None:
    with pytest.raises(QueueConfigurationError, match=said):
        configured(config, **options).create_backend()


@pytest.mark.parametrize("channel", ["", "1st", "a-b", "é", "x" * 64, 'a"; DROP'])
def test_a_channel_that_postgresql_cannot_have_is_refused(channel: str) -> None:
    config = SQLAlchemyAsyncConfig(connection_string="postgresql+asyncpg://db/queues")
    with pytest.raises(QueueConfigurationError, match="the notification channel"):
        configured(config, notification_channel=channel).create_backend()


async def test_a_missing_table_is_an_error_at_start_that_says_what_to_do(config: SQLAlchemyAsyncConfig) -> None:
    backend = configured(config, create_schema=False).create_backend()
    with pytest.raises(
        QueueConfigurationError, match=r"'litestar_queue_task' .* migrations, or set create_schema=True"
    ):
        await backend.open()


async def test_a_table_of_another_kind_is_an_error_at_start(tmp_path: Path, config: SQLAlchemyAsyncConfig) -> None:
    connection = sqlite3.connect(tmp_path / "queue.db")
    connection.execute("CREATE TABLE litestar_queue_task (id TEXT, queue TEXT)")
    connection.close()
    with pytest.raises(QueueConfigurationError, match=r"is no queue's: it has no column id, name, state and 24 more"):
        await configured(config).create_backend().open()


async def test_a_file_that_cannot_be_opened_is_unavailable(tmp_path: Path) -> None:
    backend = configured(sqlite(tmp_path / "missing")).create_backend()
    with pytest.raises(BackendUnavailableError, match=r"SQLite database .* no connection: unable to open"):
        await backend.open()
    await threads_of_aiosqlite_ended()


async def threads_of_aiosqlite_ended() -> None:
    """Where it cannot open a file, aiosqlite's thread still has something to say to the event loop."""
    for thread in threading.enumerate():
        if "_connection_worker_thread" in thread.name:
            await asyncio.to_thread(thread.join, DEADLINE)


async def test_a_server_that_is_away_is_unavailable_and_the_error_keeps_the_password() -> None:
    url = "postgresql+asyncpg://queue:s3cr3t@127.0.0.1:9/queues"
    backend = configured(SQLAlchemyAsyncConfig(connection_string=url)).create_backend()
    with pytest.raises(BackendUnavailableError, match=r"postgresql\+asyncpg database 127.0.0.1:9/queues: no ") as error:
        await backend.open()
    assert "s3cr3t" not in str(error.value)
    assert isinstance(error.value.__cause__, OSError), "what the network said, and not the error itself"


async def test_nothing_can_be_done_before_it_is_open(config: SQLAlchemyAsyncConfig) -> None:
    backend = configured(config).create_backend()
    with pytest.raises(BackendUnavailableError, match=r"call open\(\) first"):
        await backend.get(["a"])
    with pytest.raises(BackendUnavailableError, match=r"call open\(\) first"):
        await backend.create_schema()
    await backend.close()


def test_without_advanced_alchemy_the_error_names_the_extra() -> None:
    code = (
        "import sys\nsys.modules['advanced_alchemy'] = None\n"
        "from litestar_queues.errors import MissingDependencyError\n"
        "try:\n    import litestar_queues.backends.advanced_alchemy\n"
        "except MissingDependencyError as error:\n    print(error.extra, error)"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.startswith("advanced-alchemy the package 'advanced-alchemy' is not installed")


def test_sqlspec_is_not_needed() -> None:
    code = "import sys\nsys.modules['sqlspec'] = None\nimport litestar_queues.backends.advanced_alchemy"
    subprocess.run([sys.executable, "-c", code], check=True)


# Whose the engine is


async def test_an_engine_that_nobody_else_made_is_closed_with_the_last_backend(config: SQLAlchemyAsyncConfig) -> None:
    first, second = configured(config).create_backend(), configured(config).create_backend()
    for _ in range(2):  # it can be opened again
        await first.open()
        await second.open()
        await first.close()
        await first.close()
        assert await second.get(["a"]) == {}
        engine = config.get_engine()
        assert pool_size(engine) > 0
        await second.close()
        assert pool_size(engine) == 0


async def test_an_engine_of_the_application_s_is_left_open(config: SQLAlchemyAsyncConfig) -> None:
    engine = config.get_engine()
    backend = configured(config).create_backend()
    await backend.open()
    await backend.close()
    assert pool_size(engine) > 0


def pool_size(engine: AsyncEngine) -> int:
    pool: Any = engine.pool
    return int(pool.checkedin() + pool.checkedout())


async def test_the_session_maker_of_the_configuration_is_not_touched(config: SQLAlchemyAsyncConfig) -> None:
    await runs_a_task(configured(config))
    assert config.session_maker is None


# Heartbeats


@asynccontextmanager
async def held(config: SQLAlchemyAsyncConfig) -> AsyncIterator[None]:
    """Hold the one connection that there is."""
    async with config.get_engine().connect():
        yield


async def beat_while_exhausted(tmp_path: Path, heartbeats: AsyncEngine | None) -> bool:
    """Whether heartbeats are stored while the application holds every connection of the main engine."""
    config = sqlite(tmp_path, engine_config=EngineConfig(pool_size=1, max_overflow=0))
    maker = None if heartbeats is None else async_sessionmaker(heartbeats, expire_on_commit=False)
    backend = configured(config, heartbeat_session_maker=maker).create_backend()
    return await beats_during(held(config), backend, expected=heartbeats is not None)


async def test_heartbeats_stay_on_time_while_the_main_engine_is_exhausted(tmp_path: Path) -> None:
    engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path / 'queue.db'}", pool_size=1, max_overflow=1)
    assert await beat_while_exhausted(tmp_path, engine)
    assert pool_size(engine) == 1, "it is the application's to dispose of"
    await engine.dispose()


async def test_without_an_engine_of_their_own_they_do_not(tmp_path: Path) -> None:
    assert not await beat_while_exhausted(tmp_path, None)


async def test_a_heartbeat_engine_that_cannot_connect_shows_at_the_first_heartbeat(
    tmp_path: Path, config: SQLAlchemyAsyncConfig
) -> None:
    engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path / 'missing' / 'queue.db'}")
    backend = configured(config, heartbeat_session_maker=async_sessionmaker(engine)).create_backend()
    await backend.open()
    await backend.enqueue_many([NewTask(id="a", name="app.task")])
    with pytest.raises(BackendUnavailableError, match="no connection: unable to open"):
        await backend.touch_heartbeats([Held("a", 0)])
    await backend.close()
    await engine.dispose()
    await threads_of_aiosqlite_ended()


# Transactions


def hooked(engine: Engine) -> None:
    """SQLAlchemy's recipe for an application that wants real transactions of Python's driver."""

    @event.listens_for(engine, "connect")
    def do_connect(connection: Any, _record: Any) -> None:
        connection.isolation_level = None

    @event.listens_for(engine, "begin")
    def do_begin(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN")


async def test_an_application_that_begins_transactions_in_its_own_way_goes_on_to_do_so(
    config: SQLAlchemyAsyncConfig,
) -> None:
    hooked(config.get_engine().sync_engine)
    id_ = await runs_a_task(configured(config))
    async with config.get_engine().connect() as connection:
        found = await connection.execute(text("SELECT state FROM litestar_queue_task"))
        assert found.scalars().all() == ["completed"]
        raw = await connection.get_raw_connection()
        driver: Any = raw.driver_connection
        assert driver.in_transaction
    backend = configured(config).create_backend()
    await backend.open()
    assert list(await backend.get([id_])) == [id_]
    await backend.close()


async def test_connections_go_back_as_they_came(config: SQLAlchemyAsyncConfig, backend: QueueBackend) -> None:
    await backend.enqueue_many([NewTask(id="a", name="app.task")])
    async with config.get_engine().connect() as connection:
        await connection.execute(text("DELETE FROM litestar_queue_task"))
        await connection.rollback()
    assert list(await backend.get(["a"])) == ["a"], "the application's own transactions can still be rolled back"


async def test_two_processes_worth_of_backends_share_a_file_that_is_not_in_wal(tmp_path: Path) -> None:
    backends = [configured(sqlite(tmp_path)).create_backend() for _ in range(3)]
    for backend in backends:
        await backend.open()

    async def enqueue(number: int) -> None:
        for index in range(15):
            await backends[number].enqueue_many([NewTask(id=f"{number}-{index}", name="app.task", key=f"k{index}")])
            await backends[number].count()

    await asyncio.gather(*(enqueue(number) for number in range(3)))
    [count] = await backends[0].count()
    assert count.tasks == 15
    for backend in backends:
        await backend.close()


async def test_a_cancelled_operation_leaves_the_connection_usable(backend: QueueBackend) -> None:
    for number in range(20):
        doing = asyncio.create_task(backend.enqueue_many([NewTask(id=f"i{number}", name="app.task", key=f"k{number}")]))
        for _ in range(number):
            await asyncio.sleep(0)
        doing.cancel()
        await asyncio.wait([doing])
    answers = await backend.enqueue_many([NewTask(id=f"j{n}", name="app.task", key=f"k{n}") for n in range(20)])
    records = [answer.record.id for answer in answers]
    assert sorted(records) == sorted(await backend.get(records)), "whole or not at all"
    gc.collect()


# Sessions of the application's


async def test_a_task_of_a_session_is_there_with_it_or_not_at_all(config: SQLAlchemyAsyncConfig) -> None:
    queue = QueueConfig(queue_backend=configured(config))
    async with QueueService(queue, registry=registry) as service:
        async with AsyncSession(config.get_engine()) as session:
            kept = await service.enqueue(work, session=session)
            assert await service.get(kept.id) is None
            await session.commit()
            gone = await service.enqueue(work, session=session)
            await session.rollback()
        assert await service.get(kept.id) is not None
        assert await service.get(gone.id) is None


async def test_a_scoped_session_will_do(config: SQLAlchemyAsyncConfig, backend: QueueBackend) -> None:
    assert isinstance(backend, TransactionalBackend)
    maker = async_sessionmaker(config.get_engine())
    scoped = async_scoped_session(maker, asyncio.current_task)
    await backend.bind(scoped).enqueue_many([NewTask(id=id_, name="app.task") for id_ in "abc"])
    await scoped.commit()
    await scoped.remove()
    assert set(await backend.get("abc")) == set("abc")


@pytest.mark.parametrize("where", ["engine", "session"])
async def test_a_session_that_cannot_roll_back_is_refused(where: str, config: SQLAlchemyAsyncConfig) -> None:
    """Its rollback would leave the task there."""
    async with QueueService(QueueConfig(queue_backend=configured(config)), registry=registry) as service:
        engine = config.get_engine().execution_options(
            **({"isolation_level": "AUTOCOMMIT"} if where == "engine" else {})
        )
        async with AsyncSession(engine) as session:
            if where == "session":
                await session.connection(execution_options={"isolation_level": "AUTOCOMMIT"})
            with pytest.raises(QueueConfigurationError, match="isolation_level AUTOCOMMIT"):
                await service.enqueue(work, session=session)
        assert (await service.stats()).queues == {}


async def test_a_session_whose_transaction_the_application_begins_itself_will_do(config: SQLAlchemyAsyncConfig) -> None:
    async with QueueService(QueueConfig(queue_backend=configured(config)), registry=registry) as service:
        engine = config.get_engine().execution_options(isolation_level="AUTOCOMMIT")
        async with AsyncSession(engine) as session:
            await session.execute(text("BEGIN IMMEDIATE"))
            result = await service.enqueue(work, session=session)
            await session.execute(text("ROLLBACK"))
        assert await service.get(result.id) is None


@pytest.mark.parametrize("session", [object(), Session(), "session"], ids=lambda session: type(session).__name__)
async def test_what_is_no_async_session_is_refused(session: Any, config: SQLAlchemyAsyncConfig) -> None:
    backend: Any = configured(config).create_backend()
    with pytest.raises(QueueConfigurationError, match=f"AsyncSession .* not {type(session).__qualname__}"):
        backend.bind(session)


async def test_a_session_is_not_committed_by_creating_tables_in_it(
    config: SQLAlchemyAsyncConfig, backend: QueueBackend
) -> None:
    assert isinstance(backend, TransactionalBackend)
    async with AsyncSession(config.get_engine()) as session:
        with pytest.raises(QueueConfigurationError, match="not created in a session"):
            await backend.bind(session).create_schema()


async def test_what_others_have_to_see_at_once_is_refused_in_a_session(
    config: SQLAlchemyAsyncConfig, backend: QueueBackend
) -> None:
    assert isinstance(backend, TransactionalBackend)
    async with AsyncSession(config.get_engine()) as session:
        bound = backend.bind(session)
        for refused in (
            bound.claim(Want(worker="w", limit=1)),
            bound.touch_heartbeats([Held("a", 1)]),
            bound.lock("l", "a", timedelta(seconds=1)),
            bound.unlock("l", "a"),
        ):
            with pytest.raises(QueueConfigurationError, match="other clients have to see it at once"):
                await refused
        assert not session.in_transaction(), "a statement was sent"


async def test_a_table_of_tasks_that_somebody_dropped_is_created_again(
    config: SQLAlchemyAsyncConfig, tmp_path: Path
) -> None:
    first = configured(config).create_backend()
    await first.open()
    await first.write_records([NamedRecord("kept", 1, "1")])
    await first.close()
    with closing(sqlite3.connect(tmp_path / "queue.db")) as connection:
        connection.execute("DROP TABLE litestar_queue_task")
    second = configured(config).create_backend()
    await second.open()
    await second.enqueue_many([NewTask(id="a", name="app.task")])
    assert set(await second.read_records("")) == {"kept"}
    await second.close()


async def test_a_conflict_in_a_session_is_told_and_not_tried_again(
    config: SQLAlchemyAsyncConfig, backend: QueueBackend, tmp_path: Path
) -> None:
    assert isinstance(backend, TransactionalBackend)
    other = sqlite3.connect(tmp_path / "queue.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    async with AsyncSession(config.get_engine()) as session:
        await session.execute(text("PRAGMA busy_timeout = 0"))
        with pytest.raises(BackendError, match=r"roll the session's transaction back, and try it again as a whole"):
            await backend.bind(session).enqueue_many([NewTask(id="a", name="app.task")])
    other.execute("ROLLBACK")
    other.close()


# The table


async def test_opening_a_complete_schema_writes_nothing(tmp_path: Path, config: SQLAlchemyAsyncConfig) -> None:
    await runs_a_task(configured(config))
    writer = sqlite3.connect(tmp_path / "queue.db", isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    backend = configured(config).create_backend()
    await backend.open()  # a write would be refused in the end
    await backend.close()
    writer.execute("ROLLBACK")
    writer.close()


async def test_an_index_that_is_missing_is_created(tmp_path: Path, config: SQLAlchemyAsyncConfig) -> None:
    await runs_a_task(configured(config))
    database = sqlite3.connect(tmp_path / "queue.db", isolation_level=None)
    database.execute("DROP INDEX litestar_queue_task_ready")
    backend = configured(config).create_backend()
    await backend.open()
    await backend.close()
    found = database.execute("SELECT name FROM sqlite_master WHERE name = 'litestar_queue_task_ready'").fetchall()
    database.close()
    assert found


async def test_a_claim_reads_the_index_in_its_order_and_no_other_queue(config: SQLAlchemyAsyncConfig) -> None:
    sent: list[tuple[str, Any]] = []
    event.listen(
        config.get_engine().sync_engine,
        "before_cursor_execute",
        lambda _c, _cursor, statement, parameters, *_: sent.append((statement, parameters)),
    )
    backend = configured(config).create_backend()
    await backend.open()
    for queues in (None, ("mail",)):
        sent.clear()
        await backend.claim(Want(worker="w", limit=5, queues=queues))
        plans = [await plan(config, *one) for one in tuple(sent) if "UPDATE" in one[0]]
        assert len(plans) == 2
        for steps in plans:
            assert "USING INDEX litestar_queue_task" in steps or "USING COVERING INDEX litestar_queue_task" in steps
            assert "SCAN litestar_queue_task" not in steps
            assert [line for line in steps.splitlines() if line.startswith("SCAN a") and "INDEX" not in line] == []
    await backend.close()


async def plan(config: SQLAlchemyAsyncConfig, statement: str, parameters: Any) -> str:
    async with config.get_engine().connect() as connection:
        rows = await connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
        return "\n".join(str(row[3]) for row in rows)


async def test_users_values_and_times_come_back_exactly_through_the_model_too(
    config: SQLAlchemyAsyncConfig, backend: QueueBackend
) -> None:
    at = (await backend.now()).replace(microsecond=1)
    new = NewTask(id="a", name="app.task", args='[1e22, {"b": 1, "a": 1, "a": 2}]', run_at=at + timedelta(days=1))
    await backend.enqueue_many([new], now=at)
    async with AsyncSession(config.get_engine()) as session:
        row = await session.scalar(select(QueueTaskModel))
    assert isinstance(row, QueueTaskModel)
    assert (row.args, row.enqueued_at, row.due_at) == (new.args, at, at + timedelta(days=1))
    assert isinstance(row.due_at, datetime)
    assert row.due_at.tzinfo is not None
    [claimed] = await backend.claim(Want(worker="w", limit=1), now=at + timedelta(days=2))
    assert await backend.commit([step(claimed, Complete("1e22"), at + timedelta(days=2))]) == {"a"}
