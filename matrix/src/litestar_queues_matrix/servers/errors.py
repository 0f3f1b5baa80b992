"""The one error of this package."""

from __future__ import annotations

__all__ = ("ServerUnavailable",)


class ServerUnavailable(LookupError):
    """A server, or something that only some servers can do, was asked for and cannot be had; says how to get it."""
