"""The port over a journal: each method locks the folder, reads what others wrote, decides, and appends one line."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Collection, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from heapq import nsmallest
from pathlib import Path
from random import uniform

from litestar_queues import BackendUnavailableError
from litestar_queues.backends.base import Wakeups
from litestar_queues.lifecycle import TERMINAL, WAITING, Claim, IllegalTransition, State, step
from litestar_queues.records import (
    MUTABLE,
    Count,
    Dispatched,
    Enqueued,
    Finished,
    Held,
    Matching,
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
    is_stale,
    once_held,
)
from queue_in_files.journal import Change, Journal

__all__ = ("FilesBackend",)

_NEVER = datetime.min.replace(tzinfo=UTC)


class FilesBackend:
    """Tasks in a folder, for the processes of one machine. Made by `FilesBackendConfig.create_backend`.

    Acknowledged tasks survive every process, but not a loss of power: nothing waits for the disk.
    """

    name = "files"
    process_local = False
    wakeups: Wakeups | None = None

    def __init__(self, folder: Path, *, patience: float) -> None:
        self._folder = folder
        self._patience = patience
        self._journal: Journal | None = None

    async def open(self) -> None:
        if self._journal is None:
            try:
                self._journal = Journal(self._folder)
            except OSError as error:
                raise BackendUnavailableError(f"the folder {self._folder} cannot be opened: {error}") from error

    async def close(self) -> None:
        if self._journal is not None:
            self._journal.close()
            self._journal = None

    async def create_schema(self) -> None:
        """There is none beside the files, which `open` creates."""

    async def now(self) -> datetime:
        return datetime.now(UTC)

    async def enqueue_many(self, tasks: Sequence[NewTask], *, now: datetime | None = None) -> list[Enqueued]:
        if not tasks:
            return []
        async with self._alone() as journal:
            now = now or datetime.now(UTC)
            change, batch, keys, answers = Change(), dict[str, TaskRecord](), dict[str, str](), list[Enqueued]()
            for new in tasks:
                known = journal.tasks.get(new.id) or batch.get(new.id)
                holder = None if new.key is None else keys.get(new.key) or journal.keys.get(new.key)
                if known is not None:
                    answers.append(Enqueued(known, True))
                elif holder is not None:
                    answers.append(Enqueued(batch.get(holder) or journal.tasks[holder], False))
                else:
                    record = batch[new.id] = admit(new, now)
                    if new.key is not None:
                        keys[new.key] = new.id
                    answers.append(Enqueued(record, True))
            change.tasks.extend(batch.values())
            self._write(journal, change)
            return answers

    async def claim(self, want: Want, *, now: datetime | None = None) -> list[TaskRecord]:
        async with self._alone() as journal:
            now = now or datetime.now(UTC)
            found = journal.tasks.values() if want.tasks is None else self._under_fence(journal, want.tasks)
            claimed: list[TaskRecord] = []
            for record in found:
                wanted = (want.queues is None or record.queue in want.queues) and (
                    want.execution_backends is None or record.execution_backend in want.execution_backends
                )
                if wanted and record.state in WAITING and record.due_at <= now:
                    try:
                        claimed.append(step(record, Claim(want.worker, want.stale_after), now))
                    except IllegalTransition:  # it is overdue
                        continue
            # A claim changes nothing that the order depends on.
            claimed = nsmallest(max(want.limit, 0), claimed, key=claim_order)
            self._write(journal, Change(tasks=claimed))
            return claimed

    async def touch_heartbeats(self, held: Sequence[Held], *, now: datetime | None = None) -> set[str]:
        async with self._alone() as journal:
            now = now or datetime.now(UTC)
            beats = {(one.id, one.fence): one for one in once_held(held)}
            kept = [
                beaten(record, beats[record.id, record.fence], now)
                for record in self._under_fence(journal, held)
                if record.state is State.RUNNING
            ]
            self._write(journal, Change(tasks=kept))
            return {record.id for record in kept}

    async def commit(self, tasks: Sequence[TaskRecord], *, stale: Stale | None = None) -> set[str]:
        async with self._alone() as journal:
            change, freed, taken = Change(), set[str](), dict[str, str]()
            for task in first_outcomes(tasks):
                stored = journal.tasks.get(task.id)
                if stored is None or stored.fence != task.fence - 1:
                    continue
                if stale is not None and not is_stale(stored, stale):
                    continue
                key = task.active_key
                if key is not None:
                    holder = taken.get(key) or (None if key in freed else journal.keys.get(key))
                    if holder not in {None, task.id}:
                        continue
                    taken[key] = task.id
                elif stored.active_key is not None:
                    freed.add(stored.active_key)
                change.tasks.append(stored.evolve(**{field: getattr(task, field) for field in MUTABLE}))
            self._write(journal, change)
            return {task.id for task in change.tasks}

    async def get(self, ids: Collection[str]) -> dict[str, TaskRecord]:
        async with self._alone() as journal:
            return {id_: journal.tasks[id_] for id_ in ids if id_ in journal.tasks}

    async def find(self, query: Query, limit: int) -> list[TaskRecord]:
        async with self._alone() as journal:
            records = list(journal.tasks.values())
        limit = max(limit, 0)
        match query:
            case Stale():
                stale = [r for r in records if is_stale(r, query)]
                return nsmallest(limit, stale, key=lambda r: (r.heartbeat_at or _NEVER, r.id))
            case Overdue(at):
                late = [(r.expires_at, r.id, r) for r in records if r.state in WAITING and r.expires_at is not None]
                return [r for _, _, r in nsmallest(limit, (one for one in late if one[0] <= at))]
            case Finished(before, since):
                old = [(r.finished_at, r.id, r) for r in records if r.state in TERMINAL and r.finished_at is not None]
                return [r for _, _, r in nsmallest(limit, (one for one in old if (since or _NEVER) <= one[0] < before))]
            case Dispatched():  # it keeps none
                return []
            case Matching():
                found = [
                    r
                    for r in records
                    if (query.states is None or r.state in query.states)
                    and (query.queues is None or r.queue in query.queues)
                    and (query.names is None or r.name in query.names)
                    and (query.key is None or r.key == query.key)
                ]
                found.sort(key=lambda r: r.id)
                found.sort(key=lambda r: r.created_at, reverse=True)
                return found[:limit]

    async def count(self, queues: tuple[str, ...] | None = None) -> list[Count]:
        async with self._alone() as journal:
            counts: dict[tuple[str, State], int] = {}
            for record in journal.tasks.values():
                if queues is None or record.queue in queues:
                    pair = record.queue, record.state
                    counts[pair] = counts.get(pair, 0) + 1
            return [Count(queue, state, tasks) for (queue, state), tasks in counts.items()]

    async def next_due(self, queues: tuple[str, ...] | None = None) -> datetime | None:
        async with self._alone() as journal:
            return min(
                (
                    record.due_at
                    for record in journal.tasks.values()
                    if record.state is State.SCHEDULED and (queues is None or record.queue in queues)
                ),
                default=None,
            )

    async def delete(self, held: Sequence[Held]) -> set[str]:
        async with self._alone() as journal:
            gone = [record.id for record in self._under_fence(journal, held) if record.state in TERMINAL]
            self._write(journal, Change(deleted=gone))
            return set(gone)

    async def lock(self, name: str, owner: str, ttl: timedelta, *, now: datetime | None = None) -> bool:
        async with self._alone() as journal:
            now = now or datetime.now(UTC)
            holder, until = journal.locks.get(name, (owner, now))
            if holder != owner and until > now:
                return False
            self._write(journal, Change(locks={name: (owner, now + ttl)}))
            return True

    async def unlock(self, name: str, owner: str) -> bool:
        async with self._alone() as journal:
            if name not in journal.locks or journal.locks[name][0] != owner:
                return False
            self._write(journal, Change(locks={name: None}))
            return True

    async def read_records(self, prefix: str) -> dict[str, NamedRecord]:
        async with self._alone() as journal:
            return {name: one for name, one in journal.records.items() if name.startswith(prefix)}

    async def write_records(self, records: Sequence[NamedRecord]) -> set[str]:
        async with self._alone() as journal:
            versions = {name: one.version for name, one in journal.records.items()}
            new = [one for one in records if one.version == versions.get(one.name, 0) + 1]
            self._write(journal, Change(records=new))
            return {one.name for one in new}

    @asynccontextmanager
    async def _alone(self) -> AsyncGenerator[Journal]:
        """The store, locked and up to date. Nothing is awaited inside, so that no other task of this client comes in."""
        deadline = asyncio.get_running_loop().time() + self._patience
        try:
            while self._journal is not None and not self._journal.try_lock():
                if asyncio.get_running_loop().time() > deadline:
                    raise BackendUnavailableError(
                        f"the folder {self._folder} has been locked by another process for {self._patience:g} s"
                    )
                await asyncio.sleep(uniform(0.0005, 0.005))  # noqa: S311  # so that those who wait do not march in step
            journal = self._journal
            if journal is None:
                raise BackendUnavailableError(f"the backend on the folder {self._folder} is not open")
            try:
                journal.read()
                yield journal
            finally:
                journal.unlock()
        except OSError as error:
            raise BackendUnavailableError(f"the folder {self._folder} cannot be used: {error}") from error

    @staticmethod
    def _under_fence(journal: Journal, held: Sequence[Held]) -> list[TaskRecord]:
        known = {(one.id, one.fence) for one in held}
        return [r for id_, fence in known if (r := journal.tasks.get(id_)) is not None and r.fence == fence]

    @staticmethod
    def _write(journal: Journal, change: Change) -> None:
        if change != Change():
            journal.write(change)
