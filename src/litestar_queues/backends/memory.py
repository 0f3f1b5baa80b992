"""Tasks in the memory of one process: for tests, local development and workers inside the application.

It is also the shortest complete backend, and the one that the conformance suite's saboteurs are made from.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from heapq import heapify, heappop, heappush, nsmallest

from litestar_queues.backends.base import QueueBackend, Wakeups
from litestar_queues.clock import Clock, SystemClock
from litestar_queues.lifecycle import TERMINAL, UNSTARTED, WAITING, IllegalTransition, State, step
from litestar_queues.records import (
    MUTABLE,
    Count,
    Dispatched,
    Enqueued,
    Finished,
    Held,
    NamedRecord,
    NewTask,
    Overdue,
    Query,
    Stale,
    TaskRecord,
    Want,
    admit,
    beaten,
    claim_order,
    first_outcomes,
    is_silent,
    is_stale,
    once_held,
)

__all__ = ("MemoryBackend", "MemoryBackendConfig")

_NEVER = datetime.min.replace(tzinfo=UTC)
_OWNED = (State.RUNNING, State.DISPATCHED)
_Lane = tuple[str, str]
"""A queue and an execution backend: a claim for one lane never looks into another."""


@dataclass(frozen=True, slots=True)
class MemoryBackendConfig:
    """`QueueConfig(queue_backend="memory")`, spelled out."""

    def create_backend(self) -> QueueBackend:
        return MemoryBackend()


class MemoryBackend:
    """The port over dictionaries. No method awaits anything, so that each is atomic within its event loop.

    Not for use from several threads. What it holds is gone with the process.

    Subclasses may override the port and the methods for one task below it, and read the attributes. A test's fake and the
    broken backends of the conformance suite need no other names.

    Attributes:
        clock: Stamps a write whose time the caller leaves out.
        tasks: The stored records by id. A record may be replaced in place if only its heartbeat, its progress or a field
            that no query reads differs; `put` stores all others.
        keys: The id of the active task that holds each key.
        locks: The owner of each lock, and when the lock ends.
        records: The named records.
    """

    name = "memory"
    process_local = True
    dispatches = True

    def __init__(self, clock: Clock | None = None) -> None:
        self.clock = clock or SystemClock()
        self.tasks: dict[str, TaskRecord] = {}
        self.keys: dict[str, str] = {}
        self._by_state: dict[State, dict[str, None]] = {state: {} for state in State}
        self._expiring: dict[str, None] = {}
        self._counts: dict[tuple[str, State], int] = defaultdict(int)
        # Heaps keep entries of tasks that have moved on; an entry counts while `_is_current` finds its task as it was.
        self._ready: dict[_Lane, list[tuple[tuple[int, datetime, str], int]]] = defaultdict(list)
        self._later: dict[str, list[tuple[datetime, str, int]]] = defaultdict(list)
        self.locks: dict[str, tuple[str, datetime]] = {}
        self.records: dict[str, NamedRecord] = {}

    @property
    def wakeups(self) -> Wakeups | None:
        return None

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def create_schema(self) -> None: ...

    async def now(self) -> datetime:
        return self.clock.now()

    async def enqueue_many(self, tasks: Sequence[NewTask], *, now: datetime | None = None) -> list[Enqueued]:
        now = now or self.clock.now()
        return [self.enqueue_one(new, now) for new in tasks]

    async def claim(self, want: Want, *, now: datetime | None = None) -> list[TaskRecord]:
        now = now or self.clock.now()
        claimed: list[TaskRecord] = []
        with closing(self.candidates(want, now)) as candidates:
            for record in candidates:
                if len(claimed) >= want.limit:
                    break
                try:
                    claimed.append(self.put(step(record, want.event, now)))
                except IllegalTransition:  # overdue, or asked for by id and not claimable
                    continue
        return claimed

    async def touch_heartbeats(self, held: Sequence[Held], *, now: datetime | None = None) -> set[str]:
        now = now or self.clock.now()
        kept: set[str] = set()
        for one in once_held(held):
            record = self._under_fence(one.id, one.fence)
            if record is not None and record.state in _OWNED:
                self.tasks[one.id] = beaten(record, one, now)
                kept.add(one.id)
        return kept

    async def commit(self, tasks: Sequence[TaskRecord], *, stale: Stale | None = None) -> set[str]:
        return {task.id for task in first_outcomes(tasks) if self.commit_one(task, stale)}

    async def get(self, ids: Collection[str]) -> dict[str, TaskRecord]:
        return {id_: self.tasks[id_] for id_ in ids if id_ in self.tasks}

    async def find(self, query: Query, limit: int) -> list[TaskRecord]:
        match query:
            case Stale():
                return self._first(
                    self._by_state[State.RUNNING],
                    limit,
                    lambda r: is_stale(r, query),
                    lambda r: r.heartbeat_at or _NEVER,
                )
            case Dispatched():
                return self._first(
                    self._by_state[State.DISPATCHED],
                    limit,
                    lambda r: is_silent(r, query),
                    lambda r: r.heartbeat_at or _NEVER,
                )
            case Overdue(at):
                return self._first(
                    self._expiring, limit, lambda r: _or(r.expires_at, at) <= at, lambda r: _or(r.expires_at, at)
                )
            case Finished(before, since):
                ids = [id_ for state in TERMINAL for id_ in self._by_state[state]]
                since = since or _NEVER
                return self._first(
                    ids,
                    limit,
                    lambda r: since <= _or(r.finished_at, before) < before,
                    lambda r: _or(r.finished_at, before),
                )
            case _:
                found = [
                    record
                    for record in self.tasks.values()
                    if (query.states is None or record.state in query.states)
                    and (query.queues is None or record.queue in query.queues)
                    and (query.names is None or record.name in query.names)
                    and (query.key is None or record.key == query.key)
                ]
                found.sort(key=lambda r: r.id)
                found.sort(key=lambda r: r.created_at, reverse=True)
                return found[: max(limit, 0)]

    async def count(self, queues: tuple[str, ...] | None = None) -> list[Count]:
        return [
            Count(queue, state, tasks)
            for (queue, state), tasks in sorted(self._counts.items())
            if tasks and (queues is None or queue in queues)
        ]

    async def next_due(self, queues: tuple[str, ...] | None = None) -> datetime | None:
        first: datetime | None = None
        for queue in list(self._later) if queues is None else queues:
            heap = self._later.get(queue, [])
            while heap and not self._is_scheduled(*heap[0]):
                heappop(heap)
            if heap and (first is None or heap[0][0] < first):
                first = heap[0][0]
        return first

    async def delete(self, held: Sequence[Held]) -> set[str]:
        deleted: set[str] = set()
        for one in held:
            record = self._under_fence(one.id, one.fence)
            if record is not None and record.state in TERMINAL:
                self.forget(record)
                deleted.add(one.id)
        return deleted

    async def lock(self, name: str, owner: str, ttl: timedelta, *, now: datetime | None = None) -> bool:
        now = now or self.clock.now()
        holder = self.locks.get(name)
        if holder is not None and holder[0] != owner and holder[1] > now:
            return False
        self.locks[name] = (owner, now + ttl)
        return True

    async def unlock(self, name: str, owner: str) -> bool:
        if self.locks.get(name, ("", _NEVER))[0] != owner:
            return False
        del self.locks[name]
        return True

    async def read_records(self, prefix: str) -> dict[str, NamedRecord]:
        return {name: record for name, record in self.records.items() if name.startswith(prefix)}

    async def write_records(self, records: Sequence[NamedRecord]) -> set[str]:
        stored: set[str] = set()
        for record in records:
            before = self.records.get(record.name)
            if (0 if before is None else before.version) == record.version - 1:
                self.records[record.name] = record
                stored.add(record.name)
        return stored

    # For one task: what subclasses override, too

    def enqueue_one(self, new: NewTask, now: datetime) -> Enqueued:
        """Store a new task, unless its id is stored or its key is held."""
        if new.id in self.tasks:
            return Enqueued(self.tasks[new.id], True)
        holder = None if new.key is None else self.keys.get(new.key)
        if holder is not None:
            return Enqueued(self.tasks[holder], False)
        return Enqueued(self.put(admit(new, now)), True)

    def candidates(self, want: Want, now: datetime) -> Generator[TaskRecord, None, None]:
        """Yield the tasks that a claim may take, in the order of claiming; those that it does not take stay waiting."""
        if want.tasks is not None:
            named = [self._under_fence(one.id, one.fence) for one in once_held(want.tasks)]
            yield from sorted((r for r in named if r is not None and _matches(r, want)), key=claim_order)
            return
        self.promote(want.queues, now)
        heads = [
            (heap[0], lane)
            for lane, heap in self._ready.items()
            if heap
            and (want.queues is None or lane[0] in want.queues)
            and (want.execution_backends is None or lane[1] in want.execution_backends)
        ]
        heapify(heads)
        passed: list[TaskRecord] = []
        try:
            while heads:
                (order, fence), lane = heappop(heads)
                heap = self._ready[lane]
                heappop(heap)
                if heap:
                    heappush(heads, (heap[0], lane))
                record = self.tasks.get(order[2])
                # The order is compared too: an id that was deleted and enqueued again begins at the same fence.
                if (
                    record is not None
                    and self._is_current(record.id, fence, State.PENDING)
                    and claim_order(record) == order
                ):
                    passed.append(record)
                    yield record
        finally:
            for record in passed:
                if self._is_current(record.id, record.fence, State.PENDING):
                    self._make_ready(record)

    def promote(self, queues: tuple[str, ...] | None, now: datetime) -> None:
        """Make the scheduled tasks pending that are due; every claim by queue begins with this."""
        for queue in list(self._later) if queues is None else queues:
            heap = self._later.get(queue, [])
            while heap and heap[0][0] <= now:
                due_at, id_, fence = heappop(heap)
                if self._is_scheduled(due_at, id_, fence):
                    self.put(self.tasks[id_].evolve(state=State.PENDING))

    def commit_one(self, task: TaskRecord, stale: Stale | None) -> bool:
        """Store the task if `commit` may; returns whether it was stored."""
        stored = self._under_fence(task.id, task.fence - 1)
        if stored is None:
            return False
        if stale is not None and not is_stale(stored, stale):
            return False
        if task.active_key is not None and self.keys.get(task.active_key, task.id) != task.id:
            return False
        self.put(stored.evolve(**{name: getattr(task, name) for name in MUTABLE}))
        return True

    def put(self, record: TaskRecord) -> TaskRecord:
        """Store the record and its index entries in the place of what was there; every new or moved task comes here."""
        before = self.tasks.get(record.id)
        if before is not None:
            self.forget(before)
        self.tasks[record.id] = record
        self._by_state[record.state][record.id] = None
        self._counts[record.queue, record.state] += 1
        if record.active_key is not None:
            self.keys[record.active_key] = record.id
        if record.state in UNSTARTED and record.expires_at is not None:
            self._expiring[record.id] = None
        if record.state is State.PENDING:
            self._make_ready(record)
        elif record.state is State.SCHEDULED:
            heappush(self._later[record.queue], (record.due_at, record.id, record.fence))
        return record

    def forget(self, record: TaskRecord) -> None:
        """Remove the record and its index entries."""
        del self.tasks[record.id]
        del self._by_state[record.state][record.id]
        self._counts[record.queue, record.state] -= 1
        self._expiring.pop(record.id, None)
        if record.active_key is not None and self.keys.get(record.active_key) == record.id:
            del self.keys[record.active_key]

    def _under_fence(self, id_: str, fence: int) -> TaskRecord | None:
        record = self.tasks.get(id_)
        return record if record is not None and record.fence == fence else None

    def _is_current(self, id_: str, fence: int, state: State) -> bool:
        record = self._under_fence(id_, fence)
        return record is not None and record.state is state

    def _is_scheduled(self, due_at: datetime, id_: str, fence: int) -> bool:
        return self._is_current(id_, fence, State.SCHEDULED) and self.tasks[id_].due_at == due_at

    def _make_ready(self, record: TaskRecord) -> None:
        heappush(self._ready[record.queue, record.execution_backend], (claim_order(record), record.fence))

    def _first(
        self,
        ids: Collection[str],
        limit: int,
        matches: Callable[[TaskRecord], bool],
        at: Callable[[TaskRecord], datetime],
    ) -> list[TaskRecord]:
        records = (self.tasks[id_] for id_ in ids)
        return nsmallest(limit, (r for r in records if matches(r)), key=lambda r: (at(r), r.id))


def _matches(record: TaskRecord, want: Want) -> bool:
    return (
        record.state in (WAITING if want.reserve else UNSTARTED)
        and (want.queues is None or record.queue in want.queues)
        and (want.execution_backends is None or record.execution_backend in want.execution_backends)
    )


def _or(value: datetime | None, other: datetime) -> datetime:
    return other if value is None else value
