from __future__ import annotations

import asyncio
import json
import multiprocessing
import random
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest
from sqlspec import SQLSpec
from sqlspec.adapters.duckdb import DuckDBConfig

from litestar_queues.backends.base import QueueBackend
from litestar_queues.backends.sql.families import DUCKDB, Statement, statements_of
from litestar_queues.backends.sql.schema import schema_of
from litestar_queues.backends.sql.values import COLUMNS, COMMITTED, ENQUEUED, HELD
from litestar_queues.backends.sqlspec import SQLSpecBackendConfig
from litestar_queues.errors import BackendUnavailableError, QueueConfigurationError
from litestar_queues.lifecycle import Cancel, Complete, Fail, Requeue, Revive, State, step
from litestar_queues.records import Finished, Matching, NewTask, TaskRecord, Want

pytestmark = pytest.mark.anyio

NOW = datetime(2030, 1, 1, 12, 30, 0, 1, tzinfo=UTC)
SPAWN = multiprocessing.get_context("spawn")


def config_for(database: Path | str, **settings: Any) -> Any:
    return DuckDBConfig(connection_config={"database": str(database), **settings})


def backend_for(database: Path | str, *, table: str = "litestar_queue_task", **settings: Any) -> QueueBackend:
    return SQLSpecBackendConfig(config=config_for(database, **settings), table_name=table).create_backend()


def new(id_: str, **fields: Any) -> NewTask:
    return NewTask(id=id_, name="app.task", **fields)


def ask(path: Path, query: str) -> list[Any]:
    with duckdb.connect(str(path)) as connection:
        return connection.execute(query).fetchall()


def run_python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


THEIRS = pytest.mark.filterwarnings("ignore:Arrow output on a DB-API result:UserWarning")
"""SQLSpec's own sessions ask for Arrow in a way that DuckDB 2.0 warns of."""


@pytest.fixture
async def backend(tmp_path: Path) -> AsyncIterator[QueueBackend]:
    backend = backend_for(tmp_path / "queue.duckdb")
    await backend.open()
    yield backend
    await backend.close()


# The statements


def test_the_table_has_a_column_for_each_field_and_the_active_key(tmp_path: Path) -> None:
    texts = statements_of(DUCKDB)
    with duckdb.connect(str(tmp_path / "queue.duckdb")) as connection:
        for text in schema_of(DUCKDB).texts():
            connection.execute(text)
        columns = {row[0] for row in connection.execute("DESCRIBE litestar_queue_task").fetchall()}
        read = [column[0] for column in connection.execute(texts["check_schema"].text).description]
    assert columns == {*COLUMNS, "active_key"}
    assert read == [*COLUMNS, "active_key"]


@pytest.mark.parametrize(
    ("name", "fields"), [("enqueue", ENQUEUED), ("commit", COMMITTED), ("commit_keys", COMMITTED), ("delete", HELD)]
)
def test_a_batch_is_unpacked_into_the_fields_that_travel_in_it(name: str, fields: tuple[str, ...]) -> None:
    text = statements_of(DUCKDB)[name].text
    struct = text[text.index("'[{") + 1 : text.index("}]'") + 2]
    assert tuple(json.loads(struct)[0]) == fields


# Where the database is


def _missing_directory(path: Path) -> Path:
    return path / "missing" / "queue.duckdb"


def _no_database(path: Path) -> Path:
    (path / "queue.duckdb").write_text("once upon a time " * 1000)
    return path / "queue.duckdb"


def _another_table(path: Path) -> Path:
    ask(path / "queue.duckdb", "CREATE TABLE litestar_queue_task (id VARCHAR)")
    return path / "queue.duckdb"


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (_missing_directory, BackendUnavailableError, "check that its directory exists"),
        (lambda path: path, BackendUnavailableError, "directory"),
        (_no_database, QueueConfigurationError, "not a valid DuckDB database.*choose another file"),
        (_another_table, QueueConfigurationError, "is no queue's"),
    ],
)
async def test_a_database_that_cannot_hold_a_queue_is_named_at_once(
    make: Callable[[Path], Path], error: type[Exception], words: str, tmp_path: Path
) -> None:
    database = make(tmp_path)
    backend = backend_for(database)
    with pytest.raises(error, match=words) as raised:
        await backend.open()
    assert str(database) in str(raised.value)


@pytest.mark.parametrize(
    "settings", [{"read_only": True}, {"access_mode": "READ_ONLY"}, {"config": {"access_mode": "read_only"}}]
)
def test_a_database_that_is_only_read_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(QueueConfigurationError, match="has to be written"):
        backend_for("queue.duckdb", **settings)


async def test_a_file_that_is_open_with_other_settings_is_refused(tmp_path: Path, backend: QueueBackend) -> None:
    other = backend_for(tmp_path / "queue.duckdb", threads=1)
    with pytest.raises(QueueConfigurationError, match="open with other settings"):
        await other.open()
    await backend.enqueue_many([new("a")])


def _hold(path: str, held: Any, end: Any) -> None:
    with duckdb.connect(path):
        held.set()
        end.wait(60)


async def test_a_second_process_is_told_that_the_file_belongs_to_another(tmp_path: Path) -> None:
    path = tmp_path / "queue.duckdb"
    held, end = SPAWN.Event(), SPAWN.Event()
    process = SPAWN.Process(target=_hold, args=(str(path), held, end))
    process.start()
    assert held.wait(60)
    backend = backend_for(path)
    with pytest.raises(BackendUnavailableError, match=r"queue\.duckdb.*belongs to one process.*own process") as raised:
        await backend.open()
    assert str(process.pid) in str(raised.value), "DuckDB tells who has it"
    end.set()
    process.join(60)
    await backend.open()
    await backend.enqueue_many([new("a")])
    await backend.close()


@pytest.mark.parametrize("database", [":memory:", ":memory:tasks_of_a_test", "queue.duckdb"])
def test_only_a_worker_inside_the_process_can_run_tasks(database: str) -> None:
    assert backend_for(database).process_local


async def test_a_database_in_memory_is_shared_by_all_backends_of_the_process() -> None:
    one, two = backend_for(":memory:shared_by_two"), backend_for(":memory:shared_by_two")
    other = backend_for(":memory:another")
    for each in (one, two, other):
        await each.open()
    await asyncio.gather(*(each.enqueue_many([new(f"{i}{each is one}")]) for each in (one, two) for i in range(10)))
    assert len(await one.find(Matching(), 100)) == len(await two.find(Matching(), 100)) == 20
    assert await other.find(Matching(), 100) == []
    await one.close()
    assert len(await two.find(Matching(), 100)) == 20
    await two.close()
    await other.close()


async def test_a_database_in_memory_without_a_name_works() -> None:
    backend = SQLSpecBackendConfig(config=DuckDBConfig(), table_name="without_a_name").create_backend()
    await backend.open()
    await backend.enqueue_many([new("a")])
    assert [record.id for record in await backend.claim(Want(worker="w", limit=5))] == ["a"]
    await backend.close()


# One thread for each database


def queue_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if "litestar-queues-duckdb" in thread.name]


async def test_backends_on_one_file_share_a_thread_and_the_last_one_ends_it(tmp_path: Path) -> None:
    path, alias = tmp_path / "queue.duckdb", tmp_path / "alias.duckdb"
    alias.symlink_to(path)
    config = SQLSpecBackendConfig(config=config_for(path))
    backends = [config.create_backend(), config.create_backend(), backend_for(path, table="tasks"), backend_for(alias)]
    for backend in backends:
        await backend.open()
    await asyncio.gather(*(backend.enqueue_many([new(f"{i}")]) for i, backend in enumerate(backends)))
    assert len(queue_threads()) == 1
    for backend in backends:
        assert len(queue_threads()) == 1
        await backend.close()
        await backend.close()
    assert queue_threads() == []
    assert len(ask(path, "SELECT id FROM litestar_queue_task")) == 3
    with pytest.raises(BackendUnavailableError, match="not open"):
        await backends[0].get(["a"])


async def test_closing_frees_the_file_for_another_process(tmp_path: Path) -> None:
    path = tmp_path / "queue.duckdb"
    backend = backend_for(path)
    for number in range(2):
        await backend.open()
        await backend.enqueue_many([new(f"{number}")])
        await backend.close()
        code = f"import duckdb; print(duckdb.connect({str(path)!r}).execute('FROM litestar_queue_task').fetchall())"
        assert run_python(code).count("'app.task'") == number + 1


@THEIRS
async def test_a_pool_that_the_application_shares_is_not_closed(tmp_path: Path) -> None:
    spec, config = SQLSpec(), config_for(tmp_path / "queue.duckdb")
    spec.add_config(config)
    backend = SQLSpecBackendConfig(config=config, sqlspec=spec).create_backend()
    await backend.open()
    await backend.enqueue_many([new("a")])
    await backend.close()
    with spec.provide_session(config) as driver:
        assert driver.select_value("SELECT count(*)::INTEGER FROM litestar_queue_task") == 1
    config.close_pool()


async def test_event_loops_in_several_threads_can_use_one_file(tmp_path: Path) -> None:
    async def work(number: int) -> list[str]:
        backend = backend_for(tmp_path / "queue.duckdb")
        await backend.open()
        claimed: list[str] = []
        for i in range(5):
            await backend.enqueue_many([new(f"{number}-{i}", key=f"k{i}")])
            claimed += [record.id for record in await backend.claim(Want(worker=f"w{number}", limit=2))]
        await backend.close()
        return claimed

    claimed: list[str] = []
    failed: list[BaseException] = []

    def run(number: int) -> None:
        try:
            claimed.extend(asyncio.run(work(number)))
        except BaseException as error:  # noqa: BLE001  # shown by the test
            failed.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        await asyncio.to_thread(thread.join, 60)
    assert failed == []
    assert len(claimed) == len(set(claimed)) == 5, "one of each key"


async def test_a_cancelled_call_leaves_the_thread_usable(backend: QueueBackend) -> None:
    for round_ in range(20):
        tasks = [new(f"{round_:02}-{i}") for i in range(20)]
        call = asyncio.create_task(backend.enqueue_many(tasks))
        for _ in range(round_ % 5):
            await asyncio.sleep(0)
        call.cancel()
        with suppress(asyncio.CancelledError):
            await call
        assert len(await backend.get([task.id for task in tasks])) in {0, 20}
        assert all(answer.is_new for answer in await backend.enqueue_many(tasks))
    assert len(await backend.find(Matching(), 1000)) == 400


# Keys, under DuckDB's rules for indexed columns


async def record(backend: QueueBackend, id_: str) -> TaskRecord:
    return (await backend.get([id_]))[id_]


async def test_a_key_moves_between_tasks_any_number_of_times(backend: QueueBackend) -> None:
    await backend.enqueue_many([new("a", key="k"), new("x", key="other")])
    await backend.commit([step(await record(backend, "a"), Cancel(), NOW)])
    await backend.enqueue_many([new("b", key="k")])
    for _ in range(10):
        for giving, taking in (("b", "a"), ("a", "b")):
            one, other = await record(backend, giving), await record(backend, taking)
            both = [step(one, Cancel(), NOW), step(other, Revive(), NOW)]
            assert await backend.commit([both[1]]) == set(), "it is not free"
            assert await backend.commit(both) == {giving, taking}, "the one gives it up before the other takes it"
            [answer] = await backend.enqueue_many([new("c", key="k")])
            assert (answer.record.id, answer.is_new) == (taking, False)
    assert await backend.delete([(await record(backend, "a")).held]) == {"a"}
    assert (await record(backend, "x")).active_key == "other"


async def test_of_several_with_one_key_in_a_batch_the_first_is_stored(backend: QueueBackend) -> None:
    batch = [new(f"{i:04}", key=f"k{i % 10}") for i in range(1000)]
    for _ in range(2):
        answers = await backend.enqueue_many(batch)
        assert [answer.record.id for answer in answers] == [f"{i % 10:04}" for i in range(1000)]
        assert [answer.is_new for answer in answers] == [i < 10 for i in range(1000)]
    assert len(await backend.find(Matching(), 10_000)) == 10


async def test_a_key_that_another_transaction_takes_meanwhile_has_one_holder(tmp_path: Path) -> None:
    spec, config = SQLSpec(), config_for(tmp_path / "queue.duckdb")
    spec.add_config(config)
    backend = SQLSpecBackendConfig(config=config, sqlspec=spec).create_backend()
    await backend.open()
    with spec.provide_session(config) as driver:
        driver.begin()
        bound: QueueBackend = backend.bind(driver)  # type: ignore[attr-defined]
        [mine] = await bound.enqueue_many([new("mine", key="k")])
        [theirs] = await backend.enqueue_many([new("theirs", key="k")])
        assert (mine.is_new, theirs.is_new) == (True, True), "neither can see the other"
        with pytest.raises(Exception, match="duplicate key") as raised:
            driver.commit()
        assert DUCKDB.is_conflict(raised.value)
        driver.begin()
        [mine] = await bound.enqueue_many([new("mine", key="k")])
        assert (mine.record.id, mine.is_new) == ("theirs", False)
        driver.commit()
    assert [one.id for one in await backend.find(Matching(key="k"), 10)] == ["theirs"]
    await backend.close()
    config.close_pool()


UPDATE = "UPDATE litestar_queue_task SET fence = 8 WHERE id = 'a'"
INSERT = (
    "INSERT INTO litestar_queue_task BY NAME (SELECT * REPLACE ('n' AS id, 'k' AS active_key) FROM litestar_queue_task)"
)


@pytest.mark.parametrize(
    "other",
    [UPDATE, UPDATE.replace("SET", "SET active_key = 'k',"), INSERT],
    ids=["update", "update of the key", "the same key"],
)
async def test_duckdbs_conflicts_are_told_from_its_other_errors(
    other: str, backend: QueueBackend, tmp_path: Path
) -> None:
    await backend.enqueue_many([new("a")])
    changes = [other, other.replace("'n'", "'m'")]
    with duckdb.connect(str(tmp_path / "queue.duckdb")) as one, one.cursor() as two:
        one.begin()
        two.begin()
        one.execute(changes[0])
        with pytest.raises(duckdb.Error) as raised:  # noqa: PT012  # the one kind of conflict is found at the commit
            two.execute(changes[1])
            one.commit()
            two.commit()
        with suppress(duckdb.Error):
            one.rollback()
        with suppress(duckdb.Error):
            two.rollback()
        assert DUCKDB.is_conflict(raised.value)
        with pytest.raises(duckdb.Error) as raised:
            two.rollback()
        assert not DUCKDB.is_conflict(raised.value), "no transaction is active"
        with pytest.raises(duckdb.Error) as raised:
            two.execute("SELECT conflict FROM litestar_queue_task")
        assert not DUCKDB.is_conflict(raised.value), "no such column"


# What is stored


async def test_a_users_values_come_back_as_they_were_written(backend: QueueBackend) -> None:
    values = ('[1e22,1.0,-0.0,"\\u0000",{"a":1,"a":2}, 123456789012345678901234567890 ]', "[" * 1500 + "]" * 1500)
    await backend.enqueue_many([new(f"{i}", args=value) for i, value in enumerate(values)])
    await backend.enqueue_many([new(f"{i}k", args=value, key=f"{i}") for i, value in enumerate(values)])
    claimed = await backend.claim(Want(worker="w", limit=9))
    assert sorted(record.args for record in claimed) == sorted(values * 2)
    await backend.commit([step(record, Complete(values[0]), NOW) for record in claimed])
    assert {record.result for record in await backend.find(Matching(), 9)} == {values[0]}


@pytest.mark.parametrize("table", ["order", "Tasks_2", "_", "ours.tasks", "ours.order", "x" * 47])
async def test_an_odd_or_qualified_table_name_is_used_everywhere(table: str, tmp_path: Path) -> None:
    path = tmp_path / "queue.duckdb"
    ask(path, "CREATE SCHEMA ours")
    for _ in range(2):
        backend = backend_for(path, table=table)
        await backend.open()
        await backend.create_schema()
        await backend.enqueue_many([new("a", key="k")])
        await backend.enqueue_many([new("b")])
        assert await backend.lock("l", "me", timedelta(minutes=1))
        assert await backend.lock("l", "me", timedelta(minutes=1))
        await backend.close()
    schema, _, name = table.rpartition(".")
    query = "SELECT schema_name, table_name FROM duckdb_tables() ORDER BY 2"
    assert ask(path, query) == [(schema or "main", f"{name}{suffix}") for suffix in ("", "_lock", "_record")]
    assert ask(path, f'SELECT id FROM "{schema or "main"}"."{name}" ORDER BY 1') == [("a",), ("b",)]
    assert ask(path, "SELECT index_name FROM duckdb_indexes()") == [(f"{name}_key",)]


async def test_without_create_schema_a_missing_table_is_named(tmp_path: Path) -> None:
    config = config_for(tmp_path / "queue.duckdb")
    backend = SQLSpecBackendConfig(config=config, create_schema=False, table_name="app_tasks").create_backend()
    with pytest.raises(QueueConfigurationError, match=r"'app_tasks' is not there.*create_schema=True"):
        await backend.open()
    assert ask(tmp_path / "queue.duckdb", "SELECT table_name FROM duckdb_tables()") == []


@THEIRS
async def test_migrations_make_the_same_tables_as_create_schema(tmp_path: Path) -> None:
    dumps = {}
    for how in ("create_schema", "run_migrations"):
        path = tmp_path / f"{how}.duckdb"
        options: dict[str, Any] = {"create_schema": False, "run_migrations": False} | {how: True}
        for _ in range(2):
            backend = SQLSpecBackendConfig(config=config_for(path), **options).create_backend()
            await backend.open()
            await backend.enqueue_many([new("a")])
            await backend.close()
        tables = "SELECT sql FROM duckdb_tables() WHERE table_name LIKE 'litestar%' ORDER BY table_name"
        dumps[how] = ask(path, f"({tables}) UNION ALL SELECT sql FROM duckdb_indexes()")
    assert dumps["create_schema"] == dumps["run_migrations"]
    assert len(dumps["create_schema"]) == 4


@pytest.mark.parametrize("how", ["arrow", "statement"])
async def test_many_tasks_are_stored_by_either_way(how: Any, tmp_path: Path) -> None:
    backend = SQLSpecBackendConfig(config=config_for(tmp_path / "queue.duckdb"), bulk_insert=how).create_backend()
    await backend.open()
    for count in (1, 3000):
        batch = [new(f"{count}-{i:04}", args=f"[{i}]", run_at=NOW, timeout=0.1) for i in range(count)]
        answers = await backend.enqueue_many(batch)
        assert {answer.record.id: answer.record for answer in answers} == await backend.get([task.id for task in batch])
    await backend.close()


def test_pyarrow_is_not_needed() -> None:
    code = (
        "import asyncio, sys\nsys.modules['pyarrow'] = None\n"
        "from sqlspec.adapters.duckdb import DuckDBConfig\n"
        "from litestar_queues.backends.sqlspec import SQLSpecBackendConfig\n"
        "from litestar_queues.records import NewTask, Want\n"
        "async def main():\n"
        "    backend = SQLSpecBackendConfig(config=DuckDBConfig(), bulk_insert='statement').create_backend()\n"
        "    await backend.open()\n"
        "    await backend.enqueue_many([NewTask(id='a', name='app.task')])\n"
        "    print([record.id for record in await backend.claim(Want(worker='w', limit=1))])\n"
        "    await backend.close()\n"
        "asyncio.run(main())"
    )
    assert run_python(code) == "['a']\n"


def test_duckdb_is_imported_by_those_who_use_it_only() -> None:
    code = "import sys, litestar_queues.backends.sqlspec; print('duckdb' in sys.modules)"
    assert run_python(code) == "False\n"


def _work_and_die(path: str, seed: int, told: Any) -> None:
    """Tasks and keys in every state, then an end without a word; what was acknowledged is told just before."""

    async def work() -> list[str]:
        backend, pick = backend_for(path), random.Random(seed)
        await backend.open()
        for round_ in range(20):
            tasks = [new(f"{seed}-{round_}-{i}", key=f"k{pick.randrange(8)}" if i % 2 else None) for i in range(6)]
            await backend.enqueue_many(tasks)
            running = await backend.claim(Want(worker="w", limit=5))
            await backend.touch_heartbeats([one.held for one in running])
            events = (Complete("1"), Cancel(), Fail('"no"', None), Requeue())
            await backend.commit([step(one, pick.choice(events), NOW) for one in running])
            waiting = await backend.find(Matching(states=(State.PENDING,)), 4)
            over = await backend.find(Matching(states=(State.CANCELLED, State.FAILED)), 6)
            revived = [step(one, Revive(), NOW) for one in over]
            await backend.commit([*(step(one, Cancel(), NOW) for one in waiting), *revived])
            await backend.delete([one.held for one in await backend.find(Finished(NOW + timedelta(days=1)), 3)])
            await backend.lock("l", f"{round_}", timedelta())
        return sorted(map(repr, await backend.find(Matching(), 10_000)))

    told.send(asyncio.run(work()))
    told.recv()


async def test_what_was_acknowledged_outlives_a_process_that_was_killed(tmp_path: Path) -> None:
    path = tmp_path / "queue.duckdb"
    for seed in range(2):
        ours, theirs = SPAWN.Pipe()
        process = SPAWN.Process(target=_work_and_die, args=(str(path), seed, theirs))
        process.start()
        theirs.close()
        told = await asyncio.to_thread(ours.recv)
        process.kill()
        process.join(60)
        backend = backend_for(path)
        await backend.open()
        found = await backend.find(Matching(), 10_000)
        assert sorted(map(repr, found)) == told
        assert {"cancelled", "completed", "pending"} <= {one.state for one in found}
        keys = [one.active_key for one in found if one.active_key is not None]
        assert len(keys) == len(set(keys))
        await backend.close()


async def test_a_duckdb_that_loses_entries_of_indexes_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = backend_for(tmp_path / "queue.duckdb")
    statements = dict(statements_of(DUCKDB))
    statements["version"] = Statement("version", "SELECT '1.5.6'")
    monkeypatch.setattr(backend.port.engine, "_statements", statements)  # type: ignore[attr-defined]
    with pytest.raises(QueueConfigurationError, match=r"duckdb 1\.5\.6 is too old.*2\.0 or newer"):
        await backend.open()
