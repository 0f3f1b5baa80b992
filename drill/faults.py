"""Everything that a drill does to the workers and their store."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from drill import work
from drill.crew import SHORT

if TYPE_CHECKING:
    from drill.campaign import Campaign

__all__ = ("FAULTS", "Fault")

_LONG = 1.5 * SHORT.stale_after
"""Seconds: longer than the shorter window."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One kind of fault; `do` returns when it is over."""

    name: str
    do: Callable[[Campaign], Awaitable[None]]
    needs_server: bool = False


async def _kill(campaign: Campaign) -> None:
    campaign.pick().kill()
    await asyncio.sleep(1)


async def _freeze(campaign: Campaign) -> None:
    worker = campaign.pick()
    span = worker.begin_trouble()
    worker.process.send_signal(signal.SIGSTOP)
    await asyncio.sleep(_LONG)
    worker.process.send_signal(signal.SIGCONT)
    span[1] = campaign.now


async def _cut(campaign: Campaign) -> None:
    proxy = campaign.pick().proxy
    for _ in range(5):
        if proxy is not None:
            proxy.cut()
        await asyncio.sleep(campaign.rng.uniform(0.05, 0.5))


async def _swallow(campaign: Campaign) -> None:
    worker = campaign.pick()
    if worker.proxy is not None:
        span = worker.begin_trouble()
        worker.proxy.swallow()
        await asyncio.sleep(_LONG)
        worker.proxy.release()
        span[1] = campaign.now


async def _refuse(campaign: Campaign) -> None:
    for refusal in campaign.place.refusals:
        campaign.say(f"  the store refuses: {refusal.name}")
        try:
            await asyncio.to_thread(refusal.begin)
            await asyncio.sleep(campaign.rng.uniform(1, _LONG))
        finally:
            await asyncio.to_thread(refusal.end)
        await asyncio.sleep(2)


async def _outage(campaign: Campaign, seconds: float) -> None:
    server = campaign.place.server
    if server is not None:
        await asyncio.to_thread(server.kill)
        await asyncio.sleep(seconds)
        await asyncio.to_thread(server.restart)


async def _restart(campaign: Campaign) -> None:
    await _outage(campaign, 0.2)


async def _stay_away(campaign: Campaign) -> None:
    await _outage(campaign, _LONG)


async def _pause(campaign: Campaign) -> None:
    server = campaign.place.server
    if server is not None:
        await asyncio.to_thread(server.pause)
        await asyncio.sleep(_LONG)
        await asyncio.to_thread(server.resume)


async def _block(campaign: Campaign) -> None:
    await campaign.enqueue([work.block.call(_LONG)] * 2)
    await asyncio.sleep(_LONG + 2)


async def _windows(campaign: Campaign) -> None:
    await campaign.enqueue([work.wait.call(campaign.rng.uniform(4, 9)) for _ in range(20)])
    await asyncio.sleep(6)


async def _terminate(campaign: Campaign) -> None:
    for _ in range(4):
        for worker in campaign.crew.now:
            worker.process.send_signal(signal.SIGTERM)
        await asyncio.sleep(campaign.rng.uniform(0.1, 2))


async def _burst(campaign: Campaign) -> None:
    seconds = 2 + campaign.burst / 2000  # long enough to enqueue all of them before
    due = work.wait.using(run_after=datetime.now(UTC) + timedelta(seconds=seconds))
    for first in range(0, campaign.burst, 500):
        await campaign.enqueue([due.call(0) for _ in range(first, min(first + 500, campaign.burst))])
    await asyncio.sleep(seconds)


async def _fail(campaign: Campaign) -> None:
    count = max(campaign.burst // 10, 1)
    for first in range(0, count, 500):
        await campaign.enqueue([work.fail.call(n) for n in range(first, min(first + 500, count))], fails=True)


async def _eat(campaign: Campaign) -> None:
    await campaign.enqueue([work.eat.call()], fails=True)
    await asyncio.sleep(2)


FAULTS = (
    Fault("kill", _kill),
    Fault("stop and continue", _freeze),
    Fault("cut connections", _cut, needs_server=True),
    Fault("black hole", _swallow, needs_server=True),
    Fault("refusals", _refuse),
    Fault("restart of the server", _restart, needs_server=True),
    Fault("outage", _stay_away, needs_server=True),
    Fault("silent server", _pause, needs_server=True),
    Fault("blocked loop", _block),
    Fault("two windows", _windows),
    Fault("SIGTERM storm", _terminate),
    Fault("due at once", _burst),
    Fault("fail at once", _fail),
    Fault("memory", _eat),
)
