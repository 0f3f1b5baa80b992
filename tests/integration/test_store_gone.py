"""A database that is deleted, replaced or emptied under a worker process, and under an application."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from acceptance.database import DRIVERS, TABLES_MADE, queue_backend
from waiting import DEADLINE

from litestar_queues import QueueConfig, QueueService, State, TaskRegistry, task

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(sys.platform == "win32", reason="no SIGTERM to catch"),
]

TESTS = Path(__file__).parents[1]
APP = """
import asyncio, os
from litestar import Litestar, get
from acceptance.database import queue_backend
from litestar_queues import QueueConfig, QueuePlugin, QueueService, StoreReplacedError, task
from litestar_queues.worker.reaper import Reaper

def say(text):
    os.write(1, f"{text}\\n".encode())

@task("quick")
async def quick(number: int) -> int:
    return number

@task("endless")
async def endless() -> None:
    say("endless")
    await asyncio.Event().wait()

@task("wanders")
async def wanders(elsewhere: str) -> int:
    home = os.getcwd()
    os.chdir(elsewhere)
    say("wanders")
    while not os.path.exists("go home"):
        await asyncio.sleep(0.01)
    os.chdir(home)
    return 7

@get("/enqueue/{number:int}")
async def enqueue(number: int, queue_service: QueueService) -> str:
    try:
        return (await queue_service.enqueue(quick, number)).id
    except StoreReplacedError as error:
        return f"refused: {error}"

backend = queue_backend(os.environ["DRIVER"], os.environ.get("DATABASE", "queues.db"))
interval = float(os.environ.get("MAINTENANCE", "0.2"))
config = QueueConfig(
    queue_backend=backend, worker_poll_interval=0.05, worker_heartbeat_interval=30, worker_stale_after=600,
    maintenance_interval=interval, in_app_worker=True,
)
app = Litestar([enqueue], plugins=[QueuePlugin(config)], logging_config=None)

if interval > 60:  # so that a test knows that no look is under way any more
    async def look(self, look=Reaper.look):
        await look(self)
        say("looked")
    Reaper.look = look
"""

registry = TaskRegistry()


@task("quick", registry=registry)
async def quick(number: int) -> int:
    return number


@task("endless", registry=registry)
async def endless() -> None: ...


@task("wanders", registry=registry)
async def wanders(elsewhere: str) -> int: ...


class Place:
    """The folder in which an application runs on a database of its own."""

    def __init__(self, folder: Path, driver: str) -> None:
        self.folder = folder
        self.driver = driver
        self.path = folder / "queues.db"

    def service(self, path: Path | None = None) -> QueueService:
        backend = queue_backend(self.driver, str(path or self.path))
        return QueueService(QueueConfig(queue_backend=backend), registry=registry)

    async def enqueue(self, name: str, *args: Any) -> str:
        async with self.service() as service:
            return (await service.enqueue(name, *args)).id

    async def state(self, task_id: str) -> tuple[State, int]:
        async with self.service() as service:
            found = await service.get(task_id)
            assert found is not None
            return found.status, found.attempt

    def files(self) -> list[Path]:
        """The database and what SQLite keeps beside it."""
        return sorted(self.folder.glob("queues.db*"))

    def move(self, folder: Path) -> None:
        for file in self.files():
            file.rename(folder / file.name)

    def run(self, *statements: str) -> None:
        with closing(sqlite3.connect(self.path, isolation_level=None, timeout=60)) as connection:
            for statement in statements:
                connection.execute(statement)

    async def looked_after(self, looks: int = 2) -> None:
        """Wait until a worker has noted so many looks, and so knows the store."""
        statement = f"SELECT version FROM {TABLES_MADE[-1]} WHERE name = 'maintenance'"
        async with asyncio.timeout(DEADLINE):
            while True:
                with closing(sqlite3.connect(self.path, timeout=60)) as connection:
                    if any(version >= looks for (version,) in connection.execute(statement)):
                        return
                await asyncio.sleep(0.01)

    def rows(self, path: Path | None = None) -> dict[str, list[Any]]:
        """All that is stored, without the record of the schema."""
        with closing(sqlite3.connect(path or self.path, timeout=60)) as connection:
            found = {table: connection.execute(f"SELECT * FROM {table}").fetchall() for table in TABLES_MADE}
        return {table: [row for row in rows if "schema" not in map(str, row)] for table, rows in found.items()}


@pytest.fixture(params=DRIVERS)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "served.py").write_text(APP)
    return Place(tmp_path, request.param)


class Process:
    """A process of the application, with what it says."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.errors = ""

    async def said(self, pattern: str) -> None:
        """Wait for a line of a task that matches."""
        await self._line(self.process.stdout, pattern)

    async def logged(self, pattern: str) -> None:
        """Wait for a line of the log that matches."""
        await self._line(self.process.stderr, pattern)

    async def _line(self, stream: asyncio.StreamReader | None, pattern: str) -> None:
        assert stream is not None
        async with asyncio.timeout(DEADLINE):
            while line := (await stream.readline()).decode():
                if stream is self.process.stderr:
                    self.errors += line
                if re.search(pattern, line):
                    return
        raise AssertionError(f"it ended without {pattern!r}: {await self.ended()}")

    async def ended(self) -> tuple[int, str]:
        """Wait for its end; its exit code, and its log."""
        async with asyncio.timeout(DEADLINE):
            _, errors = await self.process.communicate()
        assert self.process.returncode is not None
        return self.process.returncode, self.errors + errors.decode()

    async def drained(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        code, errors = await self.ended()
        assert code == 0, errors


@pytest.fixture
async def start(place: Place) -> AsyncIterator[Callable[..., Awaitable[Process]]]:
    started: list[asyncio.subprocess.Process] = []

    async def start(*arguments: str, **environment: str) -> Process:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "litestar", "--app", "served:app", *(arguments or ("queues", "run")),
            cwd=place.folder,
            env={**os.environ, "PYTHONPATH": str(TESTS), "DRIVER": place.driver, **environment},
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        started.append(process)
        return Process(process)

    yield start
    for process in started:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.communicate()


async def has_left(worker: Process, held: str, why: str) -> None:
    """The worker has ended with code 1; it said why, and what it held, and showed no traceback."""
    code, errors = await worker.ended()
    last = errors.splitlines()[-1]
    assert code == 1, errors
    assert re.search(f"^The worker has left its store: .*{why}", last), errors
    assert re.search("start (this|the) process again", last, re.IGNORECASE), errors
    assert f"not stored: 1 ({held})" in last
    assert re.search(f"CRITICAL .* leaves, with 1 tasks \\({held}\\): .*{why}", errors), errors
    assert "Traceback" not in errors


async def test_a_worker_whose_file_was_moved_away_leaves_and_writes_neither_there_nor_here(
    place: Place, start: Any
) -> None:
    held = await place.enqueue("endless")
    worker = await start()
    await worker.said("endless")
    await place.looked_after()
    place.move(place.folder / "elsewhere")
    await has_left(worker, held, f"the file '{place.path}' was deleted while it was in use")
    assert place.files() == []
    (place.folder / "elsewhere" / "queues.db").rename(place.path)
    for file in (place.folder / "elsewhere").iterdir():
        file.rename(place.folder / file.name)
    assert await place.state(held) == (State.RUNNING, 1)


async def test_a_worker_whose_file_was_replaced_leaves_and_writes_nothing_to_the_new_one(
    place: Place, start: Any
) -> None:
    held = await place.enqueue("endless")
    worker = await start()
    await worker.said("endless")
    await place.looked_after()
    other = place.folder / "other.db"
    async with place.service(other) as service:
        await service.enqueue("quick", 1)
    with closing(sqlite3.connect(other)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    before = other.read_bytes()
    for file in place.files():
        file.unlink()
    other.rename(place.path)
    await has_left(worker, held, f"the file '{place.path}' was (deleted|replaced by another one) while it was in use")
    assert place.path.read_bytes() == before


async def test_a_file_that_is_back_before_the_next_maintenance_is_worked_on_again(place: Place, start: Any) -> None:
    worker = await start(MAINTENANCE="600")
    await worker.said("looked")
    away = place.folder / "elsewhere"
    await place.enqueue("quick", 1)
    place.move(away)
    await worker.logged("no task could be claimed.*was deleted while it was in use.*put the file back")
    assert place.files() == []
    for file in sorted(away.iterdir(), reverse=True):
        file.rename(place.folder / file.name)
    async with place.service() as service:
        result = await service.enqueue("quick", 2)
        assert await result.wait(DEADLINE)
        assert result.status is State.COMPLETED
    await worker.drained()


async def test_tables_that_are_dropped_are_waited_for_and_left_once_they_are_made_again(
    place: Place, start: Any
) -> None:
    held = await place.enqueue("endless")
    worker = await start()
    await worker.said("endless")
    await place.looked_after()
    place.run(*(f"DROP TABLE {table}" for table in TABLES_MADE))
    await worker.logged("maintenance could not be done: .*no such table")
    assert worker.process.returncode is None
    async with place.service():
        pass  # which makes them
    await has_left(worker, held, "the store was emptied, or another one is in its place")
    assert {table: rows for table, rows in place.rows().items() if rows} == {}


async def test_a_store_whose_rows_were_all_deleted_is_left_and_a_new_worker_starts_on_it(
    place: Place, start: Any
) -> None:
    held = await place.enqueue("endless")
    worker = await start()
    await worker.said("endless")
    await place.looked_after()
    place.run("BEGIN IMMEDIATE", *(f"DELETE FROM {table}" for table in TABLES_MADE), "COMMIT")
    await has_left(worker, held, "the store was emptied, or another one is in its place")
    tasks, _, records = TABLES_MADE  # the look that was under way may have taken the lock
    assert (place.rows()[tasks], place.rows()[records]) == ([], [])
    again = await start()
    await again.logged("serves all queues")
    async with place.service() as service:
        result = await service.enqueue("quick", 2)
        await result.wait(DEADLINE)
        assert result.status is State.COMPLETED
    await again.drained()


async def test_whoever_deletes_the_record_of_the_maintenance_disturbs_nobody(place: Place, start: Any) -> None:
    held = await place.enqueue("endless")
    worker = await start()
    await worker.said("endless")
    await place.looked_after()
    *_, records = TABLES_MADE
    place.run(f"DELETE FROM {records} WHERE name = 'maintenance'")
    await place.looked_after(2)
    assert await place.state(held) == (State.RUNNING, 1)
    worker.process.send_signal(signal.SIGTERM)
    await worker.logged("drains")
    worker.process.send_signal(signal.SIGTERM)
    assert f"given back: 1 ({held})" in (await worker.ended())[1]


async def test_a_task_that_changes_the_directory_stops_a_relative_path_until_it_is_back(
    place: Place, start: Any
) -> None:
    result = await place.enqueue("wanders", str(place.folder / "elsewhere"))
    worker = await start()
    await worker.said("wanders")
    await worker.logged("the working directory of this process changed.*configure an absolute path")
    (place.folder / "elsewhere" / "go home").touch()
    async with place.service() as service:
        found = await service.get(result)
        assert found is not None
        await found.wait(DEADLINE)
        assert (found.result, found.attempt) == (7, 1)
    await worker.drained()
    # A connection that was being opened in the moment of the change may have made a file: nothing is in it.
    stray = place.folder / "elsewhere" / "queues.db"
    if stray.exists():
        with closing(sqlite3.connect(stray)) as database:
            assert database.execute("SELECT name FROM sqlite_master").fetchall() == []


async def test_a_task_that_changes_the_directory_changes_nothing_for_an_absolute_path(place: Place, start: Any) -> None:
    await place.enqueue("wanders", str(place.folder / "elsewhere"))
    worker = await start(DATABASE=str(place.path))
    await worker.said("wanders")
    async with place.service() as service:
        result = await service.enqueue("quick", 2)
        await result.wait(DEADLINE)
        assert result.status is State.COMPLETED
    (place.folder / "elsewhere" / "go home").touch()
    await worker.drained()


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


async def test_an_application_whose_file_was_deleted_goes_on_serving_and_stores_no_tasks(
    place: Place, start: Any
) -> None:
    port = free_port()
    server = await start("run", "--port", str(port))
    await server.logged("Uvicorn running on")

    async def asked(number: int) -> str:
        def get() -> str:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/enqueue/{number}", timeout=DEADLINE) as answer:
                text: str = answer.read().decode()
                return text

        return await asyncio.to_thread(get)

    assert "refused" not in await asked(1)
    await place.looked_after()
    away = place.folder / "elsewhere"
    place.move(away)
    await server.logged("the worker inside the application has left its store; another one starts")
    for number in range(3):
        assert re.search("^refused: .*was deleted while it was in use", await asked(number))
    assert place.files() == []
    for file in sorted(away.iterdir(), reverse=True):
        file.rename(place.folder / file.name)
    number_of = await asked(5)
    assert "refused" not in number_of
    async with place.service() as service:
        found = await service.get(number_of)
        assert found is not None
        await found.wait(DEADLINE)
        assert found.status is State.COMPLETED
    server.process.send_signal(signal.SIGTERM)
    _, errors = await server.ended()
    assert "Traceback" not in errors
