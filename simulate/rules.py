"""The rules that every run has to keep, judged from the journal of the tasks and the history of the store.

A worker counts as *left in peace* for a stretch of time in which it was alive, not frozen, and had no trouble with the
store, with no heartbeat of it going wrong. After `Application.patience` seconds of that it has had a beat stored.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

from litestar_queues import TaskRecord
from litestar_queues.lifecycle import ACTIVE, TRANSITIONS, State
from simulate.journal import Execution, short
from simulate.processes import Process, World
from simulate.store import Change

__all__ = ("RULES", "Violation", "judge")

RULES = {
    "lost": "an acknowledged task is not stored any more",
    "stuck": "a task, or a worker, has not come to its end long after the last fault",
    "thrown away": "a function ended, and its outcome is not stored, though its worker had every chance",
    "failed": "a task failed that never failed by itself, and its budget of recoveries was not spent",
    "made up": "a result is stored of an execution that did not return it",
    "taken early": "a task was taken from a living worker before that worker's own window was over",
    "silent": "a worker in peace did not beat for a task that it ran",
    "two owners": "two executions of one task at once, the first by a worker in peace",
    "runs on": "an execution goes on long after its worker could know that the task is no longer its own",
    "settled twice": "a task was changed against the table of transitions, or twice under one fence",
    "attempts": "a task was claimed with a wrong number of attempts",
    "order": "a claim passed a task that was first",
    "fires": "a schedule broke one of the rules of the drill of schedules, whose name follows",
    "raised": "a worker ended with an error, or an error was taken by nobody",
    "stalled": "the time of the run could not go on",
}
"""Each rule by its name: what breaks it."""
_LEGAL = {(row.state, row.to) for row in TRANSITIONS}
_SLACK = 0.5


@dataclass(frozen=True, slots=True)
class Violation:
    """One rule that one task, or worker, broke."""

    rule: str
    text: str


def judge(world: World) -> list[Violation]:
    """Everything that the run broke."""
    return list(_Judge(world).all())


class _Judge:
    def __init__(self, world: World) -> None:
        self._world, self._journal, self._store = world, world.journal, world.store
        self._processes = {process.name: process for process in world.processes}
        self._executions: dict[str, list[Execution]] = defaultdict(list)
        for execution in world.journal.executions:
            self._executions[execution.id].append(execution)

    def all(self) -> Iterator[Violation]:
        for error in self._journal.errors:
            rule, _, text = error.partition(": ")
            yield Violation(rule, text)
        for id_ in dict.fromkeys(self._journal.acknowledged):
            if id_ not in self._store.tasks:
                yield Violation("lost", short(id_))
        yield from self._starting_order()
        for id_, changes in self._store.history.items():
            executions = self._executions[id_]
            record = self._store.tasks.get(id_)
            if record is not None and record.state in ACTIVE:
                yield Violation("stuck", f"{short(id_)} is {record.state.value}")
            yield from self._transitions(id_, changes)
            yield from self._attempts(id_, changes)
            yield from self._recoveries(id_, changes)
            yield from self._endings(id_, changes)
            if record is not None and record.state is State.FAILED:
                yield from self._failure(record, changes)
            for execution in executions:
                yield from self._outcome(execution, changes)
                yield from self._runs_on(execution, changes)
            for first, second in combinations(executions, 2):
                yield from self._overlap(first, second, changes)

    def _starting_order(self) -> Iterator[Violation]:
        began = {(one.id, one.fence): place for place, one in enumerate(self._journal.executions)}
        for claim in self._store.claims:
            places = [began[one] for one in claim if one in began]
            if places != sorted(places):
                yield Violation(
                    "order", f"of one claim, the first did not start first: {[short(id_) for id_, _ in claim]}"
                )

    def _transitions(self, id_: str, changes: list[Change]) -> Iterator[Violation]:
        for change in changes:
            before, after = change.before, change.after
            if before is None:
                continue
            if after.fence != before.fence + 1:
                yield Violation(
                    "settled twice", f"{short(id_)}: fence {before.fence} -> {after.fence} at {change.at:.3f}"
                )
            if (before.state, after.state) not in _LEGAL:
                yield Violation("settled twice", f"{short(id_)}: {before.state} -> {after.state} at {change.at:.3f}")
        executions = self._executions[id_]
        for first, second in combinations(executions, 2):
            if first.fence == second.fence:
                yield Violation(
                    "settled twice",
                    f"{short(id_)} was given to {first.process} and to {second.process} under fence {first.fence}",
                )

    def _attempts(self, id_: str, changes: list[Change]) -> Iterator[Violation]:
        """One more than the failures that were stored: nothing else is the task's own."""
        failures = 0
        for change in changes:
            failures += change.is_own_failure
            if change.after.state is State.RUNNING and change.after.attempt != failures + 1:
                yield Violation(
                    "attempts",
                    f"{short(id_)} was claimed for attempt {change.after.attempt} at {change.at:.3f}, after {failures} "
                    "failures of its own",
                )
                return

    def _recoveries(self, id_: str, changes: list[Change]) -> Iterator[Violation]:
        for change in changes:
            before = change.before
            if not change.is_recovery or before is None or before.worker is None or before.heartbeat_at is None:
                continue
            owner = self._processes[before.worker]
            if not owner.was_alive(change.at):
                continue
            heard, window = self._store.since(before.heartbeat_at), owner.application.stale_after
            outage = self._world.network.outages.overlap(heard, change.at)
            told = f"{short(id_)} was taken from {owner.name} at {change.at:.3f}, last heard of at {heard:.3f}"
            execution = self._execution(id_, before.fence)
            if execution is not None and execution.ended < change.at and execution.how != "interrupted":
                continue  # its outcome was not stored: that is judged by itself
            if change.at - heard < window - _SLACK:
                yield Violation("taken early", f"{told}: its window is {window:g} s")
            elif execution is None:
                continue  # the reply to the claim was lost, and nobody beats for it
            elif change.at - heard - outage < window - _SLACK and not owner.line.own.overlap(heard, change.at):
                yield Violation("taken early", f"{told}: for {outage:.1f} s of this the store was away for everybody")
            elif self._in_peace(owner, heard, change.at):
                yield Violation("silent", f"{told}, and in peace for long enough")

    def _endings(self, id_: str, changes: list[Change]) -> Iterator[Violation]:
        for change in changes:
            if change.before is None or change.after.state is not State.COMPLETED:
                continue
            execution = self._execution(id_, change.before.fence)
            if execution is None or execution.how != "ok" or execution.ended > change.at:
                yield Violation("made up", f"{short(id_)} is completed under fence {change.before.fence}")

    def _failure(self, record: TaskRecord, changes: list[Change]) -> Iterator[Violation]:
        last = changes[-1]
        if last.before is None:
            return
        if last.is_recovery:
            recoveries = 0
            for change in reversed(changes[:-1]):
                if change.is_own_failure:
                    break
                recoveries += change.is_recovery
            if recoveries < record.max_recoveries:
                yield Violation(
                    "failed",
                    f"{short(record.id)} was recovered {recoveries} times of {record.max_recoveries}, and failed",
                )
            return
        execution = self._execution(record.id, last.before.fence)
        if execution is None or execution.how not in ("failed", "timed out"):
            how = "never began" if execution is None else f"its end was {execution.how!r}"
            yield Violation(
                "failed", f"{short(record.id)} failed at {last.at:.3f}, and {how}: {(record.error or '')[:160]}"
            )

    def _outcome(self, execution: Execution, changes: list[Change]) -> Iterator[Violation]:
        if execution.how not in ("ok", "failed", "snoozed"):
            return
        change = self._after(execution, changes)
        if change is not None and change.after.state is State.COMPLETED:
            return
        if change is not None and execution.how != "ok" and not change.is_recovery:
            return
        owner = self._processes[execution.process]
        told = f"{short(execution.id)} of {owner.name}, whose end at {execution.ended:.3f} was {execution.how!r}"
        if change is None:
            # Nobody has taken it: a worker that died may not have come to it, another one says what it could not store.
            if not owner.died and execution.id not in owner.unsettled:
                yield Violation("thrown away", f"{told}: nothing was ever stored")
            return
        if change.at < execution.ended:
            return  # it was taken before; whether rightly, other rules say
        before = change.before
        if before is None or change.after.state is State.CANCELLED:
            return
        if not change.is_recovery:
            yield Violation("thrown away", f"{told}: {change.after.state.value} was stored instead")
        elif owner.was_alive(change.at):
            heard = before.heartbeat_at
            since = execution.began if heard is None else self._store.since(heard)
            if self._in_peace(owner, max(since, execution.ended), change.at):
                yield Violation("thrown away", f"{told}: it was taken at {change.at:.3f}, after no beat in peace")
        elif not owner.died and execution.id not in owner.unsettled:
            yield Violation("thrown away", f"{told}: the worker left without storing it, and did not say so")

    def _runs_on(self, execution: Execution, changes: list[Change]) -> Iterator[Violation]:
        change, owner = self._after(execution, changes), self._processes[execution.process]
        if change is None or change.at >= execution.ended:
            return
        end = min(execution.ended, owner.ended, self._journal.now)
        if self._in_peace(owner, change.at, end, slack=_SLACK):
            yield Violation(
                "runs on",
                f"{short(execution.id)} in {owner.name} until {end:.3f}; it was {change.after.state.value} from "
                f"{change.at:.3f} on",
            )

    def _overlap(self, first: Execution, second: Execution, changes: list[Change]) -> Iterator[Violation]:
        one, other = self._processes[first.process], self._processes[second.process]
        begin = max(first.began, second.began)
        end = min(first.ended, second.ended, one.ended, other.ended, self._journal.now)
        if end - begin < _SLACK:
            return
        taken = self._after(first, changes)
        heard = first.began
        if taken is not None and taken.before is not None and taken.before.heartbeat_at is not None:
            heard = self._store.since(taken.before.heartbeat_at)
        quiet = one.line.spans.longest_free(heard, end) >= end - heard
        if first.fence == second.fence or quiet:
            yield Violation(
                "two owners",
                f"{short(first.id)} in {one.name} and in {other.name}, from {begin:.3f} to {end:.3f}",
            )

    def _in_peace(self, owner: Process, begin: float, end: float, *, slack: float = 0.0) -> bool:
        """Whether within this time the owner had so long a stretch of peace that it must have beaten."""
        return owner.line.spans.longest_free(begin, end) >= owner.application.patience + slack

    def _execution(self, id_: str, fence: int) -> Execution | None:
        return next((one for one in self._executions[id_] if one.fence == fence), None)

    @staticmethod
    def _after(execution: Execution, changes: list[Change]) -> Change | None:
        """What took the task out of the hands that this execution had it in."""
        return next((one for one in changes if one.before is not None and one.before.fence == execution.fence), None)
