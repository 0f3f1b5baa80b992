"""Counts round trips to a server, whatever the driver: how often a client speaks after the server has spoken."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit, urlunsplit

__all__ = ("CountingProxy",)


class CountingProxy:
    """A port of its own in front of a server; `async with CountingProxy(url) as proxy`.

    Args:
        url: The server's.
    """

    def __init__(self, url: str) -> None:
        self._target = urlsplit(url)
        self.url = url
        self.round_trips = 0
        self._pipes: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        user = self._target.netloc.rpartition("@")[0]
        self.url = urlunsplit(self._target._replace(netloc=f"{user}@127.0.0.1:{port}"))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.close()
        for pipe in self._pipes:
            pipe.cancel()
        await asyncio.gather(*self._pipes, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there = await asyncio.open_connection(self._target.hostname, self._target.port)
        spoken = [True]
        for pipe in (self._there(reader, there[1], spoken), self._back(there[0], writer, spoken)):
            task = asyncio.create_task(pipe)
            self._pipes.add(task)
            task.add_done_callback(self._pipes.discard)

    async def _there(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, spoken: list[bool]) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(65_536):
                if spoken[0]:
                    spoken[0] = False
                    self.round_trips += 1
                writer.write(data)
        writer.close()

    async def _back(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, spoken: list[bool]) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(65_536):
                spoken[0] = True
                writer.write(data)
        writer.close()
