"""Processes that open a store at the same moment, made by a server that has imported everything."""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path
from typing import Any
from unittest.mock import patch

import anyio
from places import backend_config
from waiting import DEADLINE

__all__ = ("open_at_once",)

HERE = Path(__file__).parent
IMPORTED = (__name__, "litestar_queues.backends.advanced_alchemy", "litestar_queues.backends.sqlspec")


def open_at_once(place: dict[str, Any], options: dict[str, Any], count: int) -> list[str | None]:
    """Open a store in several new processes, behind a barrier; what each of them raised."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(IMPORTED))
    # Python 3.11 does not hand its path on to the server, which then imports nothing, and says nothing.
    with patch.dict(os.environ, PYTHONPATH=os.pathsep.join([str(HERE), str(HERE.parent)])):
        barrier, results = context.Barrier(count), context.Queue()
        started = [context.Process(target=_open, args=(place, options, barrier, results)) for _ in range(count)]
        for process in started:
            process.start()
    said = [results.get(timeout=DEADLINE) for _ in started]
    for process in started:
        process.join(DEADLINE)
    return said


def _open(place: dict[str, Any], options: dict[str, Any], barrier: Any, results: Any) -> None:
    async def run() -> None:
        backend = backend_config(place, **options).create_backend()
        barrier.wait(DEADLINE)
        await backend.open()
        await backend.close()

    try:
        anyio.run(run)
        results.put(None)
    except BaseException as error:
        results.put(repr(error))
        raise
