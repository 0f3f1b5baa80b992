"""A worker process of a drill, for `python -m drill.worker SETTINGS`."""

from __future__ import annotations

import asyncio
import faulthandler
import json
import logging
import signal
import sys
from collections.abc import Callable, Coroutine
from typing import Any, NoReturn

from drill import work
from drill.journal import write
from drill.places import backend_at
from litestar_queues import QueueConfig, QueueService, Worker
from litestar_queues.errors import QueueError
from litestar_queues.worker.supervisor import EXIT_DRAINED, EXIT_FORCED, EXIT_STARTUP, run_until_signalled


async def main(settings: dict[str, Any]) -> int:
    """Work as these settings say; returns the exit code."""
    return await serve(
        QueueConfig(
            queue_backend=backend_at(settings["place"], creates=settings["creates"]),
            task_modules=[work.__name__],
            **settings["config"],
        )
    )


async def serve(config: QueueConfig) -> int:
    """Work until a signal comes; returns the exit code, one of those of `queues run`."""
    service = QueueService(config)
    try:
        await service.open()
    except QueueError:
        logging.getLogger("drill").exception("the worker cannot start")
        return EXIT_STARTUP
    write("opened")
    try:
        ended = await run_until_signalled(Worker(service))
    finally:
        await service.close()
    write("left", unsettled=ended.unsettled)
    return EXIT_DRAINED if ended.drained else EXIT_FORCED


def run(work_on: Callable[[dict[str, Any]], Coroutine[Any, Any, int]]) -> NoReturn:
    """Be the worker process of the settings that are this process's argument."""
    faulthandler.register(signal.SIGUSR1)  # where it stands, for one that does not leave
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    sys.exit(asyncio.run(work_on(json.loads(sys.argv[1]))))


if __name__ == "__main__":
    run(main)
