"""What `docs/how-to/cloud-run.md` says: its sample, with workers, containers and everything between them; its tables."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import AsyncIterator
from dataclasses import MISSING, fields, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("google.cloud.run_v2")

from cloudrun import CloudRun, Fault, ForkStarter
from page_lab import PAGES, blocks
from waiting import DEADLINE

from litestar_queues import InvalidTaskError, QueueConfig, QueueService, Worker
from litestar_queues.execution.cloudrun import CloudRunExecutionConfig, environment
from litestar_queues.execution.remote import RemoteExit

pytestmark = pytest.mark.anyio

PAGE = "docs/how-to/cloud-run.md"
[SAMPLE] = blocks(PAGE, "python")
ENTRYPOINT = [sys.executable, "-m", "litestar_queues.execution.cloudrun.entrypoint"]
PRELOADED = ("litestar_queues.backends.sqlspec", "sqlspec.adapters.aiosqlite", "cloudrun_hooks", "litestar_queues.cli")
REPLACED = {
    "from sqlspec.adapters.asyncpg import AsyncpgConfig": "from sqlspec.adapters.aiosqlite import AiosqliteConfig",
    'AsyncpgConfig(connection_config={"dsn": "postgresql://app@10.0.0.3/app"})': (
        'AiosqliteConfig(connection_config={"database": "QUEUES"})'
    ),
    "queue_backend=SQLSpecBackendConfig(config=database)": "queue_backend=HOOKED",
}
"""The database of the page is not here. The rest of the sample is as it stands there."""


class Stage:
    """The sample in a file, which containers import, and a queue service and a worker of this process."""

    def __init__(self, folder: Path) -> None:
        code = SAMPLE
        for old, new in REPLACED.items():
            assert code.count(old) == 1, old
            code = code.replace(old, new)
        code = code.replace("QUEUES", str(folder / "queues.db"))
        code = code.replace("HOOKED", "HookedConfig(SQLSpecBackendConfig(config=database))")
        (folder / "reports.py").write_text(f"from cloudrun_hooks import HookedConfig\n{code}")
        self.names: dict[str, Any] = {"__name__": "reports_here"}
        exec(compile((folder / "reports.py").read_text(), PAGE, "exec"), self.names)
        self.environment = {"PYTHONPATH": ":".join([str(folder), *sys.path])}
        self.cloud = self.box(starter=ForkStarter("litestar_queues.execution.cloudrun.entrypoint:main", PRELOADED))
        self.config: QueueConfig = self.names["queues"]()

    def box(self, **options: Any) -> CloudRun:
        """A box with the jobs of the sample."""
        return CloudRun(environment=self.environment, jobs=["queue-worker", "queue-worker-heavy"], **options)

    def configured(self, **changes: Any) -> QueueConfig:
        """The configuration of the sample, which reaches the box and looks after runs often."""
        execution = replace(self.config.execution_backend, channel_factory=self.cloud.channel, **changes)  # type: ignore[type-var]
        return replace(
            self.config, execution_backend=execution, worker_poll_interval=0.05, dispatch_check_interval=0.2,
            maintenance_interval=0.2, worker_stale_after=timedelta(seconds=30),
        )  # fmt: skip


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    stage = Stage(tmp_path)
    async with asyncio.timeout(DEADLINE), stage.cloud:
        yield stage


class Running:
    """A queue service with a worker beside it."""

    def __init__(self, config: QueueConfig) -> None:
        self.service = QueueService(config)

    async def __aenter__(self) -> QueueService:
        await self.service.__aenter__()
        self._worker = Worker(self.service)
        self._running = asyncio.get_running_loop().create_task(self._worker.run())
        return self.service

    async def __aexit__(self, *error: object) -> None:
        self._worker.abort()
        await self._running
        await self.service.__aexit__(*error)


async def test_the_sample_runs_its_tasks_in_containers_and_in_the_worker(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    stage.cloud = stage.box(command=ENTRYPOINT)
    async with asyncio.timeout(DEADLINE), stage.cloud, Running(stage.configured()) as service:
        report = await service.enqueue(stage.names["render_report"], "report-7")
        mail = await service.enqueue(stage.names["send_mail"], "ada@example.org")
        await report.wait(DEADLINE, raises=True)
        await mail.wait(DEADLINE, raises=True)
        await stage.cloud.all_ended()
        assert report.value() == "report-7.pdf"
        [execution] = stage.cloud.executions.values()
        assert execution.job == "projects/example-project/locations/us-central1/jobs/queue-worker-heavy"
        assert execution.exits == [0], execution.log
        record = (await service.operations.backend.get([report.id]))[report.id]
        assert (record.execution_ref, record.attempt) == (execution.name, 1)
        assert "report-7" not in str(stage.cloud.requests)
        with pytest.raises(InvalidTaskError, match=r"'heavvy'.*did you mean 'heavy'\?"):
            await service.enqueue(stage.names["render_report"].using(execution_profile="heavvy"), "report-8")


@pytest.mark.parametrize(
    ("fault", "runs", "attempt"),
    [
        pytest.param(Fault(kill_at="before_claim"), 2, 1, id="killed-before-its-claim"),
        pytest.param(Fault(kill_at="after_commit"), 1, 1, id="killed-after-its-commit"),
        pytest.param(Fault(refuse="RESOURCE_EXHAUSTED"), 1, 1, id="quota"),
        pytest.param(Fault(reply="unavailable"), 2, 1, id="started-and-replied-503"),
        pytest.param(Fault(start="never", says="failed"), 2, 1, id="never-started"),
        pytest.param(Fault(start="never", says="missing"), 2, 1, id="vanished"),
        pytest.param(Fault(delay=1.0), 1, 1, id="slow-start"),
    ],
)
async def test_a_task_survives(stage: Stage, fault: Fault, runs: int, attempt: int) -> None:
    stage.cloud.plan.then(fault)
    async with Running(stage.configured()) as service:
        report = await service.enqueue(stage.names["render_report"], "report-7")
        await report.wait(DEADLINE, raises=True)
        await stage.cloud.started(runs)
        assert report.value() == "report-7.pdf"
        assert len(stage.cloud.executions) == runs
        record = (await service.operations.backend.get([report.id]))[report.id]
        assert record.attempt == attempt
        assert record.execution_ref in stage.cloud.executions


async def test_a_run_that_is_said_to_have_succeeded_while_it_runs_is_left_alone(stage: Stage) -> None:
    stage.cloud.plan.then(Fault(hold_at="before_commit"))
    async with Running(stage.configured()) as service:
        report = await service.enqueue(stage.names["render_report"], "report-7")
        [execution] = await stage.cloud.started(1)
        await execution.reached("before_commit")
        execution.fault = replace(execution.fault, says="succeeded")
        execution.release("before_commit")
        await report.wait(DEADLINE, raises=True)
        await stage.cloud.all_ended()
        assert execution.exits == [0], execution.log
        assert len(stage.cloud.executions) == 1


async def test_what_cloud_run_refuses_goes_to_the_fallback(stage: Stage) -> None:
    stage.cloud.plan.rest = Fault(refuse="PERMISSION_DENIED")
    async with Running(stage.configured(fallback_execution_backend="local")) as service:
        report = await service.enqueue(stage.names["render_report"], "report-7")
        await report.wait(DEADLINE, raises=True)
        record = (await service.operations.backend.get([report.id]))[report.id]
        assert (record.execution_backend, record.execution_ref) == ("local", None)
    assert stage.cloud.executions == {}


async def test_cancelling_a_task_cancels_its_execution(stage: Stage) -> None:
    stage.cloud.plan.then(Fault(start="held"))
    async with Running(stage.configured()) as service:
        report = await service.enqueue(stage.names["render_report"], "report-7")
        [execution] = await stage.cloud.started(1)
        while (await service.operations.backend.get([report.id]))[report.id].execution_ref is None:  # noqa: ASYNC110  # no event tells of it
            await asyncio.sleep(0.01)
        await service.cancel(report.id)
        await execution.ended.wait()
        assert (execution.state, execution.exits) == ("cancelled", [])


# Tables


def table(head: str) -> list[list[str]]:
    [rows] = re.findall(rf"^\| {re.escape(head)} \|.*\n\|[-|]+\n((?:^\|.*\n)+)", PAGES[PAGE], flags=re.MULTILINE)
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows.splitlines()]


def test_the_page_has_every_exit_code() -> None:
    assert {int(row[0]) for row in table("exit code")} == {int(code) for code in RemoteExit}


def test_the_page_has_every_variable_of_a_container() -> None:
    full = environment.Environment("LITESTAR_QUEUES_", "a:b", ("c",), {})
    assert {row[0].strip("`") for row in table("variable")} == full.names


def test_the_page_has_every_option_with_its_default() -> None:
    shown = {row[0].strip("`"): row[1].strip("`").replace('"', "'") for row in table("option")}
    assert shown == {
        one.name: "required" if one.default is MISSING else f"{one.default!r}".removesuffix(".0")
        for one in fields(CloudRunExecutionConfig)
    }


async def test_a_container_needs_no_package_of_google(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    stage.cloud = stage.box(command=ENTRYPOINT)
    (tmp_path / "google").mkdir()
    (tmp_path / "google" / "__init__.py").touch()
    (tmp_path / "grpc.py").write_text("raise ImportError")
    async with asyncio.timeout(DEADLINE), stage.cloud, Running(stage.configured()) as service:
        report = await service.enqueue(stage.names["render_report"], "report-7")
        [execution] = await stage.cloud.started(1)
        await execution.ended.wait()
        assert execution.exits == [0], execution.log
        await report.wait(DEADLINE, raises=True)
