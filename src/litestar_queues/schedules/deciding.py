"""What is done about the fires that are due: which are enqueued, which wait, which are skipped. Without I/O."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from itertools import islice

import msgspec

from litestar_queues.lifecycle import ACTIVE
from litestar_queues.records import TaskRecord
from litestar_queues.schedules.fires import Fire, fires, next_fire
from litestar_queues.schedules.model import WAITING_MAX, Due, Occurrence, Schedule, Skipped, due

__all__ = ("Choice", "Pending", "choose", "has_due", "pending", "settle")


_LOOKED_UP = 10
"""How many fires that are left out are looked up: a leader enqueues few of them before it notes that."""


class Pending(msgspec.Struct, frozen=True):
    """A schedule with fires that are to be decided.

    Attributes:
        schedule: As it was read.
        due: The fires.
        ids: The tasks that have to be known for that: the last occurrence, and those of the fires where they exist.
    """

    schedule: Schedule
    due: Due
    ids: frozenset[str]


class Choice(msgspec.Struct, frozen=True):
    """What was decided.

    Attributes:
        schedule: As it is to be stored once the occurrences are.
        enqueue: The fires whose occurrences are not stored yet.
        skipped: The fires that get none.
    """

    schedule: Schedule
    enqueue: tuple[Fire, ...]
    skipped: tuple[Skipped, ...]


def pending(schedule: Schedule, now: datetime) -> Pending | None:
    """The undecided fires of a schedule; None without any."""
    if schedule.removed_at is not None:
        return None
    nothing = Due((), (), schedule.cursor, None)
    found = due(schedule.definition, schedule.cursor, now) if schedule.paused_at is None else nothing
    if found.cursor == schedule.cursor and not schedule.waiting:
        return None
    known = (*schedule.waiting, *found.missed, *found.on_time, *_first(schedule, found))
    ids = {*schedule.beside, *map(schedule.id_of, known)}
    if schedule.last is not None:
        ids.add(schedule.last.id)
    return Pending(schedule, found, frozenset(ids))


def _first(schedule: Schedule, found: Due) -> list[Fire]:
    """The first of the fires that are not caught up with: a leader that died may have enqueued them in time."""
    if found.skipped is None or found.skipped.why != "missed":
        return []
    return list(islice(fires(schedule.definition.spec, schedule.cursor, found.skipped.last), _LOOKED_UP))


def has_due(schedule: Schedule, now: datetime) -> bool:
    """Whether a fire is to be decided. One that waits for the end of an occurrence has been."""
    return schedule.is_active and due(schedule.definition, schedule.cursor, now).cursor != schedule.cursor


def choose(one: Pending, stored: Mapping[str, TaskRecord], now: datetime) -> Choice:
    """Decide, knowing what is stored of the ids that `Pending` names."""
    return _Chooser(one, stored, now).choose()


class _Chooser:
    def __init__(self, one: Pending, stored: Mapping[str, TaskRecord], now: datetime) -> None:
        self._due, self._stored, self._now = one.due, stored, now
        self._schedule = one.schedule
        self._overlap = one.schedule.definition.overlap
        self._waiting = list(one.schedule.waiting)
        self._enqueue: list[Fire] = []
        self._skipped: list[Skipped] = []
        last = one.schedule.last
        self._beside = tuple(id_ for id_ in one.schedule.beside if self._is_active(id_))
        self._busy = last is not None and self._is_active(last.id)
        self._left_out = _first(one.schedule, one.due)

    def choose(self) -> Choice:
        for fire in self._left_out:
            if self._schedule.id_of(fire) in self._stored:
                self._enqueue_or_know(fire)
        if self._due.skipped is not None:
            self._skip(self._due.skipped)
        missed = [fire for fire in map(self._not_covered, self._due.missed) if fire is not None]
        # Those that are caught up with go together: none of them overlaps with another one.
        was_busy = self._is_busy
        for fire in missed:
            self._take(fire, busy=was_busy)
        for fire in self._due.on_time:
            self._take(fire, busy=self._is_busy)
        while self._waiting and not self._is_busy:
            self._enqueue_or_know(self._waiting.pop(0))
        after = self._schedule.evolve(cursor=self._due.cursor, waiting=tuple(self._waiting), beside=self._beside)
        return Choice(after, tuple(self._enqueue), tuple(self._skipped))

    @property
    def _is_busy(self) -> bool:
        return self._busy or bool(self._beside)

    def _is_active(self, id_: str) -> bool:
        return (found := self._stored.get(id_)) is not None and found.state in ACTIVE

    def _not_covered(self, fire: Fire) -> Fire | None:
        """The fire itself; or, where one occurrence catches up with all, the first that came after that was enqueued.

        Whoever led before may have enqueued it in time, and died before that was noted: then it stands for itself alone.
        """
        if self._schedule.definition.catch_up != "once":
            return fire
        last = self._due.skipped.last if self._due.skipped is not None else fire.at
        found: Fire | None = fire
        while found is not None and found.at <= last:
            known = self._stored.get(self._schedule.id_of(found))
            if known is None or known.created_at >= last:
                return found
            self._enqueue_or_know(found)  # later fires may overlap with it
            found = next_fire(self._schedule.definition.spec, max(known.created_at, found.at))
        return None

    def _take(self, fire: Fire, *, busy: bool) -> None:
        if self._schedule.id_of(fire) in self._stored or self._overlap == "allow":
            self._enqueue_or_know(fire)
        elif self._overlap == "queue":
            if len(self._waiting) < WAITING_MAX:
                self._waiting.append(fire)
            else:
                self._skip(Skipped("overlap", fire.at, fire.at, 1, f"{WAITING_MAX} fires wait already"))
        elif busy:
            self._skip(Skipped("overlap", fire.at, fire.at))
        else:
            self._enqueue_or_know(fire)

    def _skip(self, entry: Skipped) -> None:
        self._skipped.append(entry)
        self._schedule = self._schedule.with_skipped(entry)

    def _enqueue_or_know(self, fire: Fire) -> None:
        id_ = self._schedule.id_of(fire)
        if (known := self._stored.get(id_)) is None:
            self._enqueue.append(fire)
            self._busy, at = True, self._now
        else:
            self._busy, at = known.state in ACTIVE, known.created_at
        self._schedule = self._schedule.evolve(last=Occurrence(id_, fire.at, at), enqueued=self._schedule.enqueued + 1)


def settle(choice: Choice, before: Schedule, refused: Mapping[Fire, Skipped]) -> Schedule:
    """The schedule after the enqueue, some of whose occurrences were not stored."""
    schedule = choice.schedule
    if not refused:
        return schedule
    for fire in sorted(refused):
        schedule = schedule.with_skipped(refused[fire])
    stored = [fire for fire in choice.enqueue if fire not in refused]
    last = schedule.last
    if last is not None and last.id in {schedule.id_of(fire) for fire in refused}:
        kept = stored[-1] if stored else None
        last = before.last if kept is None else Occurrence(schedule.id_of(kept), kept.at, last.at)
    return schedule.evolve(last=last, enqueued=schedule.enqueued - len(refused))
