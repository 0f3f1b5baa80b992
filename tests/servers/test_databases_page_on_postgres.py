"""What `docs/how-to/databases.md` shows for PostgreSQL works when it is pasted."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import pytest
from page_lab import CODE, HEARTBEATS, HOOK, MONITORED, ORACLE, SNAPSHOT, addressed, run_sample, runs_a_task, sample
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


TRACED = """
import asyncio, logging
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from page_lab import runs_a_task

logged = []
logger = logging.getLogger("opentelemetry")
logger.setLevel(1)
logger.addHandler(type("Heard", (logging.Handler,), {"emit": lambda self, record: logged.append(record.getMessage())})())
exporter = InMemorySpanExporter()
trace.get_tracer_provider().add_span_processor(SimpleSpanProcessor(exporter))

async def main():
    for _ in range(3):
        await runs_a_task(config)
    await sqlspec_config.close_pool()

asyncio.run(main())
assert logged == [], logged[:3]
spans = exporter.get_finished_spans()
assert {"queue.enqueue", "queue.claim", "queue.settle", "sqlspec.query"} <= {span.name for span in spans}
assert {(span.attributes or {})["service.name"] for span in spans} == {"queue-worker"}
assert {span.resource.attributes["service.name"] for span in spans} == {"queue-worker"}
names = {one.name for metric in REGISTRY.collect() for one in metric.samples}
assert {"sqlspec_driver_query_total", "sqlspec_driver_query_duration_seconds_count"} <= names
assert queue_metrics()["AsyncpgConfig.queue.complete"] == 3
"""


async def test_opentelemetry_and_prometheus_hear_of_everything_and_opentelemetry_logs_nothing(
    dsn: str, tmp_path: Path
) -> None:
    snapshot = "def queue_metrics():\n" + textwrap.indent(CODE[SNAPSHOT], "    ") + "    return queue_metrics\n"
    sample = addressed(CODE[MONITORED], dsn) + CODE[HOOK] + snapshot
    run_sample(tmp_path, sample + TRACED)


async def test_without_a_provider_opentelemetry_logs(dsn: str, tmp_path: Path) -> None:
    """When this fails, SQLSpec keeps its tokens apart, and the page need not warn any more."""
    sample = addressed(CODE[MONITORED], dsn)
    provided = re.compile(r"^provider = .*?^trace\.set_tracer_provider.*?$", re.MULTILINE | re.DOTALL)
    without, replaced = provided.subn("", sample)
    assert replaced == 1
    flooded = TRACED[: TRACED.index("exporter =")] + TRACED[TRACED.index("async def main") :]
    run_sample(tmp_path, without + flooded.partition("assert logged")[0] + "assert 'detach' in logged[0], logged")


def test_the_configuration_for_oracle_makes_a_backend() -> None:
    assert sample(ORACLE)["config"].create_backend().name == "sqlspec[oracledb]"


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
