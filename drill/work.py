"""The tasks of a drill. Each writes its beginning and its end into the journal."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import time
from collections.abc import Generator
from contextlib import contextmanager

from drill.journal import write
from litestar_queues import current_task, task

__all__ = ("GREEDY", "block", "eat", "fail", "wait", "wait_in_thread", "written")

GREEDY = "greedy"
"""The queue of the tasks that kill their workers."""
_MORE = 200 * 2**20
"""Bytes that a greedy task may take before its process is killed."""


class OwnError(Exception):
    """What a task raises that is to fail."""


@contextmanager
def written(kind: str) -> Generator[None, None, None]:
    """Write the beginning and the end of the task that runs here."""
    record = current_task().record
    write("begins", id=record.id, fence=record.fence, kind=kind, attempt=record.attempt, ref=record.execution_ref)
    how = "interrupted"
    try:
        yield
        how = "ok"
    except Exception:
        how = "failed"
        raise
    finally:
        write(how, id=record.id, fence=record.fence)


@task("drill.wait")
async def wait(seconds: float) -> float:
    """Wait without blocking anything."""
    with written("wait"):
        await asyncio.sleep(seconds)
    return seconds


@task("drill.wait_in_thread")
def wait_in_thread(seconds: float) -> float:
    """Wait in a thread, which nothing can interrupt."""
    with written("wait_in_thread"):
        time.sleep(seconds)
    return seconds


@task("drill.block")
async def block(seconds: float) -> float:
    """Keep the event loop of the worker busy for so long."""
    with written("block"):
        time.sleep(seconds)  # noqa: ASYNC251  # that is the fault
    return seconds


@task("drill.fail")
async def fail(number: int) -> None:
    """Fail."""
    with written("fail"):
        raise OwnError(str(number))


@task("drill.eat", queue=GREEDY)
async def eat() -> None:
    """Take memory until the process is killed for it: by a limit of its own, long before the machine has none left."""
    with written("eat"):
        with open("/proc/self/statm", encoding="ascii") as sizes:  # noqa: ASYNC230, PTH123
            taken = int(sizes.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        resource.setrlimit(resource.RLIMIT_AS, (taken + _MORE, taken + _MORE))
        eaten: list[bytes] = []
        try:
            while True:
                eaten.append(bytes(2**20))
        except MemoryError:
            os.kill(os.getpid(), signal.SIGKILL)
