"""What `docs/how-to/advanced-alchemy.md` shows works when it is pasted; each sample in a process of its own."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "advanced-alchemy.md").read_text()
CODE = re.findall(r"^```python\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)
BASIC, LITESTAR, SESSION, OWN_MODEL, HEARTBEATS = range(5)

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
BUYS = """
import warnings
# Litestar 2 warns of what only Litestar 3 takes otherwise; the sample is written as Litestar's own are.
warnings.filterwarnings("ignore", ".*[Ii]nferred (dependency|style)")
from litestar import Litestar
from litestar.testing import TestClient
from advanced_alchemy.extensions.litestar import SQLAlchemyAsyncConfig, SQLAlchemyPlugin
from litestar_queues import QueueConfig, QueuePlugin
from litestar_queues.backends.advanced_alchemy import AdvancedAlchemyBackendConfig
alchemy_config = SQLAlchemyAsyncConfig(connection_string="sqlite+aiosqlite:///queue.db")
backend = AdvancedAlchemyBackendConfig(sqlalchemy_config=alchemy_config, create_schema=True)
plugin = QueuePlugin(QueueConfig(queue_backend=backend))
with TestClient(Litestar([buy], plugins=[SQLAlchemyPlugin(config=alchemy_config), plugin])) as client:
    answer = client.post("/orders/7").json()
    stored = client.blocking_portal.call(plugin.service.get, answer["task"])
    assert stored.id == answer["task"]
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


STRICT = ("-W", "error", "-W", "ignore:The declarative_mixin decorator was used:DeprecationWarning")
"""The exception is Advanced Alchemy's own import, on SQLAlchemy 2.1."""


def run(folder: Path, code: str) -> None:
    lab = Path(__file__).parents[1]
    done = subprocess.run(
        [sys.executable, *STRICT, "-c", f"import sys\nsys.path[:0] = [{str(lab)!r}, '.']\n{code}"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("number", [BASIC, OWN_MODEL])
def test_a_configuration_runs_tasks(number: int, tmp_path: Path) -> None:
    run(tmp_path, CODE[number] + RUNS_A_TASK.format(before="", after=""))


def test_an_application_shares_its_engine(tmp_path: Path) -> None:
    run(tmp_path, CODE[LITESTAR] + SERVES)


def test_a_handler_enqueues_in_its_session(tmp_path: Path) -> None:
    run(tmp_path, CODE[SESSION] + BUYS)


def test_heartbeats_have_an_engine_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "myapp").mkdir()
    (tmp_path / "myapp" / "models.py").write_text(MODELS)
    code = CODE[HEARTBEATS].replace('"postgresql+asyncpg://queue@db/queues"', '"sqlite+aiosqlite:///queue.db"')
    ends = "asyncio.run(heartbeat_engine.dispose())"
    run(tmp_path, code + RUNS_A_TASK.format(before=CREATES, after=ends))


def test_all_of_the_page_is_tried() -> None:
    assert len(CODE) == 5
