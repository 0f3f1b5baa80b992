"""The processes of a run: each has a service of its own, most a worker, and all can freeze and die."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from math import inf
from random import Random
from typing import Any

from litestar_queues import QueueConfig, QueueService, TaskRegistry, Worker
from litestar_queues.errors import QueueError
from simulate.journal import Journal
from simulate.loop import Domain, VirtualLoop
from simulate.network import Line, Network, Trouble, port_of
from simulate.store import SharedStore

__all__ = ("LONG", "SHORT", "Application", "Process", "World")


@dataclass(frozen=True, slots=True)
class Application:
    """What the processes of one application are configured with. In seconds."""

    name: str
    heartbeat: float
    stale_after: float
    maintenance: float
    drain: float

    @property
    def patience(self) -> float:
        """A worker that is left in peace for so long has had a beat stored, also where one hung when the peace began."""
        return self.heartbeat + self.stale_after / 3 + 1


SHORT = Application("short", heartbeat=2, stale_after=8, maintenance=2, drain=5)
LONG = Application("long", heartbeat=10, stale_after=60, maintenance=10, drain=20)


@dataclass(slots=True)
class World:
    """What all processes of a run share."""

    loop: VirtualLoop
    rng: Random
    journal: Journal
    store: SharedStore
    network: Network
    processes: list[Process] = field(default_factory=list["Process"])
    """Every process that ever was, in the order of their starts."""


class Process:
    """One process. It begins to run when it is made.

    Args:
        world: Where it lives.
        name: What its tasks say they are run by.
        application: Its configuration.
        register: Adds the functions to the registry of the process.
        concurrency: How many tasks its worker runs at once.
        main: What it does instead of running a worker, with its service.
    """

    def __init__(
        self,
        world: World,
        name: str,
        application: Application,
        register: Callable[[Process, TaskRegistry], None],
        *,
        concurrency: int = 4,
        main: Callable[[QueueService], Coroutine[Any, Any, None]] | None = None,
    ) -> None:
        self.world, self.name, self.application = world, name, application
        self.line = Line(name)
        self.began = world.journal.now
        self.ended = inf
        """When it died, or its worker returned."""
        self.died = False
        self.unsettled: set[str] = set()
        """The outcomes that its worker, when it returned, named as not stored."""
        self.domain = Domain(name)
        self._registry = TaskRegistry()
        self._concurrency, self._main = concurrency, main
        self._worker: Worker | None = None
        self._told = False
        self._frozen: list[list[float]] = []
        register(self, self._registry)
        world.processes.append(self)
        world.journal.write(name, f"starts, of the application {application.name}")
        self._task = world.loop.create_task(self._run(), context=self.domain.context)

    @property
    def is_alive(self) -> bool:
        return self.ended == inf

    @property
    def is_frozen(self) -> bool:
        return bool(self._frozen)

    def was_alive(self, at: float) -> bool:
        """Whether it had neither died nor returned by then."""
        return self.ended > at

    def kill(self) -> None:
        """End it as SIGKILL does."""
        self.world.journal.write(self.name, "is killed")
        self.domain.stop()
        self.line.closed, self.died, self.ended = True, True, self.world.journal.now

    def freeze(self) -> None:
        """Let none of its code run, as SIGSTOP does."""
        self.world.journal.write(self.name, "freezes")
        self._frozen = [spans.open(self.world.journal.now) for spans in (self.line.spans, self.line.own)]
        self.domain.stop()

    def thaw(self) -> None:
        """Let its code run again."""
        self.world.journal.write(self.name, "thaws")
        for span in self._frozen:
            span[1] = self.world.journal.now
        self._frozen = []
        self.domain.go_on(self.world.loop)

    def signal(self, *, twice: bool = False) -> bool:
        """Tell its worker to leave, as SIGTERM does; returns whether there was one."""
        if self._worker is None:
            return False
        if not self._told:
            self.world.journal.write(self.name, "is told to leave" + (", at once" if twice else ""))
        self._told = True
        if twice:
            self._worker.abort()
        else:
            self._worker.drain()
        return True

    async def cut_off(self, trouble: Trouble, seconds: float) -> None:
        """Trouble between this process alone and the store, for so long."""
        journal = self.world.journal
        journal.write(self.name, f"the store is {trouble} for it, for {seconds:.1f} s")
        spans = [spans.open(journal.now) for spans in (self.line.spans, self.line.own)]
        self.line.troubles.append(trouble)
        await asyncio.sleep(seconds)
        self.line.troubles.remove(trouble)
        for span in spans:
            span[1] = journal.now
        journal.write(self.name, f"the store is no longer {trouble} for it")

    async def _run(self) -> None:
        journal = self.world.journal
        config = QueueConfig(
            queue_backend=port_of(self.world.network, self.line),
            worker_max_concurrency=self._concurrency,
            worker_heartbeat_interval=self.application.heartbeat,
            worker_stale_after=self.application.stale_after,
            maintenance_interval=self.application.maintenance,
            worker_drain_timeout=self.application.drain,
            retention=None,
        )
        service = QueueService(config, registry=self._registry)
        try:
            await self._open(service)
            if self._main is not None:
                await self._main(service)
                return
            self._worker = Worker(service, name=self.name)
            left = await self._worker.run()
            self._leaves()
            self.unsettled.update(left.unsettled)
            journal.write(self.name, f"leaves; given back: {len(left.given_back)}, unsettled: {len(left.unsettled)}")
        except Exception as error:  # noqa: BLE001  # that is what the run is to find
            if not journal.closed:
                journal.errors.append(f"raised: {self.name} ended with {type(error).__name__}: {error}")
        finally:
            await service.close()
            self._leaves()

    def _leaves(self) -> None:
        if not self.world.journal.closed:
            self.ended = min(self.ended, self.world.journal.now)

    async def _open(self, service: QueueService) -> None:
        while True:
            try:
                await service.open()
            except QueueError:
                if self.world.journal.closed:
                    raise
                await asyncio.sleep(self.world.rng.uniform(0.5, 2))
            else:
                return

    def clear_up(self) -> None:
        """After the run: let what is left of it come to its end, without the store."""
        self.line.over = True
        if self.domain.stopped:
            self.domain.go_on(self.world.loop)
        self._task.cancel()
