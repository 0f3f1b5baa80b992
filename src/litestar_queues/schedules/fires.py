"""The fires of a schedule: a pure function of its spec, without any clock.

A spec whose minute or hour begins with a star, and an interval, run by real time: a wall time that comes twice fires twice,
and one that is skipped does not fire. Every other spec has fixed times: one that comes twice fires the first time, one that
is skipped fires at the end of the gap, and several that fall on one moment are one fire.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import msgspec

from litestar_queues.schedules.cron import Cron, parse_cron
from litestar_queues.schedules.spec import EPOCH, ScheduleSpec
from litestar_queues.schedules.zones import local, moment_of, next_change, zone_of

__all__ = ("Fire", "fires", "jitter_of", "latest_fires", "next_fire", "occurrence_id")

_MICROSECOND = timedelta(microseconds=1)


class Fire(msgspec.Struct, frozen=True, order=True):
    """One fire of a schedule.

    Attributes:
        at: The moment, in UTC.
        wall: The time that the spec names, as the wall clock of its zone shows it; `+1` follows in the second pass of a time
            that comes twice. It is the same whatever version of the zone's data has been used.
    """

    at: datetime
    wall: str


def fires(spec: ScheduleSpec, after: datetime, until: datetime) -> Iterator[Fire]:
    """All fires later than `after`, and `until` at the latest, in order."""
    while (found := next_fire(spec, after)) is not None and found.at <= until:
        yield found
        after = found.at


def next_fire(spec: ScheduleSpec, after: datetime) -> Fire | None:
    """The first fire later than `after`; None where the calendar has none any more."""
    after = after.astimezone(UTC)
    try:
        if spec.interval is not None:
            return _next_of_interval(spec, after)
        cron = parse_cron(spec.cron or "")
        return (_next_fixed if cron.follows_clock else _next_real)(cron, spec.timezone, after)
    except OverflowError:  # beyond the year 9999
        return None


def latest_fires(spec: ScheduleSpec, after: datetime, until: datetime, most: int) -> list[Fire]:
    """The last `most` of all fires later than `after`, and `until` at the latest, in order."""
    span = timedelta(minutes=1)
    while True:
        begin = max(after, until - span) if until - after > span else after
        found = list(fires(spec, begin, until))
        if len(found) >= most or begin == after:
            return found[len(found) - min(most, len(found)) :]
        span *= 4


def occurrence_id(name: str, spec: ScheduleSpec, fire: Fire) -> str:
    """The id of the task of a fire: the same for whoever makes it, whenever.

    It begins with the wall time, so that occurrences that come due together are claimed in the order of their fires.
    """
    text = f"litestar-queues schedule\0{name}\0{spec.timezone}\0{fire.wall}"
    digest = bytearray(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:16])
    wall = datetime.fromisoformat(fire.wall.removesuffix("+1")).replace(tzinfo=UTC)
    digest[:6] = (max(wall - EPOCH, timedelta(0)) // timedelta(milliseconds=1)).to_bytes(6)
    digest[6] = digest[6] & 0x0F | 0x80  # version 8 of RFC 9562: made by a rule of one's own
    digest[8] = digest[8] & 0x3F | 0x80
    hexed = digest.hex()
    return "-".join((hexed[:8], hexed[8:12], hexed[12:16], hexed[16:20], hexed[20:]))


def jitter_of(spec: ScheduleSpec, task_id: str) -> timedelta:
    """How long after its fire an occurrence begins: between nothing and the spec's jitter, the same for everybody."""
    if not spec.jitter:
        return timedelta(0)
    share = int.from_bytes(hashlib.sha256(task_id.encode()).digest()[:8]) / 2**64
    return timedelta(seconds=round(spec.jitter * share, 6))


def _next_of_interval(spec: ScheduleSpec, after: datetime) -> Fire:
    step = timedelta(seconds=spec.interval or 1)
    at = spec.anchor + ((after - spec.anchor) // step + 1) * step
    at = at.astimezone(UTC)
    return Fire(at, at.replace(tzinfo=None).isoformat())


def _next_fixed(cron: Cron, timezone: str, after: datetime) -> Fire | None:
    zone = zone_of(timezone)
    wall = cron.next_wall(local(zone, after))
    while wall is not None:
        if (at := moment_of(zone, wall)) > after:
            return Fire(at, wall.isoformat())
        wall = cron.next_wall(wall)  # it has been, in the first pass
    return None


def _next_real(cron: Cron, timezone: str, after: datetime) -> Fire | None:
    zone = zone_of(timezone)
    begin, offset = after, after.astimezone(zone).utcoffset() or timedelta(0)
    while True:
        wall = cron.next_wall(begin.replace(tzinfo=None) + offset)
        if wall is None:
            return None
        at = wall.replace(tzinfo=UTC) - offset
        change = next_change(zone, after, at)
        if change is None:
            return Fire(at, f"{wall.isoformat()}+1" if at.astimezone(zone).fold else wall.isoformat())
        # From the change on another wall time may be the next one; the moment of the change belongs to it.
        after, begin, offset = change, change - _MICROSECOND, change.astimezone(zone).utcoffset() or timedelta(0)
