"""The shop as it runs in production: a server, a worker process, and a SQLite file between them."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import httpx

import shop

WARNINGS = "error,ignore:The declarative_mixin decorator was used:DeprecationWarning"
SECONDS = 300  # guards against hanging; no test depends on a speed


@contextmanager
def litestar(*arguments: str, database: Path) -> Generator[subprocess.Popen[bytes]]:
    """Run a command of the shop as a process, which does not outlive the block. Pytest captures its output."""
    root = Path(shop.__file__).parents[1]
    command = [sys.executable, "-m", "litestar", "--app", "shop.app:app", *arguments]
    env = os.environ | {"SHOP_DATABASE": str(database), "PYTHONPATH": str(root), "PYTHONWARNINGS": WARNINGS}
    with subprocess.Popen(command, env=env) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_for(condition: Callable[[], bool], *processes: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline
        assert all(process.poll() is None for process in processes), "a process ended"
        time.sleep(0.05)  # between two looks at the condition


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
    return port


def test_a_signup_through_a_server_and_a_worker(tmp_path: Path) -> None:
    database, port = tmp_path / "shop.db", free_port()
    with (
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=SECONDS) as client,
        litestar("run", "--port", str(port), database=database) as server,
        litestar("queues", "run", database=database) as worker,
    ):

        def responds() -> bool:
            try:
                return client.get("/tasks/unknown").status_code == 404
            except httpx.TransportError:
                return False

        wait_for(responds, server, worker)
        task = client.post("/signup", json={"address": "ada@example.org"}).json()["task"]
        wait_for(lambda: client.get(f"/tasks/{task}").json()["status"] == "completed", server, worker)
        for process in (worker, server):
            process.send_signal(signal.SIGTERM)
        codes = [process.wait(SECONDS) for process in (worker, server)]
    # The worker has drained. The server has stopped too, and uvicorn then ends it by the signal that it received.
    assert codes == [0, -signal.SIGTERM]
