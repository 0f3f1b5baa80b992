"""Beside Advanced Alchemy's plugin: one engine, lifespans in the right order, and nobody's session touched."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from advanced_alchemy.base import metadata_registry
from advanced_alchemy.extensions.litestar import SQLAlchemyAsyncConfig, SQLAlchemyPlugin
from alchemy_lab import model
from litestar import Litestar, post
from litestar.di import NamedDependency
from litestar.testing import TestClient
from sqlalchemy import event, select
from sqlalchemy.ext.asyncio import AsyncSession
from waiting import DEADLINE

from litestar_queues import QueueConfig, QueuePlugin, QueueService, task
from litestar_queues.backends.advanced_alchemy import AdvancedAlchemyBackendConfig
from litestar_queues.task import TaskRegistry


@pytest.fixture(autouse=True)
def metadata_of_others() -> Iterator[None]:
    """A configuration with a metadata makes it that of every configuration without one; here, until the test ends."""
    before = metadata_registry.get(None)
    yield
    metadata_registry.set(None, before)


class App:
    """An application with both plugins, and what was seen of its engine."""

    def __init__(self, path: Path, *, first: str = "alchemy", in_app_worker: bool = False, **options: Any) -> None:
        self.registry = TaskRegistry()
        self.model = model()
        self.config = SQLAlchemyAsyncConfig(
            connection_string=f"sqlite+aiosqlite:///{path / 'queue.db'}", metadata=self.model.metadata, **options
        )
        # Advanced Alchemy 1.12 closes the engine of the second configuration in a process only under one name for both.
        self.config.engine_dependency_key = self.config.engine_app_state_key
        backend = AdvancedAlchemyBackendConfig(
            sqlalchemy_config=self.config, model_class=self.model, create_schema=True
        )
        queue = QueueConfig(queue_backend=backend, in_app_worker=in_app_worker)
        self.plugin = QueuePlugin(queue, registry=self.registry)
        self.plugins: list[Any] = [SQLAlchemyPlugin(config=self.config), self.plugin]
        if first != "alchemy":
            self.plugins.reverse()

    def serve(self, *handlers: Any, **options: Any) -> TestClient[Litestar]:
        return TestClient(Litestar(list(handlers), plugins=self.plugins, **options))


@pytest.mark.parametrize("first", ["alchemy", "queues"])
def test_one_engine_serves_both_and_is_closed_by_the_application(first: str, tmp_path: Path) -> None:
    app = App(tmp_path, first=first)
    with app.serve() as client:
        engine = app.config.engine_instance
        assert engine is not None
        assert client.app.state[app.config.engine_app_state_key] is engine
    pool: Any = engine.pool
    assert pool.checkedin() + pool.checkedout() == 0


@pytest.mark.parametrize("first", ["alchemy", "queues"])
def test_a_worker_drains_while_the_engine_is_still_open(first: str, tmp_path: Path) -> None:
    app = App(tmp_path, first=first, in_app_worker=True)
    started = asyncio.Event()

    @task("app.slow", registry=app.registry)
    async def slow() -> str:
        started.set()
        async with AsyncSession(app.config.get_engine()) as session:
            await asyncio.sleep(0.05)  # the application stops meanwhile
            await session.execute(select(app.model))
        return "done"

    with app.serve() as client:
        result = client.blocking_portal.call(app.plugin.service.enqueue, slow)
        client.blocking_portal.call(asyncio.wait_for, started.wait(), DEADLINE)
    with app.serve() as client:
        found = client.blocking_portal.call(app.plugin.service.get, result.id)
        assert found is not None
        assert (found.status, found.result) == ("completed", "done")


def test_the_plugin_appends_no_plugin_of_advanced_alchemy_s(tmp_path: Path) -> None:
    app = App(tmp_path)
    alone = Litestar(plugins=[app.plugin])
    assert [type(one) for one in alone.plugins if isinstance(one, SQLAlchemyPlugin)] == []
    assert app.config.session_dependency_key not in alone.dependencies
    with TestClient(alone):
        assert app.config.engine_app_state_key not in alone.state


def test_the_session_of_a_request_is_not_used_unless_it_is_handed_over(tmp_path: Path) -> None:
    app = App(tmp_path)
    begun: list[AsyncSession] = []

    @task("app.noop", registry=app.registry)
    async def noop() -> None: ...

    @post("/plain")
    async def plain(
        db_session: NamedDependency[AsyncSession], queue_service: NamedDependency[QueueService]
    ) -> dict[str, bool]:
        result = await queue_service.enqueue(noop)
        found = await queue_service.get(result.id)
        return {"in_transaction": db_session.in_transaction(), "stored": found is not None}

    @post("/inside")
    async def inside(
        db_session: NamedDependency[AsyncSession], queue_service: NamedDependency[QueueService]
    ) -> dict[str, Any]:
        result = await queue_service.enqueue(noop, session=db_session)
        begun.append(db_session)
        return {"id": result.id, "stored": await queue_service.get(result.id) is not None}

    with app.serve(plain, inside) as client:
        assert client.post("/plain").json() == {"in_transaction": False, "stored": True}
        answer = client.post("/inside").json()
        assert not answer["stored"]
        gone = client.blocking_portal.call(app.plugin.service.get, answer["id"])
        assert gone is None, "Advanced Alchemy rolled the request's session back"


@pytest.mark.parametrize(("status", "stored"), [(201, 1), (409, 0)])
def test_a_task_follows_advanced_alchemy_s_own_commit_and_rollback(status: int, stored: int, tmp_path: Path) -> None:
    app = App(tmp_path, before_send_handler="autocommit")

    @task("app.noop", registry=app.registry)
    async def noop() -> None: ...

    @post("/", status_code=status)
    async def inside(
        db_session: NamedDependency[AsyncSession], queue_service: NamedDependency[QueueService]
    ) -> dict[str, str]:
        return {"id": (await queue_service.enqueue(noop, session=db_session)).id}

    with app.serve(inside) as client:
        id_ = client.post("/").json()["id"]
        assert (client.blocking_portal.call(app.plugin.service.get, id_) is not None) == bool(stored)


def test_the_events_of_the_application_s_sessions_hear_of_no_session_of_the_queues(tmp_path: Path) -> None:
    app = App(tmp_path)
    heard: list[Any] = []

    @task("app.noop", registry=app.registry)
    async def noop() -> None: ...

    with app.serve() as client:
        maker: Any = app.config.create_session_maker()
        event.listen(maker.kw["sync_session_class"], "after_begin", lambda session, *_: heard.append(session))
        client.blocking_portal.call(app.plugin.service.enqueue, noop)
    assert heard == []
