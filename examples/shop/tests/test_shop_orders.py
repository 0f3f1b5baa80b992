"""An order and its task are stored together, or not at all: on both databases."""

import sqlite3
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import pytest
from litestar import Litestar
from litestar.testing import AsyncTestClient, TestClient

from litestar_queues.testing import AsyncQueueTester, QueueTester
from shop import on_alchemy, on_sqlspec
from shop.tasks import confirm_order

ORDER = UUID(int=7)
PAID = {"id": str(ORDER), "item": "Tea", "cents": 450}
REFUSED = PAID | {"cents": 1_000_000}
CreateApp = Callable[[Path], Litestar]

on_both = pytest.mark.parametrize("create_app", [on_sqlspec.create_app, on_alchemy.create_app])


def items(file: Path) -> list[str]:
    """Read the orders through a connection that does not belong to the application."""
    connection = sqlite3.connect(file)
    try:
        return [item for (item,) in connection.execute("SELECT item FROM shop_order")]
    finally:
        connection.close()


@on_both
def test_an_order_is_stored_with_its_task(create_app: CreateApp, file: Path, queue_tester: QueueTester) -> None:
    with TestClient(create_app(file)) as client:
        assert client.post("/orders", json=PAID).status_code == 201
        queue_tester.assert_enqueued(confirm_order.call(ORDER), count=1)
        (done,) = queue_tester.drain(raises=True)
    assert done.result == f"order {ORDER} is confirmed"
    assert items(file) == ["Tea"]


@on_both
def test_a_refused_payment_leaves_nothing(create_app: CreateApp, file: Path, queue_tester: QueueTester) -> None:
    with TestClient(create_app(file)) as client:
        assert client.post("/orders", json=REFUSED).status_code == 402
        queue_tester.refute_enqueued(confirm_order)
        assert not queue_tester.drain()
        assert items(file) == []
        assert client.post("/orders", json=PAID).status_code == 201, "the id is free"


@on_both
@pytest.mark.anyio
async def test_a_second_order_with_the_id_leaves_no_task(
    create_app: CreateApp, file: Path, async_queue_tester: AsyncQueueTester
) -> None:
    async with AsyncTestClient(create_app(file), raise_server_exceptions=False) as client:
        await client.post("/orders", json=PAID)
        assert (await client.post("/orders", json=PAID | {"item": "Cake"})).status_code >= 400
        await async_queue_tester.assert_enqueued(confirm_order.call(ORDER), count=1)
    assert items(file) == ["Tea"]
