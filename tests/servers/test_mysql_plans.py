"""How MySQL and MariaDB go about the statements: what they cost must not depend on what they do not touch."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from itertools import count
from typing import Any

import pytest
from mysql_lab import Lab, server, url

from litestar_queues.backends.sql.program import Program
from litestar_queues.clock import ManualClock
from litestar_queues.lifecycle import Complete, step
from litestar_queues.records import Finished, Held, NewTask, Overdue, Want

__all__ = ("server", "url")

NOW = ManualClock().now()
SOON, LATER = NOW + timedelta(seconds=1), NOW + timedelta(hours=1)

_ids = count()


@pytest.fixture
def lab(url: str) -> Iterator[Lab]:
    lab = Lab(url)
    yield lab
    lab.close()


def fill(lab: Lab, size: int, **fields: Any) -> None:
    tasks = [NewTask(id=f"{next(_ids):08}", name="app.task", **fields) for _ in range(size)]
    for at in range(0, size, 1000):
        stored = lab.run(lab.engine.enqueue_many(tasks[at : at + 1000], NOW))
        assert all(one.is_new for one in stored)


def everything(lab: Lab, size: int) -> None:
    """A table full of everything, that the planner knows."""
    for queue in ("mine", "other"):
        for priority in (0, 1, 2):
            fill(lab, size, queue=queue, priority=priority)
        fill(lab, size, queue=queue, run_at=LATER, expires_at=LATER)
    claimed = lab.run(lab.engine.claim(Want(worker="w", limit=size), NOW))
    lab.run(lab.engine.commit([step(task, Complete("null"), LATER) for task in claimed[10:]], None))
    lab.analyze()


WANTED = '["mine"]'
PLANS: dict[str, dict[str, Any]] = {
    "claim_lock": {"now": "2030-01-01 00:00:00", "limit": 10, "execution_backends": None},
    "claim_queue_lock": {"now": "2030-01-01 00:00:00", "limit": 10, "execution_backends": '["local"]', "queue": "mine"},
    "promote": {"now": "2030-01-01 00:00:00", "limit": 10},
    "promote_queue": {"now": "2030-01-01 00:00:00", "limit": 10, "queue": "mine"},
    "find_overdue": {"at": "2030-01-01 00:00:00", "limit": 10},
    "find_finished": {"since": "1000-01-01 00:00:00", "before": "2030-01-01 00:00:00", "limit": 10},
    "next_due": {},
    "next_due_queues": {"queues": WANTED},
}
BY_ID = {
    "lock_tasks": {"ids": '["a"]'},
    "lock_free_tasks": {"ids": '["a"]'},
    "get": {"ids": '["a"]'},
    "lock_keys": {"keys": '["a"]'},
    "enqueued": {"ids": '["a"]', "keys": '["a"]'},
    "delete_tasks": {"ids": '["a"]'},
    "write_tasks": {"batch": '[["a", 1, "running"]]'},
}


@pytest.mark.parametrize("name", PLANS)
def test_what_comes_first_is_read_off_an_index_without_sorting(lab: Lab, name: str) -> None:
    everything(lab, 300)
    plan = lab.plan(name, **PLANS[name])
    own = next(row for row in plan if row["table"] == "t" and row["key"] != "PRIMARY")
    assert own["key"].startswith("litestar_queue_task_")
    assert own["type"] in ("ref", "range")
    assert "filesort" not in (own["Extra"] or "")
    assert "temporary" not in (own["Extra"] or "")


@pytest.mark.parametrize(
    ("name", "size"), [*((name, 300) for name in BY_ID), *((name, 1) for name in BY_ID if name != "get")]
)
def test_tasks_that_are_named_are_found_by_their_ids_and_keys(lab: Lab, name: str, size: int) -> None:
    """In a small table, too, where whatever looks at each row waits for those that are locked."""
    everything(lab, size)
    own = [row for row in lab.plan(name, **BY_ID[name]) if row["table"] == "t"]
    assert own
    assert {row["type"] for row in own} <= {"eq_ref", "ref"}
    assert {row["key"] for row in own} <= {"PRIMARY", "litestar_queue_task_key"}


def test_counts_read_an_index_and_no_table(lab: Lab) -> None:
    everything(lab, 300)
    [own] = [row for row in lab.plan("count", queues=None) if row["table"] == "t"]
    assert "Using index" in own["Extra"]


def claim(lab: Lab, queues: tuple[str, ...] | None) -> Program[Any]:
    return lab.engine.claim(Want(worker="w", limit=10, queues=queues), SOON)


BACKLOGS: dict[str, dict[str, Any]] = {
    "pending": {"queue": "mine"},
    "scheduled": {"queue": "mine", "run_at": LATER},
    "other": {"queue": "other", "priority": 3},
}


@pytest.mark.parametrize("analyzed", ["", "analyzed"])
@pytest.mark.parametrize(
    ("backlog", "queues"),
    [
        ("pending", None),
        ("pending", ("mine", "idle")),
        ("scheduled", None),
        ("scheduled", ("mine",)),
        ("other", ("mine",)),
    ],
)
def test_the_cost_of_a_claim_does_not_grow_with(
    lab: Lab, backlog: str, queues: tuple[str, ...] | None, analyzed: str
) -> None:
    costs: list[int] = []
    for size in (100, 3_000):
        fill(lab, 20, queue="mine")
        fill(lab, size, **BACKLOGS[backlog])
        if analyzed:
            lab.analyze()
        costs.append(lab.cost(claim(lab, queues)))
    few, many = costs
    assert many <= few * 1.2


def test_the_rest_costs_no_more_in_a_full_table(lab: Lab) -> None:
    programs = {
        "next_due": lab.engine.next_due(None),
        "next_due_queues": lab.engine.next_due(("mine", "idle")),
        "overdue": lab.engine.find(Overdue(NOW), 10),
        "finished": lab.engine.find(Finished(NOW), 10),
        "get": lab.engine.get(["a", "b"]),
        "beat": lab.engine.touch_heartbeats([Held("a", 1), Held("b", 1)], NOW),
    }
    everything(lab, 30)
    few = {name: lab.cost(program) for name, program in programs.items()}
    for backlog in BACKLOGS.values():
        fill(lab, 3_000, **backlog)
    many = {name: lab.cost(program) for name, program in programs.items()}
    assert all(many[name] <= few[name] * 1.2 + 2 for name in programs), (few, many)
