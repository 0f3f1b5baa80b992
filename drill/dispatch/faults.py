"""What a drill does to dispatchers, to executions, and to the service between them, beside the fates of single calls."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeAlias

from drill.dispatch.reports import WINDOW

if TYPE_CHECKING:
    from drill.dispatch.campaign import DispatchCampaign

__all__ = ("FAULTS",)

_LONG = 2 * WINDOW.stale_after
"""Seconds: longer than the window."""

Fault: TypeAlias = "Callable[[DispatchCampaign], Coroutine[Any, Any, None]]"


async def _kill_dispatcher(drill: DispatchCampaign) -> None:
    if worker := await drill.pick():
        worker.kill()


async def _kill_caller(drill: DispatchCampaign) -> None:
    """Kill the dispatcher that waits for the reply to run_job, whose execution has started."""
    if await drill.pick() is None:
        return
    taken = drill.box.dice.next(reply="held")
    await taken.wait()
    caller = drill.crew.by_pid(drill.box.caller)
    if caller is not None:
        caller.kill()
    drill.box.cloud.replies.set()
    await asyncio.sleep(0)
    drill.box.cloud.replies.clear()


async def _freeze_dispatcher(drill: DispatchCampaign) -> None:
    worker = await drill.pick()
    if worker is None:
        return
    worker.process.send_signal(signal.SIGSTOP)
    try:
        await asyncio.sleep(_LONG)
    finally:
        worker.process.send_signal(signal.SIGCONT)


async def _refuse(drill: DispatchCampaign) -> None:
    drill.box.cloud.refuse = drill.rng.choice(("RESOURCE_EXHAUSTED", "UNAVAILABLE"))
    try:
        await asyncio.sleep(drill.rng.uniform(0.5, 3))
    finally:
        drill.box.cloud.refuse = None


async def _restart(drill: DispatchCampaign) -> None:
    try:
        await drill.box.cloud.go_away()
        await asyncio.sleep(drill.rng.uniform(0.1, 3))
    finally:
        await drill.box.cloud.come_back()


async def _kill_container(drill: DispatchCampaign) -> None:
    if running := drill.box.running:
        drill.box.kill(drill.rng.choice(running))


async def _end_execution(drill: DispatchCampaign) -> None:
    if running := drill.box.running:
        drill.box.end(drill.rng.choice(running))


async def _pause_container(drill: DispatchCampaign) -> None:
    if running := await drill.in_functions() or drill.box.running:
        await drill.box.pause(drill.rng.choice(running), _LONG)


async def _cancel_tasks(drill: DispatchCampaign) -> None:
    for _ in range(3):
        await drill.cancel_one()
        await asyncio.sleep(drill.rng.uniform(0, 0.3))


FAULTS: dict[str, Fault] = {
    "kill a dispatcher": _kill_dispatcher,
    "kill a dispatcher that waits for a reply": _kill_caller,
    "freeze a dispatcher": _freeze_dispatcher,
    "refuse every call": _refuse,
    "restart the service": _restart,
    "kill a container": _kill_container,
    "end an execution": _end_execution,
    "pause a container": _pause_container,
    "cancel tasks": _cancel_tasks,
}
"""Each fault by its name; it returns when it is over."""
