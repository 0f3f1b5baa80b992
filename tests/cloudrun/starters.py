"""What a container is: a process of a command, or the fork of a process that has everything imported."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

__all__ = ("Container", "ForkStarter", "ProcessStarter", "Starter")


class Container(Protocol):
    """A started container. Its processes are a group of their own."""

    pid: int

    async def wait(self) -> int:
        """Its exit code; the negative number of a signal."""
        ...


class Starter(Protocol):
    """Starts containers."""

    async def start(self, environment: Mapping[str, str], log: Path) -> Container:
        """Start one with this environment, and nothing else of this process's. It writes into the log."""
        ...

    async def close(self) -> None:
        """Release what it holds."""
        ...


class _Process:
    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.pid = process.pid
        self._process = process

    async def wait(self) -> int:
        return await self._process.wait()


class ProcessStarter:
    """Starts a command, like the one of a job's container."""

    def __init__(self, command: Sequence[str]) -> None:
        self._command = command

    async def start(self, environment: Mapping[str, str], log: Path) -> Container:
        with log.open("ab") as output:
            process = await asyncio.create_subprocess_exec(
                *self._command,
                env=dict(environment),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        return _Process(process)

    async def close(self) -> None: ...


class _Fork:
    def __init__(self, pid: int, code: asyncio.Future[int]) -> None:
        self.pid = pid
        self._code = code

    async def wait(self) -> int:
        return await asyncio.shield(self._code)


class ForkStarter:
    """Forks a process that has imported what containers need: thousands of containers, at some milliseconds each.

    Args:
        target: "module:function", which is called without arguments, and returns an exit code or exits.
        preload: Modules to import before the first fork. They MUST NOT start threads or an event loop.
    """

    def __init__(self, target: str, preload: Sequence[str] = ()) -> None:
        self._arguments = [target, *preload]
        self._server: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self._pids: dict[int, asyncio.Future[int]] = {}
        self._codes: dict[int, asyncio.Future[int]] = {}
        self._starting = asyncio.Lock()
        self._asked = 0

    async def start(self, environment: Mapping[str, str], log: Path) -> Container:
        async with self._starting:
            server = await self._serving()
        self._asked += 1
        number, loop = self._asked, asyncio.get_running_loop()
        pid, code = loop.create_future(), loop.create_future()
        self._pids[number], self._codes[number] = pid, code
        assert server.stdin is not None
        server.stdin.write(json.dumps([number, dict(environment), str(log)]).encode() + b"\n")
        await server.stdin.drain()
        return _Fork(await pid, code)

    async def close(self) -> None:
        server, self._server = self._server, None
        if server is not None and server.stdin is not None:
            server.stdin.close()
            await server.wait()
        if self._reading is not None:
            await self._reading

    async def _serving(self) -> asyncio.subprocess.Process:
        if self._server is None:
            self._server = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "cloudrun.forkserver", *self._arguments,
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, env=_with_tests(), limit=2**24,
                start_new_session=True,
            )  # fmt: skip
            self._reading = asyncio.get_running_loop().create_task(self._read(self._server))
        return self._server

    async def _read(self, server: asyncio.subprocess.Process) -> None:
        assert server.stdout is not None
        async for line in server.stdout:
            what, number, value = json.loads(line)
            if what == "pid":
                self._pids.pop(number).set_result(value)
            else:
                self._codes.pop(number).set_result(value)
        for future in (*self._pids.values(), *self._codes.values()):
            if not future.done():
                future.set_exception(RuntimeError("the fork server has ended: its errors are on standard error"))
                future.exception()


def _with_tests() -> dict[str, str]:
    tests = str(Path(__file__).parents[1])
    return {**os.environ, "PYTHONPATH": os.pathsep.join([tests, os.environ.get("PYTHONPATH", "")])}
