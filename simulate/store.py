"""The one store of a run: the memory backend on virtual time, which remembers every change of every task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from litestar_queues import TaskRecord
from litestar_queues.backends.memory import MemoryBackend
from litestar_queues.lifecycle import WAITING, State
from litestar_queues.records import Enqueued, NamedRecord, NewTask, Want, claim_order
from litestar_queues.schedules.model import PREFIX, Schedule, read_schedule
from simulate.journal import Journal, short

__all__ = ("EPOCH", "Change", "SharedStore")

EPOCH = datetime(2030, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Change:
    """One transition, as it was stored."""

    at: float
    by: str
    """The process whose call it was."""
    before: TaskRecord | None
    after: TaskRecord

    @property
    def is_recovery(self) -> bool:
        """Whether the owner lost the task for its silence."""
        before = self.before
        if before is None or before.state is not State.RUNNING:
            return False
        blamed = (
            self.after.error is not None and self.after.error != before.error and "HeartbeatLost" in self.after.error
        )
        return blamed or self.after.recoveries > before.recoveries

    @property
    def is_own_failure(self) -> bool:
        """Whether the attempt was stored as failed by its owner."""
        before = self.before
        if before is None or before.state is not State.RUNNING or self.is_recovery:
            return False
        return self.after.error is not None and self.after.error != before.error


class _Clock:
    def __init__(self, journal: Journal, begin: datetime) -> None:
        self._journal, self._begin = journal, begin

    def now(self) -> datetime:
        return self._begin + timedelta(seconds=self._journal.now)


class SharedStore(MemoryBackend):
    """Called by the network alone, which says in `caller` whose call it is.

    Args:
        journal: Where changes are written.
        begin: The store's time at the beginning of the run.
    """

    def __init__(self, journal: Journal, begin: datetime = EPOCH) -> None:
        super().__init__(_Clock(journal, begin))
        self._journal = journal
        self.begin = begin
        self.caller = ""
        self.history: dict[str, list[Change]] = {}
        self.claims: list[list[tuple[str, int]]] = []
        """The ids and fences of each claim that was not empty, in the order of its answer."""
        self.schedules: dict[str, list[Schedule]] = {}
        """Every version of each schedule."""

    def put(self, record: TaskRecord) -> TaskRecord:
        before = self.tasks.get(record.id)
        if before is None or before.fence != record.fence or before.state not in WAITING:
            change = Change(self._journal.now, self.caller, before, record)
            self.history.setdefault(record.id, []).append(change)
            old = "new" if before is None else before.state.value
            self._journal.write("store", f"{short(record.id)} {old} -> {record.state.value} fence {record.fence}")
        return super().put(record)

    async def enqueue_many(self, tasks: Sequence[NewTask], *, now: datetime | None = None) -> list[Enqueued]:
        return await super().enqueue_many(tasks, now=now)

    async def claim(self, want: Want, *, now: datetime | None = None) -> list[TaskRecord]:
        right = [record.id for record in self._first_due(want)]
        claimed = await super().claim(want, now=now)
        if claimed:
            self.claims.append([(record.id, record.fence) for record in claimed])
        if want.tasks is None and (got := [record.id for record in claimed]) != right:
            self._journal.errors.append(
                f"order: {want.worker} got {[*map(short, got)]} by a claim of {want.limit}, and {[*map(short, right)]} "
                "were first"
            )
        return claimed

    async def write_records(self, records: Sequence[NamedRecord]) -> set[str]:
        written = await super().write_records(records)
        for record in records:
            if record.name in written and record.name.startswith(PREFIX):
                schedule = read_schedule(record)
                if schedule is None:
                    self._journal.errors.append(f"raised: {self.caller} wrote a schedule that cannot be read: {record}")
                else:
                    self.schedules.setdefault(schedule.name, []).append(schedule)
                    self._journal.write("store", f"{schedule.name} has come to {schedule.cursor.isoformat()}")
        return written

    def since(self, moment: datetime) -> float:
        """The second of the run of a time in a record."""
        return (moment - self.begin).total_seconds()

    def _first_due(self, want: Want) -> list[TaskRecord]:
        """What a claim has to return: worked out from every task, without the backend's indexes."""
        now = self.clock.now()
        due = [
            record
            for record in self.tasks.values()
            if record.state in WAITING
            and record.due_at <= now
            and (record.expires_at is None or record.expires_at > now)
            and (want.queues is None or record.queue in want.queues)
            and (want.execution_backends is None or record.execution_backend in want.execution_backends)
        ]
        return sorted(due, key=claim_order)[: want.limit]
