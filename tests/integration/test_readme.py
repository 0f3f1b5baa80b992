"""What the README shows works when it is pasted."""

from __future__ import annotations

import asyncio
import importlib
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from litestar.testing import TestClient
from page_lab import WARNINGS, blocks, commands
from waiting import DEADLINE

from litestar_queues import QueueConfig, QueueService, State, Worker, default_registry

CODE = blocks("README.md", "python")
CONSOLE = blocks("README.md", "console")
APP, TASKS = CODE
[SESSION] = [block for block in CONSOLE if "litestar run" in block]
[WORKERS] = [block for block in CONSOLE if "litestar queues run" in block]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text(APP)
    return tmp_path


@pytest.fixture
def environment() -> dict[str, str]:
    """The reader's, with the packages installed; every warning but one is an error."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "PYTHONWARNINGS": WARNINGS}


@pytest.fixture
def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def answers(block: str) -> list[str]:
    return [line for line in block.splitlines() if line and not line.startswith("$ ")]


def get(url: str, wanted: Any = None, method: str = "GET") -> Any:
    """The JSON that the server answers, once it is up and, where one is given, once it answers with the wanted value."""
    end = time.monotonic() + DEADLINE
    while True:
        try:
            found = httpx.request(method, url).raise_for_status().json()
        except httpx.TransportError:
            found = None
        if found is not None and (wanted is None or found == wanted):
            return found
        assert time.monotonic() < end, f"{url} answered {found}"
        time.sleep(0.02)  # between two looks at another process; what is waited for is the answer


@pytest.fixture
def shell(folder: Path, environment: dict[str, str], port: int) -> Iterator[subprocess.Popen[str]]:
    """A shell in which the reader pastes the commands; the port is a free one."""
    # Jobs get signals of their own as in a terminal, which is what `kill %1` needs.
    command = ["bash", "--norc", "-m"]
    shell = subprocess.Popen(
        command, cwd=folder, env=environment, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield shell
    finally:
        assert shell.stdin is not None
        assert shell.stdout is not None
        if shell.poll() is None:
            shell.stdin.write("kill -9 %1 2>/dev/null; exit\n")
            shell.stdin.close()
            shell.wait(DEADLINE)
        shell.stdout.close()


def test_the_commands_of_the_quickstart_answer_as_shown_and_stop_the_server(
    shell: subprocess.Popen[str], folder: Path, port: int
) -> None:
    assert shell.stdin is not None
    assert shell.stdout is not None
    run, signup, show, kill = (line.replace("8000", str(port)) for line in commands(SESSION))
    shown_signup, shown_task = answers(SESSION)
    run = run.removesuffix(" &") + f" --port {port} > server.log 2>&1 &"

    def paste(line: str) -> None:
        assert shell.stdin is not None
        shell.stdin.write(line + "\n")
        shell.stdin.flush()

    paste(run)
    get(f"http://127.0.0.1:{port}/tasks/none")
    paste(f"{signup}; echo")
    answer = shell.stdout.readline().strip()
    pattern = re.escape(shown_signup).replace("01a20ae0\\-…", r"([0-9a-f-]{36})")
    matched = re.fullmatch(pattern, answer)
    assert matched is not None, answer
    wanted = {"status": "completed", "result": "welcome, ada@example.org"}
    get(f"http://127.0.0.1:{port}/tasks/{matched[1]}", wanted)
    paste(f"{show.replace('01a20ae0-…', matched[1])}; echo")
    assert shell.stdout.readline().strip() == shown_task
    assert {"queue.db", "queue.db-wal", "queue.db-shm"} <= {path.name for path in folder.iterdir()}
    paste(f"{kill}; wait %1; echo stopped")
    assert shell.stdout.readline().strip() == "stopped"
    with pytest.raises(httpx.TransportError):
        httpx.get(f"http://127.0.0.1:{port}/tasks/none")
    log = (folder / "server.log").read_text()
    assert "Application startup complete" in log
    assert "Traceback" not in log
    assert {path.name for path in folder.iterdir()} <= {
        "app.py", "queue.db", "queue.db-wal", "queue.db-shm", "server.log", "__pycache__",
    }  # fmt: skip


def test_workers_and_status_run_beside_it(folder: Path, environment: dict[str, str]) -> None:
    run, status = commands(WORKERS)
    worker = subprocess.Popen(
        ["bash", "-c", f"exec {run}"], cwd=folder, env=environment, stderr=subprocess.PIPE, text=True
    )
    assert worker.stderr is not None
    try:
        lines = iter(worker.stderr.readline, "")
        assert any("serves all queues" in line for line in lines)
        shown = subprocess.run(
            ["bash", "-c", status], cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        assert shown.returncode == 0, shown.stderr
        assert "pending" in shown.stdout
        worker.terminate()
        assert worker.wait(DEADLINE) == 0
    finally:
        worker.kill()
        worker.wait()
        worker.stderr.close()


def test_the_application_serves_a_test_client(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every warning is an error here, as in all of these tests."""
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, "app", raising=False)
    app = importlib.import_module("app").app
    with TestClient(app) as client:
        task = client.post("/signup/ada@example.org").json()["task"]
        wanted = {"status": "completed", "result": "welcome, ada@example.org"}
        end = time.monotonic() + DEADLINE
        while (found := client.get(f"/tasks/{task}").json()) != wanted:
            assert time.monotonic() < end, found
        assert client.get("/tasks/none").json() == {"status": "unknown"}
    sys.modules.pop("app")


def test_the_quickstart_is_short() -> None:
    assert len([line for line in APP.splitlines() if line.strip()]) <= 20


@pytest.mark.anyio
async def test_the_tasks_of_the_readme_run() -> None:
    shown: dict[str, Any] = {"__name__": "shown"}
    exec(compile(TASKS, "README.md", "exec"), shown)
    async with QueueService(QueueConfig()) as service:
        worker = Worker(service)
        loop_task = asyncio.get_running_loop().create_task(worker.run())
        assert await shown["order"](service) == "invoice-7.pdf"
        refused = await (await service.enqueue("invoices.render", -1)).wait(DEADLINE)
        assert refused.status is State.FAILED
        assert refused.attempt == 1
        worker.abort()
        await loop_task
    assert "invoices.render" in default_registry.names()
