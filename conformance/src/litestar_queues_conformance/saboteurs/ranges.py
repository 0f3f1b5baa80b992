"""What is wrong at the ends of ranges, and with what one batch names twice."""

from __future__ import annotations

import unicodedata
from collections.abc import Generator, Sequence
from datetime import UTC, datetime, timedelta

import msgspec

from litestar_queues.records import Enqueued, Held, NewTask, Query, Stale, TaskRecord, Want
from litestar_queues_conformance.saboteurs.base import Benign, Saboteur


class HandsOutTwice(Saboteur):
    """A claim by ids gives a task as often as it names it."""

    guarantee = "CLM-13"

    async def claim(self, want: Want, *, now: datetime | None = None) -> list[TaskRecord]:
        claimed = await super().claim(want, now=now)
        if want.tasks is None:
            return claimed
        fences = [(one.id, one.fence + 1) for one in want.tasks]
        return [one for one in claimed for _ in range(fences.count((one.id, one.fence)))][: want.limit]


class CountsTheNamesOfAClaim(Saboteur):
    """A claim by ids counts a task towards its limit as often as it names it."""

    guarantee = "CLM-13"

    def candidates(self, want: Want, now: datetime) -> Generator[TaskRecord, None, None]:
        if want.tasks is None:
            yield from super().candidates(want, now)
            return
        found = {record.id: record for record in super().candidates(want, now)}
        names = [one.id for one in want.tasks]
        counted = [record.id for record in found.values() for _ in range(names.count(record.id))]
        yield from (found[id_] for id_ in dict.fromkeys(counted[: want.limit]))


class LastHeartbeatCountsWhole(Saboteur):
    """Of several heartbeats of a task in a batch, the last one counts, and the others' progress is lost."""

    guarantee = "HBT-05"

    async def touch_heartbeats(self, held: Sequence[Held], *, now: datetime | None = None) -> set[str]:
        last = {(one.id, one.fence): one for one in held}
        return await super().touch_heartbeats(list(last.values()), now=now)


class FirstHeartbeatCounts(Saboteur):
    """Of several heartbeats of a task in a batch, the first one counts."""

    guarantee = "HBT-05"

    async def touch_heartbeats(self, held: Sequence[Held], *, now: datetime | None = None) -> set[str]:
        first: dict[tuple[str, int], Held] = {}
        for one in held:
            first.setdefault((one.id, one.fence), one)
        return await super().touch_heartbeats(list(first.values()), now=now)


class StoresTheLastOutcome(Saboteur):
    """Of several outcomes of a task in a batch, the last one is stored."""

    guarantee = "OWN-08"

    async def commit(self, tasks: Sequence[TaskRecord], *, stale: Stale | None = None) -> set[str]:
        return await super().commit(list({one.id: one for one in tasks}.values()), stale=stale)


class StoresOneOutcomeAfterAnother(Saboteur):
    """Outcomes of one task in a batch are stored one after another, each over the one before."""

    guarantee = "OWN-08"

    async def commit(self, tasks: Sequence[TaskRecord], *, stale: Stale | None = None) -> set[str]:
        return {task.id for task in tasks if self.commit_one(task, stale)}


class DeletesWhatIsNamedTwice(Saboteur):
    """A deletion that names a task twice does not look at the fences."""

    guarantee = "RET-05"

    async def delete(self, held: Sequence[Held]) -> set[str]:
        named = [one.id for one in held]
        twice = {id_ for id_ in named if named.count(id_) > 1 and id_ in self.tasks}
        return await super().delete([*held, *(self.tasks[id_].held for id_ in twice)])


class ForgetsLocksThatRanOut(Benign):
    """A lock that ran out is nobody's, so that its former owner cannot free it."""

    async def unlock(self, name: str, owner: str) -> bool:
        if name in self.locks and self.locks[name][1] <= self.clock.now():
            del self.locks[name]
        return await super().unlock(name, owner)


class EndsTimesIn2262(Saboteur):
    """Times are counted in nanoseconds in 64 bits: later ones become the last of those."""

    guarantee = "LIF-17"

    def put(self, record: TaskRecord) -> TaskRecord:
        expires_at = None if record.expires_at is None else min(record.expires_at, _LAST)
        return super().put(record.evolve(due_at=min(record.due_at, _LAST), expires_at=expires_at))


_LAST = datetime(2262, 4, 11, 23, 47, 16, 854_775, tzinfo=UTC)


class CountsAttemptsIn16Bits(Saboteur):
    """After 65,535 attempts, the count begins again at 0."""

    guarantee = "LIF-18"

    def put(self, record: TaskRecord) -> TaskRecord:
        return super().put(record.evolve(attempt=record.attempt % 2**16))


class FencesOf32Bits(Saboteur):
    """After the fence 4,294,967,295 comes the fence 0."""

    guarantee = "LIF-22"

    def put(self, record: TaskRecord) -> TaskRecord:
        return super().put(record.evolve(fence=record.fence % 2**32))


class ComparesFencesAsDoubles(Saboteur):
    """Of a large fence, the last three digits are not compared when a task is claimed by id."""

    guarantee = "LIF-22"

    async def claim(self, want: Want, *, now: datetime | None = None) -> list[TaskRecord]:
        if want.tasks is not None:
            stored = {one.id: self.tasks[one.id].fence for one in want.tasks if one.id in self.tasks}
            near = [
                msgspec.structs.replace(one, fence=stored[one.id])
                if one.fence > 10**6 and one.id in stored and abs(one.fence - stored[one.id]) < 1000
                else one
                for one in want.tasks
            ]
            want = msgspec.structs.replace(want, tasks=tuple(near))
        return await super().claim(want, now=now)


class CutsReferences(Saboteur):
    """Of a reference, 255 characters are kept."""

    guarantee = "LIF-19"

    def put(self, record: TaskRecord) -> TaskRecord:
        ref = record.execution_ref
        return super().put(record.evolve(execution_ref=None if ref is None else ref[:255]))


class CutsWorkersByBytes(Saboteur):
    """Of a worker, as many characters are kept as there are in 255 bytes."""

    guarantee = "LIF-19"

    def put(self, record: TaskRecord) -> TaskRecord:
        worker = None if record.worker is None else record.worker.encode()[:255].decode(errors="ignore")
        return super().put(record.evolve(worker=worker))


class ComposesTexts(Saboteur):
    """Descriptions and the names of workers are stored in their composed form."""

    guarantee = "LIF-20"

    def put(self, record: TaskRecord) -> TaskRecord:
        return super().put(record.evolve(worker=_composed(record.worker), description=_composed(record.description)))


def _composed(text: str | None) -> str | None:
    return None if text is None else unicodedata.normalize("NFC", text)


class KeysEndAfterAMonth(Saboteur):
    """A key that has been held for 30 days is free."""

    guarantee = "KEY-12"

    def enqueue_one(self, new: NewTask, now: datetime) -> Enqueued:
        holder = None if new.key is None else self.keys.get(new.key)
        if new.key is not None and holder is not None and self.tasks[holder].created_at < now - timedelta(days=30):
            del self.keys[new.key]
        return super().enqueue_one(new, now)


class LeavesOutBraces(Saboteur):
    """A claim by queues takes what is in braces for the whole name of a queue."""

    guarantee = "CLM-14"

    def candidates(self, want: Want, now: datetime) -> Generator[TaskRecord, None, None]:
        if want.queues is None or want.tasks is not None:
            yield from super().candidates(want, now)
            return
        asked = {_tag(queue) for queue in want.queues}
        for record in super().candidates(msgspec.structs.replace(want, queues=None), now):
            if _tag(record.queue) in asked:
                yield record


def _tag(queue: str) -> str:
    begin, end = queue.find("{"), queue.find("}")
    return queue[begin + 1 : end] if 0 <= begin < end - 1 else queue


class LooksAtAThousandIds(Saboteur):
    """A claim by ids takes the first thousand that it names."""

    guarantee = "CLM-15"

    async def claim(self, want: Want, *, now: datetime | None = None) -> list[TaskRecord]:
        tasks = None if want.tasks is None else want.tasks[:1000]
        return await super().claim(msgspec.structs.replace(want, tasks=tasks), now=now)


class WrapsItsLimit(Saboteur):
    """A limit is a signed number of 64 bits, and a negative one means none."""

    guarantee = "CLM-16"

    async def claim(self, want: Want, *, now: datetime | None = None) -> list[TaskRecord]:
        return await super().claim(msgspec.structs.replace(want, limit=_wrapped(want.limit)), now=now)

    async def find(self, query: Query, limit: int) -> list[TaskRecord]:
        return await super().find(query, _wrapped(limit))


def _wrapped(limit: int) -> int:
    return max((limit + 2**63) % 2**64 - 2**63, 0)


class LooksAtTenThousand(Saboteur):
    """A search looks at the ten thousand newest tasks."""

    guarantee = "STA-04"

    async def find(self, query: Query, limit: int) -> list[TaskRecord]:
        if len(self.tasks) <= 10_000:
            return await super().find(query, limit)
        newest = sorted(self.tasks.values(), key=lambda record: record.created_at, reverse=True)[:10_000]
        looked_at = {record.id for record in newest}
        return [record for record in await super().find(query, len(self.tasks)) if record.id in looked_at][:limit]


class CutsLockNames(Saboteur):
    """The name of a lock is kept in 255 bytes."""

    guarantee = "LCK-05"

    async def lock(self, name: str, owner: str, ttl: timedelta, *, now: datetime | None = None) -> bool:
        return await super().lock(_cut(name), owner, ttl, now=now)

    async def unlock(self, name: str, owner: str) -> bool:
        return await super().unlock(_cut(name), owner)


def _cut(name: str) -> str:
    return name.encode()[:255].decode(errors="ignore")
