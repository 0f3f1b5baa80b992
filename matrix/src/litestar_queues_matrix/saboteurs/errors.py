"""Defects on PostgreSQL, through asyncpg, that only faults show: cut connections, and servers that refuse."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from litestar_queues.backends.sql.families import Family
from litestar_queues.backends.sqlspec.backend import SQLSpecBackend
from litestar_queues.errors import BackendUnavailableError
from litestar_queues.records import TaskRecord, Want
from litestar_queues_matrix.saboteurs.base import Saboteur


class _PostgreSQL(Saboteur):
    adapter = "asyncpg"
    areas = ("ERR",)


class ClaimsNothingWhereItIsAway(_PostgreSQL):
    """A claim that loses its connection, or finds nobody, returns no tasks, as if there were none."""

    guarantee = "ERR-03"

    class backend(SQLSpecBackend):  # noqa: N801  # what it replaces is called so
        """Keeps quiet."""

        async def claim(self, want: Want, *, now: datetime | None = None) -> list[TaskRecord]:
            try:
                return await super().claim(want, now=now)
            except BackendUnavailableError:
                return []


class TakesReadOnlyForAMistake(_PostgreSQL):
    """A server that is read only after a failover counts as one that refuses the statement for good."""

    guarantee = "ERR-05"

    def family(self, family: Family) -> Family:
        return replace(family, verdicts=family.verdicts.without("25006"))
