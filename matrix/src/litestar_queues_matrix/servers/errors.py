"""The errors of this package."""

from __future__ import annotations

__all__ = ("NotAnswering", "ServerUnavailable")


class ServerUnavailable(LookupError):
    """A server, or something that only some servers can do, was asked for and cannot be had; says how to get it."""


class NotAnswering(Exception):
    """The server cannot be reached, or does not let us in."""
