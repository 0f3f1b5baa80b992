"""Runs dispatch campaigns on several stores, one after the other, and prints what broke."""

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

from drill.dispatch.campaign import DispatchCampaign, Load
from drill.dispatch.rules import RULES, judge, numbers
from drill.places import open_place
from litestar_queues_matrix.servers import ServerUnavailable

__all__ = ("main",)

DEFAULT = ("aiosqlite", "asyncpg@postgresql18", "valkey@valkey9")
_SHOWN = 5


def main(arguments: Sequence[str]) -> int:
    """The exit code: 1 where a rule was broken, 2 where a store cannot be had."""
    parser = argparse.ArgumentParser(prog="drill/run.py --dispatch", description=__doc__)
    parser.add_argument("--on", default=",".join(DEFAULT), help="stores, by commas; %(default)s unless given")
    parser.add_argument("--tasks", type=int, default=300, help="how many, per store; %(default)s unless given")
    parser.add_argument(
        "--at-once", type=int, default=None, help="active tasks; 60, or 10 with --processes, unless given"
    )
    parser.add_argument("--processes", action="store_true", help="start the entrypoint for each task, and fork nothing")
    parser.add_argument("--every", type=float, default=1.0, help="seconds between two faults; %(default)g unless given")
    parser.add_argument("--seed", type=int, default=None, help="draws the fates, and the order and lengths of faults")
    options = parser.parse_args(arguments)
    at_once = options.at_once or (10 if options.processes else 60)
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
        how = "processes" if options.processes else "forks"
        _print(f"{name}, seed {seed}: {options.tasks:,} tasks by {how}, {at_once} at once")
        load = Load(options.tasks, at_once, not options.processes, options.every)
        try:
            broken = _run(DispatchCampaign(place, folder, seed, load))
        finally:
            place.close()
        if broken:
            _print(f"  journal and logs: {folder}")
            worst = max(worst, 1)
        else:
            shutil.rmtree(folder)
    return worst


def _run(campaign: DispatchCampaign) -> bool:
    began = time.monotonic()
    account = asyncio.run(campaign.run())
    _print(f"{campaign.place.name}: {time.monotonic() - began:.0f} s")
    for what, number in numbers(account).items():
        _print(f"  {what}: {number}")
    deaths = Counter(account.written.deaths.values())
    killed = sum(worker.killed for worker in campaign.crew.all)
    _print(f"  dispatchers killed: {killed}, of which at a step: {dict(deaths)}")
    _print(f"  faults: {dict(campaign.done)}")
    _print(f"  fates: {dict(campaign.box.fates)}")
    broken = list(judge(account))
    times = Counter(rule for rule, _ in broken)
    for rule, meaning in RULES.items():
        _print(f"  {rule}: {times[rule]}" + (f" ({meaning})" if times[rule] else ""))
        for text in [text for one, text in broken if one == rule][:_SHOWN]:
            _print(f"      {text}")
    return bool(broken)


def _print(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
