"""Commands to a Redis or a Valkey by its URL, over a socket and nothing of ours."""

from __future__ import annotations

import socket
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, BinaryIO
from urllib.parse import unquote, urlsplit

from litestar_queues_matrix.servers.errors import NotAnswering

__all__ = ("SCHEMES", "Resp", "Said", "connected", "version")

SCHEMES = ("redis", "valkey")
_SECONDS = 5.0


class Said(Exception):
    """The server answered with an error."""


class Resp:
    """A connection that sends one command after another."""

    def __init__(self, connection: socket.socket, replies: BinaryIO) -> None:
        self._connection = connection
        self._replies = replies

    def __call__(self, *command: str | bytes | int) -> Any:
        """Send a command, and return the answer: bytes, a number, a list or None.

        Raises:
            Said: The server refused it.
        """
        parts = [part if isinstance(part, bytes) else str(part).encode() for part in command]
        packed = b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)
        self._connection.sendall(b"*%d\r\n%s" % (len(parts), packed))
        return self._read()

    def _read(self) -> Any:
        line = self._replies.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionError("the server closed the connection")
        kind, rest = line[:1], line[1:-2]
        if kind == b"-":
            raise Said(rest.decode(errors="replace"))
        if kind == b"+":
            return rest
        if kind == b":":
            return int(rest)
        if int(rest) < 0:
            return None
        if kind == b"$":
            return self._replies.read(int(rest) + 2)[:-2]
        return [self._read() for _ in range(int(rest))]


@contextmanager
def connected(url: str) -> Generator[Resp]:
    """A connection to the server, in the database of the URL.

    Raises:
        NotAnswering: The server cannot be reached, is not ready, or the connection broke.
    """
    parts = urlsplit(url)
    where = (parts.hostname or "127.0.0.1", parts.port or 6379)
    try:
        with socket.create_connection(where, _SECONDS) as connection, connection.makefile("rb") as replies:
            connection.settimeout(_SECONDS)
            command = Resp(connection, replies)
            if parts.password:
                command("AUTH", *([unquote(parts.username)] if parts.username else []), unquote(parts.password))
            if (number := parts.path.strip("/")) not in ("", "0"):
                command("SELECT", number)
            yield command
    except OSError as error:
        raise NotAnswering(f"{where[0]}:{where[1]}: {error}") from error


def version(url: str) -> str:
    """The server's product and version, as it says itself: `Valkey 9.1.2`.

    Raises:
        NotAnswering: It did not say.
    """
    try:
        with connected(url) as command:
            command("DBSIZE")  # which a server that still loads its data refuses
            said = dict(line.split(":", 1) for line in command("INFO", "server").decode().splitlines() if ":" in line)
    except Said as error:
        raise NotAnswering(f"{urlsplit(url).netloc.rpartition('@')[2]}: {error}") from error
    if "valkey_version" in said:
        return f"Valkey {said['valkey_version']}"
    return f"Redis {said['redis_version']}"
