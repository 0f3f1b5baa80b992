"""What a saboteur is: the memory backend with one defect, and the guarantee that has to catch it first."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from itertools import count
from typing import Any, ClassVar

from litestar_queues.backends.base import QueueBackend
from litestar_queues.backends.memory import MemoryBackend
from litestar_queues.records import TaskRecord
from litestar_queues_conformance.moments import Time
from litestar_queues_conformance.target import Capabilities, NeverAway

__all__ = ("BENIGN", "SABOTEURS", "Benign", "InProcessTarget", "Saboteur")


class InProcessTarget(NeverAway):
    """Stores of one class of backend that live in this process under a number."""

    distribution = "litestar-queues-conformance"
    capabilities = Capabilities(
        multi_process=False,
        durable=False,
        server_clock=False,
        notifications=False,
        transactional=False,
        columns=False,
        dispatch=True,
    )

    def __init__(self, backend: type[MemoryBackend]) -> None:
        self.backend = backend
        self.name = f"{backend.__module__}:{backend.__qualname__}.target"
        """What `--backend` takes."""
        self.stores: dict[int, MemoryBackend] = {}
        self._numbers = count(1)

    def config(self, env: Mapping[str, str]) -> dict[str, Any]:
        return {"store": next(self._numbers)}

    async def open(self, config: dict[str, Any]) -> QueueBackend:
        store = self.stores.setdefault(config["store"], self.backend())
        await store.open()
        return self.client(store)

    def client(self, store: MemoryBackend) -> QueueBackend:
        """What a client is given; each has the store itself."""
        return store

    async def reset(self, config: dict[str, Any]) -> None:
        self.stores.pop(config["store"], None)

    async def set_fence(self, config: dict[str, Any], id_: str, fence: int) -> None:
        store = self.stores[config["store"]]
        store.put(store.tasks[id_].evolve(fence=fence))

    async def server_version(self, config: dict[str, Any]) -> str:
        return f"{platform.python_implementation()} {platform.python_version()}"


class Saboteur(MemoryBackend):
    """A backend with one defect; its docstring says which, in a sentence."""

    guarantee: ClassVar[str]
    """The guarantee that has to catch it first."""
    time: ClassVar[Time] = "given"
    """The mode of time in which its guarantee has to catch it, at least."""
    needs_machine: ClassVar[bool] = False
    """Whether only the state machine can catch it. The others run without it, which takes most of the time."""
    target_type: ClassVar[type[InProcessTarget]] = InProcessTarget
    target: ClassVar[InProcessTarget]

    def __init_subclass__(cls) -> None:
        if not cls.__name__.startswith("_"):  # else what several of them share
            cls.target = cls.target_type(cls)
            SABOTEURS[cls.__name__] = cls

    def owned(self, task: TaskRecord) -> TaskRecord | None:
        """The stored record, where the task may be written over it as far as the fence goes."""
        stored = self.tasks.get(task.id)
        return stored if stored is not None and stored.fence == task.fence - 1 else None


class Benign(MemoryBackend):
    """A backend that keeps every promise in an odd way; its docstring says how."""

    target_type: ClassVar[type[InProcessTarget]] = InProcessTarget
    target: ClassVar[InProcessTarget]

    def __init_subclass__(cls) -> None:
        cls.target = cls.target_type(cls)
        BENIGN[cls.__name__] = cls


SABOTEURS: dict[str, type[Saboteur]] = {}
"""Every saboteur by its name."""
BENIGN: dict[str, type[Benign]] = {}
"""Every odd but legal backend by its name."""
