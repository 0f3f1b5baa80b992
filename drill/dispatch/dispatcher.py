"""A worker process that dispatches, for `python -m drill.dispatch.dispatcher SETTINGS`. It can die at a chosen step."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from datetime import datetime
from importlib import import_module
from typing import Any

from drill.dispatch.reports import cloud_run, timings
from drill.journal import write
from drill.places import backend_at
from drill.worker import run, serve
from litestar_queues import QueueConfig
from litestar_queues.lifecycle import State

__all__ = ("STEPS", "main")

STEPS = ("reserved", "started", "stored")
"""After the reservation and before run_job; after run_job and before the reference is stored; after that."""


class _Mortal:
    """The configuration of a queue backend with which the process dies at the nth time that it takes a step."""

    def __init__(self, config: Any, step: str | None, times: int) -> None:
        self._config, self._step, self._left = config, step, times

    def create_backend(self) -> Any:
        backend = self._config.create_backend()
        claim, commit = backend.claim, backend.commit

        async def mortal_claim(want: Any, *, now: datetime | None = None) -> Any:
            claimed = await claim(want, now=now)
            if want.reserve and claimed:
                self._take("reserved")
            return claimed

        async def mortal_commit(tasks: Sequence[Any], *, stale: Any = None) -> Any:
            refers = any(one.state is State.DISPATCHED for one in tasks)
            if refers:
                self._take("started")
            stored = await commit(tasks, stale=stale)
            if refers:
                self._take("stored")
            return stored

        backend.claim, backend.commit = mortal_claim, mortal_commit
        return backend

    def _take(self, step: str) -> None:
        if step == self._step:
            self._left -= 1
            if self._left == 0:
                write("dies", step=step)
                os.kill(os.getpid(), signal.SIGKILL)


async def main(settings: dict[str, Any]) -> int:
    """Dispatch as these settings say; returns the exit code."""
    import_module("google.cloud.run_v2")  # on a busy machine this takes longer than the drill gives a dispatch
    grpc: Any = import_module("grpc.aio")  # it has no types
    agent = ("grpc.primary_user_agent", f"drill-{os.getpid()}")
    cloud = cloud_run(
        channel_factory=lambda: grpc.insecure_channel(
            settings["address"], options=[agent, ("grpc.max_reconnect_backoff_ms", 1000)]
        )
    )
    store = backend_at(settings["place"], creates=settings["creates"])
    options: dict[str, Any] = timings() | settings["config"] | {"execution_backend": cloud}
    return await serve(QueueConfig(queue_backend=_Mortal(store, *settings["dies"]), **options))


if __name__ == "__main__":
    run(main)
