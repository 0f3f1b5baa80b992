"""An application that enqueues in sessions of SQLSpec's own Litestar plugin, over any adapter."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Literal

from litestar import Litestar, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery
from litestar.testing import TestClient
from sqlspec import SQLSpec
from sqlspec.extensions.litestar import SQLSpecPlugin

from litestar_queues import QueueConfig, QueuePlugin, QueueService, task
from litestar_queues.backends.sqlspec import SQLSpecBackendConfig
from litestar_queues.task import TaskRegistry

MODES = ("manual", "autocommit", "autocommit_include_redirect")
Way = Literal["block", "begin", "statement", "nothing"]
"""How a handler writes: in a `transaction()` block; between begin and commit; after a statement of its own, which may have
opened a transaction; or without either."""

registry = TaskRegistry()


@task("mail.confirm", registry=registry)
async def confirm() -> None: ...


class HandlerError(Exception):
    """What a handler of the application raises."""


@asynccontextmanager
async def entered(manager: Any) -> AsyncGenerator[Any]:
    """A context manager of a sync or an async driver."""
    async with AsyncExitStack() as stack:
        if hasattr(manager, "__aenter__"):
            yield await stack.enter_async_context(manager)
        else:
            yield stack.enter_context(manager)


async def done(result: Any) -> Any:
    return await result if inspect.isawaitable(result) else result


async def write(way: Way, session: Any, service: QueueService, *, fails: bool) -> str:
    """A handler's work: an order and its task, in one of the ways."""
    if way == "block":
        async with entered(session.transaction()):
            await done(session.execute("INSERT INTO orders (id) VALUES (1)"))
            result = await service.enqueue(confirm, session=session)
            if fails:
                raise HandlerError
        return result.id
    if way == "begin":
        await done(session.begin())
    if way != "nothing":
        await done(session.execute("INSERT INTO orders (id) VALUES (1)"))
    result = await service.enqueue(confirm, session=session)
    if fails:
        raise HandlerError
    if way == "begin":
        await done(session.commit())
    return result.id


def application(config: Any) -> tuple[Litestar, QueuePlugin]:
    """The application over a configuration, whose own plugin provides the sessions."""
    sqlspec = SQLSpec()
    sqlspec.add_config(config)
    queues = SQLSpecBackendConfig(sqlspec=sqlspec, config=config, notifications=False)
    plugin = QueuePlugin(QueueConfig(queue_backend=queues, in_app_worker=False), registry=registry)

    async def create() -> None:
        async with entered(sqlspec.provide_session(config)) as session:
            await done(session.execute_script("CREATE TABLE orders (id INTEGER)"))
            await done(session.commit())

    @post("/{way:str}")
    async def order(
        way: FromPath[Way],
        status: FromQuery[int],
        db_session: NamedDependency[Session],  # type: ignore[name-defined]  # noqa: F821  # the adapter's, see below
        queue_service: NamedDependency[QueueService],
    ) -> Response[str]:
        return Response(await write(way, db_session, queue_service, fails=status == 500), status_code=status)

    @get("/orders")
    async def orders() -> int:
        async with entered(sqlspec.provide_session(config)) as session:
            return int(await done(session.select_value("SELECT count(*) FROM orders")))

    app = Litestar(
        [order, orders],
        plugins=[SQLSpecPlugin(sqlspec), plugin],
        on_startup=[create],
        signature_namespace={"Session": config.driver_type},
    )
    return app, plugin


def outcome(client: TestClient[Litestar], plugin: QueuePlugin, way: Way, status: int) -> tuple[int, int, int]:
    """The response's status, and how many orders and tasks are stored because of the request."""
    before = stored(client, plugin)
    answered = client.post(f"/{way}", params={"status": status}, follow_redirects=False).status_code
    after = stored(client, plugin)
    return answered, after[0] - before[0], after[1] - before[1]


def stored(client: TestClient[Litestar], plugin: QueuePlugin) -> tuple[int, int]:
    stats = client.blocking_portal.call(plugin.service.stats)
    return client.get("/orders").json(), sum(stats.totals.values())
