"""Errors of drivers, and of what stands above them, as ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from litestar_queues.backends.failures import StoreFailures
from litestar_queues.backends.sql.family import Family
from litestar_queues.backends.sql.program import ConflictError, LostConnectionError
from litestar_queues.errors import BackendError, BackendUnavailableError, QueueError

__all__ = ("SqlFailures",)


class SqlFailures(StoreFailures):
    """Translates what went wrong with one database; what inherits from it knows the errors of a layer above the drivers.

    Args:
        family: Tells which errors are conflicts.
        database: What to call the database in messages.
        settings: Those of the connection: what is secret in them is kept out of every text.
    """

    def __init__(self, family: Family, database: str, settings: Mapping[str, Any]) -> None:
        super().__init__(database, settings)
        self._family = family

    def of_statement(self, error: Exception, name: str) -> Exception:
        """What to raise for an error of a statement, a `begin` or a `commit`."""
        if isinstance(error, (QueueError, ConflictError)):
            return error
        what = f"{self.database}: {name} failed: {self.text(error)}"
        if self._family.is_conflict(error):
            return ConflictError(self.text(error))
        return LostConnectionError(what) if self.is_lost(error) else BackendError(what)

    def is_lost(self, error: Exception) -> bool:
        """Whether the connection is gone; what nobody knows counts as that, so that nobody relies on an outcome."""
        raise NotImplementedError

    def of_connection(self, error: Exception, after: float | None = None) -> Exception:
        """What to raise where no connection could be had, or not in so many seconds."""
        if isinstance(error, (QueueError, ConflictError)):
            return error
        if self._family.is_conflict(error):
            return ConflictError(self.text(error))
        what = self.text(error) if after is None else f"not within {after:g} s"
        return BackendUnavailableError(f"{self.database}: no connection: {what}")

    def is_conflict(self, error: BaseException) -> bool:
        """Whether another transaction got in the way."""
        return self._family.is_conflict(error)

    def text(self, error: BaseException) -> str:
        """The driver's own words, which the layer above it keeps as the cause, on one line."""
        return super().text(error.__cause__ or error)
