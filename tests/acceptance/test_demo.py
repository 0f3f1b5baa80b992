"""The demo, small: what it writes, and what it leaves behind."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from acceptance.stage import DEADLINE, until

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))
from demo import processes as demo_processes  # noqa: E402  # the demo is no package of the environment
from demo.audit import Store, judge  # noqa: E402

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def demo(tmp_path: Path, *options: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """The demo as a user starts it; its temporary folders are below the test's own."""
    (tmp_path / "tmp").mkdir()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "demo/run.py", "--skip-conformance", "--out", str(tmp_path / "out"), *options,
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(tmp_path / "tmp")},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


def running(folder: Path) -> list[str]:
    """The processes whose environment names the folder."""
    found = []
    for environment in Path("/proc").glob("[0-9]*/environ"):
        try:
            if f"DEMO_FOLDER={folder}".encode() in environment.read_bytes():
                found.append(environment.parent.name)
        except OSError:  # it has just ended
            continue
    return found


async def test_the_demo_loses_nothing_and_says_what_happened(tmp_path: Path) -> None:
    async with demo(tmp_path, "--tasks", "120") as process, asyncio.timeout(2 * DEADLINE):
        said = (await process.communicate())[0].decode()

    assert process.returncode == 0, said
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert (summary["enqueued"], summary["lost"], summary["problems"]) == (120, 0, [])
    assert summary["completed"] + summary["failed"] == 120
    assert summary["failed"] > 0
    assert summary["recovered"] == len(summary["recovered_ids"]) >= 2
    assert summary["fence_losses"] >= 2
    assert summary["recovered_ids"][0] in said
    assert said.splitlines()[-1].startswith("PASSED")
    assert list((tmp_path / "tmp").iterdir()) == []
    assert running(tmp_path) == []


@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)
async def test_an_interrupted_demo_leaves_no_process_behind(tmp_path: Path, number: signal.Signals) -> None:
    async with demo(tmp_path) as process:
        assert process.stdout is not None
        async with asyncio.timeout(DEADLINE):
            while b"is killed, holding" not in await process.stdout.readline():
                pass  # until the server and the workers are at work
        assert len(running(tmp_path)) >= 2
        process.send_signal(number)
        async with asyncio.timeout(DEADLINE):
            said = (await process.communicate())[0].decode()

    if number is not signal.SIGKILL:
        assert process.returncode == 128 + number
        assert f"interrupted by {number.name}" in said
        assert list((tmp_path / "tmp").iterdir()) == []

    async def nothing_runs() -> bool:
        return not running(tmp_path)

    await until(nothing_runs)  # a killed process takes a moment to go


def test_the_demo_says_what_is_not_installed(tmp_path: Path) -> None:
    without = "import sys; sys.modules['rich'] = None; sys.argv = ['run.py']; import runpy; runpy.run_path('demo/run.py', run_name='__main__')"
    done = subprocess.run(
        [sys.executable, "-c", without], cwd=ROOT, capture_output=True, text=True, check=False, timeout=DEADLINE
    )
    assert done.returncode == 2, done
    assert "not installed here: rich" in done.stderr
    assert "pip install" in done.stderr
    assert "Traceback" not in done.stderr


async def test_the_demo_takes_another_port_where_one_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ports = [taken.getsockname()[1]]
        free_port = demo_processes._free_port
        monkeypatch.setattr(demo_processes, "_free_port", lambda: ports.pop() if ports else free_port())
        processes = demo_processes.Processes(tmp_path, tmp_path)
        try:
            server, url = await processes.start_server()
            assert server.poll() is None
            assert ports == []
            assert not url.endswith(str(taken.getsockname()[1]))
        finally:
            processes.end_all()
        assert server.poll() is not None


def test_the_audit_finds_what_is_lost_or_settled_by_a_lost_owner(tmp_path: Path) -> None:
    """The demo's judge is tested with a store that is wrong."""
    import sqlite3

    with sqlite3.connect(tmp_path / "queues.db") as connection:
        connection.execute(
            "CREATE TABLE litestar_queue_task (id, name, state, attempt, fence, worker, result, error)",
        )
        rows = [
            ("good", "mail.send", "completed", 1, 2, "h:7:x", {"pid": 7, "attempt": 1, "fence": 1}),
            ("zombie", "mail.send", "completed", 2, 4, "h:8:x", {"pid": 7, "attempt": 1, "fence": 1}),
            ("twice", "mail.send", "completed", 1, 2, "h:7:x", {"pid": 7, "attempt": 1, "fence": 1}),
            ("stuck", "mail.send", "running", 1, 1, "h:7:x", None),
            ("failed", "mail.send", "failed", 1, 2, "h:7:x", None),
            ("stranger", "mail.send", "completed", 1, 2, "h:7:x", {"pid": 7, "attempt": 1, "fence": 1}),
        ]
        connection.executemany(
            "INSERT INTO litestar_queue_task VALUES (?, ?, ?, ?, ?, ?, ?, NULL)",
            [(*row[:6], json.dumps(row[6])) for row in rows],
        )
    connection.close()
    loss = {"kind": "fence_loss", "task_id": "good", "worker": "h:7:x", "fence": 2, "state": "completed"}
    outcome = {"kind": "complete", "task_id": "twice", "state": "completed"}
    lines = "\n".join(map(json.dumps, [loss, outcome, outcome]))
    (tmp_path / "events-7.jsonl").write_text(f'{lines}\n{{"kind": "fence_lo')  # killed in the middle of a line

    account = judge(Store(tmp_path), dict.fromkeys(["good", "zombie", "twice", "stuck", "failed", "gone"], "mail.send"))

    assert account.lost == ["gone", "stuck"]
    assert (account.completed, account.failed, account.fence_losses) == (4, 1, 1)
    assert account.overwritten == {"zombie", "good", "twice"}
    assert len(account.wrong) == 7
    text = "\n".join(account.wrong)
    for expected in (
        "task gone was acknowledged",
        "task stuck was acknowledged",
        "task stranger is stored, and was never acknowledged",
        "task failed (mail.send) should have completed",
        "task good: the outcome of a lost owner was accepted",
        "task twice: the outcome of a lost owner was accepted",
        "task zombie: the outcome of a lost owner was accepted",
    ):
        assert expected in text
