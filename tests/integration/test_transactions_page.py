"""What `docs/how-to/transactions.md` says of sessions: through SQLSpec's and Advanced Alchemy's own Litestar plugins."""

from __future__ import annotations

import logging
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from advanced_alchemy.extensions.litestar import SQLAlchemyAsyncConfig, SQLAlchemyPlugin
from litestar import Litestar, Response, post
from litestar.di import NamedDependency
from litestar.params import FromQuery
from litestar.testing import TestClient
from page_lab import blocks, run_sample
from session_lab import MODES, HandlerError, Way, application, confirm, outcome, registry
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncSession
from sqlspec import SQLSpec
from sqlspec.adapters.aiosqlite import AiosqliteConfig
from sqlspec.adapters.sqlite import SqliteConfig

from litestar_queues import QueueConfig, QueueConfigurationError, QueuePlugin, QueueService
from litestar_queues.backends.advanced_alchemy import AdvancedAlchemyBackendConfig
from litestar_queues.backends.sqlspec import SQLSpecBackendConfig

pytestmark = pytest.mark.anyio

SQLSPEC, ALCHEMY = blocks("docs/how-to/transactions.md", "python")
SERVES = """
from litestar.testing import TestClient
with TestClient(app) as client:
    answer = client.post("/orders/7")
    assert answer.status_code == 201, answer.text
    print(answer.json()["task"])
"""


def config(adapter: type[Any], folder: Path, mode: str) -> Any:
    return adapter(
        connection_config={"database": str(folder / "app.db")}, extension_config={"litestar": {"commit_mode": mode}}
    )


def rows(folder: Path, statement: str) -> list[Any]:
    connection = sqlite3.connect(folder / "app.db")
    found = [row[0] for row in connection.execute(statement)]
    connection.close()
    return found


def test_the_sample_of_sqlspec_stores_the_order_and_its_task(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "app.db")
    connection.execute("CREATE TABLE orders (id INTEGER)")
    connection.close()
    id_ = run_sample(tmp_path, SQLSPEC + SERVES).stdout.split()[-1]
    assert rows(tmp_path, "SELECT id FROM orders") == [7]
    assert rows(tmp_path, "SELECT id FROM litestar_queue_task") == [id_]


def test_the_sample_of_advanced_alchemy_stores_the_task(tmp_path: Path) -> None:
    id_ = run_sample(tmp_path, ALCHEMY + SERVES).stdout.split()[-1]
    assert rows(tmp_path, "SELECT task_id FROM litestar_queue_task") == [id_]


@pytest.mark.parametrize(
    ("handler", "statuses"),
    [(None, ()), ("autocommit", (201,)), ("autocommit_include_redirects", (201, 303))],
)
def test_advanced_alchemy_commits_the_statuses_that_the_page_names(
    handler: Any, statuses: tuple[int, ...], tmp_path: Path
) -> None:
    app, plugin = alchemy_application(tmp_path, handler)
    with TestClient(app) as client:
        for status in (201, 303, 409):
            id_ = client.post("/", params={"status": status}, follow_redirects=False).text
            there = client.blocking_portal.call(plugin.service.get, id_) is not None
            assert there is (status in statuses), status
        assert client.post("/", params={"status": 500}).status_code == 500
        assert sum(client.blocking_portal.call(plugin.service.stats).totals.values()) == len(statuses)


def test_a_commit_of_advanced_alchemy_that_fails_changes_no_response(tmp_path: Path) -> None:
    """When this fails, Advanced Alchemy tells the client, and the page need not advise to commit in the handler."""
    app, plugin = alchemy_application(tmp_path, "autocommit", fails=True)
    with TestClient(app) as client:
        answer = client.post("/", params={"status": 201})
        assert answer.status_code == 201
        assert client.blocking_portal.call(plugin.service.get, answer.text) is None


def alchemy_application(folder: Path, handler: Any, *, fails: bool = False) -> tuple[Litestar, QueuePlugin]:
    """An application whose handler enqueues and does not commit."""
    database = SQLAlchemyAsyncConfig(
        connection_string=f"sqlite+aiosqlite:///{folder / 'app.db'}", before_send_handler=handler
    )
    # Advanced Alchemy 1.12 closes the engine of the second configuration in a process only under one name for both.
    database.engine_dependency_key = database.engine_app_state_key
    queues = AdvancedAlchemyBackendConfig(sqlalchemy_config=database, create_schema=True)
    plugin = QueuePlugin(QueueConfig(queue_backend=queues, in_app_worker=False), registry=registry)

    @post("/")
    async def order(
        status: FromQuery[int], db_session: NamedDependency[AsyncSession], queue_service: NamedDependency[QueueService]
    ) -> Response[str]:
        result = await queue_service.enqueue(confirm, session=db_session)
        if fails:
            event.listen(db_session.sync_session, "before_commit", refuse)
        if status == 500:
            raise HandlerError
        return Response(result.id, status_code=status, media_type="text/plain")

    return Litestar([order], plugins=[SQLAlchemyPlugin(config=database), plugin]), plugin


def refuse(_session: object) -> None:
    raise HandlerError


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("adapter", [AiosqliteConfig, SqliteConfig])
def test_in_every_commit_mode_a_block_stores_both_or_neither(adapter: type[Any], mode: str, tmp_path: Path) -> None:
    app, plugin = application(config(adapter, tmp_path, mode))
    with TestClient(app) as client:
        for status in (201, 303, 409):
            assert outcome(client, plugin, "block", status) == (status, 1, 1)
        assert outcome(client, plugin, "block", 500) == (500, 0, 0)
        assert outcome(client, plugin, "begin", 201) == (201, 1, 1)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("adapter", [AiosqliteConfig, SqliteConfig])
def test_without_a_transaction_there_is_no_id_and_no_task(adapter: type[Any], mode: str, tmp_path: Path) -> None:
    app, plugin = application(config(adapter, tmp_path, mode))
    with TestClient(app) as client:
        assert outcome(client, plugin, "nothing", 201) == (500, 0, 0)


@pytest.mark.parametrize("mode", MODES[1:])
def test_a_task_that_the_autocommit_of_sqlspec_loses_is_warned_of_once(
    mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When this fails because both are stored, SQLSpec's plugin commits, and page and warning can go."""
    app, plugin = application(config(AiosqliteConfig, tmp_path, mode))
    messages: list[str] = []
    heard = logging.Handler(logging.WARNING)
    heard.emit = lambda record: messages.append(record.getMessage())  # type: ignore[method-assign]
    monkeypatch.setattr(logging.getLogger("litestar_queues"), "handlers", [heard])  # Litestar replaces the root's
    with TestClient(app) as client:
        assert outcome(client, plugin, "block", 201) == (201, 1, 1)
        assert messages == []
        for _ in range(2):
            assert outcome(client, plugin, "statement", 201) == (201, 0, 0), "the application's own row is lost as well"
    [message] = messages
    assert "async with session.transaction()" in message


@pytest.mark.parametrize(("way", "tasks"), [("begin", 1), ("block", 0)])
def test_the_sync_adapter_commits_what_an_exception_leaves_open(way: Way, tasks: int, tmp_path: Path) -> None:
    app, plugin = application(config(SqliteConfig, tmp_path, "manual"))
    with TestClient(app) as client:
        assert outcome(client, plugin, way, 500) == (500, tasks, tasks)


async def test_the_refusal_says_what_to_write_instead(tmp_path: Path) -> None:
    for adapter, block in ((AiosqliteConfig, "`async with session"), (SqliteConfig, "inside `with session")):
        spec: Any = SQLSpec()
        database = spec.add_config(config(adapter, tmp_path, "manual"))
        backend = SQLSpecBackendConfig(sqlspec=spec, config=database)
        async with QueueService(QueueConfig(queue_backend=backend), registry=registry) as service:
            manager = spec.provide_session(database)
            session = await manager.__aenter__() if database.is_async else manager.__enter__()
            with pytest.raises(QueueConfigurationError, match=r"not in a transaction") as refused:
                await service.enqueue(confirm, session=session)
            assert block in str(refused.value)
            with pytest.raises(QueueConfigurationError):
                await service.enqueue_many([confirm.call()], session=session)
            assert (await service.stats()).queues == {}
            await manager.__aexit__(None, None, None) if database.is_async else manager.__exit__(None, None, None)
        closing = database.close_pool()
        if closing is not None:
            await closing
