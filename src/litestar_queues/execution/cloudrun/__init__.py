"""Cloud Run Jobs: each task runs in a container of its own. Importing this imports no package of Google."""

from __future__ import annotations

from litestar_queues.execution.cloudrun.config import CloudRunExecutionConfig

__all__ = ("CloudRunExecutionConfig",)
