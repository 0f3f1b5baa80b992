"""What type checkers make of targets and backends of somebody else: read by mypy and pyright, both strict.

Every expected complaint is an ignore of its own kind, and an ignore that is not needed is a complaint.
"""

# pyright: reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from litestar_queues import QueueConfig, register_queue_backend
from litestar_queues.backends.base import BackendConfig, QueueBackend
from litestar_queues_conformance import Capabilities, NobodyWaits, Target
from litestar_queues_conformance.target import HoldsTasks
from queue_in_files import FilesBackend, FilesBackendConfig, from_environment
from queue_in_files.conformance import Target as FilesTarget

NOTHING = Capabilities(
    multi_process=True,
    durable=True,
    server_clock=False,
    notifications=False,
    transactional=False,
    columns=False,
    dispatch=False,
)
Capabilities(multi_process=True)  # type: ignore[call-arg]


class Store:
    """The parts that all targets below have."""

    def config(self, env: Mapping[str, str]) -> dict[str, Any]:
        return {"folder": env["FOLDER"]}

    async def open(self, config: dict[str, Any]) -> FilesBackend:
        return FilesBackendConfig(folder=config["folder"]).create_backend()

    async def reset(self, config: dict[str, Any]) -> None: ...

    async def server_version(self, config: dict[str, Any]) -> str:
        return "1"


class ClassAttributes(Store):
    distribution = "mine"
    capabilities = NOTHING


class Annotated(Store):
    distribution: str = "mine"
    capabilities: Capabilities = NOTHING


class InstanceAttributes(Store):
    def __init__(self) -> None:
        self.distribution = "mine"
        self.capabilities = NOTHING


class Properties(Store):
    @property
    def distribution(self) -> str:
        return "mine"

    @property
    def capabilities(self) -> Capabilities:
        return NOTHING


class Nobody(NobodyWaits, ClassAttributes): ...


targets: list[Target] = [ClassAttributes(), Annotated(), InstanceAttributes(), Properties(), Nobody(), FilesTarget()]
holding: HoldsTasks = Nobody()


class WithoutReset:
    distribution = "mine"
    capabilities = NOTHING

    def config(self, env: Mapping[str, str]) -> dict[str, Any]:
        return {}

    async def open(self, config: dict[str, Any]) -> FilesBackend:
        return FilesBackendConfig(folder=config["folder"]).create_backend()

    async def server_version(self, config: dict[str, Any]) -> str:
        return "1"


class SyncOpen(ClassAttributes):
    def open(self, config: dict[str, Any]) -> FilesBackend:  # type: ignore[override]
        return FilesBackendConfig(folder=config["folder"]).create_backend()


class WrongCapabilities(Store):
    distribution = "mine"
    capabilities = ("multi_process",)


lacks: Target = WithoutReset()  # type: ignore[assignment]
sync: Target = SyncOpen()  # type: ignore[assignment]
wrong: Target = WrongCapabilities()  # type: ignore[assignment]

backend: QueueBackend = from_environment()
config: BackendConfig = FilesBackendConfig(folder="queue")
QueueConfig(queue_backend=config)
QueueConfig(queue_backend=backend)
QueueConfig(queue_backend="files")
QueueConfig(queue_backend=5)  # type: ignore[arg-type]
register_queue_backend("mine", from_environment)
register_queue_backend("mine", lambda: FilesBackendConfig(folder="queue").create_backend())
register_queue_backend("mine", FilesBackendConfig)  # type: ignore[arg-type]
