"""The store and the event logs, read with the standard library alone: none of the code under test has a say here."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from demo.orders import FAILING

__all__ = ("Account", "Store", "judge")

TERMINAL = ("completed", "failed", "cancelled", "expired")
Row = dict[str, Any]


class Store:
    """Reads the demo's folder.

    Args:
        folder: Where the database and the event logs are.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._database = folder / "queues.db"

    def _query(self, statement: str, *parameters: object) -> list[Row]:
        with closing(sqlite3.connect(f"{self._database.as_uri()}?mode=ro", uri=True, timeout=300)) as connection:
            connection.row_factory = sqlite3.Row
            return [dict(row) for row in connection.execute(statement, parameters)]

    def states(self) -> Counter[str]:
        """How many tasks are in each state."""
        found = self._query("SELECT state, count(*) AS tasks FROM litestar_queue_task GROUP BY state")
        return Counter({row["state"]: row["tasks"] for row in found})

    def moves(self) -> tuple[int, ...]:
        """What changes with every task that is enqueued, claimed or settled."""
        [found] = self._query("SELECT count(*) AS tasks, coalesce(sum(fence), 0) AS fences FROM litestar_queue_task")
        return found["tasks"], found["fences"]

    def rows(self, ids: Iterable[str] | None = None) -> dict[str, Row]:
        """The rows of these tasks, or of all, by id."""
        if ids is None:
            found = self._query("SELECT * FROM litestar_queue_task")
        else:
            found = self._query(
                "SELECT * FROM litestar_queue_task WHERE id IN (SELECT value FROM json_each(?))", json.dumps([*ids])
            )
        return {row["id"]: row for row in found}

    def held_by(self, pid: int) -> dict[str, Row]:
        """The rows of the tasks that a process has claimed and not settled."""
        found = self._query(
            "SELECT * FROM litestar_queue_task WHERE state = 'running' AND instr(worker, ?)", f":{pid}:"
        )
        return {row["id"]: row for row in found}

    def is_locked(self) -> bool:
        """Whether somebody is in the middle of a write, and stays there for a moment."""
        with closing(sqlite3.connect(self._database, isolation_level=None, timeout=0.5)) as connection:
            try:
                connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                return True
            connection.execute("ROLLBACK")
            return False

    def events(self, kind: str, pid: int | None = None) -> list[Row]:
        """The lifecycle events of a kind that a process, or any, has written down."""
        logs = self._folder.glob("events-*.jsonl") if pid is None else [self._folder / f"events-{pid}.jsonl"]
        lines = [line for log in logs if log.exists() for line in log.read_bytes().splitlines(keepends=True)]
        # The last line of a killed process may be half a line.
        events = [json.loads(line) for line in lines if line.endswith(b"\n")]
        return [event for event in events if event["kind"] == kind]


@dataclass(slots=True)
class Account:
    """What became of everything."""

    enqueued: int
    completed: int
    failed: int
    recovered: list[str]
    fence_losses: int
    refused_outcomes: int
    """Those of the fence losses that were the refused write of an outcome; the others were told by a heartbeat."""
    lost: list[str]
    retried: int
    starved: list[str]
    """Those that failed because the heartbeats of each of their attempts came too late: the machine was too slow."""
    overwritten: set[str] = field(default_factory=set[str])
    """Tasks whose stored outcome is that of an owner which had lost them."""
    wrong: list[str] = field(default_factory=list[str])
    """What should not be, in words."""


def judge(store: Store, tasks: Mapping[str, str], *, all_ended: bool = True) -> Account:
    """Compare what was acknowledged with what is stored.

    Args:
        store: The demo's folder.
        tasks: The name of each task that the server has acknowledged, by id.
        all_ended: Whether every task has had its time: one that waits or runs is lost then.
    """
    rows = store.rows()
    losses = store.events("fence_loss")
    account = Account(
        enqueued=len(tasks),
        completed=sum(row["state"] == "completed" for row in rows.values()),
        failed=sum(row["state"] == "failed" for row in rows.values()),
        recovered=sorted({event["task_id"] for event in store.events("lose_heartbeat")}),
        fence_losses=len(losses),
        refused_outcomes=sum(event["state"] != "running" for event in losses),
        lost=sorted(id_ for id_ in tasks if id_ not in rows or (all_ended and rows[id_]["state"] not in TERMINAL)),
        starved=sorted(id_ for id_, row in rows.items() if _is_starved(row)),
        retried=sum(row["attempt"] > 1 for row in rows.values()),
    )
    settled = Counter(
        event["task_id"] for kind in ("complete", "fail") for event in store.events(kind) if event["state"] in TERMINAL
    )
    account.overwritten |= {id_ for id_, count in settled.items() if count > 1}
    account.overwritten |= {id_ for id_, row in rows.items() if not _is_the_last_owners(row)}
    account.overwritten |= {loss["task_id"] for loss in losses if _is_stored(loss, rows[loss["task_id"]])}
    wrong = account.wrong
    wrong += [f"task {id_} was acknowledged, and did not reach a terminal state" for id_ in account.lost]
    wrong += [f"task {id_} is stored, and was never acknowledged" for id_ in sorted(rows.keys() - tasks.keys())]
    wrong += [
        f"task {id_} ({row['name']}) should have {_ending(row)}, and is {row['state']}: {row['error']}"
        for id_, row in rows.items()
        if row["state"] in TERMINAL and row["state"] != _ending(row) and not _is_starved(row)
    ]
    wrong += [f"task {id_}: the outcome of a lost owner was accepted" for id_ in sorted(account.overwritten)]
    return account


def _ending(row: Row) -> str:
    return "failed" if row["name"] in FAILING else "completed"


def _is_starved(row: Row) -> bool:
    return row["state"] == "failed" and "HeartbeatLost" in (row["error"] or "")


def _is_the_last_owners(row: Row) -> bool:
    """Whether a completed task's outcome is that of its last claim: the receipt names the claim that it ran under."""
    if row["state"] != "completed":
        return True
    receipt = json.loads(row["result"])
    ran_under = (receipt["fence"] + 1, receipt["attempt"])
    return ran_under == (row["fence"], row["attempt"]) and f":{receipt['pid']}:" in row["worker"]


def _is_stored(loss: Row, row: Row) -> bool:
    """Whether a write that was refused, or one like it, is stored after all."""
    return bool(row["worker"] == loss["worker"] and row["fence"] <= loss["fence"])
