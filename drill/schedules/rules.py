"""The verdict: every fire that a schedule had, the tasks that it became, and what these wrote down outside the store."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from litestar_queues.lifecycle import TERMINAL, State
from litestar_queues.records import TaskRecord
from litestar_queues.schedules.fires import Fire, fires, jitter_of
from litestar_queues.schedules.marks import fire_of, schedule_of
from litestar_queues.schedules.model import Schedule, Skipped

__all__ = ("RULES", "Account", "Began", "Kept", "ends", "judge", "lateness", "read_fires")

RULES = {
    "lost": "a fire of a schedule that has to enqueue each of them has no task",
    "twice": "a fire has two tasks",
    "odd task": "a task stands for a moment that is no fire of its schedule, or has another id than that fire's",
    "early": "a task was enqueued, was due, or began before its moment, by the store's time",
    "unaccounted": "a fire has no task, and no entry of the skipped ones names it",
    "uncounted": "more fires have no task than the entries of the skipped ones count",
    "never ran": "a task has ended, and its function never wrote that it began; or its fire is another one there",
    "wrong end": "a task has not ended, or in a state that nothing explains",
    "stopped": "a schedule was not looked at any more, with fires that were due",
    "odd end": "a worker ended otherwise than it may",
}
"""Each rule by its name: what breaks it."""


@dataclass(frozen=True, slots=True)
class Began:
    """A call of an occurrence's function, as it wrote that down."""

    id: str
    schedule: str
    fire: datetime
    at: float
    """By the machine's monotonic clock."""


@dataclass(slots=True)
class Kept:
    """The entries of skipped fires of one schedule: all that it ever had, each as it was seen last."""

    entries: dict[tuple[str, datetime, str | None], Skipped] = field(
        default_factory=dict[tuple[str, datetime, str | None], Skipped]
    )

    def see(self, schedule: Schedule) -> None:
        """Note what is kept now. An entry that later fires were joined with replaces the shorter one."""
        for one in schedule.skipped:
            self.entries[one.why, one.first, one.detail] = one

    def covers(self, fire: Fire) -> bool:
        """Whether an entry names the fire."""
        return any(one.first <= fire.at <= one.last for one in self.entries.values())

    @property
    def fires(self) -> int:
        """How many fires all entries count."""
        return sum(one.fires for one in self.entries.values())


@dataclass(frozen=True, slots=True)
class Account:
    """Everything that a verdict is made from.

    Attributes:
        before: The schedules at the first moment, by their names.
        after: The same at the last moment.
        until: The store's time until which every fire had to be decided before the last moment.
        kept: The entries of skipped fires of each schedule.
        tasks: The tasks in the store, by their ids.
        began: What the tasks wrote down.
        failing: The names of the schedules whose occurrences fail.
        since: The store's time at 0 of the monotonic clock.
        odd: Ends of workers that nobody caused.
        stopped: The names of the schedules whose fires until `until` were not decided in time.
        close: How far off a worker's reading of the store's clock may be.
    """

    before: Mapping[str, Schedule]
    after: Mapping[str, Schedule]
    until: datetime
    kept: Mapping[str, Kept]
    tasks: Mapping[str, TaskRecord]
    began: Sequence[Began]
    failing: frozenset[str]
    since: datetime
    odd: Sequence[str] = ()
    stopped: Sequence[str] = ()
    close: timedelta = timedelta(seconds=0.25)

    def fires_of(self, name: str) -> list[Fire]:
        """Every fire that was decided between the first moment and the last one."""
        before, after = self.before[name], self.after[name]
        return list(fires(before.definition.spec, before.cursor, after.cursor))


def read_fires(path: Path) -> list[Began]:
    """Every fire that a task wrote into the journal."""
    found: list[Began] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        said = json.loads(line)
        if said["what"] == "fires":
            found.append(Began(said["id"], said["schedule"], datetime.fromisoformat(said["fire"]), said["at"]))
    return found


def judge(account: Account) -> Iterator[tuple[str, str]]:
    """Each rule that was broken, with what broke it."""
    by_fire = defaultdict[tuple[str | None, datetime | None], set[str]](set)
    for record in account.tasks.values():
        by_fire[schedule_of(record), fire_of(record)].add(record.id)
    for one in account.began:
        by_fire[one.schedule, one.fire].add(one.id)
    for (name, fire), ids in by_fire.items():
        if len(ids) > 1:
            yield "twice", f"{name} at {fire}: {', '.join(sorted(ids))}"
    ran = {one.id: one for one in account.began}
    for name, before in account.before.items():
        yield from _judge_schedule(account, name, before, set(account.tasks) | set(ran))
    for record in account.tasks.values():
        yield from _judge_task(account, record, ran.get(record.id))
    for one in account.began:
        yield from _judge_beginning(account, one)
    yield from (("stopped", name) for name in account.stopped)
    yield from (("odd end", text) for text in account.odd)


def _judge_schedule(account: Account, name: str, before: Schedule, known: set[str]) -> Iterator[tuple[str, str]]:
    after, kept = account.after[name], account.kept.get(name, Kept())
    every = account.fires_of(name)
    waiting = {one.at for one in after.waiting}
    # A fire that waited at the first moment belongs to those before; one that waits at the last one is no longer there.
    missing = [one for one in every if before.id_of(one) not in known and one.at not in waiting]
    definition = before.definition
    has_to_enqueue = definition.overlap == "allow" and definition.catch_up == "all"
    for fire in missing:
        if has_to_enqueue:
            yield "lost", f"{name} ({definition.spec}) at {fire.at}"
        elif not kept.covers(fire):
            yield "unaccounted", f"{name} ({definition.spec}, {definition.overlap}, {definition.catch_up}) at {fire.at}"
    if not has_to_enqueue and len(missing) > kept.fires:
        yield "uncounted", f"{name}: {len(missing)} fires have no task, and {kept.fires} are counted: {[*kept.entries]}"
    following = next(iter(fires(definition.spec, after.cursor, account.until)), None)
    if following is not None:
        yield "stopped", f"{name} ({definition.spec}) has come to {after.cursor}, and fires at {following.at}"


def _judge_task(account: Account, record: TaskRecord, ran: Began | None) -> Iterator[tuple[str, str]]:
    name, at = schedule_of(record), fire_of(record)
    schedule = account.before.get(name or "")
    if schedule is None or at is None:
        yield "odd task", f"{record.id} belongs to {name!r}, at {at}"
        return
    spec = schedule.definition.spec
    fire = next(iter(fires(spec, at - timedelta(microseconds=1), at)), None)
    if fire is None or schedule.id_of(fire) != record.id:
        yield "odd task", f"{record.id} of {name} ({spec}), at {at}"
        return
    if record.created_at < fire.at - account.close:
        yield "early", f"{record.id} of {name} was enqueued at {record.created_at}, and fires at {fire.at}"
    if record.due_at < fire.at + jitter_of(spec, record.id):
        yield "early", f"{record.id} of {name} was due at {record.due_at}, and fires at {fire.at}, with a jitter"
    if record.state not in TERMINAL:
        yield "wrong end", f"{record.id} of {name} is {record.state.value}, attempt {record.attempt}"
        return
    if record.state is not (State.FAILED if name in account.failing else State.COMPLETED):
        yield "wrong end", f"{record.id} of {name} is {record.state.value}: {(record.error or '')[:200]}"
    if ran is None or (ran.schedule, ran.fire) != (name, at):
        yield "never ran", f"{record.id} of {name} at {at}, {record.state.value}; written: {ran}"


def _judge_beginning(account: Account, one: Began) -> Iterator[tuple[str, str]]:
    schedule = account.before.get(one.schedule)
    if schedule is None:
        yield "odd task", f"{one.id} wrote that it belongs to {one.schedule!r}"
        return
    at = account.since + timedelta(seconds=one.at)
    if at < one.fire + jitter_of(schedule.definition.spec, one.id) - account.close:
        yield "early", f"{one.id} of {one.schedule} began at {at}, and fires at {one.fire}, with a jitter"
    if one.id not in account.tasks:
        yield "odd task", f"{one.id} of {one.schedule} at {one.fire} ran, and is not in the store"


def lateness(account: Account) -> list[float]:
    """Seconds from each fire to its enqueue, by the store's time, in their order by size."""
    return sorted(
        (record.created_at - at.astimezone(UTC)).total_seconds()
        for record in account.tasks.values()
        if (at := fire_of(record)) is not None
    )


def ends(account: Account) -> Counter[str]:
    """How many tasks ended in which state."""
    return Counter(record.state.value for record in account.tasks.values())
