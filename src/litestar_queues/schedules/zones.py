"""Time zones: where their offsets change, and which moment a wall clock means."""

from __future__ import annotations

from bisect import bisect_right
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from litestar_queues.errors import InvalidScheduleError

__all__ = ("changes", "last_change", "local", "moment_of", "next_change", "zone_of")

_LOOK = timedelta(hours=1)
"""No zone has had two changes within so long."""
_SECOND = timedelta(seconds=1)


@lru_cache(maxsize=256)
def zone_of(name: str) -> ZoneInfo:
    """The zone of this IANA name.

    Raises:
        InvalidScheduleError: There is none, or this machine has no data of it.
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError, TypeError) as error:
        raise InvalidScheduleError(
            f"the time zone {name!r} is not known here: give an IANA name, for example 'Europe/Berlin'. Where the machine has "
            "no zones at all, install the package tzdata"
        ) from error


def local(zone: ZoneInfo, moment: datetime) -> datetime:
    """The naive wall time of a moment; its `fold` is 1 in the second pass of a repeated time."""
    return moment.astimezone(zone).replace(tzinfo=None)


def moment_of(zone: ZoneInfo, wall: datetime) -> datetime:
    """The moment of a naive wall time: the first of two; the end of the gap where the clock skips it."""
    moment = wall.replace(tzinfo=zone, fold=0).astimezone(UTC)
    if local(zone, moment) == wall:
        return moment
    # `fold=0` has the offset from before the gap, so that the moment lies behind it.
    return last_change(zone, moment) or moment


def next_change(zone: ZoneInfo, after: datetime, until: datetime) -> datetime | None:
    """The first moment with another offset than the one before it, later than `after`, and `until` at the latest."""
    for year in range(after.year, until.year + 1):
        found = changes(zone, year)
        at = bisect_right(found, after)
        if at < len(found):
            return found[at] if found[at] <= until else None
    return None


def last_change(zone: ZoneInfo, at: datetime) -> datetime | None:
    """The last moment with another offset than the one before it, `at` at the latest; None in the year of `at` and before."""
    for year in (at.year, at.year - 1):
        found = changes(zone, year) if year > 1 else ()
        if place := bisect_right(found, at):
            return found[place - 1]
    return None


@lru_cache(maxsize=1024)
def changes(zone: ZoneInfo, year: int) -> tuple[datetime, ...]:
    """The moments of a UTC year from which on the offset is another one, to the second."""
    begin = datetime(year, 1, 1, tzinfo=UTC)
    last = datetime(year, 12, 31, 23, 59, 59, tzinfo=UTC)
    low = begin - _SECOND if year > 1 else begin
    found: list[datetime] = []
    before, at = _offset(zone, low), begin
    while True:
        if (offset := _offset(zone, at)) != before:
            found.append(_first_with_another(zone, low, at))
            before = offset
        if at == last:
            return tuple(found)
        low, at = at, min(at + _LOOK, last) if at < last - _LOOK else last


def _first_with_another(zone: ZoneInfo, low: datetime, high: datetime) -> datetime:
    offset = _offset(zone, low)
    while high - low > _SECOND:
        middle = low + timedelta(seconds=(high - low).total_seconds() // 2)
        if _offset(zone, middle) == offset:
            low = middle
        else:
            high = middle
    return high


def _offset(zone: ZoneInfo, moment: datetime) -> timedelta:
    return moment.astimezone(zone).utcoffset() or timedelta(0)
