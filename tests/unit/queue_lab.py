"""A service on a watched memory backend: what the unit tests of the service and the worker stand on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, TypeVar

from waiting import DEADLINE

from litestar_queues import (
    BackendError,
    BackendUnavailableError,
    QueueConfig,
    QueueService,
    TaskEvent,
    TaskEventKind,
    TaskRecord,
    TaskRegistry,
    Worker,
    WorkerExit,
)
from litestar_queues import task as task_decorator
from litestar_queues.backends.memory import MemoryBackend

T = TypeVar("T")


class WatchedBackend:
    """The memory backend behind a glass: calls are recorded, and each kind of call can fail, wait or lose its reply."""

    name = "watched"
    process_local = True
    wakeups = None
    dispatches = True

    def __init__(self, inner: MemoryBackend | None = None) -> None:
        self.inner = inner or MemoryBackend()
        self.calls: list[tuple[str, tuple[Any, ...]]] = []
        self.away: set[str] = set()
        """Kinds of calls that fail before they do anything."""
        self.deaf: list[str] = []
        """Kinds of calls of which the next takes effect and then fails; each entry serves one call."""
        self.gates: dict[str, asyncio.Event] = {}
        """Kinds of calls that wait for an event before they do anything."""
        self.refuse: Callable[[TaskRecord], bool] = lambda _: False
        """Which records a commit cannot store."""
        self.refusal: Exception = BackendError("the store refuses a value")
        """What it raises then."""
        self.stir = asyncio.Event()

    def of(self, kind: str) -> list[tuple[Any, ...]]:
        """The arguments of every call of this kind so far."""
        return [args for name, args in self.calls if name == kind]

    async def _call(self, kind: str, *args: Any, **kwargs: Any) -> Any:
        self.calls.append((kind, args))
        self.stir.set()
        if kind in self.gates:
            await self.gates[kind].wait()
        if kind in self.away:
            raise BackendUnavailableError("the store is away")
        if kind == "commit" and any(self.refuse(record) for record in args[0]):
            raise self.refusal
        answer = await getattr(self.inner, kind)(*args, **kwargs)
        if kind in self.deaf:
            self.deaf.remove(kind)
            raise BackendUnavailableError("the reply was lost")
        return answer

    def __getattr__(self, kind: str) -> Callable[..., Coroutine[Any, Any, Any]]:
        if kind.startswith("_") or not hasattr(MemoryBackend, kind):
            raise AttributeError(kind)

        async def call(*args: Any, **kwargs: Any) -> Any:
            return await self._call(kind, *args, **kwargs)

        return call


class Lab:
    """A service whose store and events are watched."""

    def __init__(self, **config: Any) -> None:
        self.backend: WatchedBackend = config.pop("backend", None) or WatchedBackend(config.pop("inner", None))
        self.registry = TaskRegistry()
        self.events: list[TaskEvent] = []
        defaults: dict[str, Any] = {
            "queue_backend": self.backend,
            "event_sinks": [self._hear],
            "worker_poll_interval": 0.05,
            "maintenance_interval": 60,
        }
        self.service = QueueService(QueueConfig(**{**defaults, **config}), registry=self.registry)

    def _hear(self, event: TaskEvent) -> None:
        self.events.append(event)
        self.backend.stir.set()

    def task(self, name: str, **options: Any) -> Any:
        return task_decorator(name, registry=self.registry, **options)

    def told(self, kind: TaskEventKind | str, task_id: str | None = None) -> list[TaskEvent]:
        return [e for e in self.events if e.kind == kind and (task_id is None or e.task_id == task_id)]

    async def until(self, condition: Callable[[], Any]) -> None:
        """Wait until a condition holds; looked at whenever the store is called or an event is told."""
        async with asyncio.timeout(DEADLINE):
            while not condition():
                self.backend.stir.clear()
                await self.backend.stir.wait()

    async def stored(self, task_id: str) -> TaskRecord:
        return (await self.backend.inner.get([task_id]))[task_id]

    @asynccontextmanager
    async def worker(self, **options: Any) -> AsyncIterator[Running]:
        worker = Worker(self.service, name=options.pop("name", "w1"), **options)
        running = Running(worker, asyncio.get_running_loop().create_task(worker.run()))
        await within(worker.started.wait())
        try:
            yield running
        finally:
            worker.abort()
            await within(asyncio.wait({running.run}))


class Running:
    """A worker that runs."""

    def __init__(self, worker: Worker, run: asyncio.Task[WorkerExit]) -> None:
        self.worker = worker
        self.run = run

    async def drain(self) -> WorkerExit:
        self.worker.drain()
        return await within(self.run)

    async def abort(self) -> WorkerExit:
        self.worker.abort()
        return await within(self.run)


@asynccontextmanager
async def open_lab(**config: Any) -> AsyncIterator[Lab]:
    lab = Lab(**config)
    async with lab.service:
        yield lab


async def within(awaitable: Any, seconds: float = DEADLINE) -> Any:
    """The value of the awaitable, which has to come in time."""
    async with asyncio.timeout(seconds):
        return await awaitable


def hour(hours: float = 1) -> timedelta:
    return timedelta(hours=hours)
