"""Defects on PostgreSQL, through asyncpg: half a schema, what is left behind, bound backends, and cost."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import Any, cast

from litestar_queues.backends.base import QueueBackend
from litestar_queues.backends.sql.port import SqlBackend
from litestar_queues.backends.sql.program import statements
from litestar_queues.backends.sqlspec.backend import SQLSpecBackend
from litestar_queues.records import Matching, TaskRecord, Want
from litestar_queues_matrix.saboteurs.base import Benign, Saboteur

_ALL = 1_000_000


class _PostgreSQL(Saboteur):
    adapter = "asyncpg"


class ForgetsIndexesOfATableThatIsThere(_PostgreSQL):
    """A missing index is not created where all tables are there."""

    guarantee = "SCM-06"
    areas = ("SCM",)

    class backend(SQLSpecBackend):  # noqa: N801  # what it replaces is called so
        """Looks at the tables alone."""

        async def create_schema(self) -> None:
            found = await self._look(self._schema)
            if not {found.table, f"{found.table}_lock", f"{found.table}_record"} <= found.names:
                await super().create_schema()


class StartsAnewWithoutLocks(_PostgreSQL):
    """Where the table of locks is missing, all tasks are deleted."""

    guarantee = "SCM-08"
    areas = ("SCM",)

    class backend(SQLSpecBackend):  # noqa: N801  # as above
        """Takes half a schema for none."""

        async def create_schema(self) -> None:
            found = await self._look(self._schema)
            if found.table in found.names and f"{found.table}_lock" not in found.names:
                await self.port.run(statements("start_anew", [f"DELETE FROM {found.table}"]))  # noqa: S608  # our name
            await super().create_schema()


async def _stay() -> None:
    """Close no pool."""


class LeavesItsPool(_PostgreSQL):
    """A client that is closed leaves its pool open."""

    guarantee = "SCM-07"
    areas = ("SCM",)

    class backend(SQLSpecBackend):  # noqa: N801  # as above
        """Forgets its pool."""

        def __init__(self, *given: Any, **options: Any) -> None:
            super().__init__(*given, **options)
            cast("Any", self._pool).leave = _stay


class CommitsOutcomesBesideTheTransaction(_PostgreSQL):
    """An outcome that is committed in a transaction is stored on a connection of the backend's own."""

    guarantee = "TXN-07"
    areas = ("TXN",)

    class backend(SQLSpecBackend):  # noqa: N801  # as above
        """Binds everything but `commit`."""

        def bind(self, session: Any) -> QueueBackend:
            bound = super().bind(session)
            cast("Any", bound).commit = self.commit
            return bound


class ClaimsInTransactions(_PostgreSQL):
    """A claim in a transaction is one that other clients see when it commits."""

    guarantee = "TXN-08"
    areas = ("TXN",)

    class backend(SQLSpecBackend):  # noqa: N801  # as above
        """Refuses no claim."""

        def bind(self, session: Any) -> QueueBackend:
            bound: Any = super().bind(session)
            bound.claim = partial(SqlBackend.claim, bound)
            return cast("QueueBackend", bound)


class DeletesBesideTheTransaction(_PostgreSQL):
    """A deletion in a transaction that was rolled back stands."""

    guarantee = "TXN-07"
    areas = ("TXN",)

    class backend(SQLSpecBackend):  # noqa: N801  # as above
        """Binds everything but `delete`."""

        def bind(self, session: Any) -> QueueBackend:
            bound = super().bind(session)
            cast("Any", bound).delete = self.delete
            return bound


class ReadsThemAll(_PostgreSQL):
    """A claim reads every task of the store."""

    guarantee = "CST-01"
    areas = ("CST",)

    class backend(SQLSpecBackend):  # noqa: N801  # as above
        """Looks at all of them first."""

        async def claim(self, want: Want, *, now: datetime | None = None) -> list[TaskRecord]:
            await self.find(Matching(), _ALL)
            return await super().claim(want, now=now)


class CreatesItsSchemaTwice(Benign):
    """Creates its schema twice when it opens."""

    adapter = "asyncpg"
    areas = ("SCM",)

    class backend(SQLSpecBackend):  # noqa: N801  # as above
        """Does it again."""

        async def create_schema(self) -> None:
            await super().create_schema()
            await super().create_schema()
