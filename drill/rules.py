"""The verdict: what was acknowledged, what the tasks wrote down, and what the store holds at the end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations

from drill.crew import Worker
from drill.journal import Execution, Written
from drill.places import Row

__all__ = ("RULES", "Account", "judge")

RULES = {
    "lost": "an acknowledged task is not stored any more",
    "stuck": "a task has not come to its end",
    "thrown away": "a function returned, and its result is not stored, though its worker lived and could reach the store",
    "failed though it succeeded": "a task is stored as failed, and one of its executions returned",
    "failed": "a task is stored as failed that never failed by itself, and its workers did not die so often",
    "two owners": "two executions of one task at once, the first by a worker that nothing had happened to",
    "odd end": "a worker ended otherwise than it may",
}
"""Each rule by its name: what breaks it."""
TERMINAL = ("completed", "failed", "cancelled", "expired")
_RECOVERIES = 3
_TOGETHER = 0.5
"""Seconds for which two executions have to overlap."""
_LEAVING = 10.0
"""Seconds before the end of a worker in which it may have been leaving."""


@dataclass(frozen=True, slots=True)
class Account:
    """Everything that a verdict is made from."""

    acknowledged: frozenset[str]
    to_fail: frozenset[str]
    """Those that fail by themselves."""
    rows: Mapping[str, Row]
    written: Written
    workers: Mapping[int, Worker]
    """By process."""


def judge(account: Account) -> Iterator[tuple[str, str]]:
    """Each rule that was broken, with what broke it."""
    for id_ in sorted(account.acknowledged):
        row = account.rows.get(id_)
        executions = account.written.executions.get(id_, [])
        if row is None:
            yield "lost", id_
            continue
        if row.state not in TERMINAL:
            yield "stuck", f"{id_} is {row.state}"
        for execution in executions:
            if _is_thrown_away(execution, row, account):
                worker = account.workers[execution.pid]
                yield "thrown away", f"{id_} ({execution.kind}) of worker {worker.pid}, and is {row.state}"
        if row.state == "failed" and id_ not in account.to_fail:
            yield from _failed(id_, executions)
        for first, second in combinations(executions, 2):
            if (seconds := _together(first, second, account)) > _TOGETHER:
                yield (
                    "two owners",
                    f"{id_} ({first.kind}) in workers {first.pid} and {second.pid} for {seconds:.1f} s",
                )


def _failed(id_: str, executions: list[Execution]) -> Iterator[tuple[str, str]]:
    if any(one.how == "ok" for one in executions):
        yield "failed though it succeeded", f"{id_} ({executions[0].kind}): {[one.how for one in executions]}"
    elif sum(one.how in ("runs", "interrupted") for one in executions) <= _RECOVERIES:
        yield "failed", f"{id_}: {[one.how for one in executions]}"


def _is_thrown_away(execution: Execution, row: Row, account: Account) -> bool:
    if execution.how != "ok" or (row.state == "completed" and row.fence == execution.fence + 1):
        return False
    worker = account.workers[execution.pid]
    left = account.written.left.get(execution.pid)
    if worker.ended - execution.ended < _LEAVING and (
        worker.killed or left is None or execution.id in left.unsettled or execution.kind == "wait_in_thread"
    ):
        return False  # it died with it, said so, or had given back a thread that it cannot stop
    return not _disturbed(worker, execution.began, execution.ended + worker.window.stale_after)


def _together(first: Execution, second: Execution, account: Account) -> float:
    """How long both ran, where the first is a worker's to which nothing had happened."""
    worker, other = account.workers[first.pid], account.workers[second.pid]
    begin = max(first.began, second.began)
    end = min(first.ended, second.ended, worker.ended, other.ended)
    if _disturbed(worker, begin - worker.window.stale_after, end):
        return 0
    if first.kind == "wait_in_thread" and worker.ended - begin < _LEAVING:
        return 0
    return end - begin


def _disturbed(worker: Worker, begin: float, end: float) -> bool:
    """Whether it was frozen, or cut off alone. An outage that everybody suffers is no excuse."""
    return any(a < end and b > begin for a, b in worker.troubles)
