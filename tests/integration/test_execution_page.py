"""`docs/how-to/write-an-execution-backend.md` shows the example as it is, and real processes run its tasks."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from page_lab import ROOT, blocks, commands
from run_lab import APP, record_of, starting
from sqlspec.adapters.aiosqlite import AiosqliteConfig
from waiting import DEADLINE

import subprocess_execution
from litestar_queues import InvalidTaskError, QueueConfig, QueueService, State, TaskEvent, TaskRegistry, Worker, task
from litestar_queues.backends.sqlspec import SQLSpecBackendConfig
from litestar_queues.execution.base import ExecutionBackend, Failed, Outlook, RunState, Started
from subprocess_execution import HOST, SubprocessExecution, pid_of, reference, runs

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(sys.platform != "linux", reason="the example asks Linux for processes"),
]

PAGE = "docs/how-to/write-an-execution-backend.md"
SOURCE = (ROOT / "examples" / "execution" / "subprocess_execution.py").read_text()
*SHOWN, APPLICATION, CONFIGURED = blocks(PAGE, "python")
TASKS = """
@task("whose")
def whose() -> int:
    return os.getpid()

@task("greedy")
def greedy() -> int:
    return len(bytearray(4 << 30))

"""
registry = TaskRegistry()
for name in ("whose", "greedy", "endless", "endless_thread", "blocking"):

    @task(name, registry=registry, execution_backend="subprocess")
    async def elsewhere() -> Any: ...


@task("reports.make", registry=registry, execution_backend="subprocess")
async def make_report(month: str) -> str: ...


class Stage:
    """A service on a file, which a worker of this process and the processes of its tasks share."""

    def __init__(self, folder: Path, backend: SubprocessExecution) -> None:
        self.backend = backend
        self.stir = asyncio.Event()
        database = AiosqliteConfig(connection_config={"database": str(folder / "queues.db")})
        self.service = QueueService(
            QueueConfig(
                queue_backend=SQLSpecBackendConfig(config=database),
                execution_backend=["local", backend],
                worker_poll_interval=0.05,
                worker_heartbeat_interval=0.1,
                worker_stale_after=0.5,
                maintenance_interval=0.1,
                dispatch_check_interval=0.3,
                event_sinks=[self._hear],
            ),
            registry=registry,
        )

    def _hear(self, _event: TaskEvent) -> None:
        self.stir.set()

    async def until(self, task_id: str, *states: State) -> Any:
        """Wait until the task is in one of these states: its process tells nobody here."""
        async with asyncio.timeout(DEADLINE):
            while (record := await record_of(self.service, task_id)).state not in states:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        return record


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    (tmp_path / "served.py").write_text(APP.replace("def config(**options)", f"{TASKS}def config(**options)"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LITESTAR_APP", "served:app")
    monkeypatch.setenv("STALE_AFTER", "0.5")

    @asynccontextmanager
    async def working(**options: Any) -> AsyncIterator[Stage]:
        stage = Stage(tmp_path, SubprocessExecution(**options))
        async with stage.service:
            worker = Worker(stage.service)
            running = asyncio.create_task(worker.run())
            try:
                yield stage
            finally:
                worker.abort()
                await running
                for pid in stage.backend._running:
                    with suppress(ProcessLookupError):
                        os.killpg(pid, signal.SIGKILL)
                    await asyncio.to_thread(os.waitpid, pid, 0)

    return working


def test_the_page_shows_the_example_as_it_is() -> None:
    assert SHOWN
    for code in SHOWN:
        assert code in SOURCE


def test_the_page_registers_the_example_and_configures_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from litestar_queues.execution import registry as known

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(known, "_REGISTERED", {})
    monkeypatch.setitem(sys.modules, "subprocess_execution", subprocess_execution)
    names: dict[str, Any] = {"__name__": "shop"}
    exec(compile(APPLICATION, PAGE, "exec"), names)
    service = QueueService(names["config"], registry=TaskRegistry())
    assert service.execution.is_remote("subprocess")
    monkeypatch.setattr(known, "_REGISTERED", {})
    exec(compile(CONFIGURED, PAGE, "exec"), names)
    backend = QueueService(names["config"], registry=TaskRegistry()).execution.get("subprocess")
    assert isinstance(backend, SubprocessExecution)
    assert isinstance(backend, ExecutionBackend)


async def test_the_application_of_the_page_runs_its_task_in_a_process(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(APPLICATION)
    (tmp_path / "subprocess_execution.py").write_text(SOURCE)
    [command] = [line for block in blocks(PAGE, "console") for line in commands(block) if "--app" in line]
    here = Stage(tmp_path, SubprocessExecution())
    async with here.service, starting(tmp_path, (sys.executable, "-m", *command.split())) as start:
        worker = await start()
        report = await here.service.enqueue("reports.make", "May", timeout=600)
        record = await here.until(report.id, State.COMPLETED)
        assert (record.result, record.attempt, record.execution_ref.split(":")[0]) == ('"the report of May"', 1, HOST)
        worker.send(signal.SIGTERM)
        assert (await worker.ended())[0] == 0


async def test_a_task_runs_in_a_process_of_its_own(stage: Any) -> None:
    async with stage() as here:
        whose = await here.service.enqueue("whose")
        record = await here.until(whose.id, State.COMPLETED)
        assert record.execution_ref.rsplit(":", 2)[:2] == [HOST, record.result]
        assert record.attempt == 1
        assert int(record.result) != os.getpid()


async def test_a_task_that_wants_too_much_memory_fails_alone(stage: Any) -> None:
    async with stage(memory=2 << 30) as here:
        greedy = await here.service.enqueue("greedy", retries=0)
        record = await here.until(greedy.id, State.FAILED)
        assert "MemoryError" in record.error


async def test_linux_ends_a_task_that_ignores_its_timeout(stage: Any) -> None:
    async with stage(grace=5.0) as here:
        blocking = await here.service.enqueue("blocking", timeout=0.5, max_recoveries=0)
        record = await here.until(blocking.id, State.FAILED)
        assert "HeartbeatLost" in record.error or "DispatchLost" in record.error  # on a slow machine, before its claim
        async with asyncio.timeout(DEADLINE):
            while runs(record.execution_ref):  # noqa: ASYNC110
                await asyncio.sleep(0.05)


@pytest.mark.parametrize("name", ["endless", "endless_thread", "blocking"])
async def test_a_cancelled_task_is_ended_with_its_process(stage: Any, name: str) -> None:
    async with stage(grace=1.0) as here:
        result = await here.service.enqueue(name)
        record = await here.until(result.id, State.RUNNING)
        await here.service.cancel(result.id)
        async with asyncio.timeout(DEADLINE):
            while runs(record.execution_ref):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        assert (await record_of(here.service, result.id)).state is State.CANCELLED


async def test_a_process_that_ends_before_its_claim_is_found(stage: Any) -> None:
    async with stage(memory=1) as here:  # Python itself needs more
        whose = await here.service.enqueue("whose", max_recoveries=1)
        record = await here.until(whose.id, State.FAILED)
        assert (record.attempt, record.recoveries) == (0, 1)


async def test_a_process_that_is_killed_is_recovered(stage: Any) -> None:
    async with stage() as here:
        endless = await here.service.enqueue("endless", max_recoveries=0)
        record = await here.until(endless.id, State.RUNNING)
        os.killpg(pid_of(record.execution_ref), signal.SIGKILL)
        assert "HeartbeatLost" in (await here.until(endless.id, State.FAILED)).error


async def test_tasks_beyond_the_most_processes_wait(stage: Any) -> None:
    async with stage(processes=1) as here:
        results = [await here.service.enqueue("whose") for _ in range(3)]
        records = [await here.until(result.id, State.COMPLETED) for result in results]
        assert len({record.result for record in records}) == 3


async def test_the_states_of_runs_are_told_apart(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    backend = SubprocessExecution()

    def started(code: str) -> str:
        script = tmp_path / f"script{len(list(tmp_path.iterdir()))}.py"
        script.write_text(code)
        monkeypatch.setattr(subprocess_execution, "__file__", str(script))
        answer = backend._start(_Task())  # type: ignore[arg-type]
        assert isinstance(answer, Started)
        return answer.ref

    async def state(ref: str) -> RunState | None:
        return (await backend.status([ref])).get(ref)

    async def ended(ref: str) -> RunState | None:
        async with asyncio.timeout(DEADLINE):
            while runs(ref):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        return await state(ref)

    endless = started("import time; time.sleep(600)")
    assert await state(endless) is RunState.ACTIVE
    host, pid, start = endless.rsplit(":", 2)
    assert await state(f"{host}:{pid}:{int(start) - 1}") is RunState.VANISHED
    assert await state(f"elsewhere:{pid}:{start}") is None
    assert await ended(started("")) is RunState.SUCCEEDED
    assert await ended(started("raise SystemExit(6)")) is RunState.FAILED
    await backend.cancel(f"elsewhere:{pid}:{start}")
    await backend.cancel(f"{host}:{pid}:{int(start) - 1}")
    assert runs(endless)
    await backend.cancel(endless)
    assert await state(endless) is RunState.FAILED
    assert await state(f"{HOST}:1:0") is RunState.VANISHED


async def test_a_run_that_ignores_a_signal_is_killed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    backend = SubprocessExecution(grace=0.2)
    script, ready = tmp_path / "script.py", tmp_path / "ready"
    monkeypatch.setattr(subprocess_execution, "__file__", str(script))
    script.write_text(
        "import pathlib, signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        f"pathlib.Path({str(ready)!r}).touch()\ntime.sleep(600)\n"
    )
    answer = backend._start(_Task())  # type: ignore[arg-type]
    assert isinstance(answer, Started)
    async with asyncio.timeout(DEADLINE):
        while not ready.exists():  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    await backend.cancel(answer.ref)
    assert not runs(answer.ref)
    assert await backend.status([answer.ref]) == {answer.ref: RunState.FAILED}


def test_a_profile_is_refused_and_a_full_machine_is_no_refusal() -> None:
    with pytest.raises(InvalidTaskError, match="has no profiles"):
        SubprocessExecution().check_profile("large")
    answer = SubprocessExecution(processes=0)._start(_Task())  # type: ignore[arg-type]
    assert isinstance(answer, Failed)
    assert answer.outlook is Outlook.FOR_NOW


def test_a_process_has_one_reference() -> None:
    assert reference(os.getpid()) == reference(os.getpid())
    assert reference(2**22 + 1) is None


class _Task:
    id, fence, timeout = "00000000-0000-0000-0000-000000000000", 1, None
