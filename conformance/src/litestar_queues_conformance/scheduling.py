"""Schedulers as the cases of schedules use them, in both time modes, and the schedulers that end in the middle of a look.

The cases run the library's own scheduler over clients of the store under test. A `Scene` is one store at one moment. With
the time "given", its clients pass the scene's clock as `now=`. With the time "store", they leave `now` out, and the clock
follows the store's. No time passes there: the fires lie in the hours before the scene began.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, TypeVar

from litestar_queues import QueueConfig, QueueService, TaskRegistry, schedule, task
from litestar_queues.backends.base import QueueBackend
from litestar_queues.backends.delegating import DelegatingBackend
from litestar_queues.clock import Clock, StoreClock
from litestar_queues.errors import BackendUnavailableError, QueueError
from litestar_queues.operations import QueueOperations
from litestar_queues.records import Count, Enqueued, Held, NamedRecord, NewTask, Query, Stale, TaskRecord, Want
from litestar_queues.schedules.fires import Fire, fires
from litestar_queues.schedules.firing import fire_due
from litestar_queues.schedules.model import (
    PREFIX,
    Definition,
    Schedule,
    Template,
    read_all,
    read_schedule,
    record_name,
    write_schedule,
)
from litestar_queues.schedules.spec import ScheduleSpec
from litestar_queues_conformance.harness import T0, Store, Violation, at
from litestar_queues_conformance.moments import TIMES, Time
from litestar_queues_conformance.moves import everything

__all__ = (
    "HOUR",
    "TASK",
    "TIMES",
    "End",
    "Ended",
    "GivenClock",
    "Scene",
    "SchedulerClient",
    "Time",
    "registry_of",
    "scene",
)

T = TypeVar("T")
Meanwhile = Mapping[str, Callable[[], Awaitable[object]]]
HOUR = 3600.0
TASK = "conformance.scheduled"
_LONG = timedelta(days=3)


async def work(number: int = 0, text: str = "") -> None:
    """What the schedules of the cases enqueue. Nobody runs it."""
    del number, text


def registry_of(**schedules: Mapping[str, Any]) -> TaskRegistry:
    """A registry as the code of an application makes it: one task, and a schedule of it for each name, with these options."""
    registry = TaskRegistry()
    made = task(TASK, registry=registry)(work)
    for name, options in schedules.items():
        schedule(made, name=name, registry=registry, **options)
    return registry


class GivenClock(StoreClock):
    """A clock that stands where a case sets it."""

    def __init__(self, moment: datetime) -> None:
        super().__init__()
        self.moment = moment

    async def sync(self, backend: QueueBackend) -> None:
        """Read no other clock."""

    def now(self) -> datetime:
        return self.moment


class Ended(BaseException):
    """A scheduler has ended, as by SIGKILL: nothing of it handles this."""


@dataclass(frozen=True, slots=True)
class End:
    """Where a scheduler ends.

    Attributes:
        call: At which of its calls of the port, from 1 on.
        how: Before the call, after it, or inside it, so many steps of the event loop after it began.
        error: What the scheduler meets: `Ended`; or `BackendUnavailableError`, a reply that was lost.
        steps: See `how`.
    """

    call: int
    how: Literal["before", "after", "inside"]
    error: type[Exception | Ended] = Ended
    steps: int = 0

    @classmethod
    def all_at(cls, call: int) -> tuple[End, ...]:
        """Every way in which a scheduler can end at this call."""
        lost = [cls(call, how, error) for error in (Ended, BackendUnavailableError) for how in ("before", "after")]
        return (*lost, *(cls(call, "inside", steps=steps) for steps in (1, 2, 5)))

    def __str__(self) -> str:
        steps = f" after {self.steps} steps" if self.how == "inside" else ""
        return f"{self.error.__name__} {self.how} call {self.call}{steps}"


class SchedulerClient(DelegatingBackend):
    """A client of the store as one scheduler has it. Whoever opened the client below closes it.

    Args:
        inner: The client.
        clock: The time that is passed as `now=`; None leaves it out.
        end: Where the scheduler ends.
        meanwhile: What others do before a call of this name.
    """

    def __init__(
        self,
        inner: QueueBackend,
        clock: Clock | None = None,
        *,
        end: End | None = None,
        meanwhile: Meanwhile | None = None,
    ) -> None:
        super().__init__(inner)
        self.end = end
        self.calls = 0
        self._clock = clock
        self._meanwhile = dict(meanwhile or {})

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def enqueue_many(self, tasks: Sequence[NewTask], *, now: datetime | None = None) -> list[Enqueued]:
        return await self._call("enqueue_many", lambda: self.inner.enqueue_many(tasks, now=self._time(now)))

    async def claim(self, want: Want, *, now: datetime | None = None) -> list[TaskRecord]:
        return await self._call("claim", lambda: self.inner.claim(want, now=self._time(now)))

    async def touch_heartbeats(self, held: Sequence[Held], *, now: datetime | None = None) -> set[str]:
        return await self._call("touch_heartbeats", lambda: self.inner.touch_heartbeats(held, now=self._time(now)))

    async def commit(self, tasks: Sequence[TaskRecord], *, stale: Stale | None = None) -> set[str]:
        return await self._call("commit", lambda: self.inner.commit(tasks, stale=stale))

    async def get(self, ids: Collection[str]) -> dict[str, TaskRecord]:
        return await self._call("get", lambda: self.inner.get(ids))

    async def find(self, query: Query, limit: int) -> list[TaskRecord]:
        return await self._call("find", lambda: self.inner.find(query, limit))

    async def count(self, queues: tuple[str, ...] | None = None) -> list[Count]:
        return await self._call("count", lambda: self.inner.count(queues))

    async def next_due(self, queues: tuple[str, ...] | None = None) -> datetime | None:
        return await self._call("next_due", lambda: self.inner.next_due(queues))

    async def delete(self, held: Sequence[Held]) -> set[str]:
        return await self._call("delete", lambda: self.inner.delete(held))

    async def lock(self, name: str, owner: str, ttl: timedelta, *, now: datetime | None = None) -> bool:
        return await self._call("lock", lambda: self.inner.lock(name, owner, ttl, now=self._time(now)))

    async def unlock(self, name: str, owner: str) -> bool:
        return await self._call("unlock", lambda: self.inner.unlock(name, owner))

    async def read_records(self, prefix: str) -> dict[str, NamedRecord]:
        return await self._call("read_records", lambda: self.inner.read_records(prefix))

    async def write_records(self, records: Sequence[NamedRecord]) -> set[str]:
        return await self._call("write_records", lambda: self.inner.write_records(records))

    def _time(self, now: datetime | None) -> datetime | None:
        return now if now is not None or self._clock is None else self._clock.now()

    async def _call(self, name: str, call: Callable[[], Awaitable[T]]) -> T:
        if (others := self._meanwhile.pop(name, None)) is not None:
            await others()
        self.calls += 1
        end = self.end if self.end is not None and self.end.call == self.calls else None
        if end is None:
            return await call()
        if end.how == "inside":
            await _cut(call, end.steps)
        elif end.how == "after":
            await call()
        raise end.error(str(end))


async def _cut(call: Callable[[], Awaitable[Any]], steps: int) -> None:
    """Begin a call, and cancel it so many steps of the event loop later; it may have come to its end by then."""
    running = asyncio.ensure_future(call())
    for _ in range(steps):
        await asyncio.sleep(0)
    running.cancel()
    try:
        await running
    except (asyncio.CancelledError, QueueError):
        return


@dataclass(slots=True)
class Scene:
    """One store at one moment, with schedules that fire every hour: the last time half an hour ago.

    The fires are numbered backwards: fire 0 was half an hour ago, fire 1 an hour before that, fire -1 is to come.
    """

    store: Store
    id: str
    """The guarantee that is broken where a schedule or an occurrence cannot be found."""
    time: Time
    zero: datetime
    """The scene's moment: the given time, or the store's time when the scene began."""
    clock: StoreClock
    reader: QueueBackend
    """Looks at what is stored, and nothing else."""

    def at(self, hours: float) -> datetime:
        """A moment so many hours after the scene's; with the store's time, none of the future comes."""
        return self.zero + timedelta(hours=hours)

    def set(self, hours: float) -> datetime:
        """Set the given clock; the store's own stays. Returns the moment."""
        if isinstance(self.clock, GivenClock):
            self.clock.moment = self.at(hours)
        return self.at(hours)

    @property
    def hourly(self) -> ScheduleSpec:
        """Every hour, half an hour ago for the last time."""
        return ScheduleSpec(interval=HOUR, anchor=self.at(-0.5))

    def definition(
        self, *, spec: ScheduleSpec | None = None, template: Template | None = None, **rest: Any
    ) -> Definition:
        """What a case says of a schedule."""
        return Definition(template=template or Template(task=TASK), spec=spec or self.hourly, **rest)

    async def client(self) -> SchedulerClient:
        """Another client of the store, in the scene's time."""
        return self.of(await self.store.actor())

    def of(self, inner: QueueBackend, *, end: End | None = None, meanwhile: Meanwhile | None = None) -> SchedulerClient:
        """A scheduler's client over an opened one, in the scene's time; see `SchedulerClient`."""
        given = self.clock if isinstance(self.clock, GivenClock) else None
        return SchedulerClient(inner, given, end=end, meanwhile=meanwhile)

    async def service(
        self, registry: TaskRegistry | None = None, *, client: SchedulerClient | None = None
    ) -> QueueService:
        """A service over a client of its own, to be opened with `async with`."""
        service = QueueService(
            QueueConfig(queue_backend=client or await self.client()), registry=registry or registry_of()
        )
        service.clock = self.clock
        return service

    async def keep(self, name: str, *, since: float, **definition: Any) -> Schedule:
        """Store a new schedule, whose fires until so many hours ago have been decided."""
        made = Schedule(name=name, definition=self.definition(**definition), cursor=self.at(-since))
        await self.write(made)
        return made.evolve(version=1)

    async def write(self, *schedules: Schedule) -> None:
        """Store schedules over the versions that they have.

        Raises:
            Violation: They were not stored, and nobody else wrote them.
        """
        written = [write_schedule(one) for one in schedules]
        stored = await self.reader.write_records(written)
        if missing := {one.name for one in written} - stored:
            raise Violation(
                f"{self.id}: the named records {sorted(missing)!r} were not stored over the versions that they have"
            )

    async def read(self, name: str) -> Schedule:
        """A schedule as it is stored.

        Raises:
            Violation: It is not there, or is none any more.
        """
        record = (await self.reader.read_records(record_name(name))).get(record_name(name))
        found = None if record is None else read_schedule(record)
        if found is None:
            raise Violation(f"{self.id}: the schedule {name!r} cannot be read any more: {record!r:.300}")
        return found

    async def look(self, client: SchedulerClient, hours: float = 0, *, name: str | None = None) -> Sequence[Schedule]:
        """Let a scheduler look at all schedules, or at one; returns those that it changed."""
        now = self.set(hours)
        read = await client.read_records(PREFIX if name is None else record_name(name))
        found = [one for one in read_all(read).values() if name in (None, one.name)]
        return await self.fire(client, found, now)

    async def fire(self, client: SchedulerClient, schedules: Sequence[Schedule], now: datetime) -> Sequence[Schedule]:
        """Let a scheduler fire schedules that it has read."""
        return await fire_due(QueueOperations(client, self.clock), schedules, now)

    async def fired(self, *schedules: Schedule) -> list[str]:
        """What is stored: for the occurrence of a fire the name of its schedule and the number of the fire."""
        known: dict[str, str] = {}
        for one in schedules:
            for number, fire in self.fires(one).items():
                known[one.id_of(fire)] = f"{one.name} {number}"
        return sorted(known.get(record.id, f"another task, {record.id}") for record in await everything(self.reader))

    def fires(self, one: Schedule) -> Mapping[int, Fire]:
        """The fires of some days around the scene's moment, by their numbers."""
        past = list(fires(one.definition.spec, self.zero - _LONG, self.zero))
        coming = list(fires(one.definition.spec, self.zero, self.zero + _LONG))
        return {
            **dict(enumerate(reversed(past))),
            **{-number: fire for number, fire in enumerate(coming, 1)},
        }

    def id_of(self, one: Schedule, number: int) -> str:
        """The id of the occurrence of a fire."""
        return one.id_of(self.fires(one)[number])

    async def occurrence(self, one: Schedule, number: int) -> TaskRecord:
        """The stored occurrence of a fire.

        Raises:
            Violation: It is not there.
        """
        id_ = self.id_of(one, number)
        record = (await self.reader.get([id_])).get(id_)
        if record is None:
            raise Violation(f"{self.id}: fire {number} of {one.name!r} has no task, and nobody deleted it")
        return record


async def scene(store: Store, id_: str, time: Time = "given") -> Scene:
    """A scene in a new store, for a case of this guarantee."""
    reader = await store.actor()
    if time == "given":
        return Scene(store, id_, time, T0, GivenClock(at(0)), reader)
    clock = StoreClock()
    await clock.sync(reader)
    return Scene(store, id_, time, clock.now(), clock, reader)
