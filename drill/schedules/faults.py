"""What a drill of schedules does to the worker that leads."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from drill.crew import Worker
from drill.schedules.crew import LOOK

if TYPE_CHECKING:
    from drill.schedules.campaign import ScheduleCampaign

__all__ = ("FAULTS", "Fault")

_LOCK = 3 * LOOK
"""Seconds for which the lock of a leader lasts."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One kind of fault; `do` returns when it is over."""

    name: str
    do: Callable[[ScheduleCampaign, Worker], Coroutine[Any, Any, None]]
    needs_server: bool = False


async def _kill(_campaign: ScheduleCampaign, worker: Worker) -> None:
    worker.kill()


async def _leave(_campaign: ScheduleCampaign, worker: Worker) -> None:
    worker.process.send_signal(signal.SIGTERM)


async def _freeze(campaign: ScheduleCampaign, worker: Worker) -> None:
    worker.process.send_signal(signal.SIGSTOP)
    try:
        await asyncio.sleep(campaign.rng.uniform(1.3, 3) * _LOCK)
    finally:
        worker.process.send_signal(signal.SIGCONT)


async def _cut(campaign: ScheduleCampaign, worker: Worker) -> None:
    for _ in range(10):
        if worker.proxy is not None:
            worker.proxy.cut()
        await asyncio.sleep(campaign.rng.uniform(0.02, 0.3))


async def _swallow(campaign: ScheduleCampaign, worker: Worker) -> None:
    if worker.proxy is not None:
        worker.proxy.swallow()
        try:
            await asyncio.sleep(campaign.rng.uniform(1.3, 3) * _LOCK)
        finally:
            worker.proxy.release()


async def _set_clock(campaign: ScheduleCampaign, worker: Worker) -> None:
    campaign.crew.set_clock(worker)


async def _restart(campaign: ScheduleCampaign, _worker: Worker) -> None:
    server = campaign.place.server
    if server is not None:
        await asyncio.to_thread(server.kill)
        await asyncio.sleep(campaign.rng.choice((0.2, 4.0)))
        await asyncio.to_thread(server.restart)


FAULTS = (
    Fault("kill", _kill),
    Fault("stop and continue", _freeze),
    Fault("SIGTERM", _leave),
    Fault("set the clock", _set_clock, needs_server=True),
    Fault("cut connections", _cut, needs_server=True),
    Fault("black hole", _swallow, needs_server=True),
    Fault("restart of the server", _restart, needs_server=True),
)
"""Each is done to the worker that leads at that moment."""
