"""The memory backend."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from itertools import count
from typing import Any

from litestar_queues.backends.base import QueueBackend
from litestar_queues.backends.memory import MemoryBackend
from litestar_queues_conformance.target import Capabilities, NeverAway, NobodyWaits

__all__ = ("MemoryTarget", "memory")


class MemoryTarget(NeverAway, NobodyWaits):
    """Stores that live in this process under a number: opening one twice gives the same backend.

    Other processes cannot see them (`process_local`), which is harmless: the plugin refuses to start a worker in another
    process on such a backend. Bursts therefore run as tasks of one process.
    """

    distribution = "litestar-queues"
    capabilities = Capabilities(
        multi_process=False,
        durable=False,
        server_clock=False,
        notifications=False,
        transactional=False,
        columns=False,
        dispatch=True,
    )

    def __init__(self) -> None:
        self._numbers = count(1)
        self._stores: dict[int, QueueBackend] = {}

    def config(self, env: Mapping[str, str]) -> dict[str, Any]:
        return {"store": next(self._numbers)}

    async def open(self, config: dict[str, Any]) -> QueueBackend:
        backend = self._stores.get(config["store"])
        if backend is None:
            backend = self._stores[config["store"]] = self.new_backend()
        await backend.open()
        return backend

    async def reset(self, config: dict[str, Any]) -> None:
        self._stores.pop(config["store"], None)

    async def set_fence(self, config: dict[str, Any], id_: str, fence: int) -> None:
        store = self._stores[config["store"]]
        assert isinstance(store, MemoryBackend)  # noqa: S101  # what `new_backend` makes
        store.put(store.tasks[id_].evolve(fence=fence))

    async def server_version(self, config: dict[str, Any]) -> str:
        return f"{platform.python_implementation()} {platform.python_version()}"

    def new_backend(self) -> QueueBackend:
        """A store with nothing in it."""
        return MemoryBackend()


memory = MemoryTarget()
