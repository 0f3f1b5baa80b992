"""A box in a process of its own. Writes `[address, control port]`, and serves until its standard input ends."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys

from cloudrun.control import serve_control
from cloudrun.server import CloudRun
from cloudrun.starters import ForkStarter, ProcessStarter


async def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m cloudrun", description=__doc__)
    parser.add_argument("--command", type=json.loads, default=[sys.executable, "-c", ""], help="as JSON: a list")
    parser.add_argument("--environment", type=json.loads, default={}, help="the variables of the jobs, as JSON")
    parser.add_argument("--fork", metavar="MODULE:FUNCTION", help="fork this, instead of starting the command")
    parser.add_argument("--preload", action="append", default=[], metavar="MODULE", help="imported before forks")
    parser.add_argument("--job", action="append", help="a job that exists; all do, unless given")
    parser.add_argument("--max-retries", type=int, default=0)
    parser.add_argument("--grace", type=float, default=10.0)
    parser.add_argument("--port", type=int, default=0)
    given = parser.parse_args()
    starter = ForkStarter(given.fork, given.preload) if given.fork else ProcessStarter(given.command)
    cloud = CloudRun(
        starter=starter, environment=given.environment, jobs=given.job, max_retries=given.max_retries,
        grace=given.grace, port=given.port,
    )  # fmt: skip
    async with cloud, await serve_control(cloud) as control:
        sys.stdout.write(json.dumps([cloud.address, control.sockets[0].getsockname()[1]]) + "\n")
        sys.stdout.flush()
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main())
