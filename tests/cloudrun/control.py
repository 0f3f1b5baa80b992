"""How a test speaks to a box in another process: lines of JSON on a socket."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

from cloudrun.faults import Fault
from cloudrun.server import CloudRun

__all__ = ("BoxProcess", "serve_control")


async def serve_control(cloud: CloudRun) -> asyncio.Server:
    """Take commands for the box, from this machine."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async for line in reader:
            command, arguments = json.loads(line)
            reply = await _do(cloud, command, arguments)
            writer.write(json.dumps(reply).encode() + b"\n")
            await writer.drain()
        writer.close()

    return await asyncio.start_server(answer, "127.0.0.1", 0)


async def _do(cloud: CloudRun, command: str, arguments: dict[str, Any]) -> Any:
    match command:
        case "plan":
            cloud.plan.then(Fault(**arguments["fault"]), times=arguments["times"])
        case "always":
            cloud.plan.rest = Fault(**arguments["fault"])
        case "clear":
            cloud.plan.clear()
        case "go_away":
            await cloud.go_away()
        case "come_back":
            await cloud.come_back()
        case "started":
            await cloud.started(arguments["count"])
        case "reached":
            await cloud.execution(arguments["ref"]).reached(arguments["point"])
        case "release":
            cloud.execution(arguments["ref"]).release(arguments["point"])
        case "signal":
            cloud.execution(arguments["ref"]).signal(signal.Signals(arguments["number"]))
        case "kill":
            cloud.execution(arguments["ref"]).kill()
        case "ended":
            await cloud.execution(arguments["ref"]).ended.wait()
        case "all_ended":
            await cloud.all_ended()
        case "executions":
            return [
                {"name": one.name, "state": one.state, "exits": one.exits, "overrides": one.overrides, "log": one.log}
                for one in cloud.executions.values()
            ]
        case _:
            raise ValueError(command)
    return None


class BoxProcess:
    """A box in a process of its own; a context manager. It ends with the test, however that ends.

    Args:
        command: What containers run.
        environment: The variables of the jobs.
        options: More options of `python -m cloudrun`.
    """

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str] | None = None, options: Sequence[str] = ()
    ) -> None:
        self._arguments = [
            "--command", json.dumps(list(command)), "--environment", json.dumps(dict(environment or {})), *options,
        ]  # fmt: skip
        self._process: asyncio.subprocess.Process | None = None
        self._control = 0
        self.address = ""
        """What a dispatcher's channel leads to."""

    async def __aenter__(self) -> Self:
        tests = str(Path(__file__).parents[1])
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "cloudrun", *self._arguments,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([tests, os.environ.get("PYTHONPATH", "")])},
        )  # fmt: skip
        assert self._process.stdout is not None
        self.address, self._control = json.loads(await self._process.stdout.readline())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.close()
        await self._process.wait()

    async def plan(self, fault: Fault, times: int = 1) -> None:
        """Plan the fate of the next calls of RunJob."""
        await self.do("plan", fault=asdict(fault), times=times)

    async def executions(self) -> list[dict[str, Any]]:
        """The name, state, exit codes, overrides and log of every execution."""
        found: list[dict[str, Any]] = await self.do("executions")
        return found

    async def do(self, command: str, **arguments: Any) -> Any:
        """Give a command (those of `_do`), and return the reply when it was done."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._control, limit=2**26)
        try:
            writer.write(json.dumps([command, arguments]).encode() + b"\n")
            await writer.drain()
            return json.loads(await reader.readline())
        finally:
            writer.close()
