"""Runs campaigns of schedules on several stores, one after the other, and prints what broke."""

from __future__ import annotations

import argparse
import asyncio
import logging
import secrets
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from drill.journal import read
from drill.places import open_place
from drill.schedules.campaign import Load, ScheduleCampaign
from drill.schedules.faults import FAULTS, Fault
from drill.schedules.rules import RULES, ends, judge, lateness
from litestar_queues_matrix.servers import ServerUnavailable

__all__ = ("main",)

DEFAULT = ("aiosqlite", "asyncpg@postgresql18", "redis@valkey9", "asyncmy@mariadb10.11")
_SHOWN = 5


def main(arguments: Sequence[str]) -> int:
    """The exit code: 1 where a rule was broken, 2 where a store cannot be had."""
    parser = argparse.ArgumentParser(prog="drill/run.py --schedules", description=__doc__)
    parser.add_argument("--on", default=",".join(DEFAULT), help="stores, by commas; %(default)s unless given")
    parser.add_argument("--minutes", type=float, default=2.0, help="of faults, per store; %(default)g unless given")
    parser.add_argument("--schedules-count", type=int, default=200, help="how many; %(default)s unless given")
    parser.add_argument("--workers", type=int, default=10, help="how many processes; %(default)s unless given")
    parser.add_argument("--every", type=float, default=4.0, help="seconds between two faults; %(default)g unless given")
    parser.add_argument("--only", action="append", choices=[fault.name for fault in FAULTS], help="this fault alone")
    parser.add_argument("--seed", type=int, default=None, help="draws the schedules, and the order of the faults")
    options = parser.parse_args(arguments)
    worst = 0
    for name in options.on.split(","):
        seed = secrets.randbelow(10**6) if options.seed is None else options.seed
        folder = Path(tempfile.mkdtemp(prefix="drill-"))
        try:
            place = open_place(name, folder)
        except ServerUnavailable as error:
            _print(f"{name}: not run: {error}")
            shutil.rmtree(folder)
            worst = max(worst, 2)
            continue
        logging.basicConfig(filename=folder / "producer.log", level=logging.WARNING, force=True)
        load = Load(options.schedules_count, options.workers, 60 * options.minutes, options.every)
        _print(f"{name}, seed {seed}: {load.workers} workers, {load.schedules} schedules, {load.seconds:g} s of faults")
        faults = tuple(fault for fault in FAULTS if options.only is None or fault.name in options.only)
        try:
            campaign = ScheduleCampaign(place, folder, seed, load)
            if campaign.crew.clocks is None:
                _print("  every wall clock is right: the store has no time of its own, or there is no compiler (cc)")
            broken = _run(campaign, faults)
        finally:
            place.close()
        if broken:
            _print(f"  journal and logs: {folder}")
            worst = max(worst, 1)
        else:
            shutil.rmtree(folder)
    return worst


def _run(campaign: ScheduleCampaign, faults: tuple[Fault, ...]) -> bool:
    began = time.monotonic()
    account = asyncio.run(campaign.run(faults))
    times, crew = lateness(account), campaign.crew
    every = sum(len(account.fires_of(name)) for name in account.before)
    _print(f"{campaign.place.name}: {time.monotonic() - began:.0f} s")
    _print(f"  fires decided: {every:,}; tasks: {len(account.tasks):,}, {dict(ends(account))}")
    calls = len(account.began)
    _print(f"  calls of functions: {calls:,}, of which again: {calls - len({one.id for one in account.began}):,}")
    skipped = Counter[str]()
    for kept in account.kept.values():
        for entry in kept.entries.values():
            skipped[entry.why] += entry.fires
    _print(f"  fires without a task: {dict(skipped)}")
    if times:
        shares = ", ".join(f"p{share:g} {times[int(len(times) * share / 100)]:.3f} s" for share in (50, 90, 99, 99.9))
        _print(f"  lateness: first {times[0]:.3f} s, {shares}, last {times[-1]:.3f} s")
    deaths = Counter(read(crew.journal).deaths.values())
    killed = sum(worker.killed for worker in crew.all)
    _print(
        f"  leaders: {len(campaign.leaders)}, of which lost by a fault: {dict(campaign.done)}, at a step: {dict(deaths)}"
    )
    _print(f"  workers: {len(crew.all)}, killed: {killed}; clocks put wrong: {crew.wrong}")
    broken = list(judge(account))
    counts = Counter(rule for rule, _ in broken)
    for rule, meaning in RULES.items():
        _print(f"  {rule}: {counts[rule]}" + (f" ({meaning})" if counts[rule] else ""))
        for text in [text for one, text in broken if one == rule][:_SHOWN]:
            _print(f"      {text}")
    return bool(broken)


def _print(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
