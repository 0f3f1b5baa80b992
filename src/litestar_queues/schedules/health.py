"""Whether schedules are fired, for monitoring."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec

from litestar_queues.schedules.leader import Leader, read_leader
from litestar_queues.schedules.model import PREFIX, read_all

if TYPE_CHECKING:
    from litestar_queues.service import QueueService

__all__ = ("EXIT_LATE", "EXIT_NEVER", "SchedulerHealth", "scheduler_health")

EXIT_NEVER, EXIT_LATE = 3, 4
"""The exit codes of `scheduler-health` where nobody has ever led, and where a look or a fire is late."""


class SchedulerHealth(msgspec.Struct, frozen=True):
    """Whether schedules are fired.

    Attributes:
        at: When this was found out.
        leader: Who fires them, or fired them last; None where nobody ever has.
        late: The names of the schedules with a fire that is due, and was not looked at within its `misfire_grace`.
        is_old: Whether the last look is older than it may be.
    """

    at: datetime
    leader: Leader | None
    late: tuple[str, ...]
    is_old: bool

    @property
    def exit_code(self) -> int:
        """0 where all is well; 3 nobody has ever led; 4 the last look is too old, or a due fire is late."""
        if self.leader is None:
            return EXIT_NEVER
        return EXIT_LATE if self.is_old or self.late else 0

    def to_dict(self) -> dict[str, Any]:
        """Everything as values that JSON has."""
        found: dict[str, Any] = msgspec.to_builtins(self)
        return {**found, "healthy": self.exit_code == 0}


async def scheduler_health(service: QueueService, longest: timedelta) -> SchedulerHealth:
    """Find out whether schedules are fired.

    Args:
        service: Open.
        longest: How long ago the last look may be.
    """
    backend, now = service.operations.backend, service.clock.now()
    leader = await read_leader(backend)
    late: list[str] = []
    for one in read_all(await backend.read_records(PREFIX)).values():
        grace = timedelta(seconds=one.definition.misfire_grace)
        if (fire := one.next_fire) is not None and fire.at < now - grace:
            late.append(one.name)
    return SchedulerHealth(now, leader, tuple(sorted(late)), leader is not None and leader.at < now - longest)
