"""Defects on MySQL and MariaDB, through asyncmy."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from litestar_queues.backends.sqlspec.mysql import ADDRESS
from litestar_queues.backends.sqlspec.store import QueueStore
from litestar_queues_matrix.saboteurs import programs
from litestar_queues_matrix.saboteurs.base import Benign, Saboteur, Statements
from litestar_queues_matrix.servers import Product

_EXACT = "CHARACTER SET utf8mb4 COLLATE /*!80017 utf8mb4_0900_bin *//*M!100600 utf8mb4_nopad_bin */"
_SORTED = "CHARACTER SET utf8mb4 COLLATE /*!80017 utf8mb4_0900_as_cs *//*M!101001 utf8mb4_uca1400_as_cs */"
_ZONES = ("+05:45", "-03:30")
_CLAIMS = ("claim_lock", "claim_queue_lock")


class _MySQL(Saboteur):
    adapter = "asyncmy"


# Who gets what


class WaitsForLockedTasks(_MySQL):
    """SKIP LOCKED is left out: a claim waits for those that have not come to their end."""

    guarantee = "CLM-12"
    areas = ("CLM",)

    def edit(self, statements: Statements) -> None:
        statements.drop(" SKIP LOCKED")


class LocksNothing(_MySQL):
    """A claim reads tasks without locking them, and writes and reports what it read."""

    guarantee = "CLM-02"
    areas = ("CLM",)

    def edit(self, statements: Statements) -> None:
        statements.drop("FOR UPDATE SKIP LOCKED", *_CLAIMS)
        statements.drop("FOR UPDATE /*!80017 OF t */ SKIP LOCKED", "claim_held_lock")


class SortsIdsByLetters(_MySQL):
    """Ids are in a collation that has capitals beside their small letters."""

    guarantee = "CLM-03"
    areas = ("CLM",)

    def edit(self, statements: Statements) -> None:
        statements.replace("    id VARCHAR(36) NOT NULL", f"    id VARCHAR(36) {_SORTED} NOT NULL", "create_task_table")
        statements.replace(f"(id VARCHAR(36) {_EXACT} PATH", f"(id VARCHAR(36) {_SORTED} PATH")


# Who may write


class CommitsUnderAnyFence(_MySQL):
    """A commit does not look at the fence."""

    guarantee = "LIF-05"
    areas = ("LIF", "OWN")
    engine = programs.CommitsUnderAnyFence


class BeatsUnderAnyFence(_MySQL):
    """A heartbeat does not look at the fence."""

    guarantee = "HBT-03"
    areas = ("HBT", "OWN")
    engine = programs.BeatsUnderAnyFence


class DeletesUnderAnyFence(_MySQL):
    """A deletion does not look at the fence."""

    guarantee = "RET-01"
    areas = ("RET",)
    engine = programs.DeletesUnderAnyFence


class CommitsWithoutLocking(_MySQL):
    """A commit reads what it compares without locking it."""

    guarantee = "OWN-05"
    areas = ("OWN",)

    def edit(self, statements: Statements) -> None:
        statements.drop("FOR UPDATE /*!80017 OF t */", "lock_tasks")


class ReportsCandidatesOfCommits(_MySQL):
    """A commit answers with the ids that it was given."""

    guarantee = "LIF-05"
    areas = ("LIF", "OWN")
    engine = programs.AnswersWithAllTasks


class ReportsCandidatesOfRecoveries(_MySQL):
    """A recovery answers with the ids that it was given."""

    guarantee = "REC-06"
    areas = ("REC",)
    engine = programs.AnswersWithAllTasksOfRecoveries


class TrustsTheNumberOfRows(_MySQL):
    """A commit of several tasks that stored any of them answers with all."""

    guarantee = "OWN-04"
    areas = ("OWN",)
    engine = programs.AnswersWithAllWhereAnyWasStored


class NulledAreNotFound(_MySQL):
    """Stale tasks are found by a comparison alone, which NULL does not pass."""

    guarantee = "REC-01"
    areas = ("REC",)

    def edit(self, statements: Statements) -> None:
        statements.drop("t.heartbeat_at IS NULL OR", "find_stale")


# Keys


class TextsIgnoreCase(_MySQL):
    """Texts are in a collation for people: case and accents do not count."""

    guarantee = "KEY-07"
    areas = ("KEY",)
    engine = programs.EndsAtOnceWithoutAHolder

    def edit(self, statements: Statements) -> None:
        statements.replace(_EXACT, "CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci")


class TextsArePadded(_MySQL):
    """Texts are in a binary collation that fills them up with spaces."""

    guarantee = "KEY-07"
    areas = ("KEY",)
    engine = programs.EndsAtOnceWithoutAHolder

    def edit(self, statements: Statements) -> None:
        statements.replace(_EXACT, "CHARACTER SET utf8mb4 COLLATE utf8mb4_bin")


class KeysAreNotUnique(_MySQL):
    """The index on keys is not unique."""

    guarantee = "KEY-01"
    areas = ("KEY",)

    def edit(self, statements: Statements) -> None:
        statements.replace("UNIQUE KEY", "KEY", "create_task_table")


class KeysAreNeverFreed(_MySQL):
    """A commit leaves the key where it is."""

    guarantee = "KEY-04"
    areas = ("KEY",)
    engine = programs.EndsAtOnceWithoutAHolder

    def edit(self, statements: Statements) -> None:
        statements.drop("t.active_key = c.active_key, ", "write_tasks")


# What is stored


class SecondsOnly(_MySQL):
    """Times are stored to the second."""

    guarantee = "LIF-01"
    areas = ("LIF",)

    def edit(self, statements: Statements) -> None:
        statements.replace("DATETIME(6)", "DATETIME", "create_task_table")


class LocksToTheSecond(_MySQL):
    """The end of a lock is stored to the second."""

    guarantee = "LCK-02"
    areas = ("LCK",)

    def edit(self, statements: Statements) -> None:
        statements.replace("DATETIME(6)", "DATETIME", "create_lock_table")


class TellsLocalTime(_MySQL):
    """The store's clock tells the time of the session, and the sessions are in different time zones."""

    guarantee = "LIF-12"
    areas = ("LIF",)
    zones = _ZONES

    def edit(self, statements: Statements) -> None:
        statements.replace("UTC_TIMESTAMP(6)", "NOW(6)", "now")


class ConvertsToLocalTime(_MySQL):
    """The times of a batch have their offset, which MySQL converts to the time zone of the session."""

    guarantee = "LIF-01"
    areas = ("LIF",)
    zones = _ZONES
    harmless_on = {Product.MARIADB: "it refuses times that have an offset"}  # noqa: RUF012  # read only

    def edit(self, statements: Statements) -> None:
        statements.replace("LEFT(n.due_at, 26)", "n.due_at", "enqueue")
        statements.replace("LEFT(n.expires_at, 26)", "n.expires_at", "enqueue")


class RewritesJson(_MySQL):
    """Users' values are of the type JSON."""

    guarantee = "LIF-01"
    areas = ("LIF",)
    harmless_on = {Product.MARIADB: "its JSON is LONGTEXT by another name"}  # noqa: RUF012  # read only

    def edit(self, statements: Statements) -> None:
        for column in ("args", "kwargs", "metadata", "progress", "result", "error"):
            statements.replace(f"    {column} LONGTEXT", f"    {column} JSON", "create_task_table")


class CountsRowsThatWereThere(_MySQL):
    """Connections count the rows that were found, not those that were changed."""

    guarantee = "LIF-07"
    areas = ("LIF",)

    def store(self, store: QueueStore) -> QueueStore:
        return replace(store, locate=ADDRESS)  # the adapter's own refuses this

    def _connection(self, url: str) -> dict[str, Any]:
        return {**super()._connection(url), "client_flag": 2}


class SwapsColumns(_MySQL):
    """A bulk load has kwargs and metadata the wrong way round."""

    guarantee = "BLK-01"
    areas = ("LIF", "BLK")
    engine = programs.SwapsColumnsInBulk


class LoadsByPosition(_MySQL):
    """A bulk load tells args, kwargs and metadata apart by the order in which the table has them."""

    guarantee = "ARW-01"
    areas = ("ARW", "BLK")
    engine = programs.LoadsByPlace


# Odd, but legal


class SessionsInOtherTimeZones(Benign):
    """The sessions are in different time zones, none of them UTC."""

    adapter = "asyncmy"
    areas = ("LIF", "CLM", "EXP", "LCK", "REC")
    zones = _ZONES
