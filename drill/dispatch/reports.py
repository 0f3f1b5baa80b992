"""The application of the drill: its queues, as dispatchers and containers make them, and its tasks."""

from __future__ import annotations

import asyncio
import json
import os
from typing import Any

from drill.crew import Window
from drill.dispatch.box import hooked_config
from drill.places import backend_at
from drill.work import OwnError, written
from litestar_queues import QueueConfig, current_task, task
from litestar_queues.backoff import FixedBackoff
from litestar_queues.execution.cloudrun import CloudRunExecutionConfig

__all__ = ("STORE", "WINDOW", "cloud_run", "config", "render_report", "timings")

STORE = "LITESTAR_QUEUES_DRILL_STORE"
"""The variable of a container that holds the place of the store, as JSON."""
WINDOW = Window("dispatch", 0.5, 5.0)
_RECOVERIES = 50
"""More than the faults of a drill cost one task."""


@task("reports.render", execution_backend="cloudrun", execution_profile="heavy", backoff=FixedBackoff(0.2))
async def render_report(seconds: float, failures: int = 0) -> float:
    """Take so long, and fail in the first attempts."""
    with written("report"):
        await asyncio.sleep(seconds)
        if current_task().record.attempt <= failures:
            raise OwnError(f"attempt {current_task().record.attempt}")
    return seconds


def timings() -> dict[str, Any]:
    """The windows of `QueueConfig`: short, so that recoveries happen."""
    return {
        **WINDOW.config,
        "dispatch_timeout": 3.0,
        "dispatch_check_interval": 2.0,
        "max_recoveries": _RECOVERIES,
        "execution_backend": cloud_run(),
        "task_modules": [__name__],
    }


def cloud_run(**more: Any) -> CloudRunExecutionConfig:
    """The execution backend as the documentation has it; calls are given up early."""
    return CloudRunExecutionConfig(
        project_id="example-project",
        region="us-central1",
        job_name="queue-worker",
        profiles={"heavy": "queue-worker-heavy"},
        config_factory=f"{__name__}:config",
        task_modules=[__name__],
        request_timeout=1.0,
        dispatch_timeout=2.0,
        **more,
    )


def config() -> QueueConfig:
    """The queues of a container."""
    store = backend_at(json.loads(os.environ[STORE]), creates=False)
    return QueueConfig(queue_backend=hooked_config(store), **timings())
