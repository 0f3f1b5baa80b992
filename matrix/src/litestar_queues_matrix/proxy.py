"""A TCP proxy that loses what it is told to lose."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager, suppress
from urllib.parse import urlsplit, urlunsplit

__all__ = ("Proxy", "proxy_to", "through")


class Proxy:
    """Between clients and the server at a URL.

    Attributes:
        port: Where it listens.
        replies: How many replies it has passed on.
        dropped: How many it has lost, each with its connection.
        away: Whether it ends every new connection at once.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._server = (parts.hostname, parts.port)
        self._drops_at: int | None = None
        self._serving: set[asyncio.Task[None]] = set()
        self._open = asyncio.Event()
        self._open.set()
        self.away = False
        self.port = 0
        self.replies = 0
        self.dropped = 0

    def drop(self, number: int) -> None:
        """Lose the reply with this number, counted from now from 0, and the connection that waits for it; that once."""
        self._drops_at = self.replies + number

    def disarm(self) -> None:
        """Lose nothing more."""
        self._drops_at = None

    def swallow(self) -> None:
        """Pass nothing on, in both directions, with all connections open, until `release`; later ones are accepted."""
        self._open.clear()

    def release(self) -> None:
        """End all connections that have been swallowed up, and serve new ones."""
        self.end_all()
        self._open.set()

    @contextmanager
    def nobody_there(self) -> Generator[None]:
        """End all connections, and every new one, until the block is left."""
        self.away = True
        self.end_all()
        try:
            yield
        finally:
            self.away = False

    def end_all(self) -> set[asyncio.Task[None]]:
        """End all connections; what is still to be waited for."""
        for task in self._serving:
            task.cancel()
        return set(self._serving)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  # asyncio runs it as a task
        self._serving.add(task)
        try:
            with suppress(asyncio.CancelledError, OSError):
                if not self.away:
                    await self._join(reader, writer)
        finally:
            writer.transport.abort()
            self._serving.discard(task)

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, to_there = await asyncio.open_connection(*self._server)
        ways = [asyncio.ensure_future(self._pass(reader, to_there)), asyncio.ensure_future(self._answer(there, writer))]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            to_there.transport.abort()
            writer.transport.abort()
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(2**16):
            await self._open.wait()
            writer.write(data)
            await writer.drain()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(2**16):
            await self._open.wait()
            if self._drops_at is not None and self.replies >= self._drops_at:
                self._drops_at = None
                self.dropped += 1
                return  # the server has done what it was asked to, and nobody hears of it
            self.replies += 1
            writer.write(data)
            await writer.drain()


@asynccontextmanager
async def proxy_to(url: str) -> AsyncGenerator[Proxy]:
    """A proxy to the server at a URL, which ends with the block."""
    proxy = Proxy(url)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        for _ in range(3):  # those that were just accepted begin to be served
            await asyncio.sleep(0)
        await asyncio.gather(*proxy.end_all())
        await server.wait_closed()


def through(url: str, port: int, user: str | None = None) -> str:
    """The URL by way of a proxy on a port of this machine, perhaps as another user."""
    parts = urlsplit(url)
    who = user if user is not None else parts.netloc.rpartition("@")[0]
    return urlunsplit(parts._replace(netloc=f"{who}@127.0.0.1:{port}" if who else f"127.0.0.1:{port}"))
