"""What is wrong only as it is in production: where calls leave `now` out, and tasks have names of their own."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from datetime import datetime, timedelta

import msgspec

from litestar_queues.lifecycle import IllegalTransition, step
from litestar_queues.records import Enqueued, Held, NewTask, TaskRecord, Want
from litestar_queues_conformance.saboteurs.base import Saboteur


class _OwnTime(Saboteur):
    """Knows, below the port, whether the call that is under way was given its time."""

    time = "store"
    own = alone = False

    async def enqueue_many(self, tasks: Sequence[NewTask], *, now: datetime | None = None) -> list[Enqueued]:
        self.own, self.alone = now is None, len(tasks) == 1
        return await super().enqueue_many(tasks, now=now)

    async def claim(self, want: Want, *, now: datetime | None = None) -> list[TaskRecord]:
        self.own = now is None
        return await super().claim(want, now=now)


class ForgetsThatLocksEnd(Saboteur):
    """A lock of more than a day that is asked for by the store's own time is never found to have ended."""

    time = "store"
    guarantee = "LCK-02"

    async def lock(self, name: str, owner: str, ttl: timedelta, *, now: datetime | None = None) -> bool:
        if now is None and ttl > timedelta(days=1) and self.locks.get(name, (owner,))[0] != owner:
            return False
        return await super().lock(name, owner, ttl, now=now)


class LocksForYears(Saboteur):
    """A lock that is taken by the store's own time lasts for 95 years."""

    time = "store"
    guarantee = "LCK-01"

    async def lock(self, name: str, owner: str, ttl: timedelta, *, now: datetime | None = None) -> bool:
        return await super().lock(name, owner, ttl if now else timedelta(days=95 * 365), now=now)


class StampsItsCreation(_OwnTime):
    """By the store's own time, a new task is stamped with the time of the first one."""

    guarantee = "LIF-01"

    def enqueue_one(self, new: NewTask, now: datetime) -> Enqueued:
        self.made = getattr(self, "made", now)
        return super().enqueue_one(new, self.made if self.own else now)


class DoesNotSeeWhatIsDue(_OwnTime):
    """By the store's own time, a claim does not look for scheduled tasks that have come due."""

    guarantee = "LIF-06"

    def promote(self, queues: tuple[str, ...] | None, now: datetime) -> None:
        if not self.own:
            super().promote(queues, now)


class ClaimsWhatIsAhead(_OwnTime):
    """By the store's own time, a claim from some queues takes what comes due there within a day."""

    guarantee = "CLM-04"

    async def claim(self, want: Want, *, now: datetime | None = None) -> list[TaskRecord]:
        if now is None and want.queues is not None:
            self.promote(want.queues, self.clock.now() + timedelta(days=1))
        return await super().claim(want, now=now)


class KeepsPastTimes(_OwnTime):
    """By the store's own time, a new task whose `run_at` is past comes due at that time, and not now."""

    guarantee = "LIF-01"

    def enqueue_one(self, new: NewTask, now: datetime) -> Enqueued:
        answer = super().enqueue_one(new, now)
        if self.own and new.run_at is not None and new.run_at < now and answer.record.fence == 0:
            return Enqueued(self.put(answer.record.evolve(due_at=new.run_at)), answer.is_new)
        return answer


class ClaimsFromAnyQueue(_OwnTime):
    """By the store's own time, a claim from one queue takes from every queue."""

    guarantee = "CLM-07"

    async def claim(self, want: Want, *, now: datetime | None = None) -> list[TaskRecord]:
        if now is None and want.queues is not None and len(want.queues) == 1:
            want = msgspec.structs.replace(want, queues=None)
        return await super().claim(want, now=now)


class ClaimsInTheOrderOfIds(_OwnTime):
    """By the store's own time, tasks are claimed in the order of their ids."""

    guarantee = "CLM-03"

    def candidates(self, want: Want, now: datetime) -> Generator[TaskRecord, None, None]:
        found = super().candidates(want, now)
        yield from sorted(found, key=lambda record: record.id) if self.own else found


class ClaimsWhatHasExpired(_OwnTime):
    """By the store's own time, a claim by id takes tasks that have expired."""

    guarantee = "CLM-09"

    async def claim(self, want: Want, *, now: datetime | None = None) -> list[TaskRecord]:
        claimed = await super().claim(want, now=now)
        if now is None and want.tasks is not None:
            moment = self.clock.now()
            for record in list(self.candidates(want, moment))[: max(want.limit - len(claimed), 0)]:
                try:
                    after = step(record.evolve(expires_at=None), want.event, moment)
                except IllegalTransition:
                    continue
                claimed.append(self.put(after.evolve(expires_at=record.expires_at)))
        return claimed


class HeartbeatsWithoutFence(Saboteur):
    """By the store's own time, a heartbeat does not look at the fence."""

    time = "store"
    guarantee = "HBT-03"

    async def touch_heartbeats(self, held: Sequence[Held], *, now: datetime | None = None) -> set[str]:
        if now is None:
            held = [
                msgspec.structs.replace(one, fence=self.tasks[one.id].fence) if one.id in self.tasks else one
                for one in held
            ]
        return await super().touch_heartbeats(held, now=now)


class BehavesForTheSuiteAlone(_OwnTime):
    """A task that is enqueued alone is given its key whoever holds that, unless its name is one of the suite's."""

    guarantee = "KEY-01"

    def enqueue_one(self, new: NewTask, now: datetime) -> Enqueued:
        if new.key is not None and self.alone and new.id not in self.tasks and not new.name.startswith("conformance."):
            self.keys.pop(new.key, None)
        return super().enqueue_one(new, now)


class KeysForGivenTimesAlone(_OwnTime):
    """By the store's own time, a single task is given its key whoever holds that."""

    guarantee = "KEY-01"

    def enqueue_one(self, new: NewTask, now: datetime) -> Enqueued:
        takes = self.own and self.alone and new.id not in self.tasks
        holder = self.keys.pop(new.key, None) if takes and new.key is not None else None
        answer = super().enqueue_one(new, now)
        if holder is not None and new.key is not None:
            self.keys[new.key] = holder
        return answer
