"""Runs campaigns on several stores, one after the other, and prints what broke."""

from __future__ import annotations

import argparse
import asyncio
import logging
import secrets
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from drill.campaign import Campaign, Verdict
from drill.faults import FAULTS
from drill.places import DEFAULT, open_place
from drill.rules import RULES
from litestar_queues_matrix.servers import ServerUnavailable

__all__ = ("main",)

_SHOWN = 5


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 1 where a rule was broken, 2 where a store that was named cannot be had."""
    parser = argparse.ArgumentParser(prog="drill/run.py", description=__doc__)
    parser.add_argument("--on", help=f"stores, by commas; {','.join(DEFAULT)}, as far as they are here, unless given")
    parser.add_argument("--minutes", type=float, default=3.0, help="of faults, per store")
    parser.add_argument("--burst", type=int, default=5000, help="tasks that come due at once; a tenth fails at once")
    parser.add_argument("--seed", type=int, default=None, help="draws the order and the lengths of the faults")
    parser.add_argument("--only", action="append", choices=[fault.name for fault in FAULTS], help="this fault alone")
    options = parser.parse_args(arguments)
    seed = secrets.randbelow(10**6) if options.seed is None else options.seed
    worst = 0
    for name in options.on.split(",") if options.on else DEFAULT:
        folder = Path(tempfile.mkdtemp(prefix="drill-"))
        try:
            place = open_place(name, folder)
        except ServerUnavailable as error:
            _print(f"{name}: not run: {error}")
            shutil.rmtree(folder)
            worst = max(worst, 2 if options.on else 0)
            continue
        logging.basicConfig(filename=folder / "producer.log", level=logging.WARNING, force=True)
        try:
            _print(f"{name}, seed {seed}: {options.minutes:g} minutes of faults")
            campaign = Campaign(place, folder, seed, options.burst)
            faults = [fault for fault in FAULTS if options.only is None or fault.name in options.only]
            verdict = asyncio.run(campaign.run(60 * options.minutes, faults))
        finally:
            place.close()
        if _report(name, seed, verdict, folder):
            worst = max(worst, 1)
        else:
            shutil.rmtree(folder)
    return worst


def _report(name: str, seed: int, verdict: Verdict, folder: Path) -> bool:
    faults = ", ".join(f"{kind} {count}" for kind, count in verdict.faults.items())
    _print(f"{name}, seed {seed}: {verdict.tasks:,} tasks, {verdict.executions:,} executions; faults: {faults}")
    times = Counter(rule for rule, _ in verdict.broken)
    for rule, meaning in RULES.items():
        _print(f"  {rule}: {times[rule]}" + (f" ({meaning})" if times[rule] else ""))
        for text in [text for broken, text in verdict.broken if broken == rule][:_SHOWN]:
            _print(f"      {text}")
    if verdict.broken:
        _print(f"  journal and logs: {folder}")
    return bool(verdict.broken)


def _print(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
