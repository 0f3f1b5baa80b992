"""What the shop does in the background."""

from datetime import UTC, datetime, timedelta
from uuid import UUID
from zoneinfo import ZoneInfo

from msgspec import Struct

from litestar_queues import ExponentialBackoff, current_task, non_retryable, schedule, task
from shop import warehouse

BERLIN = ZoneInfo("Europe/Berlin")


class Line(Struct):
    """One line of an invoice."""

    text: str
    cents: int


class Payment(Struct):
    """The event that the payment provider sends to the webhook."""

    id: str
    order: UUID
    cents: int


@task("shop.welcome", retries=5, backoff=ExponentialBackoff(first=2), timeout=30)
async def send_welcome(address: str) -> str:
    """Send a mail; a real shop calls its mail provider here."""
    return f"welcome, {address}"


@task("shop.confirm", retries=5, backoff=ExponentialBackoff(first=2))
async def confirm_order(order: UUID) -> str:
    """Confirm an order by mail."""
    return f"order {order} is confirmed"


@task("shop.invoice", queue="documents", retries=1, timeout=60)
def render_invoice(customer: str, lines: list[Line]) -> str:
    """Render an invoice. The function is sync: it runs in a thread, and does not block the event loop."""
    if not lines:
        non_retryable(f"the invoice of {customer} has no lines")
    context = current_task()
    page = [f"Invoice for {customer}"]
    for number, line in enumerate(lines, start=1):
        page.append(f"{line.text}: {line.cents / 100:.2f}")
        context.progress(number / len(lines), f"line {number} of {len(lines)}")
    return "\n".join(page)


@task("shop.deliver", queue="webhooks", retries=8, backoff=ExponentialBackoff(first=1), timeout=30)
async def deliver_payment(payment: Payment) -> int:
    """Pass a payment on to the warehouse."""
    status = await warehouse.post(payment.id, {"order": str(payment.order), "cents": payment.cents})
    if 400 <= status < 500:
        non_retryable(f"the warehouse refused payment {payment.id} with status {status}")  # another attempt is useless
    if status >= 500:
        raise ConnectionError(f"the warehouse is out of order: status {status}")  # the task is retried
    return status


@task(
    "shop.report", queue="documents", retries=3, timeout=600, cron="0 3 * * *", timezone=BERLIN.key, catch_up="all"
)  # after two nights without workers, there are two reports
async def report(days: int = 1) -> str:
    """Report on the days before the fire, which stays the same if the task is late; a real shop reads its orders here."""
    fire = current_task().fire or datetime.now(UTC)  # somebody may also enqueue the task
    last = fire.astimezone(BERLIN).date() - timedelta(days=1)
    return f"report of {days} days until {last}"


schedule(report, 7, cron="0 4 * * mon", timezone=BERLIN.key, name="shop.report.weekly")
