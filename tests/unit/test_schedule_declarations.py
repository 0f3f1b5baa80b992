"""Which of the schedules in the code there are: two of one name, in which module each is, and what a return to older code says."""

from __future__ import annotations

import logging
from types import ModuleType
from typing import Any

import pytest

from litestar_queues import QueueConfig, QueueConfigurationError, QueueService, TaskRegistry, schedule, task
from litestar_queues.backends.memory import MemoryBackend

pytestmark = pytest.mark.anyio


def declare(registry: TaskRegistry, **schedules: str) -> None:
    """A task of this module, with these schedules."""

    @task("report", registry=registry)
    async def report(days: int = 1) -> None: ...

    for name, cron in schedules.items():
        schedule(report, 7, name=name, cron=cron, registry=registry)


async def synced(backend: MemoryBackend, registry: TaskRegistry) -> list[str]:
    """The schedules that are stored when a worker with this code has started."""
    async with QueueService(QueueConfig(queue_backend=backend), registry=registry) as service:
        await service.schedules.sync()
        return [one.name for one in await service.schedules.list()]


def test_a_task_does_not_have_two_schedules_of_one_name() -> None:
    registry = TaskRegistry()

    @task("report", registry=registry, cron="0 3 * * *")
    async def report(days: int = 1) -> None: ...

    with pytest.raises(QueueConfigurationError, match=r"task 'report' has two schedules named 'report'.*name="):
        schedule(report, 7, registry=registry, cron="0 4 * * mon")
    schedule(report, 7, registry=registry, cron="0 4 * * mon", name="weekly")
    schedule(report, 7, registry=registry, cron="0 4 * * mon", name="weekly")
    with pytest.raises(QueueConfigurationError, match="two schedules named 'weekly'"):
        schedule(report, 8, registry=registry, cron="0 4 * * mon", name="weekly")
    assert [one.settings.cron for one in registry.schedules.values()] == ["0 3 * * *", "0 4 * * mon"]


def test_a_module_that_is_loaded_again_replaces_its_schedules() -> None:
    registry = TaskRegistry()
    for cron in ("0 3 * * *", "0 4 * * *"):
        declare(registry, nightly=cron)
    assert registry.schedules["nightly"].settings.cron == "0 4 * * *"


def test_a_schedule_is_of_the_module_that_declares_it() -> None:
    registry = TaskRegistry()
    declare(registry, here="0 3 * * *")
    other: Any = ModuleType("application.plans")
    other.report, other.schedule, other.registry = registry.get("report"), schedule, registry
    exec("schedule(report, name='there', cron='0 4 * * *', registry=registry)", vars(other))
    assert [one.module for one in registry.schedules.values()] == [__name__, "application.plans"]


async def test_older_code_says_which_schedules_it_would_end(caplog: pytest.LogCaptureFixture) -> None:
    backend, old, new = MemoryBackend(), TaskRegistry(), TaskRegistry()
    declare(old, nightly="0 3 * * *")
    declare(new, nightly="0 3 * * *", weekly="0 4 * * mon")
    for registry in (old, new):
        await synced(backend, registry)
    with caplog.at_level(logging.WARNING):
        assert await synced(backend, old) == ["nightly", "weekly"]
    assert "they stay as it has them: weekly." in caplog.text
