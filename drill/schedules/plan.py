"""The schedules of a drill, and the task that each fire of them enqueues."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from drill.journal import write
from drill.work import OwnError, written
from litestar_queues import current_task, task
from litestar_queues.schedules.declaring import schedule
from litestar_queues.schedules.marks import FIRE, NAME

__all__ = ("Planned", "declare", "draw", "occur")

_INTERVALS = (1, 2, 3, 5, 7, 10, 15, 20, 30)
_CRONS = ("*/2 * * * * *", "*/5 * * * * *", "1-59/7 * * * * *", "0,20,40 * * * * *", "10-50/3 * * * * *")
_ZONES = ("UTC", "Europe/Berlin", "Asia/Kathmandu", "Australia/Lord_Howe")
_LENGTHS = (0.0, 0.0, 0.0, 0.1, 1.5, 4.0)
_GRACES = (2, 2, 10, 60)


@dataclass(frozen=True, slots=True)
class Planned:
    """A schedule of a drill.

    Attributes:
        name: Its name.
        length: Seconds that each occurrence takes.
        fails: Whether each occurrence fails.
        in_code: Whether the workers declare it; otherwise the campaign makes it at run time.
        options: Those of the schedule.
    """

    name: str
    length: float = 0.0
    fails: bool = False
    in_code: bool = False
    options: dict[str, Any] = field(default_factory=dict[str, Any])


def draw(seed: int, count: int) -> Sequence[Planned]:
    """So many schedules; the same for each process that has the seed."""
    rng = Random(seed)
    return [_draw_one(rng, f"s{number:04}") for number in range(count)]


def _draw_one(rng: Random, name: str) -> Planned:
    options: dict[str, Any] = {"misfire_grace": rng.choice(_GRACES), "catch_up_limit": 1000}
    if rng.random() < 0.5:
        interval = rng.choice(_INTERVALS)
        options["interval"] = interval
        if rng.random() < 0.3:
            options["jitter"] = interval / 2
    else:
        options["cron"] = rng.choice(_CRONS)
        options["timezone"] = rng.choice(_ZONES)
        if rng.random() < 0.3:
            options["jitter"] = 1
    options["overlap"] = rng.choice(("allow", "allow", "skip", "queue"))
    options["catch_up"] = rng.choice(("all", "all", "once", "skip"))
    # What waits for the end of the last occurrence has to be done faster than it comes.
    length = 0.0 if options["overlap"] == "queue" else rng.choice(_LENGTHS)
    return Planned(name, length, fails=rng.random() < 0.1, in_code=rng.random() < 0.5, options=options)


@task("drill.occur", max_recoveries=100)
async def occur(length: float, *, fails: bool = False) -> None:
    """Write down which fire this is, and take so long."""
    context = current_task()
    record = context.record
    with written("occurrence"):
        write("fires", id=record.id, schedule=context.metadata[NAME], fire=context.metadata[FIRE])
        await asyncio.sleep(length)
        if fails:
            raise OwnError(record.id)


def declare(planned: Sequence[Planned]) -> None:
    """Declare the schedules that the code is to have."""
    for one in planned:
        if one.in_code:
            schedule(occur, one.length, fails=one.fails, name=one.name, **one.options)
