"""The SQL engine on Python's own sqlite3, without SQLSpec's drivers: programs need no more than this."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from litestar_queues.backends.sql.candidates import CandidatesFirst
from litestar_queues.backends.sql.families import SQLITE, TABLE, Family, Kind, Statement, load, statements_of
from litestar_queues.backends.sql.locking import LockStepWrite
from litestar_queues.backends.sql.program import Call, Program, Rows, advance
from litestar_queues.backends.sql.schema import Schema
from litestar_queues.clock import Clock, ManualClock

T = TypeVar("T")

WHOLE = statements_of(SQLITE)
"""Operations in one statement, as the file of the family has them."""

LOCKING = replace(SQLITE, engine=LockStepWrite)
"""A family whose statements cannot do the whole of an operation: lock, step, write."""
LOCKED = {**WHOLE, **load(Path(__file__).with_name("lock_step_write.sql"), LOCKING)}
CHOOSING = replace(SQLITE, engine=CandidatesFirst)
"""A family that reads candidates before it locks them."""
CANDIDATES = LOCKED | load(Path(__file__).with_name("candidates_first.sql"), CHOOSING)

FORMS = {"one-statement": (SQLITE, WHOLE), "lock-step-write": (LOCKING, LOCKED), "candidates": (CHOOSING, CANDIDATES)}


class Lab:
    """The port's methods, over a database in memory."""

    def __init__(
        self, statements: Mapping[str, Statement], clock: Clock | None = None, *, family: Family = SQLITE
    ) -> None:
        self.connection = sqlite3.connect(":memory:", isolation_level=None)
        self.engine = family.engine(family, statements, clock or ManualClock())
        self.sent: set[str] = set()
        """The names of the statements that programs have sent."""
        self.run(Schema(family, statements, TABLE).create())

    def run(self, program: Program[T]) -> T:
        steps = program.start()
        call = advance(steps)
        if program.kind is not Kind.READ:
            self.connection.execute("BEGIN IMMEDIATE")
        try:
            while isinstance(call, Call):
                call = advance(steps, self.send(call))
        except BaseException:
            self.connection.rollback()
            raise
        self.connection.commit()
        return call.answer

    def send(self, call: Call) -> Rows:
        self.sent.add(call.statement.name)
        cursor = self.connection.execute(call.statement.text, dict(call.parameters))
        return Rows(cursor.fetchall(), cursor.rowcount)

    def plan(self, name: str, **parameters: Any) -> str:
        """How SQLite goes about a statement, a step a line."""
        text = self.engine._statements[name].text
        named = dict.fromkeys(_parameters(text)) | parameters
        rows = self.connection.execute(f"EXPLAIN QUERY PLAN {text}", named).fetchall()
        return "\n".join(row[3] for row in rows)

    async def enqueue_many(self, tasks: Any, *, now: Any = None) -> Any:
        return self.run(self.engine.enqueue_many(tasks, now))

    async def claim(self, want: Any, *, now: Any = None) -> Any:
        return self.run(self.engine.claim(want, now))

    async def touch_heartbeats(self, held: Any, *, now: Any = None) -> Any:
        return self.run(self.engine.touch_heartbeats(held, now))

    async def commit(self, tasks: Any, *, stale: Any = None) -> Any:
        return self.run(self.engine.commit(tasks, stale))

    async def get(self, ids: Any) -> Any:
        return self.run(self.engine.get(ids))

    async def find(self, query: Any, limit: int) -> Any:
        return self.run(self.engine.find(query, limit))

    async def count(self, queues: Any = None) -> Any:
        return self.run(self.engine.count(queues))

    async def next_due(self, queues: Any = None) -> Any:
        return self.run(self.engine.next_due(queues))

    async def delete(self, held: Any) -> Any:
        return self.run(self.engine.delete(held))

    async def lock(self, name: str, owner: str, ttl: Any, *, now: Any = None) -> Any:
        return self.run(self.engine.lock(name, owner, ttl, now))

    async def unlock(self, name: str, owner: str) -> Any:
        return self.run(self.engine.unlock(name, owner))

    async def read_records(self, prefix: str) -> Any:
        return self.run(self.engine.read_records(prefix))

    async def write_records(self, records: Any) -> Any:
        return self.run(self.engine.write_records(records))


def _parameters(text: str) -> set[str]:
    return {word.strip(":,()") for word in text.replace("(", " ").split() if word.startswith(":")}
