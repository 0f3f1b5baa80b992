"""A server that runs, wherever it came from."""

from __future__ import annotations

import random
import socket
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from types import TracebackType
from typing import Self

from litestar_queues_matrix.servers import ask
from litestar_queues_matrix.servers.errors import ServerUnavailable
from litestar_queues_matrix.servers.rows import ServerRow

__all__ = ("GivenServer", "Server", "free_port", "wait_until_answering")

START_SECONDS = 90.0
_POLL = 0.02
_PORTS = range(20_000, 32_000)


class Server(ABC):
    """A server that answers; used with `with`, it is stopped at the end.

    Attributes:
        row: Which one it is.
        url: Where it is: `postgresql://user@host:port/database`, `mysql://...`, `oracle://...`.
        origin: Where it came from, in words.
    """

    row: ServerRow
    url: str
    origin: str

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def version(self) -> str:
        """What the running server says that it is: `PostgreSQL 15.20`."""
        return ask.version(self.url)

    def describe(self) -> str:
        """Its version, its name, and where it came from, in one line for a report."""
        return f"{self.version()} ({self.row.name}, {self.origin})"

    @abstractmethod
    def kill(self) -> None:
        """End it as a crash would, with SIGKILL for all its processes; returns when they are gone."""

    @abstractmethod
    def restart(self) -> None:
        """Start it again after `kill`, on the same port and data; returns when it answers."""

    @abstractmethod
    def pause(self) -> None:
        """Let all its processes stand still, connections open, until `resume`."""

    @abstractmethod
    def resume(self) -> None:
        """Let it go on after `pause`."""

    @abstractmethod
    def stop(self) -> None:
        """End it and remove its data. Harmless when repeated."""


class GivenServer(Server):
    """A server of somebody else's, which we neither stop nor kill."""

    def __init__(self, row: ServerRow, url: str, origin: str) -> None:
        self.row, self.url, self.origin = row, url, origin

    def kill(self) -> None:
        self._refuse("kill")

    def restart(self) -> None:
        self._refuse("restart")

    def pause(self) -> None:
        self._refuse("pause")

    def resume(self) -> None:
        self._refuse("resume")

    def stop(self) -> None:
        pass

    def _refuse(self, what: str) -> None:
        raise ServerUnavailable(
            f"cannot {what} {self.row.name}, {self.origin}: it is somebody else's. Unset {self.row.url_variable}, and "
            f"have its executables or Docker, for one that can be killed"
        )


def free_port() -> int:
    """A port of the loopback interface that nobody listens on.

    It is below those that the system hands out for outgoing connections: while the server is down between `kill` and
    `restart`, a client that tries to reconnect to such a port can meet itself there, and keep it.
    """
    while True:
        port = random.choice(_PORTS)  # noqa: S311  # any will do
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def wait_until_answering(url: str, *, gone: Callable[[], str | None], seconds: float = START_SECONDS) -> None:
    """Return once the server says its version.

    Args:
        url: Where.
        gone: Asked between two tries; a text means that it will never answer, and why.
        seconds: How long to try.

    Raises:
        ServerUnavailable: It is gone, or did not answer in time.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            ask.version(url)
        except ask.NotAnswering as error:
            said = error
        else:
            return
        if reason := gone():
            raise ServerUnavailable(reason)
        if time.monotonic() > deadline:
            raise ServerUnavailable(f"it does not answer after {seconds:g} s: {said}")
        time.sleep(_POLL)
