"""What `docs/how-to/databases.md` shows for PostgreSQL works when it is pasted."""

from __future__ import annotations

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from page_lab import HEARTBEATS, HOOK, MONITORED, SNAPSHOT, runs_a_task, sample
from postgres_lab import dsn, server
from prometheus_client import REGISTRY
from sqlspec import SQLSpec
from sqlspec.adapters.asyncpg import AsyncpgConfig
from sqlspec.extensions.otel import enable_tracing
from sqlspec.extensions.prometheus import enable_metrics

from litestar_queues import QueueConfig
from litestar_queues.backends.sqlspec import SQLSpecBackendConfig

__all__ = ("dsn", "server")

pytestmark = pytest.mark.anyio


async def test_heartbeats_have_their_pool(dsn: str) -> None:
    shown = sample(HEARTBEATS, dsn)
    await runs_a_task(shown["config"])
    assert shown["heartbeat_config"].bind_key == "queue_heartbeat"
    assert shown["heartbeat_config"].connection_instance is None, "it was opened and closed, or never opened"


async def test_opentelemetry_and_prometheus_hear_of_everything(dsn: str) -> None:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)  # once in a process; no other test does it
    shown = sample(MONITORED, dsn)
    sample(HOOK, given=shown)
    await runs_a_task(shown["config"])
    await shown["sqlspec_config"].close_pool()
    names = {one.name for metric in REGISTRY.collect() for one in metric.samples}
    assert {"sqlspec_driver_query_total", "sqlspec_driver_query_duration_seconds_count"} <= names
    spans = {span.name for span in exporter.get_finished_spans()}
    assert {"queue.enqueue", "queue.claim", "queue.settle", "sqlspec.query"} <= spans
    assert all((span.attributes or {})["service.name"] == "queue-worker" for span in exporter.get_finished_spans())
    counted = sample(SNAPSHOT, given=shown)["queue_metrics"]
    assert counted["AsyncpgConfig.queue.complete"] == 1


async def test_prometheus_counts_without_a_registry_too_where_nobody_exports_it(dsn: str) -> None:
    """When this fails, SQLSpec registers its metrics by itself, and the page need not name the registry any more."""
    observability = enable_metrics(base_config=enable_tracing(resource_attributes={"service.name": "queue-worker"}))
    spec = SQLSpec(observability_config=observability)
    config = spec.add_config(AsyncpgConfig(connection_config={"dsn": dsn, "min_size": 1}))
    before = list(REGISTRY.collect())
    await runs_a_task(QueueConfig(queue_backend=SQLSpecBackendConfig(sqlspec=spec, config=config)))
    await config.close_pool()
    assert [metric.name for metric in REGISTRY.collect()] == [metric.name for metric in before]
    [observer] = observability.statement_observers or ()
    [metric] = observer._counters.collect()  # type: ignore[attr-defined]
    assert {one.name for one in metric.samples} >= {"sqlspec_driver_query_total"}
