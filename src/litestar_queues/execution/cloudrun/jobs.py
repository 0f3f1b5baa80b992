"""The names of jobs and executions, and which profile means which job."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches

from litestar_queues.errors import InvalidTaskError, QueueConfigurationError

__all__ = ("DEFAULT_PROFILE", "Jobs", "execution_of", "is_execution", "job_path", "short_name")

DEFAULT_PROFILE = "default"
"""The profile of tasks that name none, where the configuration has no `job_name`."""
_SHORT = re.compile(r"[a-z](?:[-a-z0-9]{0,61}[a-z0-9])?")
_JOB = re.compile(r"projects/[^/\s]+/locations/[^/\s]+/jobs/[^/\s]+")
_EXECUTION = re.compile(rf"{_JOB.pattern}/executions/[^/\s]+")


def job_path(name: str, *, project: str, region: str) -> str:
    """The full name of a job, which may be given in full.

    Raises:
        QueueConfigurationError: It cannot be the name of a job.
    """
    if _JOB.fullmatch(name):
        return name
    if not _SHORT.fullmatch(name):
        raise QueueConfigurationError(
            f"{name!r} cannot be the name of a job in Cloud Run: write 'queue-worker', in lower case letters, digits and "
            "hyphens, or 'projects/PROJECT/locations/REGION/jobs/JOB'"
        )
    return f"projects/{project}/locations/{region}/jobs/{name}"


def short_name(path: str) -> str:
    """The last part of a full name."""
    return path.rpartition("/")[2]


def execution_of(job: str, name: str) -> str:
    """The reference of an execution of a job, from its full or short name.

    The project's id and its number both name the project. The reference has the job's own words, so that two references
    of one execution are equal.
    """
    return f"{job}/executions/{short_name(name)}"


def is_execution(ref: str) -> bool:
    """Whether the reference can be an execution's full name."""
    return _EXECUTION.fullmatch(ref) is not None


@dataclass(frozen=True, slots=True)
class Jobs:
    """Full names of jobs.

    Attributes:
        default: The job of tasks that name no profile.
        profiles: The job of each profile.
    """

    default: str | None
    profiles: Mapping[str, str]

    def of(self, profile: str | None) -> str:
        """The job that runs a task with this profile.

        Raises:
            InvalidTaskError: The profile is not known; names the known ones.
            QueueConfigurationError: The task has no profile, and the configuration has no job for such tasks.
        """
        if profile is None:
            job = self.default or self.profiles.get(DEFAULT_PROFILE)
            if job is None:
                raise QueueConfigurationError(
                    "no job runs a task without an execution_profile: set job_name, or the profile "
                    f"{DEFAULT_PROFILE!r}, in CloudRunExecutionConfig, or name a profile: {self._known()}"
                )
            return job
        if profile not in self.profiles:
            near = get_close_matches(profile, self.profiles, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            known = (
                f"the known ones are {self._known()}" if self.profiles else "CloudRunExecutionConfig has no profiles"
            )
            raise InvalidTaskError(f"the execution backend 'cloudrun' has no profile {profile!r}: {known}{hint}")
        return self.profiles[profile]

    def _known(self) -> str:
        return ", ".join(sorted(self.profiles))
