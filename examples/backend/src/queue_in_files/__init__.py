"""Tasks in a folder of the file system, for the processes of one machine."""

from queue_in_files.backend import FilesBackend
from queue_in_files.config import FilesBackendConfig, from_environment

__all__ = ("FilesBackend", "FilesBackendConfig", "from_environment")
