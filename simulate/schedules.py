"""The schedules of a run, and the account of their fires, which is judged by the rules of the drill."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

from drill.schedules.rules import Account, Began, Kept
from drill.schedules.rules import judge as judge_account

from litestar_queues import QueueService, TaskRegistry, current_task, task
from litestar_queues.errors import QueueError
from litestar_queues.schedules.declaring import schedule
from litestar_queues.schedules.marks import fire_of, is_occurrence, schedule_of
from simulate.processes import Process, World
from simulate.rules import Violation

__all__ = ("BEGINNINGS", "Planned", "draw_schedules", "judge_schedules", "late", "pause_all", "registering")

NAME = "simulate.occur"
BEGINNINGS = tuple(
    datetime.fromisoformat(text).replace(tzinfo=UTC)
    for text in (
        "2030-03-31T00:20",  # 40 minutes later Berlin's clock is put forward
        "2030-10-27T00:20",
        "2030-03-10T06:20",  # New York
        "2030-11-03T05:20",
        "2030-10-05T14:50",  # Lord Howe, by half an hour
        "2030-04-06T14:20",
    )
)
"""Times of the store at which a run begins."""
_ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe")
_CRONS = (
    "* * * * *",
    "*/5 * * * *",
    "0-59/4 1-4 * * *",
    "30 * * * *",
    "15,45 1,2,3 * * *",
    "*/20 * * * * *",
    "10 5 */2 * * *",
)
_CLOSE = timedelta(seconds=35)
"""A process whose first reading of the clock hung for 60 seconds, and came then, is half of that ahead."""


@dataclass(frozen=True, slots=True)
class Planned:
    """One schedule of a run; its occurrences take `length` seconds."""

    name: str
    length: float
    options: dict[str, Any]


def draw_schedules(rng: Random, count: int) -> list[Planned]:
    """So many schedules."""
    return [_draw_one(rng, f"s{number}") for number in range(count)]


def _draw_one(rng: Random, name: str) -> Planned:
    options: dict[str, Any] = {
        "overlap": rng.choice(("allow", "allow", "skip", "queue")),
        "catch_up": rng.choice(("all", "all", "once", "skip")),
        "catch_up_limit": 1000,
        "misfire_grace": rng.choice((2, 10, 60)),
    }
    if rng.random() < 0.5:
        options["interval"] = rng.choice((7, 20, 60, 300, 1800))
        if rng.random() < 0.3:
            options["jitter"] = options["interval"] / 2
    else:
        options["cron"], options["timezone"] = rng.choice(_CRONS), rng.choice(_ZONES)
        if rng.random() < 0.3:
            options["jitter"] = 10
    length = 0.0 if options["overlap"] == "queue" else rng.choice((0.0, 0.0, rng.uniform(1, 30)))
    return Planned(name, length, options)


def registering(planned: Sequence[Planned]) -> Callable[[Process, TaskRegistry], None]:
    """What gives each process the function of the occurrences, and the schedules."""

    def register(process: Process, registry: TaskRegistry) -> None:
        journal = process.world.journal

        async def occur(length: float) -> None:
            execution = journal.begin(current_task().record, process.name)
            try:
                await asyncio.sleep(length)
            except asyncio.CancelledError:
                journal.end(execution, "interrupted")
                raise
            journal.end(execution, "ok")

        defined = task(NAME, registry=registry, max_recoveries=1000)(occur)
        for one in planned:
            schedule(defined, one.length, name=one.name, registry=registry, **one.options)

    return register


def late(world: World, until: datetime) -> list[str]:
    """The schedules with a fire that is due until then, and has not been decided."""
    found: list[str] = []
    for name, versions in world.store.schedules.items():
        fire = versions[-1].next_fire
        if fire is not None and fire.at <= until:
            found.append(name)
    return found


async def pause_all(service: QueueService, planned: Sequence[Planned]) -> None:
    """Let no schedule fire any more."""
    for one in planned:
        while True:
            try:
                await service.schedules.pause(one.name)
            except QueueError:  # a reply that was lost, or it moves too fast
                await asyncio.sleep(1)
            else:
                break


def judge_schedules(
    world: World, planned: Sequence[Planned], until: datetime, stopped: Sequence[str]
) -> list[Violation]:
    """Every rule of fires that the run broke."""
    store, found = world.store, list[Violation]()
    known = {one.name for one in planned if one.name in store.schedules}
    found += [
        Violation("fires", f"stopped: {one.name} never came into the store") for one in planned if one.name not in known
    ]
    kept: dict[str, Kept] = {}
    for name in known:
        kept[name] = Kept()
        for version in store.schedules[name]:
            kept[name].see(version)
    tasks = {id_: record for id_, record in store.tasks.items() if is_occurrence(record)}
    began = [
        Began(one.id, schedule_of(record) or "", fire, one.began)
        for one in world.journal.executions
        if (record := tasks.get(one.id)) is not None and (fire := fire_of(record)) is not None
    ]
    account = Account(
        before={name: store.schedules[name][0] for name in known},
        after={name: store.schedules[name][-1] for name in known},
        until=until,
        kept=kept,
        tasks=tasks,
        began=began,
        failing=frozenset(),
        since=store.begin,
        stopped=stopped,
        close=_CLOSE,
    )
    return found + [Violation("fires", f"{rule}: {text}") for rule, text in judge_account(account)]
