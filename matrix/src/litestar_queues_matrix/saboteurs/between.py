"""Defects on PostgreSQL in what lies between calls: writes in several transactions, where the port promises one."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from litestar_queues.backends.sqlspec.backend import SQLSpecBackend
from litestar_queues.records import Enqueued, Held, NewTask, TaskRecord, Want
from litestar_queues_matrix.saboteurs.base import Saboteur, Statements

__all__ = (
    "BeatsInTwoTransactions",
    "ClaimsInTwoTransactions",
    "StoresInTransactionsOf700",
    "StoresThousandsOfKeysInPieces",
)

_PIECE = 700
_THOUSANDS = 2500
_CLAIMS = ("claim", "claim_unless_due", "claim_queues", "claim_queues_unless_due", "claim_held")
_BEAT = "heartbeat_at = coalesce(CAST(:now AS timestamptz), statement_timestamp()),"


class ClaimsInTwoTransactions(Saboteur):
    """A claim sets the heartbeat of its tasks in a second transaction."""

    adapter = "asyncpg"
    guarantee = "LIF-14"
    areas = ("LIF",)

    class backend(SQLSpecBackend):  # noqa: N801  # what it replaces is called so
        """Claims, and sends heartbeats."""

        async def claim(self, want: Want, *, now: datetime | None = None) -> list[TaskRecord]:
            claimed = await super().claim(want, now=now)
            if not claimed:
                return claimed
            await self.touch_heartbeats([one.held for one in claimed], now=now or claimed[0].started_at)
            found = await self.get([one.id for one in claimed])
            return [found[one.id] for one in claimed]

    def edit(self, statements: Statements) -> None:
        statements.drop(_BEAT, *_CLAIMS)


class BeatsInTwoTransactions(Saboteur):
    """A batch of heartbeats is two transactions, one for each half."""

    adapter = "asyncpg"
    guarantee = "LIF-15"
    areas = ("LIF",)

    class backend(SQLSpecBackend):  # noqa: N801  # what it replaces is called so
        """Beats twice."""

        async def touch_heartbeats(self, held: Sequence[Held], *, now: datetime | None = None) -> set[str]:
            half = len(held) // 2
            return await super().touch_heartbeats(held[:half], now=now) | await super().touch_heartbeats(
                held[half:], now=now
            )


class _InPieces(SQLSpecBackend):
    async def in_pieces(self, tasks: Sequence[NewTask], size: int, now: datetime | None) -> list[Enqueued]:
        """Enqueue so many tasks in each transaction."""
        now = now or await self.now()
        answers: list[Enqueued] = []
        for start in range(0, len(tasks), size):
            answers += await super().enqueue_many(tasks[start : start + size], now=now)
        return answers


class StoresInTransactionsOf700(Saboteur):
    """A large batch is stored in transactions of 700 tasks."""

    adapter = "asyncpg"
    guarantee = "LIF-16"
    areas = ("LIF",)

    class backend(_InPieces):  # noqa: N801  # what it replaces is called so
        """Enqueues in pieces."""

        async def enqueue_many(self, tasks: Sequence[NewTask], *, now: datetime | None = None) -> list[Enqueued]:
            return await self.in_pieces(tasks, _PIECE, now)


class StoresThousandsOfKeysInPieces(Saboteur):
    """Thousands of tasks with keys are stored in transactions of 700 tasks."""

    adapter = "asyncpg"
    guarantee = "BLK-04"
    areas = ("BLK",)

    class backend(_InPieces):  # noqa: N801  # what it replaces is called so
        """Enqueues in pieces what has keys."""

        async def enqueue_many(self, tasks: Sequence[NewTask], *, now: datetime | None = None) -> list[Enqueued]:
            if len(tasks) <= _THOUSANDS or all(task.key is None for task in tasks):
                return await super().enqueue_many(tasks, now=now)
            return await self.in_pieces(tasks, _PIECE, now)
