"""A worker as a process: signals in, exit codes out."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Generator
from contextlib import contextmanager

from litestar_queues.worker.worker import Worker, WorkerExit

__all__ = ("EXIT_DRAINED", "EXIT_FORCED", "EXIT_STARTUP", "run_until_signalled")

EXIT_DRAINED = 0
"""Every task ended by itself."""
EXIT_FORCED = 1
"""Tasks were interrupted and given back, or outcomes could not be stored."""
EXIT_STARTUP = 2
"""The worker could not start."""


async def run_until_signalled(worker: Worker) -> WorkerExit:
    """Run a worker until SIGTERM or SIGINT: the first drains it, the second makes it give back everything at once."""
    with _signals(worker):
        return await worker.run()


@contextmanager
def _signals(worker: Worker) -> Generator[None, None, None]:
    loop = asyncio.get_running_loop()
    received = 0

    def on_signal() -> None:
        nonlocal received
        received += 1
        if received == 1:
            worker.drain()
        else:
            worker.abort()

    numbers = (signal.SIGTERM, signal.SIGINT)
    for number in numbers:
        loop.add_signal_handler(number, on_signal)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
