"""Oracle: what its driver needs."""

from __future__ import annotations

from typing import Any

__all__ = ("cut",)


def cut(connection: Any) -> None:
    """Ask the server to break off what it does, which the driver can do while it waits for that.

    There is no way that leaves the driver's pool in order: `terminate` keeps the place of the connection taken.
    """
    connection.cancel()
