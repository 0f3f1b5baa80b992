"""The handlers and their tasks, on the memory backend and on SQLite."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from litestar import Litestar
from litestar.testing import AsyncTestClient, TestClient

from litestar_queues.testing import AsyncQueueTester, DrainError, QueueTester
from shop.tasks import Payment, deliver_payment, render_invoice, send_welcome

WarehouseResponds = Callable[..., list[str]]
PAYMENT = {"id": "p-1", "order": str(UUID(int=7)), "cents": 990}
TEA = {"text": "Tea", "cents": 450}


def test_a_signup_sends_one_mail(client: TestClient[Litestar], queue_tester: QueueTester) -> None:
    assert client.post("/signup", json={"address": "ada@example.org"}).status_code == 201
    queue_tester.assert_enqueued(send_welcome.using(queue="default").call("ada@example.org"), count=1)
    queue_tester.refute_enqueued(render_invoice)


@pytest.mark.anyio
async def test_a_signup_in_an_async_test(app: Litestar, async_queue_tester: AsyncQueueTester) -> None:
    async with AsyncTestClient(app) as client:
        await client.post("/signup", json={"address": "ada@example.org"})
        await send_welcome.enqueue("bob@example.org")
        drained = await async_queue_tester.drain(raises=True)
    assert [task.result for task in drained.completed] == ["welcome, ada@example.org", "welcome, bob@example.org"]


def test_a_signup_that_runs_its_task_at_once(client: TestClient[Litestar], queue_tester: QueueTester) -> None:
    with queue_tester.inline():
        response = client.post("/signup", json={"address": "ada@example.org"})
    assert view(client, response.json()["task"])["status"] == "completed"


def test_an_invoice_can_be_downloaded_when_it_is_ready(client: TestClient[Litestar], queue_tester: QueueTester) -> None:
    id_ = client.post("/invoices", json={"customer": "Ada", "lines": [TEA, TEA]}).json()["task"]
    assert client.get(f"/invoices/{id_}").status_code == 409
    assert view(client, id_) == {"status": "pending", "done": 0.0, "message": None, "error": None}
    queue_tester.drain(raises=True)
    assert view(client, id_) == {"status": "completed", "done": 1.0, "message": "line 2 of 2", "error": None}
    assert client.get(f"/invoices/{id_}").text == "Invoice for Ada\nTea: 4.50\nTea: 4.50"


def test_a_failed_invoice_returns_the_reason(client: TestClient[Litestar], queue_tester: QueueTester) -> None:
    id_ = client.post("/invoices", json={"customer": "Ada", "lines": []}).json()["task"]
    assert queue_tester.drain().attempts == 1, "the failure is not retried"
    assert view(client, id_)["error"] == "the invoice of Ada has no lines"
    response = client.get(f"/invoices/{id_}")
    assert (response.status_code, response.json()["detail"]) == (410, "the invoice of Ada has no lines")


def test_an_unknown_invoice_is_not_found(client: TestClient[Litestar]) -> None:
    assert client.get("/invoices/unknown").status_code == 404
    assert client.get(f"/tasks/{UUID(int=7)}").status_code == 404


def test_a_repeated_payment_is_delivered_once(
    client: TestClient[Litestar], queue_tester: QueueTester, warehouse_responds: WarehouseResponds
) -> None:
    received = warehouse_responds(503, 503, 200)
    first, second = (client.post("/webhooks/payments", json=PAYMENT).json() for _ in range(2))
    assert first["task"] == second["task"]
    assert (first["is_new"], second["is_new"]) == (True, False)
    deliver = deliver_payment.using(key="payment-p-1", expires_in=3600)
    queue_tester.assert_enqueued(deliver.call(Payment("p-1", UUID(int=7), 990)), count=1)
    assert queue_tester.drain().waiting, "a retry waits for its time"
    (done,) = queue_tester.drain(with_scheduled=True, raises=True)
    assert (done.result, done.attempt, received) == (200, 3, ["p-1"] * 3)


def test_a_refused_payment_is_given_up(
    client: TestClient[Litestar], queue_tester: QueueTester, warehouse_responds: WarehouseResponds
) -> None:
    received = warehouse_responds(422)
    client.post("/webhooks/payments", json=PAYMENT)
    with pytest.raises(DrainError, match="refused payment p-1 with status 422"):
        queue_tester.drain(with_scheduled=True, raises=True)
    assert len(received) == 1


def test_a_payment_expires(
    client: TestClient[Litestar], queue_tester: QueueTester, warehouse_responds: WarehouseResponds
) -> None:
    received = warehouse_responds(503)
    id_ = client.post("/webhooks/payments", json=PAYMENT).json()["task"]
    queue_tester.drain()
    with queue_tester.travel(timedelta(hours=1)):
        assert len(queue_tester.drain().expired) == 1
    assert (view(client, id_)["status"], len(received)) == ("expired", 1)


def view(client: TestClient[Litestar], id_: str) -> dict[str, Any]:
    response: dict[str, Any] = client.get(f"/tasks/{id_}").json()
    return response
