"""What is stored of a schedule: what users said of it, how far its fires have been decided, and what became of them.

Everything here is a value or a pure function. A schedule is one named record of the store; whoever changes it writes the
version after the one that was read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal, Self

import msgspec

from litestar_queues.codec import decode, encode
from litestar_queues.errors import InvalidScheduleError, InvalidTaskError
from litestar_queues.records import NamedRecord, NewTask, TaskRecord, check_int, check_text
from litestar_queues.schedules.fires import Fire, fires, jitter_of, latest_fires, next_fire, occurrence_id
from litestar_queues.schedules.marks import FIRE, NAME, fire_of, schedule_of
from litestar_queues.schedules.spec import ScheduleSpec

__all__ = (
    "PREFIX",
    "SCHEDULE_MAX",
    "WAITING_MAX",
    "CatchUp",
    "Definition",
    "Due",
    "Occurrence",
    "Overlap",
    "Schedule",
    "Skipped",
    "Template",
    "check_size",
    "due",
    "keeps",
    "read_all",
    "read_schedule",
    "record_name",
    "write_schedule",
)

CatchUp = Literal["skip", "once", "all"]
Overlap = Literal["skip", "allow", "queue"]

PREFIX = "schedule:"
"""With this the names of the records begin."""
SCHEDULE_MAX = 200
"""Longest name of a schedule, in characters."""
FORMAT = 1
"""The form of the stored value. A record of a later form is left to those who know it."""
_VALUE_MAX = 64 * 1024
"""Longest stored definition, in bytes: all of them are read for each look."""
_MOST = 1000
"""The most fires that one look takes or counts."""
_KEPT = 10
"""How many entries of skipped fires are kept."""
WAITING_MAX = 100
"""How many fires wait for the end of an occurrence, where `overlap` is "queue"."""
_DAY = timedelta(days=1)
_MICROSECOND = timedelta(microseconds=1)


class Template(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A task as a schedule enqueues it, without what each occurrence has for itself. `args` and its like are JSON text."""

    task: str
    args: str = "[]"
    kwargs: str = "{}"
    queue: str = "default"
    key: str | None = None
    priority: int = 0
    max_attempts: int = 1
    metadata: str = "{}"
    description: str | None = None
    timeout: float | None = None
    expires_in: float | None = None
    execution_backend: str = "local"
    execution_profile: str | None = None
    max_recoveries: int = 3

    @classmethod
    def of(cls, new: NewTask, expires_in: float | None) -> Self:
        """Everything of a task that its occurrences share."""
        fields = {name: getattr(new, name) for name in _SHARED}
        return cls(task=new.name, expires_in=expires_in, **fields)

    def new_task(self, schedule: str, id_: str, fire: str, run_at: datetime, now: datetime) -> NewTask:
        """An occurrence.

        Args:
            schedule: The schedule's name.
            id_: The occurrence's.
            fire: The moment of its fire, as text.
            run_at: When it may start.
            now: The store's time.

        Raises:
            InvalidTaskError: The store has to be given something else; somebody edited the record.
        """
        try:
            metadata: dict[str, Any] = decode(self.metadata)
            said = encode({**metadata, NAME: schedule, FIRE: fire}, "the metadata of an occurrence")
        except (msgspec.MsgspecError, TypeError, ValueError) as error:
            raise InvalidTaskError(f"the stored metadata is no mapping: {error}") from None
        begins = max(run_at, now)
        shared: dict[str, Any] = {name: getattr(self, name) for name in _SHARED} | {"metadata": said}
        return NewTask(
            id=id_,
            name=self.task,
            run_at=run_at,
            expires_at=None if self.expires_in is None else begins + timedelta(seconds=self.expires_in),
            **shared,
        )


_SHARED = tuple(name for name in Template.__struct_fields__ if name not in ("task", "expires_in"))


class Definition(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What users say of a schedule.

    Attributes:
        template: What is enqueued.
        spec: When.
        catch_up: What is done about fires that nobody found within `misfire_grace`: "skip" none of them, "once" enqueues one
            occurrence for all of them, "all" one for each of the latest `catch_up_limit`.
        catch_up_limit: How many "all" keeps.
        overlap: What a fire does while the last occurrence is still active: "skip" enqueues none, "allow" enqueues one all the
            same, "queue" enqueues it when the last one has ended.
        misfire_grace: Seconds. A fire that is found later than that was missed.
    """

    template: Template
    spec: ScheduleSpec
    catch_up: CatchUp = "once"
    catch_up_limit: int = 100
    overlap: Overlap = "skip"
    misfire_grace: float = 60.0

    def __post_init__(self) -> None:
        for what, value, known in (
            ("catch_up", self.catch_up, ("skip", "once", "all")),
            ("overlap", self.overlap, ("skip", "allow", "queue")),
        ):
            if value not in known:
                raise InvalidScheduleError(f"{what} is one of {', '.join(map(repr, known))}, not {value!r}")
        try:
            check_int("catch_up_limit", self.catch_up_limit, 1, _MOST)
        except InvalidTaskError as error:
            raise InvalidScheduleError(str(error)) from None
        if not 1 <= self.misfire_grace <= 86400 * 366:
            raise InvalidScheduleError(
                f"misfire_grace is from one second to a year, not {self.misfire_grace!r} s: the scheduler looks once a second "
                "at best"
            )

    @property
    def fingerprint(self) -> str:
        """A text that another definition does not have."""
        return hashlib.sha256(msgspec.json.encode(self, order="deterministic")).hexdigest()[:32]


class Occurrence(msgspec.Struct, frozen=True, omit_defaults=True):
    """A task that a schedule enqueued.

    Attributes:
        id: The task's.
        fire: The moment of its fire; that of the call, where somebody let the schedule run at once.
        at: When it was enqueued.
    """

    id: str
    fire: datetime
    at: datetime


class Skipped(msgspec.Struct, frozen=True, omit_defaults=True):
    """Fires that were not enqueued.

    Attributes:
        why: "missed", "merged" (one occurrence catches up with all that were missed), "overlap", "key" (another active task
            holds it) or "refused" (there cannot be such a task).
        first: The first of them.
        last: The last of them.
        fires: How many they are; 1,000 where they are so many or more.
        detail: What else is known.
    """

    why: str
    first: datetime
    last: datetime
    fires: int = 1
    detail: str | None = None


class Schedule(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A schedule as it is stored.

    Attributes:
        name: Its name, which the record's name has.
        version: The record's version; 0 where it is not stored yet.
        definition: What users said.
        cursor: Fires until here have been decided.
        module: Where the function is whose decorator made the schedule; None where it was made at run time.
        number: The number of the set of schedules in the code that changed it last; see `syncing`.
        code: The fingerprint of what the code said last; None where it was made at run time, or is no longer in the code.
        paused_at: Since when it has been paused.
        removed_at: When it was removed. It has no fires any more, and stays so that older code does not bring it back.
        last: The latest occurrence.
        beside: The ids of occurrences that were active when somebody let the schedule run at once, which made another one the
            latest.
        waiting: Fires that wait for the end of an occurrence.
        skipped: Fires that were not enqueued, the latest last.
        enqueued: How many occurrences there have been.
        format: The form of the record.
    """

    name: str = ""
    version: int = 0
    definition: Definition
    cursor: datetime
    module: str | None = None
    number: int = 0
    code: str | None = None
    paused_at: datetime | None = None
    removed_at: datetime | None = None
    last: Occurrence | None = None
    beside: tuple[str, ...] = ()
    waiting: tuple[Fire, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    enqueued: int = 0
    format: int = FORMAT

    def evolve(self, **changes: Any) -> Self:
        """The same schedule with these fields changed."""
        return msgspec.structs.replace(self, **changes)

    @property
    def is_active(self) -> bool:
        """Whether it fires: neither paused nor removed."""
        return self.paused_at is None and self.removed_at is None

    @property
    def next_fire(self) -> Fire | None:
        """The first fire that has not been decided; None where it has none."""
        return next_fire(self.definition.spec, self.cursor) if self.is_active else None

    def with_skipped(self, entry: Skipped) -> Self:
        """The same with an entry of skipped fires, which is joined with the last one where the reason is the same."""
        entries = list(self.skipped)
        if entries and (entries[-1].why, entries[-1].detail) == (entry.why, entry.detail):
            before = entries.pop()
            entry = Skipped(
                entry.why,
                before.first,
                max(before.last, entry.last),
                min(before.fires + entry.fires, _MOST),
                entry.detail,
            )
        return self.evolve(skipped=(*entries, entry)[-_KEPT:])

    def occurrence(self, fire: Fire, now: datetime) -> NewTask:
        """The task of a fire.

        Raises:
            InvalidTaskError: Somebody edited the record, so that there cannot be such a task.
        """
        id_ = self.id_of(fire)
        run_at = fire.at + jitter_of(self.definition.spec, id_)
        return self.definition.template.new_task(self.name, id_, fire.at.isoformat(), run_at, now)

    def id_of(self, fire: Fire) -> str:
        """The id of the task of a fire."""
        return occurrence_id(self.name, self.definition.spec, fire)


class Due(msgspec.Struct, frozen=True):
    """What of a schedule's fires is to be decided now.

    Attributes:
        missed: Of the fires that were found too late: those that are caught up with, in order.
        on_time: The others, in order.
        cursor: Until where that decides.
        skipped: What is not caught up with.
    """

    missed: Sequence[Fire]
    on_time: Sequence[Fire]
    cursor: datetime
    skipped: Skipped | None


def due(definition: Definition, cursor: datetime, now: datetime) -> Due:
    """The fires after the cursor, up to now, by what `catch_up` does about them."""
    spec = definition.spec
    edge = now - timedelta(seconds=definition.misfire_grace) - _MICROSECOND
    on_time: list[Fire] = []
    for fire in fires(spec, max(cursor, edge), now):
        on_time.append(fire)
        if len(on_time) == _MOST:
            break
    reached = on_time[-1].at if on_time else cursor
    if cursor >= edge or (first := next_fire(spec, cursor)) is None or first.at > edge:
        return Due((), on_time, max(cursor, reached), None)
    (last,) = latest_fires(spec, cursor, edge, 1)
    reached = max(reached, last.at)
    match definition.catch_up:
        case "once":
            second = next_fire(spec, first.at)
            merged = (
                None
                if second is None or second.at > edge
                else Skipped("merged", second.at, last.at, _count(spec, first.at, edge))
            )
            return Due((first,), on_time, reached, merged)
        case "skip":
            return Due((), on_time, reached, Skipped("missed", first.at, last.at, _count(spec, cursor, edge)))
        case "all":
            kept = latest_fires(spec, cursor, edge, definition.catch_up_limit)
            if kept[0] == first:
                return Due(kept, on_time, reached, None)
            before = kept[0].at - _MICROSECOND
            (left,) = latest_fires(spec, cursor, before, 1)
            return Due(kept, on_time, reached, Skipped("missed", first.at, left.at, _count(spec, cursor, before)))


def _count(spec: ScheduleSpec, after: datetime, until: datetime) -> int:
    number = 0
    for _ in fires(spec, after, until):
        number += 1
        if number == _MOST:
            break
    return number


def keeps(record: TaskRecord, cursors: Mapping[str, datetime], now: datetime) -> bool:
    """Whether an occurrence that has ended must not be deleted yet.

    Args:
        record: The occurrence.
        cursors: How far the schedules have come, by their names.
        now: The store's time.
    """
    if record.finished_at is None or record.finished_at > now - _DAY:
        return True
    cursor, fire = cursors.get(schedule_of(record) or ""), fire_of(record)
    return cursor is not None and fire is not None and fire > cursor


def record_name(name: str) -> str:
    """The name of the record of a schedule.

    Raises:
        InvalidScheduleError: No schedule can have that name.
    """
    try:
        check_text("name of the schedule", name, SCHEDULE_MAX)
    except InvalidTaskError as error:
        raise InvalidScheduleError(str(error)) from None
    return f"{PREFIX}{name}"


def read_schedule(record: NamedRecord) -> Schedule | None:
    """The schedule of a record; None where somebody has edited it so that it is none, or a later version wrote it."""
    try:
        found = msgspec.json.decode(record.value, type=Schedule)
    except (msgspec.MsgspecError, InvalidTaskError, ValueError, OverflowError):
        return None
    if found.format > FORMAT:
        return None
    return found.evolve(name=record.name.removeprefix(PREFIX), version=record.version)


def read_all(records: Mapping[str, NamedRecord]) -> dict[str, Schedule]:
    """The schedules among the records, by name. Those that cannot be read are left out."""
    found = (read_schedule(record) for name, record in records.items() if name.startswith(PREFIX))
    return {one.name: one for one in found if one is not None}


def write_schedule(schedule: Schedule) -> NamedRecord:
    """The record of the version after the schedule's own."""
    value = msgspec.json.encode(schedule.evolve(name="", version=0)).decode()
    return NamedRecord(record_name(schedule.name), schedule.version + 1, value)


def check_size(name: str, definition: Definition) -> None:
    """Refuse a definition that is too large to be read at each look.

    Raises:
        InvalidScheduleError: It is.
    """
    if (size := len(msgspec.json.encode(definition))) > _VALUE_MAX:
        raise InvalidScheduleError(
            f"schedule {name!r} takes {size} bytes with its arguments and metadata, and at most {_VALUE_MAX} are possible: give "
            "its task the name of what it needs, and let it read that itself"
        )
