from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Collection
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry
from sqlspec import SQLSpec
from sqlspec.adapters.aiosqlite import AiosqliteConfig
from sqlspec.extensions.otel import enable_tracing
from sqlspec.extensions.prometheus import enable_metrics
from waiting import DEADLINE

from litestar_queues import QueueConfig, QueueService, task
from litestar_queues.backends.sqlspec import SQLSpecBackendConfig
from litestar_queues.backends.sqlspec.backend import SQLSpecBackend
from litestar_queues.errors import TaskStateError
from litestar_queues.lifecycle import Complete, Requeue
from litestar_queues.observability.counters import COUNTERS
from litestar_queues.operations import Move
from litestar_queues.records import Held, TaskRecord, Want
from litestar_queues.schedules.firing import fire_due
from litestar_queues.schedules.model import PREFIX, read_all, write_schedule
from litestar_queues.schedules.spec import ScheduleSpec
from litestar_queues.task import TaskRegistry

pytestmark = pytest.mark.anyio

registry = TaskRegistry()


@task("app.work", retries=1, registry=registry)
async def work() -> None: ...


def config_for(path: Path, **options: Any) -> AiosqliteConfig:
    return AiosqliteConfig(connection_config={"database": str(path / "queue.db")}, **options)


def service_for(config: AiosqliteConfig, **options: Any) -> QueueService:
    queue = QueueConfig(queue_backend=SQLSpecBackendConfig(config=config, **options))
    return QueueService(queue, registry=registry)


class Counts:
    """The counters of the queue in a configuration's runtime, without those that are not ours."""

    def __init__(self, config: AiosqliteConfig) -> None:
        self._config = config
        self._before = self.all()

    def all(self) -> dict[str, float]:
        snapshot = self._config.get_observability_runtime().metrics_snapshot()
        names = {key.removeprefix(f"{type(self._config).__name__}."): value for key, value in snapshot.items()}
        return {name: value for name, value in names.items() if name.startswith("queue.")}

    def new(self) -> dict[str, float]:
        """Those that have grown since the last call, and by how much."""
        now, before = self.all(), self._before
        self._before = now
        return {name: value - before.get(name, 0) for name, value in now.items() if value != before.get(name, 0)}


class Tells:
    """Hints that go nowhere."""

    async def notify(self, queues: Collection[str]) -> None: ...

    async def wait(self, queues: tuple[str, ...] | None, seconds: float) -> bool:
        return False


@pytest.fixture
async def config(tmp_path: Path) -> AiosqliteConfig:
    return config_for(tmp_path)


@pytest.fixture
async def service(config: AiosqliteConfig) -> AsyncIterator[QueueService]:
    async with service_for(config) as service:
        yield service


async def claim(service: QueueService) -> TaskRecord:
    [claimed] = await service.operations.claim(Want(worker="w", limit=1))
    return claimed


async def test_each_counter_counts_what_it_says(
    config: AiosqliteConfig, service: QueueService, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts, operations = Counts(config), service.operations
    seen: set[str] = set()

    def new() -> dict[str, float]:
        found = counts.new()
        seen.update(found)
        return found

    assert new() == {}
    await service.enqueue(work, key="one")
    await service.enqueue(work, key="one")
    assert new() == {"queue.enqueue": 1}, "the second found its key held"
    claimed = await claim(service)
    assert new() == {"queue.claim": 1}
    await operations.touch_heartbeats([claimed.held])
    assert new() == {}
    retried = await operations.fail_task(claimed, '{"type": "E"}', retry_at=service.clock.now())
    assert retried.finished_at is None
    assert new() == {"queue.retry": 1}
    last = await claim(service)
    await operations.fail_task(last, '{"type": "E"}', retry_at=service.clock.now())
    assert new() == {"queue.claim": 1, "queue.fail": 1}
    await service.enqueue(work.using(requeue_on_stale=False))
    await operations.apply([Move(await claim(service), Requeue())])
    assert new() == {"queue.enqueue": 1, "queue.claim": 1, "queue.fail": 1}
    await service.retry(claimed.id)
    assert new() == {"queue.retry": 1}
    lost = await claim(service)
    assert len((await operations.requeue_stale_running(timedelta(seconds=-60))).requeued) == 1
    assert new() == {"queue.claim": 1, "queue.stale_recovered": 1}
    with pytest.raises(TaskStateError):
        await operations.complete_task(lost)
    assert new() == {"queue.claim_lost": 1}
    for _ in range(2):
        await claim(service)
        await operations.requeue_stale_running(timedelta(seconds=-60))
        assert new() == {"queue.claim": 1, "queue.stale_recovered": 1}
    await claim(service)
    assert len((await operations.requeue_stale_running(timedelta(seconds=-60))).failed) == 1, "the fourth time"
    assert new() == {"queue.claim": 1, "queue.stale_recovered": 1, "queue.stale_failed": 1}
    await service.enqueue_many([work.call(), work.call()])
    both = await operations.claim(Want(worker="w", limit=2))
    await operations.apply([Move(one, Complete("null")) for one in both])
    assert new() == {"queue.enqueue": 2, "queue.claim": 2, "queue.complete": 2}
    await service.schedules.create(work, name="often", interval=3600)
    for since in (10, 5):  # the second fire finds that the first one's task is active
        now = service.clock.now()
        [often] = read_all(await operations.backend.read_records(PREFIX)).values()
        spec = ScheduleSpec(interval=3600, anchor=now - timedelta(seconds=since))
        due = often.evolve(definition=replace(often.definition, spec=spec), cursor=now - timedelta(seconds=20))
        await operations.backend.write_records([write_schedule(due)])
        await fire_due(operations, [due.evolve(version=due.version + 1)], now)
    found = new()
    assert 10_000 <= found.pop("queue.fire_late_ms") < 10_000 + 1000 * DEADLINE
    assert found == {"queue.enqueue": 1, "queue.fire": 1, "queue.fire_skipped": 1}
    await operations.complete_task(await claim(service))
    assert new() == {"queue.claim": 1, "queue.complete": 1}
    monkeypatch.setattr(SQLSpecBackend, "wakeups", Tells())
    await service.enqueue(work)
    assert new() == {"queue.enqueue": 1, "queue.notify": 1}
    assert seen == set(COUNTERS)
    assert len(COUNTERS) == 12


async def test_a_heartbeat_that_finds_its_task_lost_is_no_outcome(
    config: AiosqliteConfig, service: QueueService, caplog: pytest.LogCaptureFixture
) -> None:
    await service.enqueue(work)
    claimed = await claim(service)
    counts = Counts(config)
    assert await service.operations.touch_heartbeats([Held(claimed.id, claimed.fence + 1)]) == set()
    with caplog.at_level(logging.ERROR):
        service.operations.report_fence_losses([claimed], "it was cancelled")
    assert counts.new() == {}


async def test_counters_outlive_a_backend_and_start_before_it(config: AiosqliteConfig) -> None:
    runtime = config.get_observability_runtime()
    seen: list[dict[str, Any]] = []
    runtime.register_lifecycle_hook("on_query_complete", seen.append)
    for number in range(1, 3):
        async with service_for(config) as service:
            await service.enqueue(work)
        assert Counts(config).all() == {"queue.enqueue": number}
    assert config.get_observability_runtime() is runtime
    assert seen


async def test_queue_observability_switches_off_ours_and_nothing_else(tmp_path: Path) -> None:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    spec = SQLSpec(observability_config=enable_tracing(tracer_provider=provider))
    config = config_for(tmp_path)
    spec.add_config(config)
    queries: list[dict[str, Any]] = []
    config.get_observability_runtime().register_lifecycle_hook("on_query_complete", queries.append)
    async with service_for(config, sqlspec=spec, queue_observability=False) as service:
        await service.enqueue(work)
    assert Counts(config).all() == {}
    names = {span.name for span in exporter.get_finished_spans()}
    assert not [name for name in names if name.startswith("queue.")]
    assert "sqlspec.query" in names
    assert queries
    await config.close_pool()


async def test_operations_of_the_queue_are_spans_and_their_errors_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    spec = SQLSpec(observability_config=enable_tracing(tracer_provider=provider))
    config = config_for(tmp_path)
    spec.add_config(config)
    async with service_for(config, sqlspec=spec) as service:
        await service.enqueue(work)
        claimed = await claim(service)
        await service.operations.touch_heartbeats([claimed.held])
        await service.operations.complete_task(claimed)
        await service.operations.requeue_stale_running(timedelta(seconds=60))

        async def fail(*_args: object, **_options: object) -> Any:
            raise RuntimeError("no claim today")

        monkeypatch.setattr(SQLSpecBackend, "claim", fail)
        with pytest.raises(RuntimeError):
            await claim(service)
    ours = [span for span in exporter.get_finished_spans() if span.name.startswith("queue.")]
    assert [span.name for span in ours] == [
        "queue.enqueue", "queue.claim", "queue.heartbeat", "queue.settle", "queue.recover", "queue.claim",
    ]  # fmt: skip
    assert [span.status.is_ok for span in ours] == [True] * 5 + [False]
    assert ours[0].attributes is not None
    assert ours[0].attributes["queue.table"] == "litestar_queue_task"
    await config.close_pool()


async def test_prometheus_sees_the_statements(tmp_path: Path) -> None:
    metrics = CollectorRegistry()
    spec = SQLSpec(observability_config=enable_metrics(registry=metrics))
    config = config_for(tmp_path)
    spec.add_config(config)
    async with service_for(config, sqlspec=spec) as service:
        await service.enqueue(work)
    names = {sample.name for metric in metrics.collect() for sample in metric.samples}
    assert {"sqlspec_driver_query_total", "sqlspec_driver_query_duration_seconds_count"} <= names
    await config.close_pool()
