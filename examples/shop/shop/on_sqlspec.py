"""The shop on SQLite through SQLSpec: an order and its task share one transaction."""

from pathlib import Path

from litestar import Litestar, post
from litestar.di import NamedDependency
from litestar.params import JSONBody
from sqlspec import SQLSpec
from sqlspec.adapters.aiosqlite import AiosqliteConfig, AiosqliteDriver
from sqlspec.extensions.litestar import SQLSpecPlugin

from litestar_queues import QueueConfig, QueuePlugin, QueueService
from litestar_queues.backends.sqlspec import SQLSpecBackendConfig
from shop.orders import NewOrder, charge
from shop.tasks import confirm_order
from shop.web import HANDLERS, Enqueued


@post("/orders")
async def place_order(
    data: JSONBody[NewOrder],
    db_session: NamedDependency[AiosqliteDriver],
    queue_service: NamedDependency[QueueService],
) -> Enqueued:
    """Store the order and its task together. An exception in the block rolls both back."""
    async with db_session.transaction():
        await db_session.execute("INSERT INTO shop_order (id, item) VALUES (?, ?)", (str(data.id), data.item))
        result = await queue_service.enqueue(confirm_order, data.id, session=db_session)
        charge(data)
    return Enqueued(result.id)


def create_app(file: Path) -> Litestar:
    """Return an application that keeps its orders and its tasks in this file."""
    sqlspec = SQLSpec()
    database = sqlspec.add_config(AiosqliteConfig(connection_config={"database": str(file)}))

    async def create_tables() -> None:
        async with sqlspec.provide_session(database) as session:
            await session.execute("CREATE TABLE IF NOT EXISTS shop_order (id TEXT PRIMARY KEY, item TEXT NOT NULL)")

    queues = QueueConfig(queue_backend=SQLSpecBackendConfig(sqlspec=sqlspec, config=database))
    return Litestar(
        [*HANDLERS, place_order],
        plugins=[SQLSpecPlugin(sqlspec), QueuePlugin(queues)],
        on_startup=[create_tables],
    )
