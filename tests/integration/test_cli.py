"""`litestar queues`, as processes with real signals, and as commands."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from litestar import Litestar
from litestar.cli._utils import LitestarEnv
from sqlspec.adapters.aiosqlite import AiosqliteConfig
from waiting import DEADLINE

from litestar_queues import QueueConfig, QueuePlugin, QueueService, State, TaskRegistry, TaskResult, task
from litestar_queues.backends.sqlspec import SQLSpecBackendConfig
from litestar_queues.cli import queues_group
from litestar_queues.cli.group import queue_plugin
from litestar_queues.lifecycle import Dispatch, Fail
from litestar_queues.operations import Move
from litestar_queues.records import Held, Want
from litestar_queues.worker.troubles import Trouble, TroubleNotes

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(sys.platform == "win32", reason="no SIGTERM to catch"),
]

APP = """
import asyncio, os, sys, threading, time
from litestar import Litestar
from sqlspec import SQLSpec
from sqlspec.adapters.aiosqlite import AiosqliteConfig
from sqlspec.extensions.litestar import SQLSpecPlugin
from litestar_queues import QueueConfig, QueuePlugin, task
from litestar_queues.backends.sqlspec import SQLSpecBackendConfig

def say(what):
    os.write(1, what.encode() + b"\\n")

@task("quick")
async def quick(number: int) -> int:
    say(f"quick {number}")
    return number

@task("until_told")
async def until_told() -> str:
    say("until_told")
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    return "told"

@task("endless")
async def endless() -> None:
    say("endless")
    await asyncio.Event().wait()

@task("deaf")
def deaf() -> None:
    say("deaf")
    threading.Event().wait()

@task("deaf_to_thread")
async def deaf_to_thread() -> None:
    say("deaf_to_thread")
    await asyncio.to_thread(threading.Event().wait)

sqlspec = SQLSpec()
config = AiosqliteConfig(connection_config={"database": "queues.db"})
sqlspec.add_config(config)
backend = SQLSpecBackendConfig(config=config, sqlspec=sqlspec)
logging = {"logging_config": None} if "quiet" in os.environ else {}
app = Litestar([], plugins=[SQLSpecPlugin(sqlspec), QueuePlugin(QueueConfig(queue_backend=backend))], **logging)
memory = Litestar([], **logging, plugins=[QueuePlugin(QueueConfig())])
missing = Litestar([], **logging, plugins=[QueuePlugin(QueueConfig(queue_backend=SQLSpecBackendConfig(
    config=AiosqliteConfig(connection_config={"database": "nowhere/queues.db"}))))])
untold = Litestar([], **logging, plugins=[QueuePlugin(QueueConfig(queue_backend=backend, task_modules=["no_such_module"]))])
broken = Litestar([], **logging, plugins=[QueuePlugin(QueueConfig(queue_backend=backend, task_modules=["broken_module"]))])
"""

registry = TaskRegistry()


@task("quick", registry=registry)
async def quick(number: int) -> int:
    return number


for name in ("until_told", "endless", "deaf", "deaf_to_thread"):

    @task(name, registry=registry)
    async def elsewhere() -> None: ...


def backend_of(folder: Path) -> SQLSpecBackendConfig:
    return SQLSpecBackendConfig(config=AiosqliteConfig(connection_config={"database": str(folder / "queues.db")}))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the application's module is."""
    (tmp_path / "served.py").write_text(APP)
    (tmp_path / "broken_module.py").write_text("raise ValueError('a defect of the module')\n")
    return tmp_path


@pytest.fixture
async def service(folder: Path) -> AsyncIterator[QueueService]:
    async with QueueService(QueueConfig(queue_backend=backend_of(folder)), registry=registry) as service:
        yield service


class Process:
    """`litestar queues ...` as a process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def said(self, line: str) -> None:
        """Wait until a task has said this."""
        assert self.process.stdout is not None
        async with asyncio.timeout(DEADLINE):
            found = (await self.process.stdout.readline()).decode().strip()
        assert found == line, await self.ended()

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    async def logged(self, text: str) -> None:
        """Wait for a line of its log."""
        assert self.process.stderr is not None
        async with asyncio.timeout(DEADLINE):
            while text not in (line := (await self.process.stderr.readline()).decode()):
                assert line, f"it ended without saying {text!r}"

    async def ended(self) -> tuple[int, str]:
        """Wait for its end; its exit code, and what it said last."""
        async with asyncio.timeout(DEADLINE):
            _, errors = await self.process.communicate()
        assert self.process.returncode is not None
        return self.process.returncode, errors.decode()


@pytest.fixture
async def processes(folder: Path) -> AsyncIterator[Any]:
    started: list[asyncio.subprocess.Process] = []

    async def start(*arguments: str, app: str = "app", **environment: str) -> Process:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "litestar", "--app", f"served:{app}", "queues", *arguments,
            cwd=folder, env={**os.environ, **environment}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        started.append(process)
        return Process(process)

    yield start
    for process in started:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def found(service: QueueService, result: TaskResult[Any]) -> tuple[State, int]:
    await result.refresh()
    return result.status, result.attempt


async def test_a_worker_process_runs_tasks_of_a_shared_database_and_drains_at_sigterm(
    service: QueueService, processes: Any
) -> None:
    await service.enqueue("quick", 1)
    told = await service.enqueue("until_told", priority=-1)
    worker = await processes("run")
    await worker.said("quick 1")
    await worker.said("until_told")
    worker.send(signal.SIGTERM)
    await worker.logged("drains: 1 tasks run")
    late = await service.enqueue("quick", 2)
    worker.process.stdin.write(b"go\n")
    code, errors = await worker.ended()
    assert code == 0
    assert "The worker has drained." in errors
    assert await found(service, told) == (State.COMPLETED, 1)
    assert await found(service, late) == (State.PENDING, 0)


async def test_a_second_signal_gives_the_task_back_at_once_without_spending_its_attempt(
    service: QueueService, processes: Any
) -> None:
    result = await service.enqueue("endless")
    worker = await processes("run", quiet="1")  # it says what it does where the application configures no logging, too
    await worker.said("endless")
    worker.send(signal.SIGTERM)
    await worker.logged("drains")
    worker.send(signal.SIGTERM)
    code, errors = await worker.ended()
    assert code == 1
    assert f"given back: 1 ({result.id})" in errors
    assert await found(service, result) == (State.PENDING, 0)


@pytest.mark.parametrize("name", ["deaf", "deaf_to_thread"])
async def test_a_thread_that_does_not_stop_keeps_the_process_no_longer_than_its_worker(
    service: QueueService, processes: Any, name: str
) -> None:
    result = await service.enqueue(name)
    worker = await processes("run", "--drain-timeout", "0")
    await worker.said(name)
    worker.send(signal.SIGINT)
    code, _ = await worker.ended()
    assert code == 1
    assert await found(service, result) == (State.PENDING, 0)


async def test_a_worker_serves_the_queues_that_it_is_told_to(service: QueueService, processes: Any) -> None:
    other = await service.enqueue("quick", 1, queue="other", priority=9)
    await service.enqueue("quick", 2, queue="mail")
    await service.enqueue("quick", 3, queue="post")
    worker = await processes("run", "--queue", "mail", "--queue", "post", "--max-concurrency", "1")
    await worker.said("quick 2")
    await worker.said("quick 3")
    worker.send(signal.SIGTERM)
    assert (await worker.ended())[0] == 0
    assert await found(service, other) == (State.PENDING, 0)


@pytest.mark.parametrize(
    ("app", "said"),
    [
        ("memory", "live inside the application's process"),
        ("missing", "nowhere/queues.db"),
        ("untold", "the task module 'no_such_module' cannot be imported"),
        ("broken", "a defect of the module"),
    ],
)
async def test_a_worker_that_cannot_start_exits_with_2_and_says_why(processes: Any, app: str, said: str) -> None:
    code, errors = await (await processes("run", "--wait-for-store", "0", app=app)).ended()
    assert code == 2
    assert said in errors.splitlines()[-1]
    assert ("Traceback" in errors) == (app == "broken")  # the one defect that needs it


def run(app: Litestar, *arguments: str) -> Result:
    return CliRunner().invoke(queues_group, arguments, obj=LitestarEnv(app_path="", app=app, cwd=Path()))


@pytest.fixture
def app(tmp_path: Path) -> Litestar:
    config = QueueConfig(queue_backend=backend_of(tmp_path))
    return Litestar([], plugins=[QueuePlugin(config, registry=registry)], logging_config=None)


@pytest.fixture
def ids(app: Litestar) -> dict[str, str]:
    """A task in each of some states, by state."""

    async def fill() -> dict[str, str]:
        plugin = app.plugins.get(QueuePlugin)
        async with QueueService(plugin.config, registry=registry) as service:
            operations = service.operations
            failed = await service.enqueue("quick", 1)
            claimed = await operations.claim_task(failed.id, worker="w")
            assert claimed is not None
            error = {"type": "ValueError", "message": "no [red]way[/]", "traceback": "line 1\nline 2"}
            await operations.fail_task(claimed, json.dumps(error))
            pending = await service.enqueue("quick", 2, queue="mail", key="k")
            scheduled = await service.enqueue("quick", 3, delay=3600)
            return {"failed": failed.id, "pending": pending.id, "scheduled": scheduled.id}

    return asyncio.run(fill())


NONE = dict.fromkeys(State, 0)


def test_a_worker_on_windows_says_that_it_cannot_run_there(app: Litestar, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    done = run(app, "run")
    assert done.exit_code == 2
    assert "Windows is not supported" in done.output
    assert "WSL" in done.output


def test_status_counts_tasks_by_queue_and_state_as_json(app: Litestar, ids: dict[str, str]) -> None:
    status = json.loads(run(app, "status", "--json").stdout)
    assert status.keys() == {
        "backend",
        "at",
        "queues",
        "totals",
        "next_due",
        "stale",
        "dispatched",
        "scheduler",
        "troubles",
        "remarks",
    }
    assert status["backend"] == "sqlspec[aiosqlite]"
    assert status["queues"] == {"default": {**NONE, "scheduled": 1, "failed": 1}, "mail": {**NONE, "pending": 1}}
    assert status["totals"] == {**NONE, "pending": 1, "scheduled": 1, "failed": 1}
    assert status["next_due"] > status["at"]
    assert status["stale"] == 0
    assert status["dispatched"] == []
    assert status["scheduler"] is None


def test_status_of_some_queues_shows_those_alone_and_empty_ones_too(app: Litestar, ids: dict[str, str]) -> None:
    status = json.loads(run(app, "status", "--json", "--queue", "mail", "--queue", "idle").stdout)
    assert status["queues"] == {"idle": NONE, "mail": {**NONE, "pending": 1}}
    assert status["totals"] == {**NONE, "pending": 1}
    assert status["next_due"] is None


def test_status_shows_people_a_table(app: Litestar, ids: dict[str, str]) -> None:
    shown = run(app, "status").stdout
    assert "sqlspec[aiosqlite], 20" in shown
    rows = {cells[0]: cells[1:] for line in shown.splitlines() if len(cells := line.replace("│", " ").split()) == 9}
    assert rows["mail"] == ["1", "0", "0", "0", "0", "0", "0", "0"]
    assert rows["default"] == ["0", "1", "0", "0", "0", "1", "0", "0"]
    assert "comes due at" in shown


def test_retry_and_cancel_say_what_became_of_each_id_and_whether_all_worked(app: Litestar, ids: dict[str, str]) -> None:
    retried = run(app, "retry", ids["failed"], "--json")
    assert retried.exit_code == 0
    assert json.loads(retried.stdout) == [{"id": ids["failed"], "ok": True, "state": "pending", "reason": None}]

    refused = run(app, "retry", ids["pending"], "no-such-task", "--json")
    assert refused.exit_code == 1
    outcomes = json.loads(refused.stdout)
    assert [(one["id"], one["ok"], one["state"]) for one in outcomes] == [
        (ids["pending"], False, None),
        ("no-such-task", False, None),
    ]
    assert "it is 'pending'" in outcomes[0]["reason"]
    assert "no task 'no-such-task' is stored" in outcomes[1]["reason"]

    cancelled = run(app, "cancel", ids["pending"], "no-such-task", ids["scheduled"])
    assert cancelled.exit_code == 1
    assert cancelled.stdout.splitlines() == [f"{ids['pending']}: cancelled", f"{ids['scheduled']}: cancelled"]
    assert cancelled.stderr.startswith("no-such-task: Error: no task")


def test_list_finds_tasks_by_state_queue_and_name_the_newest_first(app: Litestar, ids: dict[str, str]) -> None:
    everything = json.loads(run(app, "list", "--json").stdout)
    assert [one["id"] for one in everything] == [ids["scheduled"], ids["pending"], ids["failed"]]
    assert everything[1]["args"] == [2]
    for arguments, states in {
        ("--state", "failed", "--state", "pending"): ["pending", "failed"],
        ("--queue", "mail"): ["pending"],
        ("--task", "nothing"): [],
        ("--limit", "1"): ["scheduled"],
    }.items():
        listed = json.loads(run(app, "list", "--json", *arguments).stdout)
        assert [one["state"] for one in listed] == states
    shown = run(app, "list").stdout
    assert "ValueError: no [red]way[/]" in shown
    assert all(id_ in shown for id_ in ids.values())


def test_show_tells_everything_of_a_task(app: Litestar, ids: dict[str, str]) -> None:
    stored = json.loads(run(app, "show", ids["failed"], "--json").stdout)
    assert (stored["state"], stored["error"]["message"]) == ("failed", "no [red]way[/]")
    shown = run(app, "show", ids["failed"]).stdout
    assert "ValueError: no [red]way[/]" in shown
    assert "line 1\nline 2" in shown
    missing = run(app, "show", "no-such-task")
    assert (missing.exit_code, type(missing.exception)) == (1, SystemExit)
    assert "no task 'no-such-task' is stored" in missing.stderr


def test_show_prints_recoveries_and_a_line_for_each_entry_of_the_history(app: Litestar) -> None:
    async def fill() -> str:
        plugin = app.plugins.get(QueuePlugin)
        async with QueueService(plugin.config, registry=registry) as service:
            operations = service.operations
            result = await service.enqueue("quick", 1, retries=5)
            for error in ({"type": "ValueError", "message": "no [red]way[/]\nat all", "traceback": None}, None):
                claimed = await operations.claim_task(result.id, worker="w")
                assert claimed is not None
                if error is not None:
                    await operations.apply([Move(claimed, Fail(json.dumps(error), operations.clock.now()))])
                else:
                    await operations.null_heartbeats([claimed])
                    await operations.recover_stale(timedelta(seconds=60))
            assert await operations.claim_task(result.id, worker="w")
            return result.id

    task_id = asyncio.run(fill())
    stored = json.loads(run(app, "show", task_id, "--json").stdout)
    assert (stored["recoveries"], [one["event"] for one in stored["history"]]) == (1, ["fail", "lose_heartbeat"])
    shown = [line.strip() for line in run(app, "show", task_id).stdout.splitlines()]
    assert [line for line in shown if line.startswith("recoveries")] == ["recoveries         1"]
    moment = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC"
    (first,) = (line for line in shown if line.startswith("history"))
    assert re.fullmatch(rf"history +{moment}, attempt 1, fail: ValueError: no \[red\]way\[/\] at all", first), first
    assert re.match(rf"{moment}, attempt 2, lose_heartbeat: ", shown[shown.index(first) + 1])
    assert "recoveries" not in run(app, "list").stdout


def test_status_counts_a_task_as_stale_by_the_window_of_its_own_owner(app: Litestar) -> None:
    async def fill() -> None:
        plugin = app.plugins.get(QueuePlugin)
        async with QueueService(plugin.config, registry=registry) as service:
            for window in (1e-6, 1e6):
                result = await service.enqueue("quick", 1)
                assert await service.operations.claim_task(result.id, worker="w")
                record = (await service.operations.backend.get([result.id]))[result.id]
                await service.operations.touch_heartbeats([Held(record.id, record.fence, stale_after=window)])

    asyncio.run(fill())
    assert json.loads(run(app, "status", "--json").stdout)["stale"] == 1


def test_what_runs_elsewhere_is_shown_with_its_backend_its_profile_and_its_reference(app: Litestar) -> None:
    async def fill() -> str:
        async with QueueService(queue_plugin(app).config, registry=registry) as service:
            await service.enqueue_many([quick.using(execution_profile="large").call(one) for one in range(3)])
            operations = service.operations
            reserved = await operations.claim(Want(worker="host:1", limit=2, stale_after=3600, reserve=True))
            await operations.apply([Move(reserved[0], Dispatch("runs/7", 0.000001))])
            return reserved[0].id

    id_ = asyncio.run(fill())
    row = {"execution_backend": "local", "execution_profile": "large", "tasks": 2, "reserved": 1, "silent": 1}
    assert json.loads(run(app, "status", "--json").stdout)["dispatched"] == [row]
    shown = " ".join(run(app, "status").stdout.split())
    assert "2 tasks are dispatched to local (large): 1 without a run yet, 1 silent." in shown
    shown = run(app, "show", id_).stdout
    assert all(word in shown for word in ("execution_backend", "large", "execution_ref", "runs/7", "dispatched"))
    assert "local/large" in run(app, "list").stdout
    other = json.loads(run(app, "status", "--json", "--queue", "idle").stdout)
    assert other["dispatched"] == []


def test_status_shows_what_is_wrong_with_workers_until_they_say_that_it_is_over(app: Litestar) -> None:
    async def note(trouble: Trouble) -> None:
        async with QueueService(queue_plugin(app).config) as service:
            backend, clock = service.operations.backend, service.clock
            notes = TroubleNotes(backend, clock, worker="host:1", look=lambda: trouble, lasts=timedelta(hours=1))
            await notes.note()
            if not trouble.is_any:
                notes._noted = True
                await notes.note()

    asyncio.run(note(Trouble(outcomes_waiting=3, waiting_since=datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC), abandoned=2)))
    shown = " ".join(run(app, "status").stdout.split())
    assert "3 outcomes wait in worker host:1, since 2030-01-02 03:04:05 UTC" in shown
    assert "2 calls do not end in worker host:1" in shown
    told = json.loads(run(app, "status", "--json").stdout)["troubles"]
    assert told["host:1"]["outcomes_waiting"] == 3
    asyncio.run(note(Trouble()))
    assert json.loads(run(app, "status", "--json").stdout)["troubles"] == {}


@pytest.mark.parametrize("command", [("run",), ("status",), ("list",), ("show", "x"), ("retry", "x"), ("cancel", "x")])
@pytest.mark.parametrize(
    ("plugins", "said"),
    [([], "give it a QueuePlugin"), ([QueuePlugin(QueueConfig())], "live inside the application's process")],
    ids=["no plugin", "memory"],
)
def test_queues_that_cannot_be_used_are_an_error_of_their_own(command: Any, plugins: Any, said: str) -> None:
    refused = run(Litestar([], plugins=plugins, logging_config=None), *command)
    assert refused.exit_code == 2
    assert said in refused.stderr
    assert refused.stdout == ""


def test_the_commands_are_part_of_litestars_own_where_the_application_has_the_plugin(folder: Path) -> None:
    answer = subprocess.run(
        [sys.executable, "-m", "litestar", "--app", "served:app", "queues", "status", "--json"],
        cwd=folder, capture_output=True, text=True, check=True, timeout=DEADLINE, env={**os.environ, "COLUMNS": "40"},
    )  # fmt: skip
    assert json.loads(answer.stdout)["totals"] == NONE
    assert answer.stderr == ""


def test_importing_the_package_imports_no_command_line_and_no_database() -> None:
    shown = subprocess.run(
        [sys.executable, "-c", "import sys, litestar_queues; print(*sys.modules)"],
        capture_output=True, text=True, check=True, timeout=DEADLINE,
    )  # fmt: skip
    loaded = {name.split(".")[0] for name in shown.stdout.split()} | set(shown.stdout.split())
    unwanted = {"sqlspec", "sqlglot", "aiosqlite", "rich_click", "uvicorn", "litestar_queues.cli", "litestar.cli"}
    assert loaded & unwanted == set()
