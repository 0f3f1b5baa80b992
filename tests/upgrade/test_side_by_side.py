"""A rolling deploy: workers of the first version and of this one, on one store, across the upgrade."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from acceptance.stage import until
from golden import expected, load
from processes import Process, Processes
from upgrading import WAYS, assert_kept, before, opened

from litestar_queues.backends.base import QueueBackend
from litestar_queues.lifecycle import ACTIVE, State
from litestar_queues.records import Matching, TaskRecord

pytestmark = pytest.mark.anyio

NOW = datetime.now(UTC).isoformat()
OURS = {
    id_: task for id_, task in expected().items() if task["name"] == "echo" and task["execution_backend"] == "local"
}
"""Those that a worker may run, sooner or later."""
OVERDUE = {id_ for id_, task in OURS.items() if task["expires_at"] and task["expires_at"] < NOW}
LATER = {id_ for id_, task in OURS.items() if task["due_at"] > NOW}
SPENT = {id_ for id_, task in OURS.items() if task["state"] == "running" and task["attempt"] == task["max_attempts"]}
"""Their worker is gone, and it was their last attempt."""
TO_RUN = OURS.keys() - OVERDUE - LATER - SPENT
LEFT_ALONE = expected().keys() - TO_RUN - OVERDUE - SPENT
HELD_KEY = "elsewhere-1"
VALUES = ("plain", 2**53 + 1, ["é", {"k": None}])
DUCKDB = "duckdb"


@pytest.mark.only_through("aiosqlite", "alchemy", "async", "redis", "valkey")
async def test_both_versions_work_on_one_store_at_once(place: dict[str, Any], way: str, processes: Processes) -> None:
    load(place)
    old = await _working(processes, "old", place)
    before_upgrade = await processes.running(4)
    await before(way, place, processes)
    new = await _working(processes, "new", place, WAYS[way])
    assert await processes.running(8) > before_upgrade, "the old worker's tasks are still its own"
    expect = {old.pid: await _enqueue(new, "for-old"), new.pid: await _enqueue(old, "for-new")}
    for process in (old, new):
        process.order(gate="open")
    async with opened(place, **WAYS[way]) as backend:
        await until(lambda: _is_done(backend))
        await _assert_done(backend, processes, expect)
    assert [await process.terminate() for process in (old, new)] == [0, 0]
    ran = [one.pid for executions in processes.journal.executions().values() for one in executions]
    assert ran.count(old.pid) > 4 < ran.count(new.pid)


@pytest.mark.only_through(DUCKDB)
async def test_each_version_goes_on_with_what_the_other_left(
    place: dict[str, Any], way: str, processes: Processes
) -> None:
    load(place)
    old = await _working(processes, "old", place, queues=["mail"])
    of_old = await _enqueue(old, "for-new")
    old.order(gate="open")
    await old.ran(_to_run("mail"))
    assert await old.terminate() == 0
    await before(way, place, processes)
    new = await _working(processes, "new", place, WAYS[way], queues=["default", "for-new"])
    of_new = await _enqueue(new, "for-old")
    new.order(gate="open")
    await new.ran(_to_run("default") + len(of_old))
    assert await new.terminate() == 0
    again = await _working(processes, "old", place)
    again.order(gate="open")
    await again.ran(len(of_new))
    assert await again.terminate() == 0
    async with opened(place, **WAYS[way]) as backend:
        assert await _is_done(backend)
        await _assert_done(backend, processes, {again.pid: of_new, new.pid: of_old})


def _to_run(queue: str) -> int:
    return sum(expected()[id_]["queue"] == queue for id_ in TO_RUN)


async def _working(
    processes: Processes, version: str, place: dict[str, Any], options: dict[str, Any] | None = None, queues: Any = None
) -> Process:
    """A worker of a version, which serves the dump's queues, or these, and one of its own."""
    served = queues or ["default", "mail", f"for-{version}"]
    process = await processes.start(version, place, options=options, worker_queues=served)
    await process.opened()
    await process.ready()
    return process


async def _enqueue(process: Process, queue: str) -> list[str]:
    """Let a process enqueue tasks for another one; their ids."""
    tasks = [("echo", value, {"queue": queue, "key": f"{queue}-{number}"}) for number, value in enumerate(VALUES)]
    new = await process.enqueued(*tasks)
    again = await process.enqueued(*tasks, ("echo", "another", {"key": HELD_KEY}))
    assert [one["is_new"] for one in new + again] == [True] * len(tasks) + [False] * (len(tasks) + 1)
    assert [one["enqueued"] for one in again[:-1]] == [one["enqueued"] for one in new]
    assert expected()[again[-1]["enqueued"]]["key"] == HELD_KEY
    return [one["enqueued"] for one in new]


async def _is_done(backend: QueueBackend) -> bool:
    """Whether nothing is left to be done to any task."""
    active = await backend.find(Matching(states=tuple(ACTIVE)), 1000)
    return {record.id for record in active} <= LEFT_ALONE


async def _assert_done(backend: QueueBackend, processes: Processes, expect: dict[int, list[str]]) -> None:
    """Every task that could be run was, once; `expect` has the ids that a process had to run."""
    enqueued = [id_ for ids in expect.values() for id_ in ids]
    found = await backend.get([*expected(), *enqueued])
    assert len(found) == len(expected()) + len(enqueued)
    await assert_kept(backend, LEFT_ALONE)
    assert {found[id_].state for id_ in OVERDUE} == {State.EXPIRED}
    assert {found[id_].state for id_ in SPENT} == {State.FAILED}
    ran = processes.journal.executions()
    assert ran.keys() == TO_RUN | set(enqueued)
    assert [one for one in ran.values() if [each.how for each in one] != ["returned"]] == []
    assert [record for id_ in ran if not _is_complete(record := found[id_])] == []
    assert {pid: [id_ for id_ in enqueued if ran[id_][0].pid == pid] for pid in expect} == expect


def _is_complete(record: TaskRecord) -> bool:
    """Whether it ended well, with its argument for a result."""
    if record.state is not State.COMPLETED or record.result is None or record.error is not None:
        return False
    return repr(json.loads(record.result)) == repr(json.loads(record.args)[0])
