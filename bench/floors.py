"""The bare drivers: the same writes as the queue's, and nothing else.

No arguments are encoded or decoded, nothing is checked, nothing runs. A floor works on a table that the queue made, so
that columns, constraints and indexes are the same.
"""

from __future__ import annotations

import asyncio
import time
from importlib import import_module
from typing import Any, Protocol, Self
from urllib.parse import urlsplit

from bench.redis_floor import RedisFloor

__all__ = ("KINDS", "Floor", "PostgresFloor", "floor_of")

KINDS = ("pending", "scheduled for later", "in another queue", "finished")
"""The tasks that a table can be filled with. Those in another queue come first by their priority."""


class Floor(Protocol):
    """A bare driver on a table that holds one task to imitate.

    Attributes:
        name: What it is called.
        learns: Whether the server has statistics of what it holds, by which it goes about a statement.
    """

    name: str
    learns: bool

    async def refresh(self) -> None:
        """Take the table's one task as the pattern, and empty the table."""
        ...

    async def enqueue_singly(self, tasks: int) -> None:
        """One INSERT, and one transaction, per task."""
        ...

    async def enqueue_in_batches(self, tasks: int, batch: int) -> None:
        """One transaction per batch, by whatever the driver loads rows with."""
        ...

    async def drain(self, batch: int) -> None:
        """Claim and complete everything, in two statements per batch."""
        ...

    async def notice(self, times: int) -> list[float] | None:
        """Seconds from the sending of a notification until it arrives, so many times; None where there is no such."""
        ...

    async def drop(self, *tables: str) -> None:
        """Remove a queue's tables, or what it has instead."""
        ...

    async def fill(self, kind: str, tasks: int) -> None:
        """Add tasks of a kind, by the server itself, and keep it from learning of them by itself."""
        ...

    async def analyse(self) -> None:
        """Let the server learn what the table holds."""
        ...

    async def close(self) -> None:
        """Hang up."""
        ...


class PostgresFloor:
    """Bare asyncpg."""

    name = "bare asyncpg"
    learns = True

    def __init__(self, url: str, table: str, connection: Any) -> None:
        self._url, self._table, self._db = url, table, connection
        self._pattern: dict[str, Any] = {}
        self._number = 0

    @classmethod
    async def open(cls, url: str, table: str) -> Self:
        """Connect."""
        asyncpg: Any = import_module("asyncpg")
        return cls(url, table, await asyncpg.connect(url))

    async def refresh(self) -> None:
        row = await self._db.fetchrow(f"SELECT * FROM {self._table} LIMIT 1")  # noqa: S608  # our own table
        self._pattern = dict(row)
        await self._db.execute(f"TRUNCATE {self._table}")

    def _rows(self, tasks: int) -> list[tuple[Any, ...]]:
        pattern, first = self._pattern, self._number
        self._number += tasks
        return [tuple({**pattern, "id": f"{first + one:036d}"}.values()) for one in range(tasks)]

    async def enqueue_singly(self, tasks: int) -> None:
        columns, marks = ", ".join(self._pattern), ", ".join(f"${n + 1}" for n in range(len(self._pattern)))
        insert = await self._db.prepare(f"INSERT INTO {self._table} ({columns}) VALUES ({marks})")  # noqa: S608  # our own table
        for row in self._rows(tasks):
            await insert.fetch(*row)

    async def enqueue_in_batches(self, tasks: int, batch: int) -> None:
        for _ in range(0, tasks, batch):
            await self._db.copy_records_to_table(self._table, records=self._rows(batch), columns=list(self._pattern))

    async def drain(self, batch: int) -> None:
        claim = await self._db.prepare(f"""
            UPDATE {self._table} SET state = 'running', attempt = attempt + 1, fence = fence + 1, worker = 'floor',
                started_at = statement_timestamp(), heartbeat_at = statement_timestamp()
            WHERE id = ANY(ARRAY(
                SELECT id FROM {self._table} WHERE state = 'pending' ORDER BY priority DESC, due_at, id LIMIT $1
                FOR UPDATE SKIP LOCKED
            ))
            RETURNING id, name, args, kwargs, attempt, max_attempts, fence""")  # noqa: S608  # our own table
        complete = await self._db.prepare(f"""
            UPDATE {self._table} SET state = 'completed', fence = fence + 1, result = '1', heartbeat_at = NULL,
                finished_at = statement_timestamp(), active_key = NULL
            WHERE id = ANY($1::text[])""")  # noqa: S608  # our own table
        while rows := await claim.fetch(batch):
            await complete.fetch([row[0] for row in rows])

    async def notice(self, times: int) -> list[float] | None:
        listener: Any = await import_module("asyncpg").connect(self._url)
        arrived = asyncio.Event()
        found: list[float] = []

        def hear(*_: object) -> None:
            arrived.set()

        await listener.add_listener("bench", hear)
        for _ in range(times):
            await asyncio.sleep(0.01)
            arrived.clear()
            began = time.perf_counter()
            await self._db.execute("SELECT pg_notify('bench', 'x')")
            await arrived.wait()
            found.append(time.perf_counter() - began)
        await listener.close()
        return found

    async def drop(self, *tables: str) -> None:
        for table in tables:
            await self._db.execute(f"DROP TABLE IF EXISTS {table}, {table}_lock")

    async def execute(self, statement: str) -> list[tuple[Any, ...]]:
        """Any statement."""
        return [tuple(row) for row in await self._db.fetch(statement)]

    async def explain(self, statement: str, values: str) -> list[str]:
        """How the server runs a statement for a driver that prepares statements and keeps them; nothing stays written."""
        transaction = self._db.transaction()
        await transaction.start()
        try:
            await self._db.execute("SET LOCAL plan_cache_mode = force_generic_plan")
            await self._db.execute(f"PREPARE explained AS {statement}")
            lines = await self._db.fetch(f"EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF) EXECUTE explained ({values})")
            await self._db.execute("DEALLOCATE explained")
        finally:
            await transaction.rollback()
        return [str(line[0]) for line in lines]

    async def fill(self, kind: str, tasks: int) -> None:
        queue, priority = ("other", 9) if kind == "in another queue" else ("default", 0)
        state, due = {
            "scheduled for later": ("scheduled", "now() + interval '1 day'"),
            "finished": ("completed", "now() - interval '1 hour'"),
        }.get(kind, ("pending", "now() - interval '1 hour'"))
        done = f"{due} + n * interval '1 microsecond'" if kind == "finished" else "NULL"
        await self._db.execute(f"ALTER TABLE {self._table} SET (autovacuum_enabled = false)")
        await self._db.execute(f"""
            INSERT INTO {self._table} (
                id, name, queue, state, priority, attempt, max_attempts, fence, args, kwargs, metadata,
                execution_backend, created_at, due_at, finished_at
            )
            SELECT
                lpad(to_hex(n), 36, '0'), 'bench.noop', '{queue}', '{state}', {priority}, 0, 1, 0, '[1]', '{{}}', '{{}}',
                'local', now(), {due} + n * interval '1 microsecond', {done}
            FROM generate_series(1, {tasks}) AS n""")  # noqa: S608  # our own table

    async def bloat(self) -> None:
        """Leave two dead rows for every living one."""
        for _ in range(2):
            await self._db.execute(f"UPDATE {self._table} SET due_at = due_at + interval '1 microsecond'")  # noqa: S608  # our own table

    async def analyse(self) -> None:
        await self._db.execute(f"ANALYZE {self._table}")

    async def close(self) -> None:
        await self._db.close()


async def floor_of(url: str, table: str) -> Floor:
    """The bare driver for a server.

    Raises:
        SystemExit: There is none for such a server yet.
    """
    scheme = urlsplit(url).scheme
    if scheme in ("redis", "valkey"):
        return await RedisFloor.open(url, table)
    if scheme != "postgresql":
        raise SystemExit(f"there is no floor for {scheme} servers yet: add one to bench/floors.py")
    return await PostgresFloor.open(url, table)
