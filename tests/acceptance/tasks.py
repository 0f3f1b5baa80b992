"""The tasks that worker processes run here. Those on stage do what the test tells them, when it tells them.

A task on stage connects to the test's socket, says who it is, and obeys. So a test never guesses how far a task is, and
learns from the closed connection that it has stopped. Every execution leaves a line in the journal at its start and its
end, in one file for all processes: what ran twice at once is read from there.
"""

from __future__ import annotations

import asyncio
import json
import os
import select
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from litestar_queues import FixedBackoff, TaskRegistry, current_task, task

STAGE, JOURNAL = "ACCEPTANCE_STAGE", "ACCEPTANCE_JOURNAL"
registry = TaskRegistry()
_BACKOFF = FixedBackoff(0.05)


@contextmanager
def execution() -> Iterator[dict[str, Any]]:
    """Write the execution of the current task to the journal; yields what the lines say of it."""
    record = current_task().record
    line = {"task": record.id, "attempt": record.attempt, "fence": record.fence, "pid": os.getpid()}
    _note(line, "start")
    how = "interrupted"
    try:
        yield line
        how = "returned"
    except Exception:
        how = "raised"
        raise
    finally:
        _note(line, how)


def _note(line: dict[str, Any], what: str) -> None:
    # One write to a file opened for appending: lines of several processes never mix, and survive a SIGKILL.
    journal = os.open(os.environ[JOURNAL], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(journal, json.dumps({**line, "what": what, "at": time.monotonic()}).encode() + b"\n")
    finally:
        os.close(journal)


def _obey(order: dict[str, Any]) -> bool:
    """Do what the test wants; whether that ends the task."""
    match order["do"]:
        case "progress":
            current_task().progress(order["done"], order["message"])
            return False
        case "fail":
            raise RuntimeError(order["message"])
        case _:
            return True


@contextmanager
def _connected() -> Iterator[socket.socket]:
    """A connection to the test, which ends when all else has: the journal has the end of whom the test sees leaving."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(os.environ[STAGE])
        yield connection


@task("on_stage", registry=registry, backoff=_BACKOFF)
async def on_stage() -> int:
    """Waits for orders, at an `await`; returns its process."""
    reader, writer = await asyncio.open_unix_connection(os.environ[STAGE])
    try:
        with execution() as line:
            writer.write(json.dumps(line).encode() + b"\n")
            while order := await reader.readline():
                if _obey(json.loads(order)):
                    break
    finally:
        writer.close()
    return os.getpid()


@task("on_stage_in_a_thread", registry=registry, backoff=_BACKOFF)
def on_stage_in_a_thread() -> int:
    """Waits for orders, blocking its thread, until it is told to stop; returns its process."""
    with _connected() as connection, execution() as line:
        connection.sendall(json.dumps(line).encode() + b"\n")
        while not current_task().cancelled:
            if select.select([connection], [], [], 0.05)[0] and _obey(json.loads(connection.recv(4096))):
                break
    return os.getpid()


@task("blocking", registry=registry, backoff=_BACKOFF)
async def blocking() -> int:
    """Waits for orders and keeps the event loop meanwhile, as an async function that computes does; returns its process."""
    with _connected() as connection, execution() as line:
        connection.sendall(json.dumps(line).encode() + b"\n")
        connection.recv(4096)
    return os.getpid()


@task("stubborn", registry=registry, backoff=_BACKOFF)
def stubborn() -> int:
    """Waits for orders, blocking its thread, and never looks at whether it should stop."""
    with _connected() as connection, execution() as line:
        connection.sendall(json.dumps(line).encode() + b"\n")
        connection.recv(4096)
    return os.getpid()


@task("burning", registry=registry, backoff=_BACKOFF)
def burning() -> int:
    """Computes without a pause, in its thread, until it is told to return; returns its process."""
    with _connected() as connection, execution() as line:
        connection.sendall(json.dumps(line).encode() + b"\n")
        told = threading.Event()
        threading.Thread(target=lambda: (connection.recv(4096), told.set()), daemon=True).start()
        # No system call in between: each would give the interpreter's lock away and take it back at once, and where that
        # happens more often than every 5 ms, CPython lets nobody else have it for many seconds.
        while not told.is_set():
            sum(number * number for number in range(50_000))
    return os.getpid()


@task("quick", registry=registry, backoff=_BACKOFF)
async def quick(number: int) -> int:
    """Ends at once; returns its argument."""
    with execution():
        await asyncio.sleep(0)
    return number


@task("quick_in_a_thread", registry=registry, backoff=_BACKOFF)
def quick_in_a_thread(number: int) -> int:
    """Ends at once, in a thread; returns its argument."""
    with execution():
        return number


@task("fails_first", registry=registry, backoff=_BACKOFF)
async def fails_first() -> int:
    """Fails in its first attempt; returns the number of the one that ended well."""
    with execution():
        if current_task().attempt == 1:
            raise RuntimeError("the first attempt fails")
        return current_task().attempt
