"""How SQLite goes about the statements: what they cost must not depend on what they do not touch."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from sql_lab import WHOLE, Lab

from litestar_queues.clock import ManualClock
from litestar_queues.lifecycle import Complete, step
from litestar_queues.records import NewTask, Want

NOW = ManualClock().now()


@pytest.fixture(scope="module", params=["fresh", "analyzed"])
def lab(request: pytest.FixtureRequest) -> Lab:
    """A lab whose planner knows nothing, or has statistics of a table full of everything."""
    lab = Lab(WHOLE)
    if request.param == "analyzed":
        later = NOW + timedelta(hours=1)
        tasks = [
            NewTask(
                id=f"{i:05}",
                name="app.task",
                queue=f"queue-{i % 3}",
                priority=i % 5,
                key=f"key-{i}" if i % 7 == 0 else None,
                run_at=None if i % 2 else later,
                expires_at=later if i % 11 == 0 else None,
            )
            for i in range(3000)
        ]
        lab.run(lab.engine.enqueue_many(tasks, NOW))
        claimed = lab.run(lab.engine.claim(Want(worker="w", limit=500), NOW))
        lab.run(lab.engine.commit([step(task, Complete("null"), NOW) for task in claimed[:450]], None))
        lab.connection.execute("ANALYZE")
    return lab


def table_steps(plan: str) -> list[str]:
    """The steps that read or sort rows of the table, not of a parameter."""
    return [
        line for line in plan.split("\n") if "json_each" not in line and not re.match(r"SCAN [hq] |.*SUBQUERY", line)
    ]


BY_ID = "SEARCH {} USING INTEGER PRIMARY KEY (rowid=?)"


def test_claim_takes_the_first_of_the_index_without_sorting(lab: Lab) -> None:
    update, select = table_steps(lab.plan("claim"))
    assert update == BY_ID.format("litestar_queue_task")
    assert "USING COVERING INDEX litestar_queue_task_ready" in select


def test_claim_of_queues_reads_their_parts_of_the_index_only(lab: Lab) -> None:
    update, merged, select, sort = table_steps(lab.plan("claim_queues", queues='["a"]'))
    assert update == BY_ID.format("litestar_queue_task")
    assert merged == BY_ID.format("t")
    assert "SEARCH litestar_queue_task USING COVERING INDEX litestar_queue_task_queue_ready (queue=?" in select
    assert sort == "USE TEMP B-TREE FOR ORDER BY", "of at most `limit` tasks of each queue"


def test_promotion_reads_due_tasks_only(lab: Lab) -> None:
    update, select = table_steps(lab.plan("promote"))
    assert update == BY_ID.format("litestar_queue_task")
    assert re.search(r"INDEX litestar_queue_task_scheduled \(due_at<\?\)", select)
    _, _, select, _ = table_steps(lab.plan("promote_queues", queues='["a"]'))
    assert re.search(r"INDEX litestar_queue_task_queue_scheduled \(queue=\? AND due_at<\?\)", select)


@pytest.mark.parametrize(
    "name", ["claim_held", "touch_heartbeats", "commit", "commit_keys", "delete", "get", "enqueued"]
)
def test_tasks_that_are_named_are_found_by_their_ids_and_keys(lab: Lab, name: str) -> None:
    for line in table_steps(lab.plan(name)):
        assert re.match(r"SEARCH \w+ USING (INTEGER PRIMARY KEY|(COVERING )?INDEX)|COMPOUND|UNION|USE TEMP", line), line


@pytest.mark.parametrize(("name", "index"), [("find_finished", "finished"), ("next_due", "scheduled")])
def test_the_earliest_are_read_off_an_index(lab: Lab, name: str, index: str) -> None:
    [line] = table_steps(lab.plan(name))
    assert re.match(rf"SEARCH litestar_queue_task USING (COVERING )?INDEX litestar_queue_task_{index}\b", line)


def test_overdue_tasks_are_read_off_the_index_of_waiting_ones_and_looked_for_among_the_dispatched(lab: Lab) -> None:
    waiting, dispatched = (line for line in table_steps(lab.plan("find_overdue")) if "litestar_queue_task" in line)
    assert "SEARCH litestar_queue_task USING INDEX litestar_queue_task_overdue (expires_at" in waiting
    assert "USING INDEX litestar_queue_task_dispatched" in dispatched


def test_next_due_of_queues_is_one_look_at_each(lab: Lab) -> None:
    _, line = table_steps(lab.plan("next_due_queues", queues='["a"]'))
    assert "SEARCH" in line
    assert "litestar_queue_task_queue_scheduled (queue=?)" in line


def test_stale_tasks_are_looked_for_among_the_running(lab: Lab) -> None:
    assert "INDEX litestar_queue_task_running" in table_steps(lab.plan("find_stale"))[0]


def test_silent_tasks_are_looked_for_among_the_dispatched(lab: Lab) -> None:
    assert "INDEX litestar_queue_task_dispatched" in table_steps(lab.plan("find_dispatched"))[0]


def test_counts_read_indexes_and_no_table(lab: Lab) -> None:
    steps = [line for line in table_steps(lab.plan("count")) if "litestar_queue_task" in line]
    assert len(steps) == 5
    assert all("USING COVERING INDEX" in line for line in steps), steps
    assert "B-TREE" not in lab.plan("count")


class Steps:
    """Counts, in thousands, the instructions of SQLite's machine: a cost that no other process can change."""

    def __init__(self, lab: Lab) -> None:
        self.count = 0
        lab.connection.set_progress_handler(self._step, 100)

    def _step(self) -> int:
        self.count += 1
        return 0


def claim_cost(tasks: list[NewTask], *, queues: tuple[str, ...] | None) -> int:
    lab = Lab(WHOLE)
    mine = [NewTask(id=f"mine {i:03}", name="app.task", queue="mine") for i in range(50)]
    lab.run(lab.engine.enqueue_many([*tasks, *mine], NOW))
    cost = Steps(lab)
    claimed = lab.run(lab.engine.claim(Want(worker="w", limit=10, queues=queues), NOW))
    assert len(claimed) == 10
    return cost.count


@pytest.mark.parametrize(
    ("kind", "queues"),
    [
        ("pending", None),
        ("pending", ("mine", "idle")),
        ("scheduled", None),
        ("scheduled", ("mine",)),
        ("other", ("mine",)),
    ],
)
def test_the_cost_of_a_claim_does_not_grow_with(kind: str, queues: tuple[str, ...] | None) -> None:
    def backlog(size: int) -> list[NewTask]:
        return [
            NewTask(
                id=f"{i:06}",
                name="app.task",
                queue="other" if kind == "other" else "mine",
                priority=i % 3 if kind == "other" else 0,
                run_at=NOW + timedelta(seconds=i + 1) if kind == "scheduled" else None,
            )
            for i in range(size)
        ]

    few, many = [claim_cost(backlog(size), queues=queues) for size in (100, 5_000)]
    assert many <= few * 1.2
