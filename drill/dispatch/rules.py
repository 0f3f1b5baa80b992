"""The verdict: the tasks, what they wrote down, and every execution that the box started."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import inf

from drill.dispatch.box import Box, Run
from drill.journal import Execution, Written
from drill.rules import TERMINAL
from litestar_queues.execution.remote import RemoteExit
from litestar_queues.records import TaskRecord

__all__ = ("RULES", "Account", "Wanted", "judge", "numbers")

RULES = {
    "lost": "an acknowledged task is not stored any more",
    "stuck": "a task has not come to its end",
    "wrong end": "a task has ended in a state that nothing explains",
    "thrown away": "a function returned, and its result is not stored, though nothing had happened to its container",
    "two owners": "two executions of one task at once, the first in a container that nothing had happened to",
    "two with one key": "two tasks of one key were active at once",
    "attempts": "an attempt was not counted, or counted twice",
    "reference": "a task's execution_ref is not the execution that ran it, or no execution at all",
    "unexplained execution": "an execution ended, and neither ran its task, nor lost its claim, nor was ended",
    "still runs": "the task has ended, and its execution has not",
    "odd end": "a dispatcher ended otherwise than it may",
}
"""Each rule by its name: what breaks it."""
_TOGETHER = 0.5
"""Seconds for which two executions have to overlap."""
_RAN_ELSEWHERE = (RemoteExit.CLAIM_LOST, RemoteExit.CANCELLED)


@dataclass(slots=True)
class Wanted:
    """What a task has to come to."""

    id: str
    states: set[str]
    attempts: int
    recoveries: int | None = None
    """How many, exactly; None for any number."""
    acknowledged: float = inf
    """When the answer came that it is stored, by the machine's monotonic clock."""


@dataclass(frozen=True, slots=True)
class Account:
    """Everything that a verdict is made from."""

    wanted: Mapping[str, Wanted]
    records: Mapping[str, TaskRecord]
    written: Written
    box: Box
    left: Sequence[str]
    """The executions that have not ended."""
    window: float
    """Seconds for which an owner may be silent."""
    odd: Sequence[str]

    def run_of(self, execution: Execution) -> Run | None:
        """The box's execution that a function was called in."""
        return self.box.runs.get(execution.ref or "")

    def is_disturbed(self, execution: Execution, begin: float, end: float) -> bool:
        """Whether the container was paused, killed or ended in this time."""
        name = execution.ref or ""
        ended = name in self.box.killed or name in self.box.ended_by_hand
        run = self.box.runs.get(name)
        return (
            any(a < end and b > begin for a, b in self.box.paused.get(name, ()))
            or (ended and self.box.ends.get(name, inf) <= end)
            or (run is not None and (run.fault.kill_at is not None or run.state == "cancelled"))
        )


def judge(account: Account) -> Iterator[tuple[str, str]]:
    """Each rule that was broken, with what broke it."""
    for wanted in account.wanted.values():
        record = account.records.get(wanted.id)
        if record is None:
            yield "lost", wanted.id
        elif record.state not in TERMINAL:
            yield (
                "stuck",
                f"{wanted.id} is {record.state.value}, {record.execution_ref}, recoveries {record.recoveries}",
            )
        else:
            yield from _judge_task(account, wanted, record)
    yield from _judge_keys(account)
    for name, run in account.box.runs.items():
        if name in account.left:
            yield "still runs", f"{name}: {run.log[-300:]}"
        elif (reason := _unexplained(account, run)) is not None:
            yield "unexplained execution", f"{name} {reason}: {run.log[-500:]}"
    yield from (("odd end", text) for text in account.odd)


def _judge_task(account: Account, wanted: Wanted, record: TaskRecord) -> Iterator[tuple[str, str]]:
    id_, executions = wanted.id, account.written.executions.get(wanted.id, [])
    said = [(one.how, one.attempt, one.fence, one.ref) for one in executions]
    if record.state not in wanted.states:
        yield "wrong end", f"{id_} is {record.state.value}, and not {wanted.states}: {record.error}; {record.history}"
    elif record.state in ("completed", "failed") and record.attempt != wanted.attempts:
        yield "attempts", f"{id_} counts {record.attempt}, and not {wanted.attempts}: {said}"
    if wanted.recoveries is not None and (
        record.recoveries != wanted.recoveries or json.loads(record.error or "{}").get("type") != "DispatchLost"
    ):
        yield "wrong end", f"{id_} was recovered {record.recoveries} times, and not {wanted.recoveries}: {record.error}"
    for fence, times in Counter(one.fence for one in executions).items():
        if times > 1:
            yield "attempts", f"{id_} was run {times} times under the fence {fence}: {said}"
    if record.execution_ref is not None and record.execution_ref not in account.box.runs:
        yield "reference", f"{id_} has {record.execution_ref!r}, which is no execution"
    for one in executions:
        if account.run_of(one) is None:
            yield "reference", f"{id_} ran with the reference {one.ref!r}, which is no execution"
    if record.state == "completed" and not any(
        one.how == "ok" and one.ref == record.execution_ref and one.fence + 1 == record.fence for one in executions
    ):
        yield "reference", f"{id_} is completed under {record.fence} by {record.execution_ref}, and ran as {said}"
    for one in executions:
        if one.how == "ok" and _is_thrown_away(account, one, record):
            yield "thrown away", f"{id_}, {one.ref}, fence {one.fence}, and is {record.state.value}: {said}"
    for first, second in combinations(executions, 2):
        if (seconds := _together(account, first, second)) > _TOGETHER:
            yield "two owners", f"{id_} in {first.ref} and {second.ref} for {seconds:.1f} s: {said}"


def _is_thrown_away(account: Account, execution: Execution, record: TaskRecord) -> bool:
    if record.state == "cancelled" or (record.state == "completed" and record.fence == execution.fence + 1):
        return False
    return not account.is_disturbed(execution, execution.began, execution.ended + account.window)


def _end(account: Account, execution: Execution) -> float:
    return min(execution.ended, account.box.ends.get(execution.ref or "", inf))


def _overlap(account: Account, first: Execution, second: Execution) -> float:
    return min(_end(account, first), _end(account, second)) - max(first.began, second.began)


def _together(account: Account, first: Execution, second: Execution) -> float:
    """How long both ran, where nothing had happened to the first one's container."""
    begin, seconds = max(first.began, second.began), _overlap(account, first, second)
    return 0.0 if account.is_disturbed(first, begin - account.window, begin + seconds) else seconds


def _judge_keys(account: Account) -> Iterator[tuple[str, str]]:
    """Compare when a task's function ended with when another task of its key was acknowledged as new.

    Both by this machine's clock: the stored times are those at which somebody asked, and a store may make them wait.
    """
    by_key: defaultdict[str, list[tuple[float, TaskRecord]]] = defaultdict(list)
    for id_, record in account.records.items():
        if record.key is not None and id_ in account.wanted:
            by_key[record.key].append((account.wanted[id_].acknowledged, record))
    for key, records in by_key.items():
        records.sort(key=lambda one: one[0])
        for n, (_, one) in enumerate(records):
            ended = max(
                (run.ended for run in account.written.executions.get(one.id, ()) if _settled(run, one)), default=0.0
            )
            for acknowledged, other in records[n + 1 :]:
                if ended > acknowledged:
                    yield "two with one key", f"{key}: {one.id} ran until {ended}, {other.id} was new at {acknowledged}"


def _settled(execution: Execution, record: TaskRecord) -> bool:
    """Whether the task ended with this call of its function."""
    return execution.how in ("ok", "failed") and execution.fence + 1 == record.fence


def _unexplained(account: Account, run: Run) -> str | None:
    """Why nothing accounts for the end of an execution; None where something does."""
    box = account.box
    if run.name in box.killed or run.name in box.ended_by_hand or run.state == "cancelled":
        return None  # killed, or ended: by the drill, or by the product because its task was cancelled
    if not run.exits:
        return f"is {run.state}, and never ran"
    [*_, code] = run.exits
    ran = [one for ones in account.written.executions.values() for one in ones if one.ref == run.name]
    if code in _RAN_ELSEWHERE or (code < 0 and run.fault.kill_at is not None):
        return None
    if code == 0 and any(one.how == "ok" for one in ran):
        return None
    if code == 1 and any(one.how == "failed" for one in ran):
        return None
    return f"ended with {code}, and its functions {[one.how for one in ran]}"


def numbers(account: Account) -> dict[str, object]:
    """What happened, in numbers."""
    runs = account.box.runs.values()
    pairs = [pair for ones in account.written.executions.values() for pair in combinations(ones, 2)]
    return {
        "tasks": len(account.wanted),
        "ends": dict(Counter(record.state.value for record in account.records.values())),
        "executions": len(runs),
        "exit codes": dict(sorted(Counter(run.exits[-1] if run.exits else "none" for run in runs).items(), key=str)),
        "calls of functions": sum(map(len, account.written.executions.values())),
        "recoveries": sum(record.recoveries for record in account.records.values()),
        "tasks recovered": sum(record.recoveries > 0 for record in account.records.values()),
        "run again beside a paused one": sum(_overlap(account, *pair) > _TOGETHER for pair in pairs),
    }
