"""Who fires schedules, as the store says it."""

from __future__ import annotations

from datetime import datetime

import msgspec

from litestar_queues.backends.base import QueueBackend

__all__ = ("LEADER", "Leader", "read_leader")

LEADER = "scheduler"
"""The name of the record that says who leads."""


class Leader(msgspec.Struct, frozen=True):
    """Who fires schedules.

    Attributes:
        worker: The worker's name.
        since: When it began to lead.
        at: When it last looked, at most some seconds ago if it still leads.
    """

    worker: str
    since: datetime
    at: datetime


async def read_leader(backend: QueueBackend) -> Leader | None:
    """Who led last; None where nobody ever has."""
    record = (await backend.read_records(LEADER)).get(LEADER)
    if record is None:
        return None
    try:
        return msgspec.json.decode(record.value, type=Leader)
    except msgspec.MsgspecError:  # somebody edited it
        return None
