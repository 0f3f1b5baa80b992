"""When schedules fire: against a search of every second around the changes of all clocks, and by hand."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from litestar_queues.errors import InvalidScheduleError
from litestar_queues.schedules.cron import parse_cron
from litestar_queues.schedules.fires import Fire, fires, jitter_of, latest_fires, next_fire, occurrence_id
from litestar_queues.schedules.spec import ScheduleSpec
from litestar_queues.schedules.zones import changes, zone_of

ZONES = sorted(one for one in available_timezones() if "/" in one and not one.startswith(("Etc/", "posix/", "right/")))
ODD = (
    "Africa/Monrovia",  # an offset with seconds, until 1972
    "America/St_Johns",  # changed at 00:01
    "America/Sao_Paulo",  # changed at midnight
    "Antarctica/Troll",  # by two hours
    "Asia/Tehran",
    "Australia/Lord_Howe",  # by half an hour
    "Europe/Berlin",
    "Europe/Dublin",
    "Pacific/Apia",  # left out a day
    "America/New_York",
)
SECOND = timedelta(seconds=1)
slowly = settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
"""To look for the changes of a zone takes a moment, the first time."""


def walls(zone: ZoneInfo, begin: datetime, end: datetime) -> Iterator[tuple[datetime, datetime]]:
    """Every second, with its wall time."""
    while begin <= end:
        yield begin, begin.astimezone(zone).replace(tzinfo=None, fold=0)
        begin += SECOND


def searched(spec: ScheduleSpec, after: datetime, until: datetime) -> list[datetime]:
    """The same fires, found by a look at every second, with a memory of the walls that there have been."""
    zone, cron = zone_of(spec.timezone), parse_cron(spec.cron or "")
    found: list[datetime] = []
    long_ago = after - timedelta(hours=26 if cron.follows_clock else 0)
    highest, before = datetime(1, 1, 1), None  # noqa: DTZ001  # wall times
    for at, wall in walls(zone, long_ago, until):
        if not cron.follows_clock:
            named = cron.matches(wall)
        elif before is not None and wall - before > SECOND:
            first = cron.next_wall(max(before, highest))
            named = first is not None and first <= wall
        else:
            named = wall > highest and cron.matches(wall)
        highest, before = max(highest, wall), wall
        if named and at > after:
            found.append(at)
    return found


FIELDS = st.sampled_from(["*", "0", "30", "*/15", "0-59/20", "1,29,31,59", "*/7"])
HOURS = st.sampled_from(["*", "0", "1", "2", "3", "23", "*/2", "0-5", "1-3", "0,23"])
SECONDS = st.sampled_from(["", "0 ", "*/20 ", "59 "])
CRONS = st.builds(lambda s, m, h, d: f"{s}{m} {h} {d}", SECONDS, FIELDS, HOURS, st.sampled_from(["* * *", "1-31 * *"]))


@st.composite
def around_changes(draw: st.DrawFn) -> tuple[str, datetime]:
    """A zone, and a moment at which its clock changes."""
    name = draw(st.one_of(st.sampled_from(ODD), st.sampled_from(ZONES)))
    years = range(1970, 2038)
    begin = draw(st.integers(0, len(years) - 1))
    for i in range(len(years)):
        if found := changes(zone_of(name), years[(begin + i) % len(years)]):
            return name, draw(st.sampled_from(found))
    return name, datetime(draw(st.sampled_from(years)), 3, 26, 1, tzinfo=UTC)


@slowly
@given(place=around_changes(), cron=CRONS, before=st.integers(0, 7200), length=st.integers(600, 10_000))
def test_fires_are_those_of_a_search_of_every_second(
    place: tuple[str, datetime], cron: str, before: int, length: int
) -> None:
    name, change = place
    spec = ScheduleSpec(cron=cron, timezone=name)
    after = change - timedelta(seconds=before)
    until = after + timedelta(seconds=length)
    assert [one.at for one in fires(spec, after, until)] == searched(spec, after, until)


@slowly
@given(place=around_changes(), cron=CRONS, cut=st.floats(0, 1), hours=st.integers(1, 30))
def test_a_span_in_two_parts_has_the_same_fires(place: tuple[str, datetime], cron: str, cut: float, hours: int) -> None:
    name, change = place
    spec = ScheduleSpec(cron=cron, timezone=name)
    after, until = change - timedelta(hours=1), change + timedelta(hours=hours)
    middle = after + (until - after) * cut
    every = list(fires(spec, after, until))
    assert every == [*fires(spec, after, middle), *fires(spec, middle, until)]
    assert all(one.at < other.at for one, other in pairwise(every))
    assert len({occurrence_id("n", spec, one) for one in every}) == len(every)
    assert latest_fires(spec, after, until, 5) == every[-5:]


def test_every_change_of_every_zone_is_found() -> None:
    """A fire each minute by real time: none is lost or doubled at any change, whatever its size."""
    for name in ODD:
        zone, spec = zone_of(name), ScheduleSpec(cron="* * * * *", timezone=name)
        for change in (one for year in range(1970, 2038) for one in changes(zone, year)):
            assert (change - SECOND).astimezone(zone).utcoffset() != change.astimezone(zone).utcoffset()
            near = [one.at for one in fires(spec, change - timedelta(minutes=3), change + timedelta(minutes=3))]
            assert near == searched(spec, change - timedelta(minutes=3), change + timedelta(minutes=3)), (name, change)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


def moments(cron: str, timezone: str, after: str, count: int) -> list[str]:
    """The first fires, in their zone's own time."""
    spec, found, begin = ScheduleSpec(cron=cron, timezone=timezone), list[str](), at(after)
    for _ in range(count):
        fire = next_fire(spec, begin)
        assert fire is not None
        begin = fire.at
        found.append(fire.at.astimezone(zone_of(timezone)).isoformat())
    return found


@pytest.mark.parametrize(
    ("cron", "timezone", "after", "expected"),
    [
        # A fixed time that is skipped fires at the end of the gap, once.
        ("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00Z", ["2026-03-29T03:00:00+02:00", "2026-03-30T02:30:00+02:00"]),
        ("0-59/15 2 * * *", "Europe/Berlin", "2026-03-28T12:00Z", ["2026-03-29T03:00:00+02:00", "2026-03-30T02:00:00+02:00"]),
        ("0 2,3 * * *", "Europe/Berlin", "2026-03-28T12:00Z", ["2026-03-29T03:00:00+02:00", "2026-03-30T02:00:00+02:00"]),
        # One that comes twice fires the first time.
        ("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00Z", ["2026-10-25T02:30:00+02:00", "2026-10-26T02:30:00+01:00"]),
        ("30 1 * * *", "Australia/Lord_Howe", "2026-04-04T00:00Z", ["2026-04-05T01:30:00+11:00", "2026-04-06T01:30:00+10:30"]),
        ("0 0 * * *", "America/Sao_Paulo", "2018-11-03T12:00Z", ["2018-11-04T01:00:00-02:00", "2018-11-05T00:00:00-02:00"]),
        # With a star in minute or hour, real time counts.
        ("*/30 2 * * *", "Europe/Berlin", "2026-03-28T12:00Z", ["2026-03-30T02:00:00+02:00", "2026-03-30T02:30:00+02:00"]),
        (
            "*/30 2 * * *",
            "Europe/Berlin",
            "2026-10-24T12:00Z",
            ["2026-10-25T02:00:00+02:00", "2026-10-25T02:30:00+02:00", "2026-10-25T02:00:00+01:00", "2026-10-25T02:30:00+01:00"],
        ),
        ("0 */2 * * *", "Europe/Berlin", "2026-03-29T00:30Z", ["2026-03-29T04:00:00+02:00", "2026-03-29T06:00:00+02:00"]),
        # A day that a country left out.
        ("0 9 * * *", "Pacific/Apia", "2011-12-29T20:00Z", ["2011-12-31T00:00:00+14:00", "2011-12-31T09:00:00+14:00"]),
        # Six fields, names, the last day, aliases.
        ("15 30 2 * * *", "Europe/Berlin", "2026-03-28T12:00Z", ["2026-03-29T03:00:00+02:00", "2026-03-30T02:30:15+02:00"]),
        ("0 8 * FEB mon-fri", "UTC", "2027-01-31T12:00Z", ["2027-02-01T08:00:00+00:00", "2027-02-02T08:00:00+00:00"]),
        ("0 0 L * *", "UTC", "2028-02-01T00:00Z", ["2028-02-29T00:00:00+00:00", "2028-03-31T00:00:00+00:00"]),
        ("@daily", "UTC", "2026-01-01T00:00Z", ["2026-01-02T00:00:00+00:00"]),
        ("0 0 29 2 *", "UTC", "2026-01-01T00:00Z", ["2028-02-29T00:00:00+00:00"]),
    ],
)  # fmt: skip
def test_the_policy_by_hand(cron: str, timezone: str, after: str, expected: list[str]) -> None:
    assert moments(cron, timezone, after, len(expected)) == expected


def test_a_wall_time_names_a_fire_for_whoever_has_other_data_of_the_zone() -> None:
    berlin = ScheduleSpec(cron="30 2 * * *", timezone="Europe/Berlin")
    skipped = next_fire(berlin, at("2026-03-28T12:00Z"))
    assert skipped is not None
    assert skipped.wall == "2026-03-29T02:30:00"
    id_ = occurrence_id("nightly", berlin, skipped)
    assert id_ == occurrence_id("nightly", berlin, Fire(at("2026-03-29T01:30Z"), "2026-03-29T02:30:00"))
    assert id_ != occurrence_id("weekly", berlin, skipped)
    assert (len(id_), id_[14]) == (36, "8")
    hourly = ScheduleSpec(cron="30 * * * *", timezone="Europe/Berlin")
    twice = [one.wall for one in islice(fires(hourly, at("2026-10-24T23:59Z"), at("2026-10-25T02:00Z")), 4)]
    assert twice == ["2026-10-25T02:30:00", "2026-10-25T02:30:00+1"]


def test_jitter_does_not_change_the_fire_and_is_the_same_for_everybody() -> None:
    plain, jittered = (ScheduleSpec(cron="0 3 * * *", jitter=jitter) for jitter in (0, 60))
    fire = next_fire(jittered, at("2026-01-01T00:00Z"))
    assert fire is not None
    assert fire == next_fire(plain, at("2026-01-01T00:00Z"))
    assert occurrence_id("a", plain, fire) == occurrence_id("a", jittered, fire)
    waits = {jitter_of(jittered, f"{i}") for i in range(200)}
    assert len(waits) > 150
    assert (
        timedelta(0) <= min(waits) < timedelta(seconds=5) < timedelta(seconds=55) < max(waits) <= timedelta(seconds=60)
    )
    assert jitter_of(plain, "x") == timedelta(0)


@given(
    interval=st.floats(1, 1e6).map(lambda value: round(value, 3)),
    after=st.datetimes(datetime(1960, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
)
def test_intervals_run_by_real_time_from_their_anchor(interval: float, after: datetime) -> None:
    anchor = at("2026-03-29T00:30:00+01:00")
    spec, step = ScheduleSpec(interval=interval, anchor=anchor), timedelta(seconds=interval)
    first, second = islice(fires(spec, after, after + 3 * step), 2)
    assert after < first.at <= after + step
    assert second.at - first.at == step
    assert (first.at - anchor) % step == timedelta(0)


def test_the_calendar_ends() -> None:
    assert next_fire(ScheduleSpec(cron="0 0 1 1 *"), at("9999-06-01T00:00Z")) is None
    assert next_fire(ScheduleSpec(interval=86400.0), at("9999-12-31T12:00Z")) is None


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({}, "neither of them"),
        ({"cron": "* * * * *", "interval": 5.0}, "both of them"),
        ({"cron": "0 0 30 2 *"}, "Bad day-of-month"),
        ({"cron": "0 0 31 2,4,6,9,11 *"}, "Bad day-of-month"),
        ({"cron": "0 0 * 2 MON#5 *"}, "cannot be read"),
        ({"cron": "61 * * * *"}, "Bad minute"),
        ({"cron": "* * *"}, "five fields"),
        ({"cron": "@reboot"}, "@daily"),
        ({"cron": 5}, "must be a text"),
        ({"cron": "0" * 300}, "300 characters"),
        ({"cron": "* * * * *", "timezone": "Europe/Berln"}, "Europe/Berln"),
        ({"cron": "* * * * *", "timezone": ""}, "not known"),
        ({"cron": "* * * * *", "timezone": "../../etc/passwd"}, "not known"),
        ({"cron": "* * * * *", "anchor": at("2026-01-01T00:00Z")}, "anchor is for intervals"),
        ({"interval": 5.0, "timezone": "Europe/Berlin"}, "timezone is for cron"),
        ({"interval": 0.5}, "at least one second"),
        ({"interval": float("nan")}, "at least one second"),
        ({"interval": 5.0, "anchor": datetime(2026, 1, 1)}, "naive"),  # noqa: DTZ001
        ({"interval": 5.0, "jitter": 6.0}, "shortest time"),
        ({"cron": "0,10 3 * * *", "jitter": 700.0}, "600 s"),
        ({"cron": "0 23,1 * * *", "jitter": 7201.0}, "7200 s"),
        ({"cron": "* * * * *", "jitter": -1.0}, "jitter"),
    ],
)
def test_what_means_no_time_is_refused(given: dict[str, object], says: str) -> None:
    with pytest.raises(InvalidScheduleError, match=says):
        ScheduleSpec(**given)  # type: ignore[arg-type]  # callers without a type checker
