"""SQLSpec's errors, and those of the drivers below it, as ours."""

from __future__ import annotations

from sqlspec.exceptions import DatabaseConnectionError, PermissionDeniedError, SQLSpecError

from litestar_queues.backends.sql.failures import SqlFailures

__all__ = ("SQLSpecFailures",)


class SQLSpecFailures(SqlFailures):
    """Translates what went wrong with one database of SQLSpec's."""

    def is_lost(self, error: Exception) -> bool:
        # What a user may not do, SQLSpec counts among the errors of connections.
        at_connecting = isinstance(error, DatabaseConnectionError) and not isinstance(error, PermissionDeniedError)
        return at_connecting or not isinstance(error, SQLSpecError)
