"""What a worker does beside its tasks: heartbeats, maintenance, schedules, and a watch over the event loop."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

from litestar_queues.apart import Aside, open_apart
from litestar_queues.config import QueueConfig
from litestar_queues.errors import StoreReplacedError
from litestar_queues.operations import QueueOperations
from litestar_queues.records import seconds
from litestar_queues.service import QueueService
from litestar_queues.worker.heart import Heart, Touch
from litestar_queues.worker.hold import Hold
from litestar_queues.worker.holding import Holding
from litestar_queues.worker.reaper import Reaper
from litestar_queues.worker.scheduler import Scheduler
from litestar_queues.worker.troubles import Trouble
from litestar_queues.worker.uptime import KnownStore
from litestar_queues.worker.watch import LoopWatch

__all__ = ("Liveness", "Reports")


@dataclass(frozen=True, slots=True)
class Reports:
    """Calls by which a worker hears what happens, in its own event loop.

    Attributes:
        lose: The store does not confirm these tasks as the worker's.
        kept: The store took a heartbeat. May be called from another thread.
        blocked: The event loop stood still, and moves again; with the task that kept it, if it was one.
        trouble: What is wrong with the worker; asked for, also from another thread.
        replaced: The store was emptied, or another one is in its place. No heartbeat and no maintenance follows.
    """

    lose: Callable[[list[Holding]], None]
    kept: Callable[[], None]
    blocked: Callable[[Holding | None], None]
    replaced: Callable[[StoreReplacedError], None]
    trouble: Callable[[], Trouble]


class Liveness:
    """Heartbeats, maintenance and schedules of one worker: in a thread of their own where that can be had, else in its loop.

    Args:
        service: Open.
        config: The worker's.
        name: The worker's.
        held: Everything the worker holds at the moment of the call. Called from the thread.
        reports: Called with what happens.
        hold: While it is held, no maintenance is done, and no schedule fires.
    """

    def __init__(
        self,
        service: QueueService,
        config: QueueConfig,
        *,
        name: str,
        held: Callable[[], Iterable[Holding]],
        reports: Reports,
        hold: Hold,
    ) -> None:
        self._service = service
        self._config = config
        self._name = name
        self._held = held
        self._reports = reports
        self._hold = hold
        self._aside: Aside | None = None
        self._beating: Heart | None = None
        self._known = KnownStore()
        self._is_replaced = False

    def start(self) -> list[Coroutine[Any, Any, None]]:
        """Start the thread, if there is to be one; what is to run in the worker's event loop."""
        operations = self._service.operations
        client = open_apart(operations.backend) if self._config.worker_heartbeat_thread else None
        reaper = self._reaper(operations, self._replaced)
        scheduler = self._scheduler()
        if client is None:
            runs: list[Coroutine[Any, Any, None]] = [
                self._heart(operations.touch_heartbeats, self._reports.lose).run(),
                reaper.run(),
            ]
            if scheduler is not None:
                leave = partial(scheduler.leave, operations.backend)
                runs.append(scheduler.run(partial(scheduler.look, operations), leave))
            return runs
        aside = self._aside = Aside(operations, client)
        watch = LoopWatch(
            self._held,
            self._reports.blocked,
            blocked_after=seconds(self._config.worker_blocked_after).total_seconds(),
            stale_after=seconds(self._config.worker_stale_after).total_seconds(),
        )

        def lose(lost: list[Holding]) -> None:
            aside.call_at_home(partial(self._reports.lose, lost))

        def replaced(error: StoreReplacedError) -> None:
            self._is_replaced = True  # at once: the event loop of everything else may be busy
            aside.call_at_home(partial(self._replaced, error))

        own_reaper = self._reaper(aside.operations, replaced)

        async def look() -> None:
            await (
                aside.tried()
            )  # else the first look would wait for the pool of everything else, which may be exhausted
            await aside.through_either("maintenance", own_reaper.look, reaper.look)

        runs_aside: list[Callable[[], Coroutine[Any, Any, None]]] = [
            aside.open,
            self._heart(aside.touch, lose, watch.keeps).run,
            partial(own_reaper.run, look),
            watch.run,
        ]
        if scheduler is not None:

            async def look_at_schedules() -> float:
                await aside.tried()
                return await aside.through_either(
                    "schedules", partial(scheduler.look, aside.operations), partial(scheduler.look, operations)
                )

            async def leave_schedules() -> None:
                await aside.through_either(
                    "schedules",
                    partial(scheduler.leave, aside.operations.backend),
                    partial(scheduler.leave, operations.backend),
                )

            runs_aside.append(partial(scheduler.run, look_at_schedules, leave_schedules))
        aside.start(*runs_aside)
        return [watch.move()]

    async def stop(self, longest: float) -> None:
        """End the thread, and wait for that, for so many seconds at most."""
        if self._aside is not None:
            await self._aside.stop(longest)

    def _replaced(self, error: StoreReplacedError) -> None:
        self._is_replaced = True
        self._reports.replaced(error)

    def _heart(
        self, touch: Touch, lose: Callable[[list[Holding]], None], keeps: Callable[[Holding], bool] = lambda _: True
    ) -> Heart:
        self._beating = Heart(
            touch,
            lambda: () if self._is_replaced else self._held(),
            lose,
            interval=seconds(self._config.worker_heartbeat_interval).total_seconds(),
            stale_after=seconds(self._config.worker_stale_after).total_seconds(),
            beats_for=keeps,
            on_kept=self._reports.kept,
        )
        return self._beating

    def _scheduler(self) -> Scheduler | None:
        if not self._config.scheduler:
            return None
        return Scheduler(
            self._service.clock,
            owner=self._name,
            interval=seconds(self._config.schedule_check_interval),
            hold=self._hold,
            sync=self._service.schedules.sync,
            is_over=lambda: self._is_replaced,
        )

    def _reaper(self, operations: QueueOperations, on_replaced: Callable[[StoreReplacedError], None]) -> Reaper:
        retention = self._config.retention
        return Reaper(
            operations,
            self._service.clock,
            owner=self._name,
            interval=seconds(self._config.maintenance_interval),
            stale_after=seconds(self._config.worker_stale_after),
            retention=None if retention is None else seconds(retention),
            hold=self._hold,
            on_replaced=on_replaced,
            is_silent=lambda: self._beating is not None and self._beating.is_silent,
            known=self._known,
            trouble=self._reports.trouble,
        )
