"""`litestar queues schedules` and `scheduler-health`, as commands, and fires of a worker process."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from heart_lab import until
from litestar import Litestar
from litestar.cli._utils import LitestarEnv
from sqlspec.adapters.aiosqlite import AiosqliteConfig

from litestar_queues import QueueConfig, QueuePlugin, QueueService, State, TaskRegistry, Worker, schedule, task
from litestar_queues.backends.sqlspec import SQLSpecBackendConfig
from litestar_queues.cli import queues_group
from litestar_queues.records import Matching

registry = TaskRegistry()
ran: list[int] = []


@task("reports.nightly", registry=registry, cron="30 2 * * *", timezone="Europe/Berlin", jitter=60)
async def nightly() -> None: ...


@task("add", registry=registry)
async def add(number: int, other: int = 0) -> int:
    ran.append(number)
    return number + other


schedule(add, 3, name="reports.add", registry=registry, cron="@hourly", overlap="allow")


def backend(folder: Path) -> SQLSpecBackendConfig:
    return SQLSpecBackendConfig(config=AiosqliteConfig(connection_config={"database": str(folder / "queues.db")}))


@pytest.fixture
def app(tmp_path: Path) -> Litestar:
    return Litestar([], plugins=[QueuePlugin(QueueConfig(queue_backend=backend(tmp_path)), registry=registry)])


def run(app: Litestar, *arguments: str) -> Result:
    env = LitestarEnv(app_path="", app=app, cwd=Path.cwd())
    return CliRunner().invoke(queues_group, ["schedules", *arguments], obj=env)


def health(app: Litestar, *arguments: str) -> Result:
    env = LitestarEnv(app_path="", app=app, cwd=Path.cwd())
    return CliRunner().invoke(queues_group, ["scheduler-health", *arguments], obj=env)


def found(result: Result) -> Any:
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_they_are_brought_into_the_store_listed_and_changed(app: Litestar) -> None:
    assert found(run(app, "--json")) == []
    assert found(run(app, "sync", "--json")) == ["reports.add", "reports.nightly"]
    assert run(app, "sync").stdout == "Nothing has changed.\n"
    one, two = found(run(app, "--json"))
    assert (one["name"], one["when"], one["template"]["args"]) == ("reports.add", "@hourly UTC", "[3]")
    assert (two["name"], two["from_code"], two["last"], two["paused_at"]) == ("reports.nightly", True, None, None)
    (paused,) = found(run(app, "pause", "reports.add", "--json"))
    assert (paused["paused_at"] is None, paused["next_fire"]) == (False, None)
    assert "paused since" in run(app).stdout
    (changed,) = found(run(app, "change", "reports.add", "--interval", "90", "--overlap", "queue", "--json"))
    assert (changed["when"], changed["overlap"]) == ("every 90 s", "queue")
    (resumed,) = found(run(app, "resume", "reports.add", "--json"))
    assert resumed["next_fire"] is not None
    (removed,) = found(run(app, "remove", "reports.nightly", "--json"))
    assert removed["removed_at"] is not None
    assert [one["name"] for one in found(run(app, "--json"))] == ["reports.add"]
    assert "removed at" in run(app, "--removed").stdout


def test_they_are_made_and_run_by_hand(app: Litestar, tmp_path: Path) -> None:
    (made,) = found(
        run(
            app, "create", "mine", "add", "--args", "[1]", "--kwargs", '{"other":2}', "--cron", "0 3 * * *", "--timezone",
            "Europe/Berlin", "--queue", "slow", "--catch-up", "all", "--json",
        )
    )  # fmt: skip
    assert (made["queue"], made["catch_up"], made["from_code"]) == ("slow", "all", False)
    for arguments, says in (
        (("create", "mine", "add", "--args", "[1]", "--interval", "5"), "there is a schedule 'mine' already"),
        (("create", "other", "add", "--interval", "5"), "missing a required argument"),
        (("create", "other", "none", "--interval", "5"), "no task named 'none'"),
        (("create", "other", "add", "--args", "[1]"), "has to say when"),
        (("create", "other", "add", "--args", "[1]", "--cron", "at noon"), "cannot be read"),
        (("change", "mine"), "change takes cron"),
        (("pause", "nobody"), "no schedule 'nobody'"),
        (("run", "nobody"), "no schedule 'nobody'"),
        (("preview", "nobody"), "no schedule 'nobody'"),
        (("preview", "--cron", "0 0 30 2 *"), "cannot be read"),
    ):
        result = run(app, *arguments)
        assert (result.exit_code, says in result.stderr) == (1, True), (arguments, result.output)
    for arguments, says in (
        (("create", "other", "add", "--args", "{}", "--interval", "5"), "--args is not"),
        (("create", "other", "add", "--args", "[", "--interval", "5"), "--args is not"),
        (("preview",), "takes the NAME"),
        (("preview", "mine", "--cron", "@daily"), "not both"),
        (("preview", "mine", "--after", "soon"), "ISO 8601"),
        (("preview", "mine", "--after", "2026-01-01T00:00"), "offset"),
    ):
        result = run(app, *arguments)
        assert (result.exit_code, says in result.stderr) == (2, True), (arguments, result.output)
    task_id = run(app, "run", "mine").stdout.strip()

    async def stored() -> Any:
        async with QueueService(QueueConfig(queue_backend=backend(tmp_path)), registry=registry) as service:
            return await service.get(task_id)

    result = asyncio.run(stored())
    assert (result.record.name, result.record.args, result.status) == ("add", "[1]", State.PENDING)


def test_a_preview_marks_what_the_changes_of_the_clock_do(app: Litestar) -> None:
    spring = found(run(app, "preview", "reports.nightly", "--count", "3", "--after", "2026-03-28T00:00Z", "--json"))
    assert [one["local"] for one in spring] == [
        "2026-03-28T02:30:00+01:00", "2026-03-29T03:00:00+02:00", "2026-03-30T02:30:00+02:00",
    ]  # fmt: skip
    assert [one["note"] for one in spring] == [None, "the clock skips 02:30:00: at the end of the gap", None]
    assert run(app, "preview", "reports.nightly", "--stored").exit_code == 1
    run(app, "sync")
    run(app, "change", "reports.nightly", "--cron", "0 5 * * *")
    (one,) = found(run(app, "preview", "reports.nightly", "--stored", "--count", "1", "--json"))
    assert one["local"][11:16] == "05:00"
    autumn = run(app, "preview", "--cron", "30 * * * *", "--timezone", "Europe/Berlin", "--after", "2026-10-25T00:00Z")
    assert "the second time: the clock was set back" in autumn.stdout
    lines = found(
        run(app, "preview", "--interval", "3600", "--count", "2", "--after", "2026-01-01T00:00:30Z", "--json")
    )
    assert [one["at"] for one in lines] == ["2026-01-01T01:00:00Z", "2026-01-01T02:00:00Z"]


@pytest.mark.anyio
async def test_a_worker_fires_what_is_due_and_monitoring_sees_it(app: Litestar, tmp_path: Path) -> None:
    config = QueueConfig(
        queue_backend=backend(tmp_path), schedule_check_interval=0.2, worker_poll_interval=0.1, event_sinks=[]
    )
    assert (await asyncio.to_thread(health, app)).exit_code == 3
    async with QueueService(config, registry=registry) as service:
        await service.schedules.create(add, 7, name="often", interval=1, overlap="allow")
        worker = Worker(service)
        running = asyncio.ensure_future(worker.run())
        await until(lambda: ran.count(7) >= 2)
        answer = await asyncio.to_thread(health, app, "--json")
        assert (answer.exit_code, json.loads(answer.stdout)["leader"]["worker"]) == (0, worker.name)
        assert {one.name for one in await service.schedules.list()} == {"often", "reports.add", "reports.nightly"}
        worker.drain()
        await running
        fires = await service.operations.backend.find(Matching(names=("add",)), 100)
        assert len({one.id for one in fires}) == len(fires)
        assert await service.operations.backend.lock("schedules", "another", timedelta(seconds=1))
        await until(lambda: health(app, "--minutes", "0.001").exit_code == 4)
        told = await asyncio.to_thread(health, app, "--minutes", "0.001")
        assert "not fired in time" in told.stdout
    env = LitestarEnv(app_path="", app=app, cwd=Path.cwd())
    status = await asyncio.to_thread(CliRunner().invoke, queues_group, ["status", "--json"], obj=env)
    assert json.loads(status.stdout)["scheduler"]["worker"] == worker.name
