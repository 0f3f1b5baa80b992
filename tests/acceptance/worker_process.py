"""A worker as a process, for `python -m acceptance.worker_process SETTINGS`. Says what happens, one JSON line each."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
import threading
from typing import Any

import msgspec

from acceptance.database import database_at
from acceptance.tasks import registry
from litestar_queues import QueueConfig, QueueService, TaskEvent, Worker
from litestar_queues.worker.supervisor import EXIT_DRAINED, EXIT_FORCED, run_until_signalled


def say(**line: Any) -> None:
    """One line to whoever started this process; one write, so that lines of several threads do not mix."""
    os.write(1, json.dumps(line).encode() + b"\n")


class _Lines(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        say(log=record.getMessage(), level=record.levelname)


def _tell(event: TaskEvent) -> None:
    say(event=msgspec.to_builtins(event))


def _end_with_the_test() -> None:
    """The test holds the other end of stdin: where it dies, this process does, too."""
    sys.stdin.read()
    os._exit(70)


async def main(settings: dict[str, Any]) -> int:
    if settings["barrier"]:
        reader, writer = await asyncio.open_unix_connection(os.environ["ACCEPTANCE_STAGE"])
        writer.write(json.dumps({"pid": os.getpid()}).encode() + b"\n")
        await reader.readline()
        writer.close()
    backend = database_at(settings["database"]).backend(**settings["store"])
    config = QueueConfig(queue_backend=backend, event_sinks=[_tell], **settings["config"])
    async with QueueService(config, registry=registry) as service:
        worker = Worker(service)
        running = asyncio.ensure_future(run_until_signalled(worker))
        await asyncio.wait(
            {running, started := asyncio.ensure_future(worker.started.wait())}, return_when="FIRST_COMPLETED"
        )
        started.cancel()
        say(ready=worker.name)
        ended = await running
        await service.events.flush()
    say(given_back=ended.given_back, unsettled=ended.unsettled)
    return EXIT_DRAINED if ended.drained else EXIT_FORCED


if __name__ == "__main__":
    threading.Thread(target=_end_with_the_test, daemon=True).start()
    logging.basicConfig(level=logging.INFO, handlers=[_Lines()])
    logging.getLogger("sqlspec").setLevel(logging.WARNING)
    sys.exit(asyncio.run(main(json.loads(sys.argv[1]))))
