"""What a worker does for tasks that run elsewhere: a dispatcher for each remote execution backend, and one reconciler."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

from litestar_queues.config import QueueConfig
from litestar_queues.records import seconds
from litestar_queues.service import QueueService
from litestar_queues.worker.dispatcher import Dispatcher
from litestar_queues.worker.hold import Hold
from litestar_queues.worker.reconciler import Reconciler

__all__ = ("Dispatching",)

_log = logging.getLogger("litestar_queues.worker")


class Dispatching:
    """Nothing, where no remote execution backend is known, or no other process can see the tasks.

    Args:
        service: Open.
        config: The worker's.
        worker: The worker's name.
        queues: The queues to serve; None: all.
        hold: While it is held, nothing is done.
    """

    def __init__(
        self, service: QueueService, config: QueueConfig, *, worker: str, queues: tuple[str, ...] | None, hold: Hold
    ) -> None:
        remote = service.execution.remote
        if remote:
            service.operations.check_dispatches()
        backend = service.operations.backend
        if remote and backend.process_local:
            _log.error(
                "tasks for %s wait: the queue backend %s keeps them inside this process, where no run elsewhere sees them. Use a "
                "queue backend that processes share",
                ", ".join(map(repr, remote)), backend.name,
            )  # fmt: skip
            remote = ()
        self._dispatchers = [
            Dispatcher(
                service,
                name,
                worker=worker,
                queues=queues,
                longest=seconds(config.dispatch_timeout).total_seconds(),
                check_after=seconds(config.dispatch_check_interval).total_seconds(),
                poll=seconds(config.worker_poll_interval).total_seconds(),
                hold=hold,
            )
            for name in remote
        ]
        interval = min(seconds(config.maintenance_interval), seconds(config.dispatch_check_interval))
        self._reconciler = Reconciler(service, owner=worker, interval=interval, hold=hold) if remote else None
        self._ended = asyncio.Event()
        self._left = 0

    def start(self) -> list[Coroutine[Any, Any, None]]:
        """What is to run in the worker's event loop."""
        self._left = len(self._dispatchers)
        if self._reconciler is None:
            return []
        return [*(self._run(one) for one in self._dispatchers), self._reconciler.run()]

    def nudge(self) -> None:
        """Have the dispatchers look again, because a task may have come due."""
        for one in self._dispatchers:
            one.nudge.set()

    def leave(self) -> None:
        """Reserve nothing more."""
        for one in self._dispatchers:
            one.leave()

    async def ended(self) -> None:
        """Wait until what was under way when `leave` was called is stored."""
        if self._left:
            await self._ended.wait()

    async def _run(self, dispatcher: Dispatcher) -> None:
        try:
            await dispatcher.run()
        finally:
            self._left -= 1
            if not self._left:
                self._ended.set()
        await asyncio.Event().wait()  # the worker takes an end for a failure, and cancels this when it leaves
