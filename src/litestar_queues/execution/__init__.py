"""Execution backends: where a claimed task runs."""

from litestar_queues.execution.executor import TaskExecutor

__all__ = ("TaskExecutor",)
