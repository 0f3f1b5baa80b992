"""Runs a worker process for some minutes, and fails where it grows: `python soak/run.py [--minutes 10] [--on asyncpg]`.

Every sample is a row of a table. The exit code is 1 where a line that is fitted over the second half of the run rises by
more than its bound, or where the worker ends or does nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

SAMPLES = 40
_SILENCE = 60.0
"""Seconds beyond the time of a sample after which the worker counts as stuck."""


def say(text: str) -> None:
    """A line of the report."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


async def sampled(name: str, config: dict[str, Any], minutes: float) -> list[dict[str, float]]:
    """Run the worker, and take samples of it.

    Raises:
        RuntimeError: The worker ended, or was silent.
    """
    from soak.places import connections  # noqa: PLC0415  # the path is set only now
    from soak.verdict import COLUMNS  # noqa: PLC0415

    pause = minutes * 60 / SAMPLES
    program = str(Path(__file__).parent / "worker.py")
    process = await asyncio.create_subprocess_exec(
        sys.executable, program, name, json.dumps(config), str(pause), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None  # noqa: S101  # a pipe was asked for
    samples: list[dict[str, float]] = []
    began = time.monotonic()
    say("  seconds     tasks" + "".join(f"{column:>13}" for column in COLUMNS))
    try:
        while len(samples) < SAMPLES:
            async with asyncio.timeout(pause + _SILENCE):
                line = await process.stdout.readline()
            if not line:
                raise RuntimeError("the worker ended")
            sample: dict[str, float] = {"seconds": time.monotonic() - began, **json.loads(line)}
            counted = await asyncio.to_thread(connections, config)
            if counted is not None:
                sample["connections"] = counted
            samples.append(sample)
            cells = "".join(f"{sample[one]:>13,.0f}" if one in sample else f"{'-':>13}" for one in COLUMNS)
            say(f"{sample['seconds']:>9.1f}{sample['tasks']:>10,.0f}{cells}")
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
    return samples


async def main(name: str, minutes: float) -> int:
    """The soak's exit code."""
    from soak.places import target_of  # noqa: PLC0415  # the path is set only now
    from soak.verdict import BOUNDS, growths  # noqa: PLC0415

    target = target_of(name)
    config = target.config(os.environ)
    say(f"{name}: {minutes:g} minutes, on {config.get('server', 'a file')}")
    try:
        samples = await sampled(name, config, minutes)
    finally:
        await target.reset(config)
    grown = growths(samples)
    for one in grown:
        verdict = "TOO MUCH" if one.is_too_much else "ok"
        say(f"{one.column:>12}: {one.rise:+,.0f} over the second half; at most {BOUNDS[one.column]:,.0f}: {verdict}")
    worked = samples[-1]["tasks"] - samples[len(samples) // 2]["tasks"]
    if not worked:
        say("no task ran in the second half")
    return int(not worked or any(one.is_too_much for one in grown))


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--on", default="aiosqlite", help="a target: aiosqlite, sqlite, asyncpg, asyncpg@postgresql15")
    given = parser.parse_args()
    sys.exit(asyncio.run(main(given.on, given.minutes)))
