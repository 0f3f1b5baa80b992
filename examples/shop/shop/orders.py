"""What the two versions of the order handler share."""

from uuid import UUID

from litestar.exceptions import ClientException
from msgspec import Struct


class NewOrder(Struct):
    """The form of an order."""

    id: UUID
    item: str
    cents: int


def charge(order: NewOrder) -> None:
    """Charge the customer; a real shop calls its payment provider here."""
    if order.cents > 100_000:
        raise ClientException(f"the payment of {order.cents} cents was refused", status_code=402)
