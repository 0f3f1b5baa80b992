"""SQLAlchemy's errors, and those of the drivers below it, as ours."""

from __future__ import annotations

from sqlalchemy.exc import DBAPIError, DisconnectionError, SQLAlchemyError

from litestar_queues.backends.sql.failures import SqlFailures

__all__ = ("AlchemyFailures",)


class AlchemyFailures(SqlFailures):
    """Translates what went wrong with one database of SQLAlchemy's."""

    def is_lost(self, error: Exception) -> bool:
        if isinstance(error, DBAPIError):
            # The wrapper has the name of a class of errors, and no code: only the driver's own error tells.
            return error.connection_invalidated or (error.orig is not None and self._family.is_lost(error.orig))
        return isinstance(error, DisconnectionError) or not isinstance(error, SQLAlchemyError)
