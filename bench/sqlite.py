"""How fast the queue is on SQLite, beside a bare sqlite3 loop that does the same writes to the same tables.

Subject and floor alternate in one run, several rounds each; what is printed are medians and their ratios. Absolute
figures say something of the machine, ratios something of the code. The floor does not encode, check, decode or run
anything: it is what the database allows.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from sqlspec.adapters.aiosqlite import AiosqliteConfig
from sqlspec.adapters.sqlite import SqliteConfig

from bench.common import drain, noop, rate
from litestar_queues import QueueConfig, QueueService
from litestar_queues.backends.sqlspec import SQLSpecBackendConfig
from litestar_queues.records import Want

TABLE = "litestar_queue_task"
ADAPTERS: dict[str, Callable[[str], Any]] = {
    "aiosqlite": lambda path: AiosqliteConfig(connection_config={"database": path}),
    "sqlite": lambda path: SqliteConfig(connection_config={"database": path}),
}
BACKLOGS: dict[str, dict[str, Any]] = {
    "pending": {},
    "scheduled for later": {"delay": 86_400},
    "in another queue": {"queue": "other", "priority": 9},
}
"""What the tasks that are not claimed have in common."""


def service_on(adapter: str, path: Path, concurrency: int = 100) -> QueueService:
    """A service on a file."""
    backend = SQLSpecBackendConfig(config=ADAPTERS[adapter](str(path)))
    return QueueService(QueueConfig(queue_backend=backend, worker_max_concurrency=concurrency))


class Floor:
    """A bare sqlite3 connection to a file with the queue's own tables and settings."""

    def __init__(self, path: Path) -> None:
        self.db = sqlite3.connect(path, isolation_level=None)
        self.db.execute("PRAGMA busy_timeout = 10000")
        self.db.execute("PRAGMA synchronous = NORMAL")
        self.columns = [row[1] for row in self.db.execute(f"PRAGMA table_info({TABLE})")]
        row = self.db.execute(f"SELECT * FROM {TABLE} LIMIT 1").fetchone()  # noqa: S608  # our own table
        self.pattern = dict(zip(self.columns, row, strict=True))
        self.db.execute(f"DELETE FROM {TABLE}")  # noqa: S608  # our own table
        marks = ", ".join("?" * len(self.columns))
        self.insert = f"INSERT INTO {TABLE} ({', '.join(self.columns)}) VALUES ({marks})"  # noqa: S608  # our own table
        self.number = 0

    def row(self) -> tuple[Any, ...]:
        """One more task, as the queue would store it."""
        self.number += 1
        return tuple({**self.pattern, "id": f"{self.number:036d}"}.values())

    def enqueue_singly(self, tasks: int) -> None:
        """One transaction per task."""
        for _ in range(tasks):
            self.db.execute("BEGIN IMMEDIATE")
            self.db.execute(self.insert, self.row())
            self.db.execute("COMMIT")

    def enqueue_in_batches(self, tasks: int, batch: int) -> None:
        """One transaction per batch."""
        for _ in range(0, tasks, batch):
            self.db.execute("BEGIN IMMEDIATE")
            self.db.executemany(self.insert, [self.row() for _ in range(batch)])
            self.db.execute("COMMIT")

    def drain(self, batch: int) -> None:
        """Claim and complete everything, in two transactions per batch."""
        claim = f"""
            UPDATE {TABLE} SET state = 'running', attempt = attempt + 1, fence = fence + 1, worker = 'floor',
                started_at = created_at, heartbeat_at = created_at
            WHERE id IN (SELECT id FROM {TABLE} WHERE state = 'pending' ORDER BY priority DESC, due_at, id LIMIT ?)
            RETURNING *"""  # noqa: S608  # our own table
        complete = f"""
            UPDATE {TABLE} SET state = 'completed', fence = fence + 1, result = '1', heartbeat_at = NULL,
                finished_at = created_at, active_key = NULL
            WHERE id = ? AND fence = ?"""  # noqa: S608  # our own table
        id_at, fence_at = self.columns.index("id"), self.columns.index("fence")
        while True:
            self.db.execute("BEGIN IMMEDIATE")
            rows = self.db.execute(claim, (batch,)).fetchall()
            self.db.execute("COMMIT")
            if not rows:
                return
            self.db.execute("BEGIN IMMEDIATE")
            self.db.executemany(complete, [(row[id_at], row[fence_at]) for row in rows])
            self.db.execute("COMMIT")


async def floor_on(path: Path) -> Floor:
    """Tables made by the queue itself, and a row to imitate."""
    async with service_on("sqlite", path) as service:
        await service.enqueue(noop, 1)
    return Floor(path)


async def one_round(adapter: str, folder: Path, tasks: int) -> dict[str, tuple[float, float]]:
    """Each measure once: tasks per second of the queue, and of the floor."""
    floor = await floor_on(folder / "floor.db")
    measures: dict[str, tuple[float, float]] = {}
    singles = max(tasks // 10, 100)

    async def floor_work(work: Callable[[], None]) -> None:
        work()

    async with service_on(adapter, folder / "queue.db") as service:

        async def singly() -> None:
            for number in range(singles):
                await service.enqueue(noop.call(number))

        async def in_batches() -> None:
            for start in range(0, tasks, 1000):
                await service.enqueue_many([noop.call(start + number) for number in range(1000)])

        measures["enqueue, one by one"] = (
            await rate(singles, singly),
            await rate(singles, lambda: floor_work(lambda: floor.enqueue_singly(singles))),
        )
        measures["enqueue_many of 1,000"] = (
            await rate(tasks, in_batches),
            await rate(tasks, lambda: floor_work(lambda: floor.enqueue_in_batches(tasks, 1000))),
        )
        total = tasks + singles
        measures["drain, concurrency 100"] = (
            await rate(total, lambda: drain(service, total)),
            await rate(total, lambda: floor_work(lambda: floor.drain(100))),
        )
    floor.db.close()
    return measures


async def claim_cost(adapter: str, folder: Path, kind: str, backlog: int, rounds: int) -> float:
    """Milliseconds, median, of one claim of 10 with so many other tasks of a kind in the table."""
    path = folder / f"{kind.replace(' ', '-')}-{backlog}.db"
    options = BACKLOGS[kind]
    times: list[float] = []
    async with service_on(adapter, path) as service:
        for start in range(0, backlog, 1000):
            await service.enqueue_many([noop.using(**options).call(start + number) for number in range(1000)])
        for _ in range(rounds):
            await service.enqueue_many([noop.call(number) for number in range(10)])
            began = time.perf_counter()
            claimed = await service.operations.claim(Want(worker="bench", limit=10, queues=("default",)))
            times.append((time.perf_counter() - began) * 1000)
            if len(claimed) != 10:
                raise RuntimeError(f"a claim of 10 gave {len(claimed)}")
    return statistics.median(times)


@contextlib.contextmanager
def folder() -> Generator[Path, None, None]:
    """A folder that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="queues-bench-") as name:
        yield Path(name)


async def main(args: argparse.Namespace) -> int:
    """Measure and print."""
    tasks: int = args.tasks or 10_000
    backlogs: list[int] = [1_000, 100_000] if args.backlogs is None else args.backlogs
    adapters: list[str] = args.adapter or sorted(ADAPTERS)
    if unknown := sorted(set(adapters) - set(ADAPTERS)):
        raise SystemExit(f"SQLite is reached by {', '.join(sorted(ADAPTERS))}, not by {', '.join(unknown)}")
    console = Console()
    report: dict[str, Any] = {"tasks": tasks, "rounds": args.rounds}
    for adapter in adapters:
        found: dict[str, list[tuple[float, float]]] = {}
        for _ in range(args.rounds):
            with folder() as path:
                for name, pair in (await one_round(adapter, path, tasks)).items():
                    found.setdefault(name, []).append(pair)
        table = Table("", "queue, tasks/s", "bare sqlite3, tasks/s", "ratio", title=f"{adapter}: rates")
        rates: dict[str, Any] = {}
        report[adapter] = rates
        for name, pairs in found.items():
            ours, bare = (statistics.median(column) for column in zip(*pairs, strict=True))
            ratio = statistics.median(one / other for one, other in pairs)
            rates[name] = {"queue": round(ours), "floor": round(bare), "ratio": round(ratio, 3)}
            table.add_row(name, f"{ours:,.0f}", f"{bare:,.0f}", f"{ratio:.2f}")
        console.print(table)
        costs = Table(
            "other tasks", *(f"{size:,}" for size in backlogs), "ratio", title=f"{adapter}: a claim of 10, ms"
        )
        for kind in BACKLOGS:
            with folder() as path:
                times = [await claim_cost(adapter, path, kind, size, 50) for size in backlogs]
            rates[f"claim, {kind}"] = {str(size): round(ms, 3) for size, ms in zip(backlogs, times, strict=True)}
            costs.add_row(kind, *(f"{ms:.2f}" for ms in times), f"{times[-1] / times[0]:.2f}")
        console.print(costs)
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(report, indent=2) + "\n")
    return 0
