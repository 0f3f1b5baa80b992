"""The points of a container's way that a test wants to know of, to hold, or to kill it at. Imports no package of Google.

`reach` reports one, and returns when the container may go on. Outside of a box it returns at once. A test puts it into
the application that its containers run: `hooked` does so around the claims and commits of a queue backend.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

__all__ = ("SOCKET", "HookedConfig", "hooked", "reach")

SOCKET = "CLOUDRUN_BOX"
"""The variable that names the socket."""


async def reach(point: str) -> None:
    """Report the point, and wait until the box lets the container go on."""
    socket = os.environ.get(SOCKET)
    if socket is None:
        return
    reader, writer = await asyncio.open_unix_connection(socket)
    try:
        execution = os.environ.get("CLOUD_RUN_EXECUTION", "")
        writer.write(json.dumps({"execution": execution, "point": point}).encode() + b"\n")
        await writer.drain()
        await reader.readline()
    finally:
        writer.close()


def hooked(backend: Any) -> Any:
    """The same queue backend, which reports `before_claim`, `after_claim`, `before_commit` and `after_commit`."""
    claim, commit = backend.claim, backend.commit

    async def hooked_claim(want: Any, *, now: datetime | None = None) -> Any:
        await reach("before_claim")
        claimed = await claim(want, now=now)
        await reach("after_claim")
        return claimed

    async def hooked_commit(tasks: Sequence[Any], *, stale: Any = None) -> Any:
        await reach("before_commit")
        stored = await commit(tasks, stale=stale)
        await reach("after_commit")
        return stored

    backend.claim, backend.commit = hooked_claim, hooked_commit
    return backend


@dataclass(frozen=True)
class HookedConfig:
    """The configuration of a queue backend whose claims and commits are reported."""

    config: Any

    def create_backend(self) -> Any:
        return hooked(self.config.create_backend())
