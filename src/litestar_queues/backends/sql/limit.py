"""An end to waiting for a server that does not answer: its connection is cut off, from outside of the driver.

Cancelling a driver's call is not enough: some wait for the server even then, to tell it. Once the socket is shut, each of
them finds its connection lost, and its pool throws it away.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from typing import Any

from litestar_queues.errors import BackendUnavailableError

__all__ = ("GRACE", "Cut", "Limit", "close", "shut_socket", "terminate")

GRACE = 5.0
"""Seconds that a driver gets to notice that its connection is cut off, or to clean up one that works."""

Cut = Callable[[Any], object]
"""Ends a driver's connection at once, without a word to the server, from the event loop's thread."""


class Limit:
    """The time that one attempt may take.

    Args:
        seconds: How long; None has no limit.
        cut: How a connection is cut off; None where a driver has no way, whose call is cancelled instead.
    """

    def __init__(self, seconds: float | None, cut: Cut | None) -> None:
        self.seconds = seconds
        self.connection: Any = None
        """What to cut off, once there is one. May be set by another thread."""
        self.expired = False
        self.nobody_waits = False
        """Whether the caller has left, so that a thread which has not begun yet need not."""
        self._cut = cut

    @contextmanager
    def running(self) -> Generator[None]:
        """Cut the connection off at the end of the time."""
        if self.seconds is None:
            yield
            return
        timer = asyncio.get_running_loop().call_later(self.seconds, self.expire)
        try:
            yield
        finally:
            timer.cancel()

    @property
    def at_last(self) -> float | None:
        """When to stop waiting for a driver that does not heed even that."""
        if self.seconds is None or self._cut is None:
            return self.seconds
        return self.seconds + GRACE

    def check(self) -> None:
        """Refuse to begin what nobody waits for.

        Raises:
            BackendUnavailableError: The caller has left.
        """
        if self.nobody_waits:
            raise BackendUnavailableError("a connection came too late")

    def expire(self) -> None:
        """Cut the connection off now."""
        self.expired = True
        if self.connection is not None and self._cut is not None:
            with suppress(Exception):
                self._cut(self.connection)


def terminate(connection: Any) -> None:
    """For a driver that has this very thing."""
    connection.terminate()


def close(connection: Any) -> None:
    """For drivers whose `close` says nothing to the server."""
    connection.close()


def shut_socket(connection: Any) -> None:
    """For drivers on a socket of the operating system's, whose number they tell."""
    with socket.socket(fileno=os.dup(connection.fileno())) as same:
        same.shutdown(socket.SHUT_RDWR)
