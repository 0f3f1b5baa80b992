"""SQLAlchemy's errors, and those of the drivers below it, as ours."""

from __future__ import annotations

from sqlalchemy.exc import DBAPIError, DisconnectionError, SQLAlchemyError

from litestar_queues.backends.sql.failures import SqlFailures
from litestar_queues.backends.verdict import Verdict

__all__ = ("AlchemyFailures",)


class AlchemyFailures(SqlFailures):
    """Translates what went wrong with one database of SQLAlchemy's."""

    def verdict(self, error: Exception) -> Verdict | None:
        if isinstance(error, DBAPIError) and isinstance(error.orig, Exception):
            # The wrapper has the name of a class of errors, and no code: only the driver's own error tells.
            return self._family.verdicts.of(error.orig) or (Verdict.LOST if self.is_lost(error) else None)
        return super().verdict(error)

    def is_lost(self, error: Exception) -> bool:
        if isinstance(error, DBAPIError):
            return error.connection_invalidated
        return isinstance(error, DisconnectionError) or not isinstance(error, SQLAlchemyError)
