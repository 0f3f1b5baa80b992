"""How tasks get to Cloud Run Jobs."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

from litestar_queues.errors import InvalidTaskError, MissingDependencyError, QueueConfigurationError
from litestar_queues.execution.base import ExecutionBackend
from litestar_queues.execution.cloudrun.backend import CloudRunExecutionBackend, Limits
from litestar_queues.execution.cloudrun.environment import PREFIX, Environment
from litestar_queues.execution.cloudrun.jobs import Jobs, job_path
from litestar_queues.records import BACKEND_MAX, PROFILE_MAX, check_text

__all__ = ("CloudRunExecutionConfig",)

_DISPATCH_MAX = 25.0
"""Longest dispatch, in seconds: a task is reserved for 60 s, and a worker gives a dispatch up after half of that."""
_PROJECT = re.compile(r"[^/\s]+")
_REGION = re.compile(r"[a-z0-9-]+")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_MODULE = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*")
_FACTORY = re.compile(rf"{_MODULE.pattern}:{_MODULE.pattern}")


@dataclass(frozen=True, kw_only=True)
class CloudRunExecutionConfig:
    """`QueueConfig(execution_backend=CloudRunExecutionConfig(project_id="example-project", job_name="queue-worker"))`.

    Tasks with `execution_backend="cloudrun"` run in Cloud Run Jobs, each in an execution of its own. A worker dispatches
    them, with the permission `run.jobs.runWithOverrides` on the jobs. The jobs exist already: `job_name` and `profiles` name
    them.

    Attributes:
        project_id: The project of the jobs: its id or number.
        region: The region of the jobs.
        job_name: The job of tasks without an `execution_profile`. Without `job_name`, the profile "default" is theirs. If
            there is neither, the enqueue of such a task raises `QueueConfigurationError`. A job in another project or region
            has a full name: "projects/PROJECT/locations/REGION/jobs/JOB".
        profiles: The job of each `execution_profile`. The enqueue refuses a profile that is not here.
        timeout: Seconds after which Cloud Run ends a run; None leaves the job's own limit.
        env_prefix: What the environment variables begin with by which a container finds its task.
        extra_env: More environment variables for every run. Everybody who may look at an execution can read them: keep
            secrets in the job, from Secret Manager.
        fallback_execution_backend: The execution backend that gets the tasks that Cloud Run refuses, for example "local".
            Without one, they wait until Cloud Run takes them.
        config_factory: "package.module:function", which makes the `QueueConfig` of the container. None leaves that to the
            environment of the job.
        task_modules: Modules that define tasks, which the container imports.
        max_concurrent_dispatches: The most calls to Cloud Run at the same time, of a worker.
        request_timeout: Seconds until one call to Cloud Run counts as lost.
        dispatch_timeout: Seconds for which a worker tries to start a batch of runs, with all retries; at most 25.
        channel_factory: Makes the asyncio gRPC channel to the Cloud Run Admin API, for an endpoint or credentials of your
            own. None connects to Google with the Application Default Credentials. The queue closes the channel.
    """

    project_id: str
    region: str = "us-central1"
    job_name: str | None = None
    profiles: Mapping[str, str] | None = None
    timeout: float | None = None
    env_prefix: str = PREFIX
    extra_env: Mapping[str, str] | None = field(default=None, repr=False)
    fallback_execution_backend: str | None = None
    config_factory: str | None = None
    task_modules: Sequence[str] = ()
    max_concurrent_dispatches: int = 20
    request_timeout: float = 10.0
    dispatch_timeout: float = 20.0
    channel_factory: Callable[[], Any] | None = None

    def __post_init__(self) -> None:
        _matches("project_id", self.project_id, _PROJECT, "the id or number of a project, such as 'example-project'")
        _matches("region", self.region, _REGION, "a region, such as 'us-central1'")
        _matches("env_prefix", self.env_prefix, _VARIABLE, f"the beginning of a variable's name, such as {PREFIX!r}")
        if self.config_factory is not None:
            _matches("config_factory", self.config_factory, _FACTORY, "'package.module:function'")
        _each_is_text("task_modules", self.task_modules)
        for module in self.task_modules:
            _matches("task_modules", module, _MODULE, "the names of modules, such as 'shop.tasks'")
        self._check_numbers()
        self._check_fallback()
        self._check_extra()
        if self.channel_factory is not None and not callable(self.channel_factory):
            raise QueueConfigurationError("channel_factory must be a function that returns a grpc.aio channel")
        jobs = self._jobs()
        if jobs.default is None and not jobs.profiles:
            raise QueueConfigurationError(
                "CloudRunExecutionConfig names no job: set job_name='queue-worker', or profiles={'heavy': 'queue-worker-heavy'}"
            )

    def create_execution_backend(self) -> ExecutionBackend:
        """The execution backend "cloudrun", which is not open yet. It imports Google's packages at its first call.

        Raises:
            MissingDependencyError: google-cloud-run is not installed; names the extra.
        """
        if not _is_installed():
            raise MissingDependencyError("google-cloud-run", "cloudrun")
        return CloudRunExecutionBackend(
            self._jobs(),
            self._environment(),
            timeout=self.timeout,
            fallback=self.fallback_execution_backend,
            limits=Limits(
                calls=self.max_concurrent_dispatches, request=self.request_timeout, dispatch=self.dispatch_timeout
            ),
            channel_factory=self.channel_factory,
        )

    def _jobs(self) -> Jobs:
        def path(name: object, field: str) -> str:
            if not isinstance(name, str):
                raise QueueConfigurationError(f"{field} must be the name of a job in Cloud Run, not {name!r}")
            return job_path(name, project=self.project_id, region=self.region)

        profiles = self.profiles or {}
        _is_mapping("profiles", profiles)
        for profile in profiles:
            _text("name of a profile", profile, PROFILE_MAX)
        return Jobs(
            None if self.job_name is None else path(self.job_name, "job_name"),
            {profile: path(name, f"profiles[{profile!r}]") for profile, name in profiles.items()},
        )

    def _environment(self) -> Environment:
        return Environment(self.env_prefix, self.config_factory, tuple(self.task_modules), dict(self.extra_env or {}))

    def _check_numbers(self) -> None:
        _positive("max_concurrent_dispatches", self.max_concurrent_dispatches)
        _seconds("request_timeout", self.request_timeout)
        _seconds("dispatch_timeout", self.dispatch_timeout)
        if self.timeout is not None:
            _seconds("timeout", self.timeout)
        if not self.request_timeout <= self.dispatch_timeout <= _DISPATCH_MAX:
            raise QueueConfigurationError(
                f"dispatch_timeout must lie between request_timeout ({self.request_timeout!r}) and {_DISPATCH_MAX:g} seconds, "
                f"because a task is reserved for 60 s; it is {self.dispatch_timeout!r}"
            )

    def _check_fallback(self) -> None:
        if self.fallback_execution_backend is None:
            return
        _text("fallback_execution_backend", self.fallback_execution_backend, BACKEND_MAX)
        if self.fallback_execution_backend == CloudRunExecutionBackend.name:
            raise QueueConfigurationError(
                "fallback_execution_backend gets what 'cloudrun' refuses, and cannot be 'cloudrun': name another one, such as "
                "'local'"
            )

    def _check_extra(self) -> None:
        extra = self.extra_env or {}
        _is_mapping("extra_env", extra)
        own = self._environment().names
        for name, value in extra.items():
            _matches("extra_env", name, _VARIABLE, "names of variables, such as 'LOG_LEVEL'")
            if name in own or name.startswith("CLOUD_RUN_"):
                owner = "litestar-queues" if name in own else "Cloud Run"
                raise QueueConfigurationError(f"extra_env sets {name}, which {owner} gives a value: remove it")
            if not isinstance(value, str):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers without a type checker
                raise QueueConfigurationError(
                    f"extra_env: the value of {name} must be a string, not {type(value).__name__}"
                )


def _is_installed() -> bool:
    try:
        return find_spec("google.cloud.run_v2") is not None
    except ModuleNotFoundError:  # not even the package around it
        return False


def _matches(option: str, value: object, pattern: re.Pattern[str], meaning: str) -> None:
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise QueueConfigurationError(f"{option} must be {meaning}, not {value!r}")


def _text(option: str, value: str, longest: int) -> None:
    try:
        check_text(option, value, longest)
    except InvalidTaskError as error:
        raise QueueConfigurationError(str(error)) from error


def _is_mapping(option: str, value: object) -> None:
    if not isinstance(value, Mapping):
        raise QueueConfigurationError(f"{option} must be a mapping, not {type(value).__name__}")


def _each_is_text(option: str, value: object) -> None:
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise QueueConfigurationError(f"{option} must be a list or a tuple, such as ('shop.tasks',), not {value!r}")


def _positive(option: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise QueueConfigurationError(f"{option} must be a whole number of 1 or more, not {value!r}")


def _seconds(option: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value <= 0:
        raise QueueConfigurationError(f"{option} must be a positive number of seconds, not {value!r}")
