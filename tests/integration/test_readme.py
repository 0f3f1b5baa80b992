"""What the README shows works when it is pasted."""

from __future__ import annotations

import asyncio
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
from waiting import DEADLINE

from litestar_queues import QueueConfig, QueueService, State, Worker, default_registry

README = Path(__file__).parents[2] / "README.md"
CODE = re.findall(r"^```python\n(.*?)^```$", README.read_text(), flags=re.MULTILINE | re.DOTALL)


@pytest.fixture
def quickstart(tmp_path: Path) -> Iterator[str]:
    """The README's server, as a process; its address."""
    (tmp_path / "app.py").write_text(CODE[0])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "litestar", "--app", "app:app", "run", "--port", str(port)]
    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen(command, cwd=tmp_path, stdout=log, stderr=subprocess.STDOUT)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        try:
            server.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            server.kill()
            raise


def answer(method: str, url: str, wanted: Any = None) -> Any:
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


def test_the_quickstart_serves_and_runs_a_task_as_the_readme_says(quickstart: str) -> None:
    task = answer("POST", f"{quickstart}/signup/ada@example.org")["task"]
    done = {"status": "completed", "result": "welcome, ada@example.org"}
    assert answer("GET", f"{quickstart}/tasks/{task}", done) == done


def test_the_quickstart_is_short() -> None:
    assert len([line for line in CODE[0].splitlines() if line.strip()]) <= 20


@pytest.mark.anyio
async def test_the_tasks_of_the_readme_run() -> None:
    shown: dict[str, Any] = {"__name__": "shown"}
    exec(compile(CODE[1], "README.md", "exec"), shown)
    async with QueueService(QueueConfig()) as service:
        worker = Worker(service)
        loop_task = asyncio.get_running_loop().create_task(worker.run())
        assert await shown["order"](service) == (State.COMPLETED, "invoice-7.pdf", None)
        refused = await (await service.enqueue("invoices.render", -1)).wait(DEADLINE)
        assert refused.status is State.FAILED
        assert refused.attempt == 1
        worker.abort()
        await loop_task
    assert "invoices.render" in default_registry.names()
