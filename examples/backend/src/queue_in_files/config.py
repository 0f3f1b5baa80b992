"""How an application says which folder it means."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from litestar_queues import QueueConfigurationError
from queue_in_files.backend import FilesBackend

__all__ = ("FilesBackendConfig", "from_environment")


@dataclass(frozen=True, kw_only=True, slots=True)
class FilesBackendConfig:
    """`QueueConfig(queue_backend=FilesBackendConfig(folder="/var/lib/shop/queue"))`.

    Args:
        folder: Where the tasks are kept. It is created when the store is opened.
        patience: Seconds that a call waits for the other processes before it gives up.
    """

    folder: str | Path
    patience: float = 10.0

    def create_backend(self) -> FilesBackend:
        """A backend on this folder, not open yet."""
        if not str(self.folder):
            raise QueueConfigurationError("FilesBackendConfig(folder=...) is empty: name the folder for the tasks")
        return FilesBackend(Path(self.folder), patience=self.patience)


def from_environment() -> FilesBackend:
    """The backend that `QueueConfig(queue_backend="files")` makes: on the folder in `QUEUE_FOLDER`."""
    folder = os.environ.get("QUEUE_FOLDER", "")
    if not folder:
        raise QueueConfigurationError(
            "the queue backend 'files' reads its folder from the environment variable QUEUE_FOLDER, which is not set"
        )
    return FilesBackendConfig(folder=folder).create_backend()
