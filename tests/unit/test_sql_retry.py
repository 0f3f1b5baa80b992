from __future__ import annotations

import sqlite3

import pytest
from sqlspec.exceptions import DatabaseConnectionError, DeadlockError, OperationalError

from litestar_queues.backends.retry import with_retries
from litestar_queues.backends.sql.families import SQLITE
from litestar_queues.backends.sql.program import ConflictError
from litestar_queues.backends.sqlspec.failures import SQLSpecFailures
from litestar_queues.errors import BackendError, BackendUnavailableError

pytestmark = pytest.mark.anyio


class Attempts:
    """Meets a number of conflicts, and notes the pauses between its attempts."""

    def __init__(self, conflicts: int, error: Exception | None = None) -> None:
        self.left = conflicts
        self.error = error
        self.made = 0
        self.pauses: list[float] = []

    async def attempt(self) -> str:
        self.made += 1
        if self.error is not None:
            raise self.error
        if self.left:
            self.left -= 1
            raise ConflictError("database is locked")
        return "done"

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)

    async def run(self, patience: float = 10) -> str:
        return await with_retries(self.attempt, what="queue.db: claim", patience=patience, sleep=self.sleep)


async def test_a_conflict_is_tried_again_after_pauses_that_grow_to_a_bound() -> None:
    attempts = Attempts(12)
    assert await attempts.run() == "done"
    assert attempts.made == 13
    assert 0.01 <= attempts.pauses[0] <= 0.02
    assert attempts.pauses[-1] > 0.2
    assert max(attempts.pauses) <= 0.5
    assert len(set(attempts.pauses)) == 12, "two that met each other must not meet again"


async def test_conflicts_without_end_are_reported_as_unavailable() -> None:
    attempts = Attempts(1_000_000)
    with pytest.raises(BackendUnavailableError, match=r"queue.db: claim: .* nothing was stored") as raised:
        await attempts.run(patience=0.01)
    assert isinstance(raised.value.__cause__, ConflictError)


async def test_another_error_is_not_tried_again() -> None:
    attempts = Attempts(0, BackendError("no"))
    with pytest.raises(BackendError):
        await attempts.run()
    assert attempts.made == 1


def failures(**settings: object) -> SQLSpecFailures:
    return SQLSpecFailures(SQLITE, "database 'x'", settings)


def busy(code: int) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("database is locked")
    error.sqlite_errorcode = code
    return error


@pytest.mark.parametrize("error", [DeadlockError("locked"), busy(5), busy(6), busy(5 | 2 << 8)])
def test_a_locked_database_is_a_conflict_wherever_it_shows(error: Exception) -> None:
    assert isinstance(failures().of_statement(error, "claim"), ConflictError)
    assert isinstance(failures().of_connection(error), ConflictError)


def test_errors_say_what_failed_and_whether_the_database_can_be_reached() -> None:
    refused = failures().of_statement(OperationalError("syntax error"), "claim")
    assert type(refused) is BackendError
    assert str(refused) == "database 'x': claim failed: syntax error"
    assert isinstance(failures().of_statement(DatabaseConnectionError("gone"), "claim"), BackendUnavailableError)
    assert isinstance(failures().of_connection(OSError("refused")), BackendUnavailableError)


@pytest.mark.parametrize(
    "text",
    [
        "cannot connect to postgresql://app:s3cr3t@db.internal/queue",
        "connection failed: host=db user=app password=s3cr3t",
        "connection failed: password='s3cr3t' host=db",
        "access denied for s3cr3t",
    ],
)
def test_no_text_carries_a_password(text: str) -> None:
    made = SQLSpecFailures(SQLITE, text, {"password": "s3cr3t", "database": "queue"})
    errors = [made.of_statement(OperationalError(text), "claim"), made.of_connection(OSError(text))]
    assert all("s3cr3t" not in str(error) and "***" in str(error) for error in errors)
    assert "s3cr3t" not in made.database


def test_a_password_in_an_address_is_kept_out_where_no_setting_tells_it() -> None:
    error = failures().of_connection(OSError("cannot connect to postgresql://app:s3cr3t@db.internal/queue"))
    assert "cannot connect to postgresql://***@db.internal/queue" in str(error)


def test_a_password_at_the_end_of_what_is_quoted_is_not_cut_in_two() -> None:
    error = failures(password="s3cr3t").of_connection(OSError(f"{'x' * 297}s3cr3t"))
    assert "s3" not in str(error)
