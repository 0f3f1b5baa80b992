"""What `docs/how-to/databases.md` shows works when it is pasted; what needs a server is tried where there are servers."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from litestar.testing import TestClient
from page_lab import BASIC, CODE, HOOK, MIGRATED, OWN_FLOW, PAGE, SHARED, SNAPSHOT, registry, runs_a_task, sample, work

from litestar_queues import QueueConfig
from litestar_queues.backends.sqlspec import SQLSpecBackendConfig
from litestar_queues.observability.counters import COUNTERS
from litestar_queues.plugin import QueuePlugin

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def tables() -> set[str]:
    connection = sqlite3.connect("queue.db")
    names = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    connection.close()
    return names


async def test_the_first_configuration_runs_tasks() -> None:
    await runs_a_task(sample(BASIC)["config"])
    assert tables() == {"litestar_queue_task", "litestar_queue_task_lock", "litestar_queue_task_record"}


async def test_that_with_migrations_runs_tasks() -> None:
    await runs_a_task(sample(MIGRATED)["config"])
    assert tables() == {
        "litestar_queue_task",
        "litestar_queue_task_lock",
        "litestar_queue_task_record",
        "ddl_migrations",
    }


async def test_the_migrations_of_the_application_make_the_tables_where_they_are_told_to() -> None:
    config = sample(OWN_FLOW)["sqlspec_config"]
    await config.migrate_up(use_logger=True, echo=False)
    await config.close_pool()
    await runs_a_task(
        QueueConfig(queue_backend=SQLSpecBackendConfig(config=config, create_schema=False, run_migrations=False))
    )


def test_the_application_shares_its_pool() -> None:
    shown = sample(SHARED)
    app, config = shown["app"], shown["sqlspec_config"]
    plugin = app.plugins.get(QueuePlugin)
    plugin.registry = registry
    with TestClient(app) as client:
        pool = config.connection_instance
        assert pool is not None
        result = client.blocking_portal.call(plugin.service.enqueue, work)
        assert result.is_new
        assert config.connection_instance is pool
    assert config.connection_instance is None, "the application closed it"


async def test_the_counters_are_in_the_snapshot_and_a_hook_hears_of_statements() -> None:
    shown = sample(OWN_FLOW)
    heard: list[str] = []
    hook = CODE[HOOK].replace("-> None: ...", "-> None:\n    heard.append(str(context['sql']))")
    exec(compile(hook, "databases.md", "exec"), shown | {"heard": heard})
    await runs_a_task(QueueConfig(queue_backend=SQLSpecBackendConfig(config=shown["sqlspec_config"])))
    counted = sample(SNAPSHOT, given=shown)["queue_metrics"]
    for name in ("queue.enqueue", "queue.claim", "queue.complete"):
        assert counted[f"AiosqliteConfig.{name}"] == 1
    assert any("INSERT" in statement for statement in heard)


def test_the_page_names_each_counter() -> None:
    assert [name for name in COUNTERS if f"| `{name}` |" not in PAGE] == []
    assert len(CODE) == 9
