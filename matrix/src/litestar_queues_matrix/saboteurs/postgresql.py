"""Defects on PostgreSQL, through asyncpg."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, ClassVar, cast

from litestar_queues.backends.base import QueueBackend
from litestar_queues.backends.sql.families import POSTGRES, Family
from litestar_queues.backends.sql.lists import STORED
from litestar_queues.backends.sql.port import BoundBackend
from litestar_queues.backends.sqlspec.backend import SQLSpecBackend
from litestar_queues.backends.verdict import Verdict
from litestar_queues.clock import SystemClock
from litestar_queues.records import Enqueued, NewTask, TaskRecord, Want
from litestar_queues_matrix.saboteurs.base import Benign, Saboteur, Statements
from litestar_queues_matrix.saboteurs.programs import (
    AnswersWithAllTasks,
    AnswersWithAllTasksOfRecoveries,
    AnswersWithAllWhereAnyWasStored,
    EndsAtOnceWithoutAHolder,
    LoadsByPlace,
    SwapsColumnsInBulk,
)

_CLAIMS = ("claim", "claim_unless_due", "claim_queues", "claim_queues_unless_due", "claim_held")
_COMMITS = ("commit", "commit_keys")
_CLAIM = re.compile(
    r"(UPDATE (\S+) SET .*?)\s+WHERE id = ANY\(ARRAY\((.*)\)\)\s*RETURNING (.*)",
    re.DOTALL,
)
_CHOSEN = r"""WITH chosen AS MATERIALIZED (\3),
taken AS (\1 WHERE id IN (SELECT id FROM chosen) AND state IN ('pending', 'scheduled'))
SELECT \4 FROM \2 WHERE id IN (SELECT id FROM chosen)"""
_BEFORE = "id, name, queue, state, priority, attempt, max_attempts, fence, key"
_AFTER = "id, name, queue, 'running', priority, attempt + 1, max_attempts, fence + 1, key"
_NOW = "coalesce(CAST(:now AS timestamptz), statement_timestamp())"
_ZONES = ("Asia/Kathmandu", "America/St_Johns")


class _PostgreSQL(Saboteur):
    adapter = "asyncpg"


# Who gets what


class WaitsForLockedTasks(_PostgreSQL):
    """SKIP LOCKED is left out: a claim waits for those that have not come to their end."""

    guarantee = "CLM-12"
    areas = ("CLM",)

    def edit(self, statements: Statements) -> None:
        statements.drop("SKIP LOCKED")


class _LocksByTheClientsClock(SQLSpecBackend):
    async def lock(self, name: str, owner: str, ttl: timedelta, *, now: datetime | None = None) -> bool:
        return await super().lock(name, owner, ttl, now=now or SystemClock().now())


class LocksByTheClientsClock(_PostgreSQL):
    """A lock lasts by the client's clock."""

    guarantee = "CLK-02"
    areas = ("CLK", "LCK")
    backend = _LocksByTheClientsClock


class LocksNothing(_PostgreSQL):
    """Claims choose tasks without locking them, and do not look again before they write."""

    guarantee = "CLM-02"
    areas = ("CLM",)

    def edit(self, statements: Statements) -> None:
        statements.drop("FOR UPDATE SKIP LOCKED")
        statements.drop("FOR UPDATE OF t SKIP LOCKED", "claim_held")


class ReportsCandidatesOfClaims(_PostgreSQL):
    """A claim looks once more before it writes, and answers with what it had chosen."""

    guarantee = "CLM-02"
    areas = ("CLM",)

    def edit(self, statements: Statements) -> None:
        statements.drop("FOR UPDATE SKIP LOCKED")
        statements.drop("FOR UPDATE OF t SKIP LOCKED", "claim_held")
        statements.rewrite(_CLAIM, _CHOSEN, *_CLAIMS)
        statements.replace(f"SELECT {_BEFORE}", f"SELECT {_AFTER}", *_CLAIMS)
        statements.replace(" started_at, heartbeat_at, finished_at,", f" {_NOW}, {_NOW}, finished_at,", *_CLAIMS)
        statements.replace("execution_ref, worker, CAST", "execution_ref, CAST(:worker AS text), CAST", *_CLAIMS)


class ClaimsInAnyOrder(_PostgreSQL):
    """A claim of anything has no ORDER BY."""

    guarantee = "CLM-03"
    areas = ("CLM",)

    def edit(self, statements: Statements) -> None:
        statements.drop("ORDER BY priority DESC, due_at, id", "claim", "claim_unless_due")


class SortsIdsByLetters(_PostgreSQL):
    """A claim chooses among tasks that differ by their ids alone without regard to case."""

    guarantee = "CLM-03"
    areas = ("CLM",)

    def edit(self, statements: Statements) -> None:
        statements.replace("due_at, id LIMIT", "due_at, lower(id), id LIMIT", *_CLAIMS[:-1])


class ClaimsQueuesByPattern(_PostgreSQL):
    """Queues are compared by LIKE."""

    guarantee = "CLM-07"
    areas = ("CLM",)

    def edit(self, statements: Statements) -> None:
        old = "queue >= q.item AND queue <= q.item"
        statements.replace(old, "queue LIKE q.item", "claim_queues", "claim_queues_unless_due")


class QueuesIgnoreCase(_PostgreSQL):
    """Queues are compared without regard to case."""

    guarantee = "CLM-07"
    areas = ("CLM",)

    def edit(self, statements: Statements) -> None:
        old = "queue >= q.item AND queue <= q.item"
        statements.replace(old, "lower(queue) = lower(q.item)", "claim_queues", "claim_queues_unless_due")


# Who may write


class CommitsUnderAnyFence(_PostgreSQL):
    """A commit does not look at the fence."""

    guarantee = "LIF-05"
    areas = ("LIF", "OWN")

    def edit(self, statements: Statements) -> None:
        statements.drop("AND t.fence = c.fence - 1 ", *_COMMITS)


class CommitsByState(_PostgreSQL):
    """A commit asks whether the task is active, and not whose it is."""

    guarantee = "OWN-01"
    areas = ("CLM", "OWN")

    def edit(self, statements: Statements) -> None:
        statements.replace("t.fence = c.fence - 1", "t.state IN ('pending', 'scheduled', 'running')", *_COMMITS)


class CommitsOverLowerFences(_PostgreSQL):
    """A commit is stored wherever the stored fence is lower."""

    guarantee = "OWN-06"
    areas = ("OWN",)

    def edit(self, statements: Statements) -> None:
        statements.replace("t.fence = c.fence - 1", "t.fence < c.fence", *_COMMITS)


class BeatsUnderAnyFence(_PostgreSQL):
    """A heartbeat does not look at the fence."""

    guarantee = "HBT-03"
    areas = ("HBT", "OWN")

    def edit(self, statements: Statements) -> None:
        statements.drop("AND t.fence = h.fence", "touch_heartbeats")


class DeletesUnderAnyFence(_PostgreSQL):
    """A deletion does not look at the fence."""

    guarantee = "RET-01"
    areas = ("RET",)

    def edit(self, statements: Statements) -> None:
        statements.drop("AND t.fence = h.fence", "delete")


class DeletesWhatIsActive(_PostgreSQL):
    """A deletion does not look at the state."""

    guarantee = "RET-01"
    areas = ("RET",)

    def edit(self, statements: Statements) -> None:
        statements.drop("AND t.state IN ('completed', 'failed', 'cancelled', 'expired')", "delete")


class ReportsCandidatesOfCommits(_PostgreSQL):
    """A commit answers with the ids that it was given."""

    guarantee = "LIF-05"
    areas = ("LIF", "OWN")
    engine = AnswersWithAllTasks


class ReportsCandidatesOfRecoveries(_PostgreSQL):
    """A recovery answers with the ids that it was given."""

    guarantee = "REC-06"
    areas = ("REC",)
    engine = AnswersWithAllTasksOfRecoveries


class TrustsTheNumberOfRows(_PostgreSQL):
    """A commit of several tasks that stored any of them answers with all."""

    guarantee = "OWN-04"
    areas = ("OWN",)
    engine = AnswersWithAllWhereAnyWasStored


class RecoversWhatBeats(_PostgreSQL):
    """A recovery does not look at the heartbeat once more."""

    guarantee = "REC-03"
    areas = ("REC",)

    def edit(self, statements: Statements) -> None:
        statements.replace("t.heartbeat_at IS NULL OR", "true OR", "commit_stale")


class NulledComeLast(_PostgreSQL):
    """Stale tasks are found without NULLS FIRST, so that PostgreSQL has them last."""

    guarantee = "REC-02"
    areas = ("REC",)

    def edit(self, statements: Statements) -> None:
        statements.drop("NULLS FIRST", "find_stale")


class NulledAreNotFound(_PostgreSQL):
    """Stale tasks are found by a comparison alone, which NULL does not pass."""

    guarantee = "REC-01"
    areas = ("REC",)

    def edit(self, statements: Statements) -> None:
        statements.drop("t.heartbeat_at IS NULL OR", "find_stale")


class RecoversByItsOwnWindow(_PostgreSQL):
    """Stale tasks are found by the window of whoever looks for them."""

    guarantee = "REC-07"
    areas = ("REC",)

    def edit(self, statements: Statements) -> None:
        statements.replace("THEN t.stale_after END", "THEN CAST(NULL AS double precision) END", "find_stale")


class GivesNoGrace(_PostgreSQL):
    """Stale tasks are found however long their window is."""

    guarantee = "REC-08"
    areas = ("REC",)

    def edit(self, statements: Statements) -> None:
        statements.replace("CAST(:longest AS double precision) IS NULL OR", "true OR", "find_stale", "commit_stale")


class OverwritesNamedRecords(_PostgreSQL):
    """A named record is written over whatever version there is."""

    guarantee = "RCD-01"
    areas = ("RCD",)

    def edit(self, statements: Statements) -> None:
        statements.replace("AND version = CAST(:seen AS bigint)", "AND CAST(:seen AS bigint) > 0", "update_named")


# Keys


class KeysIgnoreCase(_PostgreSQL):
    """The unique index is over lower(active_key)."""

    guarantee = "KEY-07"
    areas = ("KEY",)
    engine = EndsAtOnceWithoutAHolder

    def edit(self, statements: Statements) -> None:
        statements.replace("(active_key)", "(lower(active_key))", "create_key_index")
        old = "active_key = ANY(ARRAY(SELECT json_array_elements_text(CAST(CAST(:keys AS text) AS json))))"
        new = (
            "lower(active_key) = ANY(ARRAY(SELECT lower(json_array_elements_text(CAST(CAST(:keys AS text) AS json)))))"
        )
        statements.replace(old, new, "enqueued")


class KeysAreNotUnique(_PostgreSQL):
    """The index on keys is not unique."""

    guarantee = "KEY-01"
    areas = ("KEY",)

    def edit(self, statements: Statements) -> None:
        statements.drop("UNIQUE", "create_key_index")


class KeysAreNeverFreed(_PostgreSQL):
    """A commit leaves the key where it is."""

    guarantee = "KEY-04"
    areas = ("KEY",)
    engine = EndsAtOnceWithoutAHolder

    def edit(self, statements: Statements) -> None:
        statements.drop("active_key = c.active_key, ", *_COMMITS)


class TakesHeldKeys(_PostgreSQL):
    """A commit that takes a key does not look whether it is held."""

    guarantee = "KEY-09"
    areas = ("KEY",)
    patience = 0.5

    def edit(self, statements: Statements) -> None:
        statements.replace("holder.id <> c.id", "holder.id <> c.id AND false", "commit_keys")


class MeetsKeysWithAnError(_PostgreSQL):
    """A key that another took at the same moment ends the commit with an error, and is not tried again."""

    guarantee = "KEY-09"
    areas = ("KEY",)

    def family(self, family: Family) -> Family:
        return replace(family, verdicts=family.verdicts.without("23505", "UniqueViolationError"))


# Tasks that run elsewhere


class ReservesWithoutLocks(_PostgreSQL):
    """A reservation chooses tasks without locking them, and does not look again before it writes."""

    guarantee = "EXE-01"
    areas = ("EXE",)

    def edit(self, statements: Statements) -> None:
        statements.drop("FOR UPDATE SKIP LOCKED")
        statements.drop("FOR UPDATE OF t SKIP LOCKED", "claim_held")


class CountsReservations(_PostgreSQL):
    """A reservation counts an attempt."""

    guarantee = "EXE-02"
    areas = ("EXE",)

    def edit(self, statements: Statements) -> None:
        statements.replace("attempt + CAST(:counted AS integer)", "attempt + 1", *_CLAIMS)


class ReservesTheDispatched(_PostgreSQL):
    """A reservation by id takes dispatched tasks."""

    guarantee = "EXE-04"
    areas = ("EXE",)

    def edit(self, statements: Statements) -> None:
        statements.replace("CAST(:dispatched AS integer) = 1", "CAST(:dispatched AS integer) < 2", "claim_held")


class RunsClaimUnderTheReservation(_PostgreSQL):
    """A run's claim under the fence of the reservation takes the task once the reference is stored, too."""

    guarantee = "EXE-07"
    areas = ("EXE",)

    def edit(self, statements: Statements) -> None:
        later = "t.state = 'dispatched' AND t.execution_ref IS NOT NULL AND t.fence = h.fence + 1"
        statements.replace("t.fence = h.fence", f"(t.fence = h.fence OR ({later}))", "claim_held")


class TheFirstReferenceStays(_PostgreSQL):
    """A run's own reference is stored only where there is none."""

    guarantee = "EXE-09"
    areas = ("EXE",)

    def edit(self, statements: Statements) -> None:
        new = "coalesce(execution_ref, CAST(:execution_ref AS text))"
        statements.replace("coalesce(CAST(:execution_ref AS text), execution_ref)", new, *_CLAIMS)


class ClaimsClearTheReference(_PostgreSQL):
    """A claim without a reference clears the one that is stored."""

    guarantee = "EXE-10"
    areas = ("EXE",)

    def edit(self, statements: Statements) -> None:
        new = "CAST(:execution_ref AS text)"
        statements.replace("coalesce(CAST(:execution_ref AS text), execution_ref)", new, *_CLAIMS)


class BeatsLeaveTheWindow(_PostgreSQL):
    """A heartbeat of a dispatched task leaves its window as it was."""

    guarantee = "EXE-15"
    areas = ("EXE",)

    def edit(self, statements: Statements) -> None:
        old = "coalesce(h.stale_after, t.stale_after)"
        new = f"CASE WHEN t.state = 'dispatched' THEN t.stale_after ELSE {old} END"
        statements.replace(old, new, "touch_heartbeats")


class SilentAtTheirVeryEnd(_PostgreSQL):
    """A dispatched task counts as silent at the very end of its window."""

    guarantee = "EXE-17"
    areas = ("EXE",)

    def edit(self, statements: Statements) -> None:
        statements.replace("interval '1 second' <", "interval '1 second' <=", "find_dispatched")


class TheMuteAreNotFound(_PostgreSQL):
    """Silent tasks are found by a comparison alone, which NULL does not pass."""

    guarantee = "EXE-17"
    areas = ("EXE",)

    def edit(self, statements: Statements) -> None:
        statements.replace("heartbeat_at IS NULL OR stale_after IS NULL", "false", "find_dispatched")


class ExecutionBackendsIgnoreCase(_PostgreSQL):
    """Silent tasks are found by their execution backends without regard to case."""

    guarantee = "EXE-18"
    areas = ("EXE",)

    def edit(self, statements: Statements) -> None:
        statements.replace("OR execution_backend IN", "OR lower(execution_backend) IN", "find_dispatched")


class TheMuteComeLast(_PostgreSQL):
    """Silent tasks are found without NULLS FIRST, so that PostgreSQL has them last."""

    guarantee = "EXE-19"
    areas = ("EXE",)

    def edit(self, statements: Statements) -> None:
        statements.drop("NULLS FIRST", "find_dispatched")


class RecoversTheDispatched(_PostgreSQL):
    """A recovery of stale tasks moves dispatched ones, too."""

    guarantee = "EXE-22"
    areas = ("EXE",)

    def edit(self, statements: Statements) -> None:
        statements.replace("t.state = 'running'", "t.state IN ('running', 'dispatched')", "commit_stale")


class DispatchedIsNeverOverdue(_PostgreSQL):
    """A dispatched task is not found as overdue."""

    guarantee = "EXE-25"
    areas = ("EXE",)

    def edit(self, statements: Statements) -> None:
        statements.replace("state = 'dispatched' AND", "state = 'dispatched' AND false AND", "find_overdue")


class DeletesTheDispatched(_PostgreSQL):
    """A deletion forgets dispatched tasks, too."""

    guarantee = "EXE-26"
    areas = ("EXE",)

    def edit(self, statements: Statements) -> None:
        statements.replace("IN ('completed',", "IN ('dispatched', 'completed',", "delete")


class CountsNoDispatchedTask(_PostgreSQL):
    """Dispatched tasks are not counted."""

    guarantee = "EXE-27"
    areas = ("EXE",)

    def edit(self, statements: Statements) -> None:
        statements.replace("state = 'dispatched' AND", "state = 'dispatched' AND false AND", "count")


# What is stored


class SecondsOnly(_PostgreSQL):
    """Times are stored to the second."""

    guarantee = "LIF-01"
    areas = ("LIF",)

    def edit(self, statements: Statements) -> None:
        statements.replace("timestamptz", "timestamptz(0)", "create_task_table")


class LocksToTheSecond(_PostgreSQL):
    """The end of a lock is stored to the second."""

    guarantee = "LCK-02"
    areas = ("LCK",)

    def edit(self, statements: Statements) -> None:
        statements.replace("timestamptz", "timestamptz(0)", "create_lock_table")


class LocksForYears(_PostgreSQL):
    """A lock that is taken by the server's own time lasts for 95 years."""

    guarantee = "LCK-01"
    areas = ("LCK",)
    time = "store"

    def edit(self, statements: Statements) -> None:
        statements.replace(
            f"{_NOW} +",
            f"{_NOW} + CASE WHEN CAST(:now AS text) IS NULL THEN interval '95 years' ELSE interval '0' END +",
            "lock",
        )


class KeepsPastTimes(_PostgreSQL):
    """By the server's own time, a task whose time is past comes due at that time, and not now."""

    guarantee = "LIF-01"
    areas = ("LIF",)
    time = "store"

    def edit(self, statements: Statements) -> None:
        statements.replace(
            f"greatest(n.due_at, {_NOW})",
            "coalesce(greatest(n.due_at, CAST(:now AS timestamptz)), statement_timestamp())",
        )


class StoresLocalTime(_PostgreSQL):
    """Times are columns without a time zone, and the sessions are in different ones."""

    guarantee = "LIF-01"
    areas = ("LIF",)
    zones = _ZONES

    def edit(self, statements: Statements) -> None:
        statements.replace("timestamptz", "timestamp", "create_task_table")


class DropsTheOffset(_PostgreSQL):
    """The times of a batch are read without their offset, and the sessions are in different time zones."""

    guarantee = "LIF-01"
    areas = ("LIF",)
    zones = _ZONES

    def edit(self, statements: Statements) -> None:
        old = "due_at timestamptz, expires_at timestamptz"
        statements.replace(old, old.replace("timestamptz", "timestamp"), "enqueue")


class RewritesJson(_PostgreSQL):
    """Users' values are JSONB."""

    guarantee = "LIF-02"
    areas = ("LIF",)

    def edit(self, statements: Statements) -> None:
        for column in ("args", "kwargs", "metadata", "progress", "result", "error"):
            statements.replace(f"    {column} JSON", f"    {column} JSONB", "create_task_table")
        statements.replace("AS JSON)", "AS JSONB)")


class SwapsColumns(_PostgreSQL):
    """A bulk load has kwargs and metadata the wrong way round."""

    guarantee = "BLK-01"
    areas = ("LIF", "BLK")
    engine = SwapsColumnsInBulk


class InsertsByPosition(_PostgreSQL):
    """An insert names no columns, and gives them in the order of create_schema's table."""

    guarantee = "ARW-01"
    areas = ("ARW", "BLK")

    def edit(self, statements: Statements) -> None:
        listed = f"{POSTGRES.lists.slots(POSTGRES.slots)['new_columns']}, state, due_at, created_at"
        given = set(listed.split(", "))
        placed = ", ".join(f"v.{one.name}" if one.name in given else "NULL" for one in STORED)
        statements.replace(f" ({listed})\nSELECT\n", f" SELECT {placed} FROM (SELECT\n", "enqueue")  # noqa: S608  # ours
        statements.replace("ON CONFLICT DO NOTHING", f") AS v ({listed})\nON CONFLICT DO NOTHING", "enqueue")


class LoadsByPosition(_PostgreSQL):
    """A bulk load tells args, kwargs and metadata apart by the order in which the table has them."""

    guarantee = "ARW-01"
    areas = ("ARW", "BLK")
    engine = LoadsByPlace


class RefusesGrownTables(_PostgreSQL):
    """A table is taken for a queue's only where it has as many columns as create_schema would give it."""

    guarantee = "ARW-02"
    areas = ("ARW", "BLK")

    def edit(self, statements: Statements) -> None:
        columns = f"information_schema.columns WHERE table_name = '{statements.table}'"
        own = len(STORED)
        statements.add("check_schema", f"SELECT 1 / CAST(count(*) = {own} AS integer) FROM {columns}")  # noqa: S608  # ours


# Locks


class LocksAreTaken(_PostgreSQL):
    """A lock is taken from whoever holds it."""

    guarantee = "LCK-01"
    areas = ("LCK",)

    def edit(self, statements: Statements) -> None:
        statements.replace("held.owner = excluded.owner OR", "true OR", "lock")


# Hints and transactions


class HintsBeforeItStores(_PostgreSQL):
    """A hint goes out before its batch is stored."""

    guarantee = "NTF-03"
    areas = ("NTF",)

    class backend(SQLSpecBackend):  # noqa: N801  # what it replaces is called so
        """Tells the others first, and stores when one of them has looked, or nobody has for a while."""

        storing: ClassVar[set[asyncio.Event]] = set()

        async def enqueue_many(self, tasks: Sequence[NewTask], *, now: datetime | None = None) -> list[Enqueued]:
            if self.wakeups is not None:
                looked = asyncio.Event()
                self.storing.add(looked)
                await self.wakeups.notify({new.queue for new in tasks})
                await asyncio.wait({asyncio.ensure_future(looked.wait())}, timeout=5)
                self.storing.discard(looked)
            return await super().enqueue_many(tasks, now=now)

        async def claim(self, want: Want, *, now: datetime | None = None) -> list[TaskRecord]:
            claimed = await super().claim(want, now=now)
            for looked in self.storing:
                looked.set()
            return claimed


class HintsNothingInTransactions(_PostgreSQL):
    """A transaction that enqueued wakes nobody."""

    guarantee = "TXN-05"
    areas = ("TXN",)

    class backend(SQLSpecBackend):  # noqa: N801  # what it replaces is called so
        """Binds without hints."""

        def bind(self, session: Any) -> QueueBackend:
            bound = cast("BoundBackend", super().bind(session))
            return BoundBackend(replace(bound.port, hint=None), name=bound.name, process_local=bound.process_local)


class HintsBesideTheTransaction(_PostgreSQL):
    """What is enqueued in a transaction is hinted at on a connection of the backend's own."""

    guarantee = "TXN-31"
    areas = ("TXN",)

    class backend(SQLSpecBackend):  # noqa: N801  # what it replaces is called so
        """Tells the others at once."""

        def bind(self, session: Any) -> QueueBackend:
            bound = super().bind(session)
            outside, inside = self.wakeups, bound.enqueue_many

            async def enqueue_many(tasks: Sequence[NewTask], *, now: datetime | None = None) -> list[Enqueued]:
                answers = await inside(tasks, now=now)
                if outside is not None:
                    await outside.notify({new.queue for new in tasks})
                return answers

            cast("Any", bound).enqueue_many = enqueue_many
            return bound


class EnqueuesBesideTheTransaction(_PostgreSQL):
    """What is enqueued in a transaction is stored on a connection of the backend's own."""

    guarantee = "TXN-01"
    areas = ("TXN",)

    class backend(SQLSpecBackend):  # noqa: N801  # what it replaces is called so
        """Binds nothing."""

        def bind(self, session: Any) -> QueueBackend:
            return cast("QueueBackend", self)


# Conflicts, as CockroachDB has them all day


class GivesUpAtTheFirstConflict(Saboteur):
    """At SERIALIZABLE, a transaction that lost a conflict is not tried again."""

    adapter = "cockroach-standin-asyncpg"
    guarantee = "KEY-01"
    areas = ("KEY",)

    def family(self, family: Family) -> Family:
        verdicts = family.verdicts
        known = [*verdicts.codes.items(), *verdicts.names.items()]
        return replace(
            family, verdicts=verdicts.without(*(one for one, verdict in known if verdict is Verdict.CONFLICT))
        )


# Odd, but legal


class SessionsInOtherTimeZones(Benign):
    """The sessions are in different time zones, none of them UTC."""

    adapter = "asyncpg"
    areas = ("LIF", "CLM", "EXP", "LCK", "REC")
    zones = _ZONES
