"""What `CloudRunExecutionConfig` refuses, and which job runs a task."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("google.cloud.run_v2")

from litestar_queues.errors import InvalidTaskError, QueueConfigurationError
from litestar_queues.execution.base import Outlook
from litestar_queues.execution.cloudrun import CloudRunExecutionConfig
from litestar_queues.execution.cloudrun.jobs import Jobs, execution_of
from litestar_queues.execution.cloudrun.troubles import Trouble, trouble_of

USUAL: dict[str, Any] = {"project_id": "p", "job_name": "queue-worker"}


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"project_id": ""}, "project_id must be"),
        ({"project_id": "a/b"}, "project_id must be"),
        ({"project_id": None}, "project_id must be"),
        ({"region": "us central1"}, "region must be"),
        ({"job_name": "Queue Worker"}, "'Queue Worker' cannot be the name of a job"),
        ({"job_name": "projects/p/jobs/j"}, "cannot be the name of a job"),
        ({"job_name": ""}, "cannot be the name of a job"),
        ({"job_name": 7}, "job_name must be the name of a job"),
        ({"profiles": ["heavy"]}, "profiles must be a mapping"),
        ({"profiles": {"heavy": None}}, r"profiles\['heavy'\] must be the name of a job"),
        ({"profiles": {"": "j"}}, "name of a profile is empty"),
        ({"job_name": None}, "names no job"),
        ({"job_name": None, "profiles": {}}, "names no job"),
        ({"timeout": 0}, "timeout must be a positive number"),
        ({"timeout": float("nan")}, "timeout must be a positive number"),
        ({"timeout": "60"}, "timeout must be a positive number"),
        ({"env_prefix": "my-app_"}, "env_prefix must be"),
        ({"env_prefix": ""}, "env_prefix must be"),
        ({"extra_env": {"A B": "x"}}, "extra_env must be names of variables"),
        ({"extra_env": {"A": 1}}, "the value of A must be a string, not int"),
        ({"extra_env": {"LITESTAR_QUEUES_TASK_ID": "x"}}, "sets LITESTAR_QUEUES_TASK_ID, which litestar-queues"),
        ({"extra_env": {"CLOUD_RUN_JOB": "x"}}, "sets CLOUD_RUN_JOB, which Cloud Run"),
        ({"extra_env": "A=1"}, "extra_env must be a mapping"),
        ({"fallback_execution_backend": "cloudrun"}, "cannot be 'cloudrun'"),
        ({"fallback_execution_backend": ""}, "is empty"),
        ({"config_factory": "shop.app"}, "config_factory must be 'package.module:function'"),
        ({"config_factory": lambda: None}, "config_factory must be 'package.module:function'"),
        ({"task_modules": "shop.tasks"}, "task_modules must be a list or a tuple"),
        ({"task_modules": ["shop.tasks,shop.mail"]}, "task_modules must be the names of modules"),
        ({"max_concurrent_dispatches": 0}, "max_concurrent_dispatches must be a whole number"),
        ({"max_concurrent_dispatches": True}, "max_concurrent_dispatches must be a whole number"),
        ({"request_timeout": -1}, "request_timeout must be a positive number"),
        ({"request_timeout": 21}, "dispatch_timeout must lie between request_timeout"),
        ({"dispatch_timeout": 26}, "dispatch_timeout must lie between request_timeout"),
        ({"channel_factory": 7}, "channel_factory must be a function"),
    ],
)
def test_what_cannot_work_is_refused_by_its_name(options: dict[str, Any], text: str) -> None:
    with pytest.raises(QueueConfigurationError, match=text):
        CloudRunExecutionConfig(**{**USUAL, **options})


def test_a_profile_that_is_not_configured_is_refused_with_the_known_ones() -> None:
    backend = CloudRunExecutionConfig(**USUAL, profiles={"heavy": "a", "gpu": "b"}).create_execution_backend()
    backend.check_profile("heavy")
    backend.check_profile(None)
    with pytest.raises(
        InvalidTaskError, match=r"no profile 'havy': the known ones are gpu, heavy; did you mean 'heavy'\?"
    ):
        backend.check_profile("havy")
    backend = CloudRunExecutionConfig(**USUAL).create_execution_backend()
    with pytest.raises(InvalidTaskError, match="has no profiles"):
        backend.check_profile("heavy")


def test_a_task_without_a_profile_goes_to_the_job_else_to_the_default_profile_else_nowhere() -> None:
    profiles = {"default": "projects/p/locations/r/jobs/d", "heavy": "projects/p/locations/r/jobs/h"}
    assert Jobs("projects/p/locations/r/jobs/j", profiles).of(None) == "projects/p/locations/r/jobs/j"
    assert Jobs(None, profiles).of(None) == profiles["default"]
    backend = CloudRunExecutionConfig(project_id="p", profiles={"heavy": "h"}).create_execution_backend()
    with pytest.raises(QueueConfigurationError, match=r"set job_name, or the profile 'default'.*name a profile: heavy"):
        backend.check_profile(None)


def test_a_reference_has_the_job_s_own_words() -> None:
    """Google may write the number of the project where the configuration has its id."""
    reply = "projects/123456/locations/r/jobs/j/executions/j-abc"
    assert execution_of("projects/p/locations/r/jobs/j", reply) == "projects/p/locations/r/jobs/j/executions/j-abc"


@pytest.mark.parametrize(
    ("text", "outlook"),
    [
        ("The service is currently unavailable.", Outlook.FOR_NOW),
        (
            "failed to connect to all addresses; last error: UNAVAILABLE: ipv4:10.0.0.1:443: Socket closed",
            Outlook.FOR_NOW,
        ),
        ("errors resolving run.googleapis.com:443: [field:hostname ...]", Outlook.FOR_NOW),
        ("Getting metadata from plugin failed with error: invalid_grant: a token", Outlook.FOR_NOW),
        ("Stream removed (Socket closed)", Outlook.UNCLEAR),
        ("recvmsg:Connection reset by peer", Outlook.UNCLEAR),
        ("GOAWAY received; Error code: 2; Debug Text: Cancelling all calls", Outlook.UNCLEAR),
    ],
)
def test_a_503_of_the_server_is_told_from_a_connection_that_was_lost(text: str, outlook: Outlook) -> None:
    error = trouble_of("UNAVAILABLE", text)
    assert error.trouble.outlook is outlook
    assert error.trouble.passes
    assert "a token" not in str(error)


def test_a_code_that_nobody_knows_is_refused() -> None:
    assert trouble_of("OUT_OF_RANGE", "x").trouble is Trouble.INVALID
