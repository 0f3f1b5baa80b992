"""What is wrong, and what to do, in a sentence for people."""

from __future__ import annotations

import re

from litestar_queues.execution.cloudrun.troubles import CallError, Trouble

__all__ = ("sentence_of",)

_PATH = re.compile(
    r"projects/(?P<project>[^/]+)/locations/(?P<region>[^/]+)/jobs/(?P<job>[^/]+)(?:/executions/(?P<execution>[^/]+))?"
)


def sentence_of(error: CallError, path: str) -> str:
    """The sentence about a failed call.

    Args:
        error: The failure.
        path: The full name of the job or execution that the call was about; empty where it is about all of them.
    """
    found = _PATH.fullmatch(path)
    job = f"job {found['job']!r} (project {found['project']!r}, region {found['region']!r})" if found else "jobs"
    replied = f"Cloud Run replied {error}"
    match error.trouble:
        case Trouble.DENIED:
            return (
                f"This process may not use the {job}: grant its service account the role roles/run.developer on the job, which "
                "has the permissions run.jobs.run, run.jobs.runWithOverrides, run.executions.get and run.executions.cancel. "
                f"{replied}"
            )
        case Trouble.MISSING:
            return (
                f"The {job} does not exist: create it, or correct project_id, region, job_name or profiles in "
                f"CloudRunExecutionConfig. {replied}"
            )
        case Trouble.CREDENTIALS:
            return (
                "This process has no valid credentials for Google Cloud: give its machine a service account, or set "
                "GOOGLE_APPLICATION_CREDENTIALS, or run `gcloud auth application-default login`. "
                f"The reason is {error}"
            )
        case Trouble.INVALID:
            return f"Cloud Run does not accept the call for the {job}: correct the job, or CloudRunExecutionConfig. {replied}"
        case Trouble.BUSY:
            return f"Cloud Run does not take the call for the {job} now, and gets it again later: {error}"
        case Trouble.UNCLEAR:
            return f"The reply of Cloud Run about the {job} was lost, and a run may have been started: {error}"
