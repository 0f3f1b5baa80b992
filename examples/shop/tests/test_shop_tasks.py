"""The functions of the tasks, without an application and without a queue."""

from collections.abc import Callable
from uuid import UUID

import pytest

from litestar_queues import NonRetryableError
from litestar_queues.testing import perform, perform_sync
from shop.tasks import Line, Payment, deliver_payment, render_invoice, send_welcome

WarehouseResponds = Callable[..., list[str]]
PAYMENT = Payment("p-1", UUID(int=7), 990)


def test_an_invoice_reports_its_progress() -> None:
    done = perform_sync(render_invoice, "Ada", [Line("Tea", 450), Line("Cake", 540)])
    assert done.value == "Invoice for Ada\nTea: 4.50\nCake: 5.40"
    assert done.progress is not None
    assert (done.progress.done, done.progress.message) == (1.0, "line 2 of 2")


def test_an_invoice_without_lines_is_not_retried() -> None:
    done = perform_sync(render_invoice.call("Ada", []), raises=False)
    assert not done.would_retry


@pytest.mark.anyio
async def test_a_mail_is_sent() -> None:
    assert (await perform(send_welcome, "ada@example.org")).value == "welcome, ada@example.org"


@pytest.mark.anyio
async def test_a_refused_payment_is_not_retried(warehouse_responds: WarehouseResponds) -> None:
    warehouse_responds(422)
    with pytest.raises(NonRetryableError, match="refused payment p-1"):
        await perform(deliver_payment, PAYMENT)


@pytest.mark.anyio
async def test_a_warehouse_out_of_order_is_retried_until_the_last_attempt(
    warehouse_responds: WarehouseResponds,
) -> None:
    warehouse_responds(503, 503, 503)
    with pytest.raises(ConnectionError):
        await perform(deliver_payment, PAYMENT)
    assert (await perform(deliver_payment.call(PAYMENT), attempt=8, raises=False)).would_retry
    assert not (await perform(deliver_payment.call(PAYMENT), attempt=9, raises=False)).would_retry
