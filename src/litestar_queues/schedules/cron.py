"""Cron expressions: which days and which times of day they name. What that means in a zone, `fires` says."""

from __future__ import annotations

from bisect import bisect_left
from datetime import date, datetime, time, timedelta
from functools import lru_cache

from cronsim import CronSim, CronSimError

from litestar_queues.errors import InvalidScheduleError

__all__ = ("Cron", "parse_cron")

ALIASES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_LONGEST = 200
"""Characters of an expression."""
_YEARS = 50
"""So far apart two days that an expression names may lie: 29 February on a given weekday comes 40 years apart."""


class Cron:
    """An expression that was read.

    Attributes:
        expression: As it was given.
        follows_clock: Whether the spec names fixed times, which a change of the clock moves. Otherwise it runs by real time,
            because its minute or its hour begins with a star.
    """

    def __init__(self, expression: str, parsed: CronSim) -> None:
        self.expression = expression
        minute, hour = parsed.parts[1], parsed.parts[2]
        self.follows_clock = not minute.startswith("*") and not hour.startswith("*")
        self._parsed = parsed
        self._hours, self._minutes, self._seconds = (
            sorted(parsed.hours),
            sorted(parsed.minutes),
            sorted(parsed.seconds),
        )
        self._months = parsed.months

    def matches(self, wall: datetime) -> bool:
        """Whether the expression names this wall time."""
        return self._names(wall.date()) and (
            wall.hour in self._parsed.hours
            and wall.minute in self._parsed.minutes
            and wall.second in self._parsed.seconds
        )

    def next_wall(self, after: datetime) -> datetime | None:
        """The first naive wall time that the expression names, later than `after`; None where there is none for decades."""
        begin = after.replace(microsecond=0, fold=0) + timedelta(seconds=1)
        if self._names(begin.date()) and (found := self._time_from(begin.time())) is not None:
            return datetime.combine(begin.date(), found)
        day = self._day_after(begin.date())
        first = time(self._hours[0], self._minutes[0], self._seconds[0])
        return None if day is None else datetime.combine(day, first)

    def _names(self, day: date) -> bool:
        return day.month in self._months and self._parsed.match_day(day)

    def _day_after(self, day: date) -> date | None:
        last = day.year + _YEARS
        try:
            while day.year <= last:
                if day.month not in self._months:
                    day = (day.replace(day=1) + timedelta(days=32)).replace(day=1)
                else:
                    day += timedelta(days=1)
                if self._names(day):
                    return day
        except OverflowError:
            pass
        return None

    def _time_from(self, begin: time) -> time | None:
        """The first time of day from here on."""
        hours, minutes, seconds = self._hours, self._minutes, self._seconds
        hour = bisect_left(hours, begin.hour)
        if hour < len(hours) and hours[hour] == begin.hour:
            minute = bisect_left(minutes, begin.minute)
            if minute < len(minutes) and minutes[minute] == begin.minute:
                second = bisect_left(seconds, begin.second)
                if second < len(seconds):
                    return time(begin.hour, begin.minute, seconds[second])
                minute += 1
            if minute < len(minutes):
                return time(begin.hour, minutes[minute], seconds[0])
            hour += 1
        return time(hours[hour], minutes[0], seconds[0]) if hour < len(hours) else None


@lru_cache(maxsize=4096)
def parse_cron(expression: str) -> Cron:
    """Read an expression of five fields, or of six, the first of which are seconds; or `@daily` and its like.

    Raises:
        InvalidScheduleError: It is none, or names no time that ever comes.
    """
    if not isinstance(expression, str):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers without a type checker
        raise InvalidScheduleError(f"cron must be a text like '0 3 * * *', not {expression!r}")
    text = expression.strip()
    if len(text) > _LONGEST:
        raise InvalidScheduleError(
            f"the cron expression has {len(text)} characters, and at most {_LONGEST} are possible"
        )
    if text.startswith("@"):
        if text.lower() not in ALIASES:
            known = ", ".join(ALIASES)
            raise InvalidScheduleError(f"the cron expression {text!r} is none: what begins with @ is one of {known}")
        text = ALIASES[text.lower()]
    try:
        parsed = CronSim(text, datetime(2024, 1, 1))  # noqa: DTZ001  # only read, never asked for a time
    except (CronSimError, ValueError, AssertionError) as error:
        raise InvalidScheduleError(
            f"the cron expression {expression!r} cannot be read ({error}): it has five fields, minute, hour, day of the month, "
            "month, day of the week, and may have the second as a sixth one in front of them"
        ) from error
    cron = Cron(expression, parsed)
    if cron.next_wall(datetime(2024, 1, 1)) is None:  # noqa: DTZ001  # a wall time
        raise InvalidScheduleError(f"the cron expression {expression!r} never fires: no year has such a day")
    return cron
