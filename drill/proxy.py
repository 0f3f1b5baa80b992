"""A TCP proxy between one worker and its server: it cuts connections, or swallows what is sent."""

from __future__ import annotations

import asyncio
from contextlib import suppress

__all__ = ("Proxy",)


class Proxy:
    """Between clients and a server on this machine.

    Attributes:
        port: Where it listens, once it was started.
    """

    def __init__(self, port: int) -> None:
        self._to = port
        self._serving: set[asyncio.Task[None]] = set()
        self._open = asyncio.Event()
        self._open.set()
        self._server: asyncio.Server | None = None
        self.port = 0

    async def start(self) -> None:
        """Listen on a free port of the loopback interface."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """End every connection, and listen no more."""
        if self._server is not None:
            self._server.close()
        self.cut()
        await asyncio.gather(*self._serving, return_exceptions=True)

    def cut(self) -> None:
        """End all connections; new ones are served."""
        for task in self._serving:
            task.cancel()

    def swallow(self) -> None:
        """Pass nothing on, with all connections open, until `release`."""
        self._open.clear()

    def release(self) -> None:
        """End the connections that were swallowed, and serve new ones."""
        self.cut()
        self._open.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  # it runs in one
        self._serving.add(task)
        try:
            with suppress(asyncio.CancelledError, OSError):
                await self._join(reader, writer)
        finally:
            writer.transport.abort()
            self._serving.discard(task)

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, to_there = await asyncio.open_connection("127.0.0.1", self._to)
        ways = [asyncio.ensure_future(self._pass(*way)) for way in ((reader, to_there), (there, writer))]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            to_there.transport.abort()
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(2**16):
            await self._open.wait()
            writer.write(data)
            await writer.drain()
