"""When a schedule fires: what users say of that."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import pairwise

import msgspec

from litestar_queues.errors import InvalidScheduleError, InvalidTaskError
from litestar_queues.records import check_aware
from litestar_queues.schedules.cron import parse_cron
from litestar_queues.schedules.zones import zone_of

__all__ = ("EPOCH", "ScheduleSpec")

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_WEEK = timedelta(days=7)
_ORDINARY = datetime(2023, 1, 1)  # noqa: DTZ001  # a wall time
_ENOUGH = 10_000
"""Where there are more fires in a week, they come each hour, and two hours show the shortest time between them."""
_LONGEST = 366 * 86400.0 * 100
"""Longest interval, in seconds."""


class ScheduleSpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """When a schedule fires.

    Attributes:
        cron: An expression of five fields, or of six, the first of which are seconds; or `@daily` and its like.
        interval: Seconds between two fires.
        timezone: The IANA zone whose wall clock the cron expression means.
        anchor: The time from which intervals are counted, forwards and backwards.
        jitter: Each occurrence may begin up to so many seconds after its fire. How many follows from the fire.

    Raises:
        InvalidScheduleError: The values contradict each other, or do not mean times that come.
    """

    cron: str | None = None
    interval: float | None = None
    timezone: str = "UTC"
    anchor: datetime = EPOCH
    jitter: float = 0.0

    def __post_init__(self) -> None:
        if (self.cron is None) == (self.interval is None):
            what = "neither" if self.cron is None else "both"
            raise InvalidScheduleError(
                f"a schedule has a cron expression or an interval, and this one has {what} of them"
            )
        zone_of(self.timezone)
        if self.cron is not None:
            parse_cron(self.cron)
            if self.anchor != EPOCH:
                raise InvalidScheduleError("anchor is for intervals: a cron expression names its times itself")
        elif self.timezone != "UTC":
            raise InvalidScheduleError(
                "timezone is for cron expressions: an interval runs by real time, which is the same in every zone"
            )
        if self.interval is not None and not 1 <= self.interval <= _LONGEST:
            raise InvalidScheduleError(
                f"an interval is at least one second, and at most 100 years, not {self.interval!r} s"
            )
        try:
            check_aware("anchor", self.anchor)
        except InvalidTaskError as error:
            raise InvalidScheduleError(str(error)) from None
        self._check_jitter()

    def _check_jitter(self) -> None:
        if not 0 <= self.jitter <= _WEEK.total_seconds():
            raise InvalidScheduleError(f"the jitter is from 0 seconds to a week, not {self.jitter!r} s")
        if not self.jitter:
            return
        shortest = self.interval if self.interval is not None else _shortest_distance(self.cron or "")
        if shortest is not None and self.jitter > shortest:
            raise InvalidScheduleError(
                f"the jitter of {self.jitter:g} s is longer than the shortest time between two fires ({shortest:g} s): their "
                "occurrences could begin in the wrong order"
            )

    def __str__(self) -> str:
        when = f"every {self.interval:g} s" if self.interval is not None else f"{self.cron} {self.timezone}"
        return f"{when}, jitter {self.jitter:g} s" if self.jitter else when


@lru_cache(maxsize=4096)  # each read of a record asks for it
def _shortest_distance(expression: str) -> float | None:
    """The shortest time between two fires in the week that begins with one, where no clock changes; None for one fire."""
    cron = parse_cron(expression)
    first = cron.next_wall(_ORDINARY)

    def walls() -> list[datetime]:
        found, wall = list[datetime](), first
        while wall is not None and first is not None and wall <= first + _WEEK:
            found.append(wall)
            if len(found) == _ENOUGH or (len(found) > 1 and (found[-1] - found[-2]).total_seconds() == 1):
                break
            wall = cron.next_wall(wall)
        return found

    return min(((later - earlier).total_seconds() for earlier, later in pairwise(walls())), default=None)
