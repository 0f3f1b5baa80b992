"""A process of either version, for `python process.py SETTINGS`: says what happens, a JSON line each.

The first version's code runs this file, too, so that it may use only what both versions have.

It opens the store when it reads a line. Then it runs a worker, unless the settings say otherwise, and obeys further lines:
`{"enqueue": [[NAME, ARGUMENT, OPTIONS], ...]}`, and `{"gate": "open"}`, until which no task of it comes to its end.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
import threading
from typing import Any

import msgspec
from acceptance.tasks import execution, registry
from places import backend_config

from litestar_queues import QueueConfig, QueueService, TaskEvent, Worker, task
from litestar_queues.worker.supervisor import run_until_signalled

GATE = asyncio.Event()


@task("echo", registry=registry)
async def echo(value: Any) -> Any:
    """Returns its argument, once the gate is open."""
    with execution():
        await GATE.wait()
    return value


def say(**line: Any) -> None:
    """One line to whoever started this process; one write, so that lines of several threads do not mix."""
    os.write(1, json.dumps(line).encode() + b"\n")


class _Lines(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        say(log=record.getMessage(), level=record.levelname)


def _tell(event: TaskEvent) -> None:
    say(event=msgspec.to_builtins(event))


async def _enqueue(service: QueueService, wanted: list[Any]) -> None:
    for name, value, options in wanted:
        handle = await service.enqueue(name, value, **options)
        say(enqueued=handle.id, is_new=handle.is_new)


def _orders(loop: asyncio.AbstractEventLoop, orders: asyncio.Queue[dict[str, Any]]) -> None:
    """Read orders; where the test dies, this process does, too."""
    for line in sys.stdin:
        loop.call_soon_threadsafe(orders.put_nowait, json.loads(line))
    os._exit(70)


async def _obey(service: QueueService, orders: asyncio.Queue[dict[str, Any]]) -> None:
    while True:
        order = await orders.get()
        await _enqueue(service, order.get("enqueue", []))
        if order.get("gate") == "open":
            GATE.set()


async def main(settings: dict[str, Any]) -> None:
    """Run the process until it is told to end."""
    orders = asyncio.Queue[dict[str, Any]]()
    threading.Thread(target=_orders, args=(asyncio.get_running_loop(), orders), daemon=True).start()
    backend = backend_config(settings["place"], **settings["options"])
    config = QueueConfig(queue_backend=backend, retention=None, event_sinks=[_tell], **settings["config"])
    say(imported=True)
    await orders.get()
    async with QueueService(config, registry=registry) as service:
        say(opened=True)
        if not settings["works"]:
            return
        worker = Worker(service)
        obeying = asyncio.ensure_future(_obey(service, orders))
        running = asyncio.ensure_future(run_until_signalled(worker))
        started = asyncio.ensure_future(worker.started.wait())
        await asyncio.wait({running, started}, return_when="FIRST_COMPLETED")
        say(ready=worker.name)
        ended = await running
        obeying.cancel()
        started.cancel()
        await service.events.flush()
        say(given_back=ended.given_back, unsettled=ended.unsettled)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, handlers=[_Lines()])
    logging.getLogger("sqlspec").setLevel(logging.WARNING)
    asyncio.run(main(json.loads(sys.argv[1])))
