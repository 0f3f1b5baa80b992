"""The shop on SQLite through Advanced Alchemy: an order and its task share one transaction."""

from pathlib import Path

from advanced_alchemy.base import UUIDBase
from advanced_alchemy.extensions.litestar import SQLAlchemyAsyncConfig, SQLAlchemyPlugin
from litestar import Litestar, post
from litestar.di import NamedDependency
from litestar.params import JSONBody
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped

from litestar_queues import QueueConfig, QueuePlugin, QueueService
from litestar_queues.backends.advanced_alchemy import AdvancedAlchemyBackendConfig
from shop.orders import NewOrder, charge
from shop.tasks import confirm_order
from shop.web import HANDLERS, Enqueued


class Order(UUIDBase):
    """A row of the table of orders."""

    __tablename__ = "shop_order"

    item: Mapped[str]


@post("/orders")
async def place_order(
    data: JSONBody[NewOrder],
    db_session: NamedDependency[AsyncSession],
    queue_service: NamedDependency[QueueService],
) -> Enqueued:
    """Store the order and its task together. Without the commit, both are rolled back."""
    db_session.add(Order(id=data.id, item=data.item))
    result = await queue_service.enqueue(confirm_order, data.id, session=db_session)
    charge(data)
    await db_session.commit()
    return Enqueued(result.id)


def create_app(file: Path) -> Litestar:
    """Return an application that keeps its orders and its tasks in this file."""
    database = SQLAlchemyAsyncConfig(connection_string=f"sqlite+aiosqlite:///{file}", create_all=True)
    # Advanced Alchemy 1.12 closes the engine of a second application in one process (as in tests) only with equal keys.
    database.engine_dependency_key = database.engine_app_state_key
    backend = AdvancedAlchemyBackendConfig(sqlalchemy_config=database, create_schema=True)
    return Litestar(
        [*HANDLERS, place_order],
        plugins=[SQLAlchemyPlugin(config=database), QueuePlugin(QueueConfig(queue_backend=backend))],
    )
