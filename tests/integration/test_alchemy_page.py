"""What `docs/how-to/advanced-alchemy.md` shows works when it is pasted; each sample in a process of its own."""

from __future__ import annotations

from pathlib import Path

import pytest
from page_lab import blocks, run_sample

CODE = blocks("docs/how-to/advanced-alchemy.md", "python")
BASIC, LITESTAR, IN_TESTS, OWN_MODEL, HEARTBEATS = range(5)

RUNS_A_TASK = """
import asyncio
from alchemy_lab import runs_a_task
{before}
asyncio.run(runs_a_task(config))
{after}
"""
SERVES = """
from alchemy_lab import registry, work
from litestar.testing import TestClient
plugin = app.plugins.get(QueuePlugin)
plugin.registry = registry
with TestClient(app) as client:
    engine = alchemy_config.engine_instance
    assert engine is not None and engine.pool.size() > 0
    assert client.blocking_portal.call(plugin.service.enqueue, work).is_new
    assert alchemy_config.engine_instance is engine
"""
CLOSES = """
from advanced_alchemy.extensions.litestar import SQLAlchemyPlugin
from litestar import Litestar
from litestar.testing import TestClient
alchemy_config.create_all = True
with TestClient(Litestar(plugins=[SQLAlchemyPlugin(config=alchemy_config)])):
    assert alchemy_config.get_engine().pool.checkedin() == 1
assert alchemy_config.get_engine().pool.checkedin() == 0
"""
MODELS = """
from advanced_alchemy.base import UUIDAuditBase
from litestar_queues.backends.advanced_alchemy import QueueTaskModelMixin

class AppQueueTask(UUIDAuditBase, QueueTaskModelMixin):
    __tablename__ = "app_queue_task"
"""
CREATES = """
async def create():
    async with heartbeat_engine.begin() as connection:
        await connection.run_sync(AppQueueTask.metadata.create_all)
    await heartbeat_engine.dispose()
asyncio.run(create())
"""


@pytest.mark.parametrize("number", [BASIC, OWN_MODEL])
def test_a_configuration_runs_tasks(number: int, tmp_path: Path) -> None:
    run_sample(tmp_path, CODE[number] + RUNS_A_TASK.format(before="", after=""))


def test_an_application_shares_its_engine(tmp_path: Path) -> None:
    run_sample(tmp_path, CODE[LITESTAR] + SERVES)


def test_a_later_application_of_a_process_closes_its_engine(tmp_path: Path) -> None:
    run_sample(tmp_path, CODE[BASIC] + CODE[IN_TESTS] + CLOSES)


def test_heartbeats_have_an_engine_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "myapp").mkdir()
    (tmp_path / "myapp" / "models.py").write_text(MODELS)
    code = CODE[HEARTBEATS].replace('"postgresql+asyncpg://queue@db/queues"', '"sqlite+aiosqlite:///queue.db"')
    ends = "asyncio.run(heartbeat_engine.dispose())"
    run_sample(tmp_path, code + RUNS_A_TASK.format(before=CREATES, after=ends))
