"""What can be said of a schedule, as keyword arguments, and the schedules that code declares."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypedDict

import msgspec

from litestar_queues.errors import InvalidScheduleError, InvalidTaskError
from litestar_queues.options import Duration, check_duration
from litestar_queues.records import check_aware, seconds
from litestar_queues.schedules.model import CatchUp, Definition, Overlap, Template
from litestar_queues.schedules.spec import ScheduleSpec

if TYPE_CHECKING:
    from litestar_queues.task import TaskCall

__all__ = ("SCHEDULE_OPTIONS", "CodeSchedule", "ScheduleOptions", "ScheduleSettings", "split_options")


class ScheduleOptions(TypedDict, total=False):
    """The options of a schedule as keyword arguments, for type checkers: the fields of `ScheduleSettings`."""

    cron: str | None
    interval: Duration | None
    timezone: str | None
    anchor: datetime | None
    jitter: Duration | None
    catch_up: CatchUp | None
    catch_up_limit: int | None
    overlap: Overlap | None
    misfire_grace: Duration | None


class ScheduleSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The options of a schedule; None means not said.

    Attributes:
        cron: When it fires: minute, hour, day of the month, month, day of the week; a sixth field in front of them is the
            second. Or `@daily` and its like.
        interval: Or how often, in seconds or as a timedelta, counted from the anchor.
        timezone: The IANA zone whose wall clock the cron expression means; UTC unless said.
        anchor: A time from which intervals are counted; 1970-01-01 in UTC unless said.
        jitter: How long after its fire an occurrence may begin, in seconds or as a timedelta; nothing unless said.
        catch_up: What is done about fires that were missed, because no worker ran: "skip" them, enqueue "once" for all of
            them, which is the default, or enqueue "all" of the latest `catch_up_limit`.
        catch_up_limit: How many fires "all" catches up with; 100 unless said.
        overlap: What a fire does while the last occurrence is still active: "skip" is the default, "allow", or "queue", which
            enqueues it once the last one has ended.
        misfire_grace: How late a fire may be found without being missed, in seconds or as a timedelta; a minute unless said.
    """

    cron: str | None = None
    interval: Duration | None = None
    timezone: str | None = None
    anchor: datetime | None = None
    jitter: Duration | None = None
    catch_up: CatchUp | None = None
    catch_up_limit: int | None = None
    overlap: Overlap | None = None
    misfire_grace: Duration | None = None

    def __post_init__(self) -> None:
        try:
            for name in ("interval", "jitter", "misfire_grace"):
                check_duration(f"the {name}", getattr(self, name))
            check_aware("anchor", self.anchor)
        except InvalidTaskError as error:
            raise InvalidScheduleError(str(error)) from None
        if self.timezone is not None and not isinstance(self.timezone, str):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers without a type checker
            raise InvalidScheduleError(f"timezone is the name of an IANA zone, a text, not {self.timezone!r}")

    @property
    def says_when(self) -> bool:
        """Whether it says when."""
        return self.cron is not None or self.interval is not None

    def definition(self, template: Template) -> Definition:
        """The definition of a new schedule.

        Raises:
            InvalidScheduleError: The options contradict each other, or mean no time that comes.
        """
        return Definition(template=template, spec=ScheduleSpec(**self._spec()), **self._rest())

    def over(self, base: Definition) -> Definition:
        """What is said here, and the rest as it was. A cron expression replaces an interval, and the other way round.

        Raises:
            InvalidScheduleError: Together they contradict each other.
        """
        said = self._spec()
        before = msgspec.structs.asdict(base.spec)
        if "cron" in said and "interval" not in said:
            before |= {"interval": None, "anchor": ScheduleSpec.__struct_defaults__[3]}
        elif "interval" in said and "cron" not in said:
            before |= {"cron": None, "timezone": "UTC"}
        return msgspec.structs.replace(base, spec=ScheduleSpec(**{**before, **said}), **self._rest())

    def _spec(self) -> dict[str, Any]:
        said = {
            "cron": self.cron,
            "interval": _seconds(self.interval),
            "timezone": self.timezone,
            "anchor": None if self.anchor is None else self.anchor.astimezone(UTC),
            "jitter": _seconds(self.jitter),
        }
        return {name: value for name, value in said.items() if value is not None}

    def _rest(self) -> dict[str, Any]:
        said = {
            "catch_up": self.catch_up,
            "catch_up_limit": self.catch_up_limit,
            "overlap": self.overlap,
            "misfire_grace": _seconds(self.misfire_grace),
        }
        return {name: value for name, value in said.items() if value is not None}


SCHEDULE_OPTIONS = ScheduleSettings.__struct_fields__


def split_options(given: Mapping[str, Any]) -> tuple[ScheduleSettings, dict[str, Any]]:
    """The options of the schedule, and all the others.

    Raises:
        InvalidScheduleError: An option of the schedule is out of its range.
    """
    own = {name: value for name, value in given.items() if name in SCHEDULE_OPTIONS}
    return ScheduleSettings(**own), {name: value for name, value in given.items() if name not in SCHEDULE_OPTIONS}


@dataclass(frozen=True, slots=True)
class CodeSchedule:
    """A schedule that code declares.

    Attributes:
        name: Its name.
        call: What it enqueues.
        settings: When.
        module: Where it is declared.
    """

    name: str
    call: TaskCall[Any]
    settings: ScheduleSettings
    module: str


def _seconds(value: Duration | None) -> float | None:
    return None if value is None else seconds(value).total_seconds()
