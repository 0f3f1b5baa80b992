"""Defects at the ends of ranges, and with what one batch names twice: on PostgreSQL and on Redis."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from litestar_queues.backends.sqlspec.backend import SQLSpecBackend
from litestar_queues.records import Held, Stale, TaskRecord
from litestar_queues_matrix.saboteurs.base import Saboteur, Statements
from litestar_queues_matrix.saboteurs.redis import Edited
from litestar_queues_matrix.saboteurs.redis import Saboteur as RedisSaboteur


class _PostgreSQL(Saboteur):
    adapter = "asyncpg"


class LastHeartbeatCountsWhole(_PostgreSQL):
    """Of several heartbeats of a task in a batch, the last one counts, and the others' progress is lost."""

    guarantee = "HBT-05"
    areas = ("HBT",)

    class backend(SQLSpecBackend):  # noqa: N801  # what it replaces is called so
        """Sends the last heartbeat of each task."""

        async def touch_heartbeats(self, held: Sequence[Held], *, now: datetime | None = None) -> set[str]:
            last = {(one.id, one.fence): one for one in held}
            return await super().touch_heartbeats(list(last.values()), now=now)


class StoresTheLastOutcome(_PostgreSQL):
    """Of several outcomes of a task in a batch, the last one is stored."""

    guarantee = "OWN-08"
    areas = ("OWN",)

    class backend(SQLSpecBackend):  # noqa: N801  # what it replaces is called so
        """Sends the last outcome of each task."""

        async def commit(self, tasks: Sequence[TaskRecord], *, stale: Stale | None = None) -> set[str]:
            return await super().commit(list({one.id: one for one in tasks}.values()), stale=stale)


class CountsAttemptsIn16Bits(_PostgreSQL):
    """After 65,535 attempts, a claim begins again at 0."""

    guarantee = "LIF-18"
    areas = ("LIF",)

    def edit(self, statements: Statements) -> None:
        statements.replace(
            "attempt + CAST(:counted AS integer)", "(attempt + CAST(:counted AS integer)) % 65536", *_CLAIMS
        )


class FencesOf32Bits(_PostgreSQL):
    """After the fence 4,294,967,295, a claim begins again at 0."""

    guarantee = "LIF-22"
    areas = ("LIF",)

    def edit(self, statements: Statements) -> None:
        statements.replace("fence = fence + 1", "fence = (fence + 1) % 4294967296", *_CLAIMS)


_CLAIMS = ("claim", "claim_unless_due", "claim_queues", "claim_queues_unless_due", "claim_held")


class FencesOf32BitsInScripts(RedisSaboteur):
    """After the fence 4,294,967,295, a claim begins again at 0."""

    guarantee = "LIF-22"
    areas = ("LIF",)

    def edit(self, scripts: Edited) -> None:
        scripts.replace("claim", "tonumber(record[AT.fence]) + 1)", "(tonumber(record[AT.fence]) + 1) % 4294967296)")


class HandsOutTwice(RedisSaboteur):
    """A claim by ids gives a task as often as it names it."""

    guarantee = "CLM-13"
    areas = ("CLM",)

    def edit(self, scripts: Edited) -> None:
        scripts.replace("claim", "            and not wanted[one[1]]\n")


class CutsLockNames(RedisSaboteur):
    """The name of a lock is kept in 255 bytes."""

    guarantee = "LCK-05"
    areas = ("LCK",)

    def edit(self, scripts: Edited) -> None:
        for name in ("lock", "unlock"):
            scripts.replace(
                name, "local locks = space", "asked.name = string.sub(asked.name, 1, 255)\nlocal locks = space"
            )
