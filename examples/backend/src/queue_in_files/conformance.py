"""How the conformance suite reaches stores of this backend."""

import platform
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from litestar_queues_conformance import Capabilities, NobodyWaits
from queue_in_files import FilesBackend, FilesBackendConfig


class Target(NobodyWaits):
    distribution = "queue-in-files"
    capabilities = Capabilities(
        multi_process=True,
        durable=True,
        server_clock=False,
        notifications=False,
        transactional=False,
        columns=False,
        dispatch=False,
    )

    def config(self, env: Mapping[str, str]) -> dict[str, Any]:  # plain data that names a new, empty store
        return {"folder": tempfile.mkdtemp(prefix="queue-in-files-", dir=env.get("QUEUE_TESTS_TMP"))}

    async def open(self, config: dict[str, Any]) -> FilesBackend:  # a client of that store; called in several processes
        backend = FilesBackendConfig(folder=Path(config["folder"])).create_backend()
        await backend.open()
        return backend

    async def reset(self, config: dict[str, Any]) -> None:  # remove the store
        shutil.rmtree(config["folder"], ignore_errors=True)

    async def server_version(self, config: dict[str, Any]) -> str:
        return f"the file system of {platform.system()} {platform.release()}"
