"""The environment variables that a dispatch gives to a container."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from litestar_queues.records import TaskRecord

__all__ = (
    "CONFIG_FACTORY",
    "ENV_PREFIX",
    "EXECUTION_PARENT",
    "PREFIX",
    "TASK_FENCE",
    "TASK_ID",
    "TASK_MODULES",
    "Environment",
)

PREFIX = "LITESTAR_QUEUES_"
"""What the variables begin with, unless the configuration has another `env_prefix`."""
ENV_PREFIX = "LITESTAR_QUEUES_ENV_PREFIX"
"""Holds the prefix of the others where it is not `PREFIX`. Its own name never changes."""
TASK_ID = "TASK_ID"
TASK_FENCE = "TASK_FENCE"
"""The fence of the reservation."""
EXECUTION_PARENT = "EXECUTION_PARENT"
"""The job's full name: the container's reference is `{EXECUTION_PARENT}/executions/{CLOUD_RUN_EXECUTION}`."""
CONFIG_FACTORY = "CONFIG_FACTORY"
TASK_MODULES = "TASK_MODULES"
"""Separated by commas."""


@dataclass(frozen=True, slots=True)
class Environment:
    """Makes the variables of each run. No argument of a task is among them: the container reads the record.

    Attributes:
        prefix: What the names begin with.
        config_factory: The import path of what makes the container's configuration.
        task_modules: The modules that define tasks.
        extra: More variables, which every run gets.
    """

    prefix: str
    config_factory: str | None
    task_modules: tuple[str, ...]
    extra: Mapping[str, str]

    @property
    def names(self) -> frozenset[str]:
        """The names that this library gives values to."""
        own = (TASK_ID, TASK_FENCE, EXECUTION_PARENT, CONFIG_FACTORY, TASK_MODULES)
        return frozenset({ENV_PREFIX, *(self.prefix + name for name in own)})

    def of(self, task: TaskRecord, job: str) -> dict[str, str]:
        """The variables of the run of this reserved task."""
        own = {TASK_ID: task.id, TASK_FENCE: str(task.fence), EXECUTION_PARENT: job}
        if self.config_factory is not None:
            own[CONFIG_FACTORY] = self.config_factory
        if self.task_modules:
            own[TASK_MODULES] = ",".join(self.task_modules)
        told = {} if self.prefix == PREFIX else {ENV_PREFIX: self.prefix}
        return {**self.extra, **told, **{self.prefix + name: value for name, value in own.items()}}
