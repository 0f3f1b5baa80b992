"""The next fires of a schedule, for people: with the wall clock of its zone, and what the changes of that clock do."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

import msgspec

from litestar_queues.schedules.fires import Fire, fires
from litestar_queues.schedules.spec import ScheduleSpec
from litestar_queues.schedules.zones import changes, zone_of

__all__ = ("Previewed", "preview")

_END = timedelta(days=366 * 100)
_SECOND = timedelta(seconds=1)


class Previewed(msgspec.Struct, frozen=True):
    """A fire to come.

    Attributes:
        at: Its moment, in UTC.
        local: The same by the clock of its zone.
        note: What a change of that clock has to do with it; None where nothing has.
    """

    at: datetime
    local: datetime
    note: str | None = None


def preview(spec: ScheduleSpec, after: datetime, count: int) -> Sequence[Previewed]:
    """The first fires later than `after`."""
    zone, found = zone_of(spec.timezone), list[Previewed]()
    try:
        until = after + _END
    except OverflowError:
        until = datetime.max.replace(tzinfo=after.tzinfo)
    before = after
    for fire in islice(fires(spec, after, until), count):
        found.append(Previewed(fire.at, fire.at.astimezone(zone), _note(spec, zone, before, fire)))
        before = fire.at
    return found


def _note(spec: ScheduleSpec, zone: ZoneInfo, before: datetime, fire: Fire) -> str | None:
    local = fire.at.astimezone(zone)
    wall = local.replace(tzinfo=None, fold=0)
    if spec.cron is not None:
        if fire.wall.endswith("+1"):
            return "the second time: the clock was set back"
        if fire.wall != wall.isoformat():
            return f"the clock skips {fire.wall[11:]}: at the end of the gap"
        later = local.replace(fold=1)
        if local.fold == 0 and later.utcoffset() != local.utcoffset():
            return "the first of two such times: the clock is set back"
    crossed = [
        one for year in range(before.year, fire.at.year + 1) for one in changes(zone, year) if before < one <= fire.at
    ]
    if not crossed:
        return None
    change = crossed[-1]
    by = (change.astimezone(zone).utcoffset() or timedelta(0)) - (
        (change - _SECOND).astimezone(zone).utcoffset() or timedelta(0)
    )
    direction = "forward" if by > timedelta(0) else "back"
    at = change.astimezone(zone)
    return f"the clock was set {direction} by {abs(by)} at {at:%Y-%m-%d %H:%M} ({at:%z})"
