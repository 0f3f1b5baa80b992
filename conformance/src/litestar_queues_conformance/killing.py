"""Other processes, each with a client of the store, which are killed."""

from __future__ import annotations

import asyncio
import multiprocessing
import threading
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any

from litestar_queues.backends.base import QueueBackend
from litestar_queues_conformance.bursts import end_with_parent
from litestar_queues_conformance.harness import NotFoundOut, Store
from litestar_queues_conformance.patience import START_SECONDS, Deadline, starting
from litestar_queues_conformance.target import load_target

__all__ = ("hear", "processes")

Work = Callable[[Connection, QueueBackend], Awaitable[None]]
"""What a process does with its client; a function of a module. It says "here" first."""


@contextmanager
def processes(store: Store, n: int, work: Work) -> Generator[list[tuple[SpawnProcess, Connection]]]:
    """So many processes, each with a client of the store, and killed at the end at the latest.

    The clients translate no times and no names.

    Raises:
        NotFoundOut: A process did not start.
    """
    context = multiprocessing.get_context("spawn")
    started: list[tuple[SpawnProcess, Connection]] = []
    try:
        with starting():
            for _ in range(n):
                ours, theirs = context.Pipe()
                process = context.Process(
                    target=_until_killed, args=(theirs, work, store.target_name, store.config), daemon=True
                )
                process.start()
                theirs.close()
                started.append((process, ours))
            for _, pipe in started:
                hear(pipe, "here")
        yield started
    finally:
        for process, pipe in started:
            process.kill()
            process.join()
            process.close()
            pipe.close()


def hear(pipe: Connection, word: str) -> None:
    """Wait until a process says this.

    Raises:
        NotFoundOut: It did not, in the time of a start; or it ended, or said something else.
    """
    deadline = Deadline(START_SECONDS)
    try:
        while not pipe.poll(1):
            if deadline.left <= 0:
                raise NotFoundOut(
                    f"a process did not say {word!r} within {deadline.seconds:g} s, but ran for {deadline.watch}"
                )
        heard = pipe.recv()
    except (EOFError, OSError) as error:
        raise NotFoundOut(f"a process ended before it said {word!r}: {error}") from error
    if heard != word:
        raise NotFoundOut(f"a process said {heard!r} instead of {word!r}")


def _until_killed(pipe: Connection, work: Work, target_name: str, config: dict[str, Any]) -> None:
    threading.Thread(target=end_with_parent, daemon=True).start()
    asyncio.run(_work(pipe, work, target_name, config))


async def _work(pipe: Connection, work: Work, target_name: str, config: dict[str, Any]) -> None:
    backend = await load_target(target_name).open(config)
    await backend.count()
    await work(pipe, backend)
    pipe.recv()  # nobody sends anything: the process is killed
