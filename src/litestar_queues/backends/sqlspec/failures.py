"""SQLSpec's errors, and those of the drivers below it, as ours."""

from __future__ import annotations

from sqlspec.exceptions import DatabaseConnectionError, SQLSpecError

from litestar_queues.backends.sql.failures import SqlFailures

__all__ = ("SQLSpecFailures",)


class SQLSpecFailures(SqlFailures):
    """Translates what went wrong with one database of SQLSpec's."""

    def is_lost(self, error: Exception) -> bool:
        if isinstance(error, DatabaseConnectionError) or self._family.is_lost(error):
            return True
        return not isinstance(error, SQLSpecError)
