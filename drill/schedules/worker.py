"""A worker process of the drill of schedules, for `python -m drill.schedules.worker SETTINGS`. It can die at a chosen step."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from drill.journal import write
from drill.places import backend_at
from drill.schedules.plan import declare, draw
from drill.worker import run, serve
from litestar_queues import QueueConfig
from litestar_queues.schedules.marks import NAME
from litestar_queues.schedules.model import PREFIX

__all__ = ("STEPS", "main")

STEPS = ("chosen", "enqueued", "noted")
"""Before the enqueue of the occurrences; after it and before the write of their schedules; after that."""


def make_mortal(backend: type[Any], step: str | None, times: int) -> None:
    """Let this process die at the nth time that a client of this class takes the step."""
    enqueue, write_records = backend.enqueue_many, backend.write_records
    left = times

    def take(taken: str) -> None:
        nonlocal left
        if taken == step:
            left -= 1
            if left == 0:
                write("dies", step=step)
                os.kill(os.getpid(), signal.SIGKILL)

    async def mortal_enqueue(self: Any, tasks: Sequence[Any], *, now: datetime | None = None) -> Any:
        if not any(NAME in one.metadata for one in tasks):
            return await enqueue(self, tasks, now=now)
        take("chosen")
        enqueued = await enqueue(self, tasks, now=now)
        take("enqueued")
        return enqueued

    async def mortal_write(self: Any, records: Sequence[Any]) -> Any:
        stored = await write_records(self, records)
        if any(one.name.startswith(PREFIX) and one.version > 1 for one in records):
            take("noted")
        return stored

    backend.enqueue_many, backend.write_records = mortal_enqueue, mortal_write


async def main(settings: dict[str, Any]) -> int:
    """Work as these settings say; returns the exit code."""
    declare(draw(settings["seed"], settings["count"]))
    store = backend_at(settings["place"], creates=settings["creates"])
    make_mortal(type(store.create_backend()), *settings["dies"])
    return await serve(QueueConfig(queue_backend=store, **settings["config"]))


if __name__ == "__main__":
    run(main)
