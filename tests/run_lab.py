"""Processes that run one task each, as a remote execution backend starts them."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from waiting import DEADLINE

from litestar_queues import QueueService, TaskRecord
from litestar_queues.lifecycle import Dispatch
from litestar_queues.operations import Move
from litestar_queues.records import Want

__all__ = ("APP", "ENTRYPOINT", "Process", "Start", "dispatch", "locked", "record_of", "reserve", "starting")

ENTRYPOINT = (sys.executable, "-m", "litestar_queues.execution.cloudrun.entrypoint")
APP = """
import asyncio, os, sys, threading, time
from litestar import Litestar
from litestar_queues import QueueConfig, QueuePlugin, current_task, non_retryable, snooze, task
from litestar_queues.backends.sqlspec import SQLSpecBackendConfig

def say(text):
    os.write(1, f"{text}\\n".encode())

if os.environ.get("IMPORT"):
    say("importing")
    time.sleep(600)

@task("add")
async def add(a: int, b: int) -> int:
    return a + b

@task("add_sync")
def add_sync(a: int, b: int) -> int:
    assert threading.current_thread() is not threading.main_thread()
    return a + b

@task("fail", retries=0)
async def fail() -> None:
    raise ValueError("it is broken")

@task("fail_once", retries=1)
async def fail_once() -> None:
    raise ValueError("it is broken")

@task("snoozing")
async def snoozing() -> None:
    snooze(3600)

@task("exits")
def exits() -> None:
    sys.exit(0)

@task("exits_in_an_asyncio_task")
async def exits_in_an_asyncio_task() -> None:
    async def leave():
        sys.exit(0)
    await asyncio.create_task(leave())

@task("endless")
async def endless() -> None:
    say("endless")
    await asyncio.Event().wait()

@task("endless_thread")
def endless_thread() -> None:
    say("endless")
    time.sleep(600)

@task("endless_to_thread")
async def endless_to_thread() -> None:
    say("endless")
    await asyncio.to_thread(time.sleep, 600)

@task("leaves_a_thread")
async def leaves_a_thread() -> None:
    threading.Thread(target=time.sleep, args=(600,)).start()

@task("blocking")
async def blocking() -> None:
    say("blocking")
    time.sleep(600)

@task("until_told")
async def until_told(path: str) -> str:
    say("running")
    while not os.path.exists(path):
        await asyncio.sleep(0.02)
    return "told"

@task("blocks_until_told")
async def blocks_until_told(path: str) -> str:
    say("running")
    while not os.path.exists(path):
        time.sleep(0.02)
    return "told"

@task("hidden_argument")
async def hidden_argument(secret: str) -> int:
    assert not any(secret in value for value in os.environ.values())
    return len(secret)

def config(**options):
    place = os.environ.get("DATABASE", "queues.db")
    if place.startswith("postgresql"):
        from sqlspec.adapters.asyncpg import AsyncpgConfig
        database = AsyncpgConfig(connection_config={"dsn": place})
    else:
        from sqlspec.adapters.aiosqlite import AiosqliteConfig
        database = AiosqliteConfig(connection_config={"database": place})
    beat = float(os.environ.get("HEARTBEAT", 0.1))
    windows = {"worker_heartbeat_interval": beat, "worker_stale_after": float(os.environ.get("STALE_AFTER", 60))}
    return QueueConfig(queue_backend=SQLSpecBackendConfig(config=database), **windows, **options)

if what := os.environ.get("SAY"):
    def make(config, create=QueueConfig.create_backend):
        backend = create(config)
        call = getattr(backend, what)
        async def announced(*args, **options):
            say(what)
            return await call(*args, **options)
        setattr(backend, what, announced)
        return backend
    QueueConfig.create_backend = make

async def config_later():
    await asyncio.sleep(0)
    return config()

def plugin():
    return QueuePlugin(config())

def broken():
    raise RuntimeError("no such secret")

def leaves():
    sys.exit(0)

def nothing():
    return None

def without():
    return Litestar([])

def in_memory():
    return QueueConfig()

made = None if os.environ.get("BARE") else config()
app = None if os.environ.get("BARE") else Litestar([], plugins=[QueuePlugin(made)], logging_config=None)
"""


class Process:
    """A process, with what it says."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.errors = ""

    def send(self, *numbers: signal.Signals) -> None:
        """Send signals, as long as it lives."""
        with suppress(ProcessLookupError):
            for number in numbers:
                os.kill(self.process.pid, number)

    async def said(self, pattern: str) -> str:
        """Wait for a line of its output that matches."""
        return await self._line(self.process.stdout, pattern)

    async def logged(self, pattern: str) -> str:
        """Wait for a line of its log that matches."""
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


Start = Callable[..., Awaitable[Process]]


@asynccontextmanager
async def starting(folder: Path, command: tuple[str, ...] = ENTRYPOINT) -> AsyncIterator[Start]:
    """A function that starts processes in the folder, by variables of their environment; they end with the block."""
    (folder / "served.py").write_text(APP)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("LITESTAR_", "CLOUD_RUN_"))}
    async with AsyncExitStack() as stack:

        async def start(*arguments: str, **environment: Any) -> Process:
            usual = {"LITESTAR_QUEUES_CONFIG_FACTORY": "served:config", "LITESTAR_QUEUES_WAIT_FOR_STORE": DEADLINE}
            given = {name: str(value) for name, value in {**usual, **environment}.items() if value is not None}
            process = await asyncio.create_subprocess_exec(
                *command, *arguments, cwd=folder, env={**inherited, **given}, stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
            )  # fmt: skip

            async def end() -> None:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)  # with its children
                await process.communicate()

            stack.push_async_callback(end)
            return Process(process)

        yield start


async def reserve(service: QueueService, stale_after: float = 600.0) -> TaskRecord:
    """Reserve the one task that waits, as a dispatcher does."""
    (record,) = await service.operations.claim(
        Want(worker="dispatcher", limit=2, reserve=True, stale_after=stale_after)
    )
    return record


async def dispatch(service: QueueService, record: TaskRecord, ref: str) -> TaskRecord | None:
    """Store the reference of a run, as a dispatcher does; None where that was refused."""
    settled = await service.operations.apply([Move(record, Dispatch(ref, 600.0))], contested=True)
    return settled.stored[0] if settled.stored else None


async def record_of(service: QueueService, task_id: str) -> TaskRecord:
    """The task as it is stored."""
    return (await service.operations.backend.get([task_id]))[task_id]


def locked(folder: Path) -> sqlite3.Connection:
    """A connection that holds the database's lock for writes until it is closed."""
    connection = sqlite3.connect(folder / "queues.db", timeout=DEADLINE, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    return connection
