"""Errors of drivers, and of what stands above them, as ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from litestar_queues.backends.failures import StoreFailures
from litestar_queues.backends.retry import RefusedForNowError
from litestar_queues.backends.sql.family import Family
from litestar_queues.backends.sql.program import ConflictError, LostConnectionError
from litestar_queues.backends.verdict import Verdict
from litestar_queues.errors import BackendError, BackendUnavailableError, QueueError, RefusedError

__all__ = ("SqlFailures",)


class SqlFailures(StoreFailures):
    """Translates what went wrong with one database; what inherits from it knows the errors of a layer above the drivers.

    Args:
        family: Its table gives the verdict on an error.
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
        text = self.text(error)
        what = f"{self.database}: {name} failed: {text}"
        match self.verdict(error):
            case Verdict.CONFLICT:
                return ConflictError(text)
            case Verdict.LOST:
                return LostConnectionError(what)
            case Verdict.FOR_NOW:
                return RefusedForNowError(
                    f"{self.database}: {name} was refused for now, nothing was stored, and the same call may work later: "
                    f"{text}"
                )
            case Verdict.FOR_GOOD:
                return RefusedError(what)
            case None:
                return BackendError(what)

    def verdict(self, error: Exception) -> Verdict | None:
        """The verdict of the family's table; where that has none, of what the layer above the drivers knows."""
        return self._family.verdicts.of(error) or (Verdict.LOST if self.is_lost(error) else None)

    def is_lost(self, error: Exception) -> bool:
        """Whether the layer above the drivers takes the connection for gone.

        What nobody knows counts as that, so that nobody relies on an outcome.
        """
        raise NotImplementedError

    def of_connection(self, error: Exception, after: float | None = None) -> Exception:
        """What to raise where no connection could be had, or not in so many seconds."""
        if isinstance(error, (QueueError, ConflictError)):
            return error
        if self.is_conflict(error):
            return ConflictError(self.text(error))
        what = self.text(error) if after is None else f"not within {after:g} s"
        return BackendUnavailableError(f"{self.database}: no connection: {what}")

    def is_conflict(self, error: BaseException) -> bool:
        """Whether another transaction got in the way."""
        return self._family.is_conflict(error)

    def text(self, error: BaseException) -> str:
        """The driver's own words, which the layer above it keeps as the cause, on one line."""
        return super().text(error.__cause__ or error)
