from __future__ import annotations

import asyncio
import multiprocessing
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

import pytest
from sqlspec import SQLSpec
from sqlspec.adapters.aiosqlite import AiosqliteConfig
from sqlspec.adapters.sqlite import SqliteConfig
from waiting import DEADLINE

from litestar_queues.backends.base import QueueBackend
from litestar_queues.backends.sql.families import SQLITE
from litestar_queues.backends.sqlspec import QueueStore, SQLSpecBackendConfig, register_queue_store, stores
from litestar_queues.backends.sqlspec.adapters import sqlite as sqlite_module
from litestar_queues.backends.sqlspec.adapters.sqlite import locate
from litestar_queues.backends.sqlspec.transports import AsyncTransport
from litestar_queues.errors import BackendUnavailableError, QueueConfigurationError
from litestar_queues.lifecycle import Complete, State, step
from litestar_queues.records import Count, Matching, NewTask, Want

pytestmark = pytest.mark.anyio

CONFIGS: dict[str, type[Any]] = {"aiosqlite": AiosqliteConfig, "sqlite": SqliteConfig}
ADAPTERS = pytest.mark.parametrize("adapter", list(CONFIGS))


class StatementByStatement(AiosqliteConfig):
    """aiosqlite, driven as every other async adapter is."""


class _Forgetful:
    """A driver that goes on where it is cancelled, as psycopg's does if its answer comes at that moment."""

    def __init__(self, driver: Any) -> None:
        self._driver = driver

    def __getattr__(self, name: str) -> Any:
        return getattr(self._driver, name)

    async def dispatch_execute(self, cursor: Any, statement: Any) -> Any:
        answer = asyncio.ensure_future(self._driver.dispatch_execute(cursor, statement))
        ForgetfulTransport.executing.set()
        try:
            return await asyncio.shield(answer)
        except asyncio.CancelledError:
            return await answer


class ForgetfulTransport(AsyncTransport):
    executing: ClassVar[asyncio.Event]

    async def connect(self, session: Any) -> Any:
        return _Forgetful(await super().connect(session))


@pytest.fixture
def _endless_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_module, "_PATIENCE", 10 * DEADLINE)


@pytest.fixture(autouse=True)
def _register(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stores, "_STORES", dict(stores._STORES))
    register_queue_store(QueueStore(__name__, SQLITE, AsyncTransport, locate))


def config_for(adapter: str, database: Path | str, **features: Any) -> Any:
    kind = CONFIGS.get(adapter, StatementByStatement)
    return kind(connection_config={"database": str(database)}, driver_features=features or None)


def new(id_: str, **fields: Any) -> NewTask:
    return NewTask(id=id_, name="app.task", **fields)


@pytest.fixture(params=[*CONFIGS, "statement-by-statement"])
async def backend(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[QueueBackend]:
    backend = SQLSpecBackendConfig(config=config_for(request.param, tmp_path / "queue.db")).create_backend()
    await backend.open()
    yield backend
    await backend.close()


def open_files(path: Path) -> list[str]:
    """What this process holds open of a database, and of the files beside it."""
    held: list[str] = []
    for descriptor in Path("/proc/self/fd").iterdir():
        try:
            target = str(descriptor.readlink())
        except OSError:
            continue
        if target.startswith(str(path)):
            held.append(target)
    return held


async def test_a_task_goes_all_the_way(backend: QueueBackend) -> None:
    long = new("a", key="k", priority=7, args='["\\u0000", "\u00e9\U0001f600"]', timeout=0.1, description="x" * 1000)
    [stored] = await backend.enqueue_many([long])
    assert stored.is_new
    assert (await backend.get(["a"])) == {"a": stored.record}
    [held] = await backend.enqueue_many([new("b", key="k")])
    assert (held.record, held.is_new) == (stored.record, False)
    [claimed] = await backend.claim(Want(worker="w", limit=5))
    assert (claimed.state, claimed.attempt, claimed.fence, claimed.worker) == (State.RUNNING, 1, 1, "w")
    assert await backend.touch_heartbeats([claimed.held]) == {"a"}
    done = step(claimed, Complete('{"n": 9007199254740993}'), await backend.now())
    assert await backend.commit([done]) == {"a"}
    assert await backend.commit([done]) == set(), "its fence is spent"
    assert await backend.get(["a"]) == {"a": done}
    assert await backend.count() == [Count("default", State.COMPLETED, 1)]
    assert await backend.delete([done.held]) == {"a"}
    assert await backend.find(Matching(), 10) == []


async def test_a_bulk_load_that_cannot_be_done_is_told_of_and_done_by_a_statement(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class NoMemoryError(Exception):
        pass

    def fail(_load: Any) -> Any:
        raise NoMemoryError("Arrow is out of memory")

    monkeypatch.setattr("litestar_queues.backends.sqlspec.transports.arrow_table", fail)
    driver = StatementByStatement(connection_config={"database": str(tmp_path / "queue.db")})
    backend = SQLSpecBackendConfig(config=driver, bulk_insert="arrow").create_backend()
    await backend.open()
    try:
        stored = await backend.enqueue_many([NewTask(id=f"{n}", name="n") for n in range(200)])
        assert [one.is_new for one in stored] == [True] * 200
    finally:
        await backend.close()
    [said] = [one.message for one in caplog.records if "bulk load" in one.message]
    assert "done again by a statement" in said
    assert "Arrow is out of memory" in said


async def test_locks_have_one_holder(backend: QueueBackend) -> None:
    minute = timedelta(minutes=1)
    assert await backend.lock("l", "me", minute)
    assert not await backend.lock("l", "you", minute)
    assert not await backend.unlock("l", "you")
    assert await backend.unlock("l", "me")
    assert await backend.lock("l", "you", minute)


async def test_the_time_is_this_machines_in_utc(backend: QueueBackend) -> None:
    before = datetime.now(UTC)
    now = await backend.now()
    assert before <= now <= datetime.now(UTC)
    assert now.utcoffset() == timedelta(0)


async def test_many_that_write_at_once_all_succeed_and_nothing_is_claimed_twice(backend: QueueBackend) -> None:
    async def write(n: int) -> list[str]:
        await backend.enqueue_many([new(f"{n:02}-{i}") for i in range(5)])
        return [record.id for record in await backend.claim(Want(worker=f"w{n}", limit=5))]

    claimed = [id_ for ids in await asyncio.gather(*(write(n) for n in range(20))) for id_ in ids]
    assert len(claimed) == len(set(claimed)) == 100


async def test_closing_leaves_no_file_and_no_thread_behind(tmp_path: Path) -> None:
    for adapter in [*CONFIGS, "statement-by-statement"]:
        threads = set(threading.enumerate())
        backend = SQLSpecBackendConfig(config=config_for(adapter, tmp_path / "queue.db")).create_backend()
        await backend.open()
        await asyncio.gather(*(backend.get(["a"]) for _ in range(10)))
        assert open_files(tmp_path / "queue.db")
        await backend.close()
        await backend.close()
        assert open_files(tmp_path / "queue.db") == [], adapter
        left = [thread for thread in threading.enumerate() if thread not in threads and "asyncio" not in thread.name]
        for thread in left:  # a connection's thread was told to end, and may be at its last step
            await asyncio.to_thread(thread.join, 10)
        assert not any(thread.is_alive() for thread in left), adapter
        with pytest.raises(BackendUnavailableError, match="not open"):
            await backend.get(["a"])


@ADAPTERS
async def test_a_backend_can_be_opened_again(adapter: str, tmp_path: Path) -> None:
    backend = SQLSpecBackendConfig(config=config_for(adapter, tmp_path / "queue.db")).create_backend()
    for number in range(2):
        await backend.open()
        await backend.enqueue_many([new(f"{number}")])
        assert len(await backend.find(Matching(), 10)) == number + 1
        await backend.close()


@ADAPTERS
async def test_a_pool_that_the_application_shares_is_not_closed(adapter: str, tmp_path: Path) -> None:
    spec, config = SQLSpec(), config_for(adapter, tmp_path / "queue.db")
    spec.add_config(config)
    runtime = config.get_observability_runtime()
    backend = SQLSpecBackendConfig(config=config, sqlspec=spec).create_backend()
    await backend.open()
    await backend.enqueue_many([new("a")])
    await backend.close()
    assert config.connection_instance is not None
    assert config.get_observability_runtime() is runtime, "adding a configuration again would lose its counters"
    assert list(spec.configs) == [id(config)]
    closing = config.close_pool()
    if closing is not None:
        await closing
    assert open_files(tmp_path / "queue.db") == []


@pytest.mark.parametrize("others", [1, 3])
async def test_who_else_needs_the_pool_gets_a_connection_however_busy_the_queue_is(others: int, tmp_path: Path) -> None:
    config = StatementByStatement(connection_config={"database": str(tmp_path / "queue.db"), "pool_size": 1})
    sqlspec = SQLSpec()
    sqlspec.add_config(config)
    backend = SQLSpecBackendConfig(config=config, sqlspec=sqlspec).create_backend()
    await backend.open()

    async def call_on_and_on() -> None:
        while True:
            await backend.count()

    callers = [asyncio.create_task(call_on_and_on()) for _ in range(others)]
    await backend.count()  # they have begun
    async with asyncio.timeout(DEADLINE), sqlspec.provide_session(config) as driver:
        assert await driver.select_value("SELECT 1") == 1
    for caller in callers:
        caller.cancel()
    await asyncio.gather(*callers, return_exceptions=True)
    await backend.close()
    await config.close_pool()


@ADAPTERS
async def test_the_last_of_two_backends_on_one_configuration_closes_its_pool(adapter: str, tmp_path: Path) -> None:
    config = SQLSpecBackendConfig(config=config_for(adapter, tmp_path / "queue.db"))
    first, second = config.create_backend(), config.create_backend()
    await first.open()
    await second.open()
    await first.enqueue_many([new("a")])
    await first.close()
    assert set(await second.get(["a"])) == {"a"}
    await second.close()
    assert open_files(tmp_path / "queue.db") == []


async def test_a_database_in_memory_is_for_this_process_alone() -> None:
    backend = SQLSpecBackendConfig(config=config_for("aiosqlite", ":memory:")).create_backend()
    assert backend.process_local
    await backend.open()
    await asyncio.gather(*(backend.enqueue_many([new(f"{i}")]) for i in range(10)))
    found = await asyncio.gather(*(backend.find(Matching(), 100) for _ in range(10)))
    assert [len(records) for records in found] == [10] * 10
    await backend.close()


async def test_a_database_in_memory_of_one_thread_is_refused() -> None:
    with pytest.raises(QueueConfigurationError, match="in memory belongs to one thread"):
        SQLSpecBackendConfig(config=config_for("sqlite", ":memory:")).create_backend()


def _missing_directory(path: Path) -> Path:
    return path / "missing" / "queue.db"


def _no_database(path: Path) -> Path:
    (path / "queue.db").write_text("once upon a time " * 100)
    return path / "queue.db"


def _read_only(path: Path) -> str:
    with sqlite3.connect(path / "queue.db") as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE something (id TEXT)")
    connection.close()
    return f"file:{path / 'queue.db'}?mode=ro"


def _another_table(path: Path) -> Path:
    with sqlite3.connect(path / "queue.db") as connection:
        connection.execute("CREATE TABLE litestar_queue_task (id TEXT)")
    connection.close()
    return path / "queue.db"


@ADAPTERS
@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (_missing_directory, BackendUnavailableError, "check that its directory exists"),
        (lambda path: path, BackendUnavailableError, "unable to open"),
        (_no_database, QueueConfigurationError, "not a database"),
        (_read_only, QueueConfigurationError, "has to be written"),
        (_another_table, QueueConfigurationError, "is no queue's"),
    ],
)
@pytest.mark.usefixtures("_endless_patience")
async def test_a_database_that_cannot_hold_a_queue_is_named_at_once(
    adapter: str, make: Callable[[Path], Path | str], error: type[Exception], words: str, tmp_path: Path
) -> None:
    database = make(tmp_path)
    config = config_for(adapter, database)
    # Who tries again meets the test's deadline.
    backend = SQLSpecBackendConfig(config=config, lock_timeout=10 * DEADLINE).create_backend()
    with pytest.raises(error, match=words) as raised:
        await asyncio.wait_for(backend.open(), DEADLINE)
    assert str(database) in str(raised.value)
    assert open_files(tmp_path / "queue.db") == []


@ADAPTERS
async def test_without_create_schema_a_missing_table_is_named(adapter: str, tmp_path: Path) -> None:
    path = tmp_path / "queue.db"
    backend = SQLSpecBackendConfig(
        config=config_for(adapter, path), create_schema=False, table_name="app_tasks"
    ).create_backend()
    with pytest.raises(QueueConfigurationError, match=r"'app_tasks' is not there.*create_schema=True"):
        await backend.open()
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)
    connection.close()


@ADAPTERS
async def test_two_tables_in_one_database_do_not_see_each_other(adapter: str, tmp_path: Path) -> None:
    config = config_for(adapter, tmp_path / "queue.db")
    one, two = [SQLSpecBackendConfig(config=config, table_name=name).create_backend() for name in ("tasks", "order")]
    await one.open()
    await two.open()
    await one.enqueue_many([new("a", key="k")])
    assert [answer.is_new for answer in await two.enqueue_many([new("a", key="k")])] == [True]
    assert await two.lock("l", "two", timedelta(minutes=1))
    assert await one.lock("l", "one", timedelta(minutes=1))
    await one.close()
    await two.close()


async def locked_out(
    adapter: str, path: Path, patience: float, act: Callable[[QueueBackend, sqlite3.Connection], Awaitable[None]]
) -> None:
    """Act on a backend while another connection holds the write lock."""
    config = config_for(adapter, path, pragmas={"busy_timeout": 1})
    backend = SQLSpecBackendConfig(config=config, lock_timeout=patience).create_backend()
    await backend.open()
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        await act(backend, other)
    finally:
        other.close()
        await backend.close()


@ADAPTERS
async def test_a_database_locked_for_too_long_is_unavailable_and_serves_again_afterwards(
    adapter: str, tmp_path: Path
) -> None:
    async def act(backend: QueueBackend, other: sqlite3.Connection) -> None:
        with pytest.raises(BackendUnavailableError, match=r"queue\.db'.*enqueue_many.*nothing was stored"):
            await backend.enqueue_many([new("a")])
        assert await backend.find(Matching(), 10) == [], "who reads is not locked out"
        other.rollback()
        assert [answer.is_new for answer in await backend.enqueue_many([new("a")])] == [True]

    await locked_out(adapter, tmp_path / "queue.db", 0.05, act)


@ADAPTERS
async def test_a_write_waits_for_a_lock_that_another_process_holds(
    adapter: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def act(backend: Any, other: sqlite3.Connection) -> None:
        refused = asyncio.Event()
        attempt = backend._transport.attempt

        async def noted(program: Any) -> Any:
            try:
                return await attempt(program)
            except Exception:
                refused.set()
                raise

        monkeypatch.setattr(backend._transport, "attempt", noted)
        waiting = asyncio.create_task(backend.enqueue_many([new("a")]))
        await asyncio.wait_for(refused.wait(), DEADLINE)
        assert not waiting.done()
        other.rollback()
        assert [answer.is_new for answer in await asyncio.wait_for(waiting, DEADLINE)] == [True]

    await locked_out(adapter, tmp_path / "queue.db", 10 * DEADLINE, act)


async def test_a_cancelled_call_leaves_the_connections_usable(backend: QueueBackend) -> None:
    for round_ in range(30):
        tasks = [new(f"{round_:02}-{i}") for i in range(20)]
        call = asyncio.create_task(backend.enqueue_many(tasks))
        for _ in range(round_ % 6):
            await asyncio.sleep(0)
        call.cancel()
        await asyncio.sleep(0)
        call.cancel()  # by somebody in a hurry, while the connection is being given back
        await asyncio.wait([call])
        stored = await backend.get([task.id for task in tasks])
        again = await backend.enqueue_many(tasks)
        assert len(stored) in {0, 20}, "all of a batch, or none of it"
        assert all(answer.is_new for answer in again)
    assert len(await backend.find(Matching(), 1000)) == 600


async def test_a_loop_of_calls_ends_when_it_is_cancelled_even_where_the_driver_forgets_that(tmp_path: Path) -> None:
    register_queue_store(QueueStore(__name__, SQLITE, ForgetfulTransport, locate))
    ForgetfulTransport.executing = asyncio.Event()
    config = StatementByStatement(connection_config={"database": str(tmp_path / "queue.db")})
    backend = SQLSpecBackendConfig(config=config).create_backend()
    await backend.open()

    async def call_on_and_on() -> None:
        while True:
            await backend.count()

    calling = asyncio.create_task(call_on_and_on())
    ForgetfulTransport.executing.clear()
    await ForgetfulTransport.executing.wait()
    calling.cancel()
    done, _ = await asyncio.wait([calling], timeout=DEADLINE)
    assert calling in done, "it goes on"
    assert calling.cancelled()
    await backend.close()


async def test_an_error_in_a_statement_rolls_back_and_the_next_call_works(
    backend: QueueBackend, tmp_path: Path
) -> None:
    await backend.enqueue_many([new("a")])
    with sqlite3.connect(tmp_path / "queue.db") as other:
        other.execute("CREATE TRIGGER refuse BEFORE INSERT ON litestar_queue_task WHEN new.id = 'bad' "
                      "BEGIN SELECT raise(ABORT, 'this one not'); END")  # fmt: skip
    for _ in range(5):
        with pytest.raises(Exception, match="this one not"):
            await backend.enqueue_many([new("b"), new("bad")])
        assert set(await backend.get(["a", "b", "bad"])) == {"a"}
    assert [answer.is_new for answer in await backend.enqueue_many([new("c")])] == [True]
    other.close()


async def test_an_error_in_a_later_statement_takes_back_the_earlier_ones(backend: QueueBackend, tmp_path: Path) -> None:
    later = datetime.now(UTC) + timedelta(hours=1)
    await backend.enqueue_many([new("a", run_at=later)])
    with sqlite3.connect(tmp_path / "queue.db") as other:
        other.execute(
            "CREATE TRIGGER refuse BEFORE UPDATE ON litestar_queue_task WHEN new.state = 'running' "
            "BEGIN SELECT raise(ABORT, 'not now'); END"
        )
    other.close()
    with pytest.raises(Exception, match="claim failed: not now"):
        await backend.claim(Want(worker="w", limit=1), now=later)
    assert (await backend.get(["a"]))["a"].state is State.SCHEDULED, "the claim had made it pending"


def test_the_adapter_is_found_behind_a_subclass_of_its_configuration() -> None:
    class Ours(SqliteConfig):
        pass

    Ours.__module__ = "app.database"
    config = Ours(connection_config={"database": "queue.db"})
    assert SQLSpecBackendConfig(config=config).create_backend().name == "sqlspec[sqlite]"


def test_an_adapter_without_a_store_is_refused_with_those_that_have_one() -> None:
    class UnknownConfig:
        connection_config: ClassVar[dict[str, Any]] = {}

    UnknownConfig.__module__ = "sqlspec.adapters.unknown.config"
    with pytest.raises(QueueConfigurationError, match=r"UnknownConfig.*aiosqlite, .*asyncpg, .*sqlite"):
        SQLSpecBackendConfig(config=UnknownConfig()).create_backend()


@pytest.mark.parametrize("options", [{"table_name": "a b"}, {"lock_timeout": 0}])
def test_an_option_that_cannot_work_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(QueueConfigurationError):
        SQLSpecBackendConfig(config=config_for("sqlite", "queue.db"), **options).create_backend()


def _open_at_once(adapter: str, path: Path, barrier: Any, results: Any) -> None:
    async def run() -> int:
        backend = SQLSpecBackendConfig(config=config_for(adapter, path)).create_backend()
        barrier.wait(60)
        await backend.open()
        await backend.enqueue_many([new(f"{os.getpid()}")])
        found = len(await backend.find(Matching(), 100))
        await backend.close()
        return found

    try:
        results.put(asyncio.run(run()))
    except BaseException as error:
        results.put(repr(error))
        raise


@ADAPTERS
def test_processes_that_start_at_the_same_moment_create_one_schema(adapter: str, tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    barrier, results = spawn.Barrier(4), spawn.Queue()
    arguments = (adapter, tmp_path / "queue.db", barrier, results)
    processes = [spawn.Process(target=_open_at_once, args=arguments) for _ in range(4)]
    for process in processes:
        process.start()
    found = [results.get(timeout=DEADLINE) for _ in processes]
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * 4, found
    assert max(found) == 4


def run_python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


def test_importing_the_package_does_not_import_sqlspec() -> None:
    assert run_python("import sys, litestar_queues; print('sqlspec' in sys.modules)") == "False\n"


def test_a_missing_sqlspec_is_named_with_the_extra() -> None:
    code = (
        "import sys\nsys.modules['sqlspec'] = None\n"
        "from litestar_queues.errors import MissingDependencyError\n"
        "try:\n    import litestar_queues.backends.sqlspec\n"
        "except MissingDependencyError as error:\n    print(error.extra, error)"
    )
    assert run_python(code).startswith("sqlspec the package 'sqlspec' is not installed")
