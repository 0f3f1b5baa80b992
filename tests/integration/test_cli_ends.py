"""Worker processes that are told to end, or whose tasks try to end them."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from sqlspec.adapters.aiosqlite import AiosqliteConfig
from waiting import DEADLINE

from litestar_queues import QueueConfig, QueueService, State, TaskRegistry, task
from litestar_queues.backends.sqlspec import SQLSpecBackendConfig

pytestmark = pytest.mark.anyio

APP = """
import asyncio, multiprocessing, os, signal, sys, time
from litestar import Litestar
from sqlspec.adapters.aiosqlite import AiosqliteConfig
from litestar_queues import QueueConfig, QueuePlugin, QueueService, current_task, task
from litestar_queues.backends.sqlspec import SQLSpecBackendConfig
from litestar_queues.cli import run as cli_run

def say(text):
    os.write(1, f"{text}\\n".encode())

if "IMPORT" in os.environ:
    say("importing")
    time.sleep(600)

@task("quick")
async def quick(number: int) -> int:
    return number

@task("endless")
async def endless() -> None:
    say("endless")
    await asyncio.Event().wait()

@task("endless_thread")
def endless_thread() -> None:
    say("endless_thread")
    time.sleep(600)

@task("deaf")
async def deaf() -> None:
    say("deaf")
    while True:
        try:
            await asyncio.sleep(600)
        except asyncio.CancelledError:
            pass

@task("blocking")
async def blocking() -> None:
    say("blocking")
    time.sleep(600)

@task("unheard")
async def unheard() -> None:
    # Another thread gets the signal: its handler waits for this one, as does one that comes right before the sleep.
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    say("unheard")
    time.sleep(600)

def interrupt():
    raise KeyboardInterrupt

@task("interrupting_later")
async def interrupting_later() -> str:
    asyncio.get_running_loop().call_soon(interrupt)
    for _ in range(3):
        await asyncio.sleep(0)
    return "went on"

@task("exits")
def exits() -> None:
    sys.exit(3)

@task("exits_in_an_asyncio_task")
async def exits_in_an_asyncio_task() -> None:
    async def leave():
        sys.exit(3)
    await asyncio.create_task(leave())

def wait_for(pid):
    say(f"child {pid}")
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

@task("forks_one_that_waits")
def forks_one_that_waits() -> int:
    if pid := os.fork():
        return wait_for(pid)
    while True:
        time.sleep(1)

@task("forks_one_that_waits_async")
async def forks_one_that_waits_async() -> int:
    if pid := os.fork():
        return await asyncio.to_thread(wait_for, pid)
    while True:
        time.sleep(1)

@task("forks_one_that_exits")
def forks_one_that_exits() -> int:
    if pid := os.fork():
        return wait_for(pid)
    sys.exit(3)

@task("forks_one_that_exits_async")
async def forks_one_that_exits_async() -> int:
    if pid := os.fork():
        return await asyncio.to_thread(wait_for, pid)
    sys.exit(3)

@task("forks_one_that_returns")
def forks_one_that_returns() -> int:
    if pid := os.fork():
        return wait_for(pid)
    return 5

@task("forks_one_that_returns_async")
async def forks_one_that_returns_async() -> int:
    if pid := os.fork():
        return await asyncio.to_thread(wait_for, pid)
    return 5

@task("forks_one_that_awaits")
async def forks_one_that_awaits() -> int:
    if pid := os.fork():
        return await asyncio.to_thread(wait_for, pid)
    await asyncio.sleep(600)
    return 5

@task("forks_one_that_enqueues")
def forks_one_that_enqueues() -> int:
    if pid := os.fork():
        return wait_for(pid)
    current_task().run_async(quick.enqueue, 1)
    return 5

def sleep():
    time.sleep(600)

@task("starts_a_process")
def starts_a_process(method: str) -> int | None:
    process = multiprocessing.get_context(method).Process(target=sleep)
    process.start()
    say(f"child {process.pid}")
    time.sleep(1)
    process.terminate()
    process.join()
    return process.exitcode

async def hang():
    say("hangs")
    while True:
        try:
            await asyncio.sleep(600)
        except asyncio.CancelledError:
            pass

def config(path, **options):
    database = AiosqliteConfig(connection_config={"database": path})
    return QueueConfig(queue_backend=SQLSpecBackendConfig(config=database), worker_poll_interval=0.05, **options)

quiet = {"logging_config": None}
app = Litestar([], plugins=[QueuePlugin(config("queues.db"))], **quiet)
late = Litestar([], plugins=[QueuePlugin(config("later/queues.db"))], **quiet)
slow = Litestar([], plugins=[QueuePlugin(config("queues.db", task_modules=["slow_module"]))], **quiet)
web = Litestar([], plugins=[QueuePlugin(config("queues.db", in_app_worker=True, worker_drain_timeout=300))], **quiet)

if what := os.environ.get("HANG"):
    def make(config, create=QueueConfig.create_backend):
        backend = create(config)
        setattr(type(backend), what, lambda self, *args, **options: hang())
        return backend
    QueueConfig.create_backend = make
"""

registry = TaskRegistry()


@task("quick", registry=registry)
async def quick(number: int) -> int:
    return number


FORKING = [
    "forks_one_that_waits",
    "forks_one_that_waits_async",
    "forks_one_that_exits",
    "forks_one_that_exits_async",
    "forks_one_that_returns",
    "forks_one_that_returns_async",
    "forks_one_that_awaits",
    "forks_one_that_enqueues",
]
for name in (
    "endless",
    "endless_thread",
    "deaf",
    "blocking",
    "unheard",
    "interrupting_later",
    "exits",
    "exits_in_an_asyncio_task",
    *FORKING,
):

    @task(name, registry=registry)
    async def elsewhere() -> Any: ...


@task("starts_a_process", registry=registry)
async def starts_a_process(method: str) -> Any: ...


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "served.py").write_text(APP)
    (tmp_path / "slow_module.py").write_text("import os, time\nos.write(1, b'opening\\n')\ntime.sleep(600)\n")
    return tmp_path


@pytest.fixture
async def service(folder: Path) -> AsyncIterator[QueueService]:
    database = AiosqliteConfig(connection_config={"database": str(folder / "queues.db")})
    config = QueueConfig(queue_backend=SQLSpecBackendConfig(config=database))
    async with QueueService(config, registry=registry) as service:
        yield service


class Process:
    """A process of the application, with what it says."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.errors = ""

    def send(self, *numbers: signal.Signals) -> None:
        """Send signals, as long as it lives. `Process.send_signal` would collect the exit code before asyncio does."""
        with suppress(ProcessLookupError):
            for number in numbers:
                os.kill(self.process.pid, number)

    async def said(self, pattern: str) -> str:
        """Wait for a line of a task that matches."""
        return await self._line(self.process.stdout, pattern)

    async def logged(self, pattern: str) -> str:
        """Wait for a line of the log that matches."""
        return await self._line(self.process.stderr, pattern)

    async def _line(self, stream: asyncio.StreamReader | None, pattern: str) -> str:
        assert stream is not None
        async with asyncio.timeout(DEADLINE):
            while line := (await stream.readline()).decode():
                if stream is self.process.stderr:
                    self.errors += line
                if re.search(pattern, line):
                    return line.strip()
        raise AssertionError(f"it ended without {pattern!r}: {await self.ended()}")

    async def ended(self) -> tuple[int, str]:
        """Wait for its end; its exit code, and its log."""
        async with asyncio.timeout(DEADLINE):
            _, errors = await self.process.communicate()
        assert self.process.returncode is not None
        return self.process.returncode, self.errors + errors.decode()


@pytest.fixture
async def processes(folder: Path) -> AsyncIterator[Any]:
    started: list[asyncio.subprocess.Process] = []

    async def start(*arguments: str, app: str = "app", **environment: str) -> Process:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "litestar", "--app", f"served:{app}", *(arguments or ("queues", "run")),
            cwd=folder, env={**os.environ, **environment}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            start_new_session=True,
        )  # fmt: skip
        started.append(process)
        return Process(process)

    yield start
    for process in started:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # with its children
        await process.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
@pytest.mark.parametrize("moment", ["importing", "opening"])
async def test_a_signal_before_the_worker_has_started_ends_the_process_in_order(
    processes: Any, moment: str, number: signal.Signals
) -> None:
    importing = {"IMPORT": "1"} if moment == "importing" else {}
    worker = await processes(app="slow" if moment == "opening" else "app", **importing)
    await worker.said(moment)
    worker.send(number)
    assert await worker.ended() == (0, "The worker was stopped before it had started.\n")


async def test_a_worker_waits_for_a_store_that_cannot_be_reached(
    processes: Any, folder: Path, service: QueueService
) -> None:
    worker = await processes(app="late")
    await worker.logged(r"the worker waits for its store, \d+ s at most: .*later/queues.db")
    (folder / "later").mkdir()
    await worker.logged("serves all queues")
    worker.send(signal.SIGTERM)
    code, errors = await worker.ended()
    assert code == 0, errors


async def test_a_worker_that_has_waited_in_vain_exits_with_2_and_the_reason(processes: Any) -> None:
    code, errors = await (await processes("queues", "run", "--wait-for-store", "0.1", app="late")).ended()
    assert code == 2
    assert "the worker waits for its store, 0 s at most" in errors
    assert re.search("Error: the worker cannot start: .*later/queues.db", errors.splitlines()[-1])


async def test_a_worker_that_waits_for_its_store_can_be_stopped(processes: Any) -> None:
    worker = await processes(app="late")
    await worker.logged("the worker waits for its store")
    worker.send(signal.SIGTERM)
    code, _ = await worker.ended()
    assert code == 0


async def test_a_storm_of_signals_gives_back_what_runs_and_kills_nobody(processes: Any, service: QueueService) -> None:
    results = [await service.enqueue(name) for name in ("endless", "endless_thread")]
    worker = await processes()
    await worker.said("endless")
    await worker.said("endless")
    deadline = time.monotonic() + DEADLINE
    while worker.process.returncode is None and time.monotonic() < deadline:
        worker.send(*[signal.SIGTERM, signal.SIGINT] * 10)
        await asyncio.sleep(0.001)
    code, errors = await worker.ended()
    assert code == 1, errors
    for result in results:
        assert result.id in errors.splitlines()[-1]
        await result.refresh()
        assert (result.status, result.attempt) == (State.PENDING, 0)


@pytest.mark.parametrize("task_name", ["endless", "endless_thread", "deaf", "blocking", "unheard"])
@pytest.mark.parametrize("hanging", ["nothing", "commit", "close"])
async def test_the_process_ends_soon_after_the_drain_timeout_whatever_hangs(
    processes: Any, service: QueueService, task_name: str, hanging: str
) -> None:
    result = await service.enqueue(task_name)
    worker = await processes(
        "queues", "run", "--drain-timeout", "0.5", **({} if hanging == "nothing" else {"HANG": hanging})
    )
    await worker.said(task_name)
    worker.send(signal.SIGTERM)
    signalled = time.monotonic()
    code, errors = await worker.ended()
    assert code == 1, errors
    assert time.monotonic() - signalled < 8.5, "20 s of drain timeout would make 28"
    if task_name not in ("blocking", "unheard"):  # whose worker could not run code of its own any more
        assert result.id in errors
        assert ("left for stale recovery: 1" if hanging == "commit" else "given back: 1") in errors
        await result.refresh()
        assert result.status is (State.RUNNING if hanging == "commit" else State.PENDING)


async def test_a_close_that_hangs_does_not_spoil_the_exit_code(processes: Any, service: QueueService) -> None:
    worker = await processes(HANG="close")
    await worker.logged("serves all queues")
    worker.send(signal.SIGTERM)
    code, errors = await worker.ended()
    assert code == 0, errors
    assert "The worker has drained." in errors


async def goes_on(service: QueueService, worker: Process) -> None:
    """The worker runs tasks, and drains when it is told to."""
    result = await service.enqueue(quick, 7)
    assert await result.wait(DEADLINE)
    assert result.result == 7
    worker.send(signal.SIGTERM)
    code, errors = await worker.ended()
    assert code == 0, errors
    assert "fence loss" not in errors


async def test_an_exit_that_passes_through_the_event_loop_does_not_end_the_worker(
    processes: Any, service: QueueService
) -> None:
    worker = await processes()
    result = await service.enqueue("interrupting_later")
    await worker.logged("KeyboardInterrupt passed through the event loop, and the worker goes on")
    await result.wait(DEADLINE)
    assert result.result == "went on"
    await goes_on(service, worker)


@pytest.mark.parametrize("task_name", FORKING)
async def test_a_child_that_a_task_forks_is_no_worker(processes: Any, service: QueueService, task_name: str) -> None:
    worker = await processes()
    result = await service.enqueue(task_name)
    pid = int((await worker.said("child")).split()[1])
    if "_waits" in task_name:
        os.kill(pid, signal.SIGTERM)
    await result.wait(DEADLINE)
    expected = {"waits": -signal.SIGTERM, "exits": 3, "returns": 0, "awaits": 1, "enqueues": 1}
    assert result.result == next(code for word, code in expected.items() if f"_{word}" in task_name)
    assert result.attempt == 1
    await goes_on(service, worker)


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
async def test_a_process_that_a_task_starts_gets_its_own_signals(
    processes: Any, service: QueueService, method: str
) -> None:
    worker = await processes()
    result = await service.enqueue("starts_a_process", method)
    await result.wait(DEADLINE)
    assert result.result == -signal.SIGTERM
    await goes_on(service, worker)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


async def test_no_task_ends_the_web_server_that_it_runs_in(processes: Any, service: QueueService) -> None:
    server = await processes("run", "--port", str(free_port()), app="web")
    for task_name in ("exits", "exits_in_an_asyncio_task"):
        result = await service.enqueue(task_name)
        await result.wait(DEADLINE)
        assert result.error is not None
        assert result.error.type == "SystemExit"
    forking = await service.enqueue("forks_one_that_waits")
    os.kill(int((await server.said("child")).split()[1]), signal.SIGTERM)
    await forking.wait(DEADLINE)
    assert forking.result == -signal.SIGTERM
    result = await service.enqueue(quick, 7)
    await result.wait(DEADLINE)
    assert result.result == 7
    assert server.process.returncode is None


async def test_a_server_that_reloads_does_not_wait_for_long_tasks(
    processes: Any, service: QueueService, folder: Path
) -> None:
    port = free_port()
    await service.enqueue("endless")
    server = await processes("run", "--reload", "--port", str(port), app="web")
    await server.said("endless")
    (folder / "served.py").write_text(f"{APP}\n# changed\n")
    await server.said("endless")  # given back by the first process, and started by the second
