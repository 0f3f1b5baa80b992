"""The simulation itself: a seed is a run, processes end and stop as processes do, and each rule finds its defect."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from litestar_queues import State
from litestar_queues.backends.memory import MemoryBackend
from litestar_queues.lifecycle import Complete, Fail
from litestar_queues.operations import QueueOperations
from litestar_queues.records import Enqueued, TaskRecord, admit
from litestar_queues.schedules import firing
from litestar_queues.schedules.deciding import Choice
from litestar_queues.schedules.model import Schedule
from litestar_queues.worker.heart import Heart
from litestar_queues.worker.holding import Holding, Phase
from litestar_queues.worker.reaper import Reaper
from litestar_queues.worker.scheduler import Scheduler
from litestar_queues.worker.settler import Settler

sys.path.insert(0, str(Path(__file__).parents[2]))
from simulate.faults import Kind  # the simulation is no package of the environment
from simulate.journal import Spans
from simulate.loop import Domain, Stalled, VirtualLoop, virtual_time
from simulate.rules import RULES
from simulate.simulation import Outcome, Setting, simulate

ROOT = Path(__file__).parents[2]
PEACE = Setting(most=0, noise=False, windows=False)
Patch = pytest.MonkeyPatch


@pytest.fixture(scope="module")
def seeds() -> list[Outcome]:
    return [simulate(seed, PEACE) for seed in range(8)]


def test_where_nothing_goes_wrong_no_rule_is_broken(seeds: list[Outcome]) -> None:
    assert [outcome.violations for outcome in seeds] == [()] * 8
    assert sum(outcome.executions for outcome in seeds) > 200, "they did something"


def test_each_fire_has_one_task_where_nothing_goes_wrong_and_where_much_does() -> None:
    peace = [simulate(seed, SCHEDULED) for seed in range(3)]
    assert [outcome.violations for outcome in peace] == [()] * 3
    assert sum(outcome.executions for outcome in peace) > 30, "they fired"
    faults = Setting(tasks=2, schedules=6, seconds=400)
    assert [simulate(seed, faults).violations for seed in range(3)] == [()] * 3


def test_a_seed_gives_the_same_run_again_and_another_seed_another_one() -> None:
    first, again, other = (simulate(seed, trace=True) for seed in (11, 11, 12))
    assert first.faults > 0
    assert (first.trace, first.digest, first.violations) == (again.trace, again.digest, again.violations)
    assert first.digest != other.digest


def test_a_seed_gives_the_same_run_in_another_interpreter() -> None:
    command = [sys.executable, "simulate/run.py", "--seed", "11", "--trace"]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert told.returncode in (0, 1), told.stderr
    assert f"seed 11, trace {simulate(11).digest}:" in told.stdout
    assert "nox -s simulate -- --seed 11" in told.stdout or "0 violations" in told.stdout


def test_the_clock_jumps_to_the_next_timer_and_stops_where_there_is_none() -> None:
    with virtual_time(0) as loop:
        before = loop.time()
        loop.run_until_complete(asyncio.sleep(3600))
        assert loop.time() == pytest.approx(before + 3600)
        with pytest.raises(Stalled):
            loop.run_until_complete(loop.create_future())


def in_domain(loop: VirtualLoop, told: list[str]) -> Domain:
    """A process that writes down every second of its life."""
    domain = Domain("p")

    async def live() -> None:
        while True:
            await asyncio.sleep(1)
            told.append("second")

    told_by = loop.create_task(live(), context=domain.context)
    loop.call_later(20, told_by.cancel)
    return domain


def test_nothing_of_a_frozen_process_runs_until_it_thaws() -> None:
    told: list[str] = []
    with virtual_time(0) as loop:
        domain = in_domain(loop, told)
        loop.run_until_complete(asyncio.sleep(3.5))
        domain.stop()
        loop.run_until_complete(asyncio.sleep(5))
        assert len(told) == 3
        domain.go_on(loop)
        loop.run_until_complete(asyncio.sleep(0.2))
        assert len(told) == 4, "the timer that came due meanwhile"
        loop.run_until_complete(asyncio.sleep(20))


def test_a_timer_that_is_cancelled_in_the_moment_of_the_thaw_does_not_run() -> None:
    told: list[str] = []
    with virtual_time(0) as loop:
        domain = Domain("p")

        def begin() -> None:
            late = loop.call_later(2, told.append, "cancelled before")
            loop.call_later(1, late.cancel)

        loop.call_soon(begin, context=domain.context)
        loop.run_until_complete(asyncio.sleep(0.5))
        domain.stop()
        loop.run_until_complete(asyncio.sleep(5))
        domain.go_on(loop)
        loop.run_until_complete(asyncio.sleep(5))
    assert told == []


def test_stretches_of_trouble_leave_the_rest_free() -> None:
    spans = Spans()
    spans.add(1, 3)
    spans.add(2, 5)
    spans.open(9)
    assert spans.overlap(0, 10) == 5
    assert (spans.longest_free(0, 10), spans.longest_free(4, 6), spans.longest_free(2, 4)) == (4, 1, 0)


def settler_that_drops(patch: Patch) -> None:
    put = Settler.put

    def some(self: Settler, holding: Holding, event: Any) -> None:
        if int(holding.record.id[-1], 16) % 4:
            put(self, holding, event)

    patch.setattr(Settler, "put", some)


def settler_that_replaces(patch: Patch) -> None:
    put = Settler.put

    def worse(self: Settler, holding: Holding, event: Any) -> None:
        put(self, holding, Fail('"no"') if isinstance(event, Complete) else event)

    patch.setattr(Settler, "put", worse)


def settler_that_ends(patch: Patch) -> None:
    async def run(_: Settler) -> None:
        await asyncio.sleep(20)
        raise RuntimeError("a mistake")

    patch.setattr(Settler, "run", run)


def heart_that_beats_for_lost_tasks(patch: Patch) -> None:
    interrupt = Holding.interrupt

    def unless_lost(self: Holding, phase: Phase) -> None:
        if phase is not Phase.LOST:
            interrupt(self, phase)

    patch.setattr(Holding, "interrupt", unless_lost)


def heart_that_stands_still(patch: Patch) -> None:
    async def beat(_: Heart) -> None: ...

    patch.setattr(Heart, "beat", beat)


def reaper_with_a_window_of(seconds: float) -> Callable[[Patch], None]:
    def patched(patch: Patch) -> None:
        async def by_its_own(self: QueueOperations, *_: Any, limit: int = 1000, **__: Any) -> Any:
            return await self.requeue_stale_running(timedelta(seconds=seconds), limit=limit)

        patch.setattr(QueueOperations, "recover_stale", by_its_own)

    return patched


def reaper_without_a_grace(patch: Patch) -> None:
    recover = QueueOperations.recover_stale

    async def at_once(self: QueueOperations, window: timedelta, *, limit: int = 1000, **_: Any) -> Any:
        return await recover(self, window, limit=limit)

    patch.setattr(QueueOperations, "recover_stale", at_once)


def reaper_that_does_nothing(patch: Patch) -> None:
    async def look(_: Reaper) -> None: ...

    patch.setattr(Reaper, "look", look)


def claim_that_gives_twice(patch: Patch) -> None:
    claim = MemoryBackend.claim

    async def twice(self: MemoryBackend, want: Any, **options: Any) -> list[TaskRecord]:
        claimed = await claim(self, want, **options)
        others = [r for r in self.tasks.values() if r.state is State.RUNNING and r.worker != want.worker]
        return claimed + others[: want.limit - len(claimed)]

    patch.setattr(MemoryBackend, "claim", twice)


def claim_in_the_wrong_order(patch: Patch) -> None:
    claim = MemoryBackend.claim

    async def backwards(self: MemoryBackend, want: Any, **options: Any) -> list[TaskRecord]:
        return (await claim(self, want, **options))[::-1]

    patch.setattr(MemoryBackend, "claim", backwards)


def store_that_forgets(patch: Patch) -> None:
    enqueue = MemoryBackend.enqueue_one

    def some(self: MemoryBackend, new: Any, now: Any) -> Enqueued:
        return Enqueued(admit(new, now), True) if new.id.endswith("5") else enqueue(self, new, now)

    patch.setattr(MemoryBackend, "enqueue_one", some)


def store_that_counts_twice(patch: Patch) -> None:
    commit = MemoryBackend.commit_one

    def more(self: MemoryBackend, task: TaskRecord, *guard: Any, **guards: Any) -> bool:
        return commit(self, task.evolve(attempt=task.attempt + 1), *guard, **guards)

    patch.setattr(MemoryBackend, "commit_one", more)


def store_that_ignores_the_fence(patch: Patch) -> None:
    def whatever(self: MemoryBackend, task: TaskRecord, *_: Any, **__: Any) -> bool:
        self.put(task)
        return True

    patch.setattr(MemoryBackend, "commit_one", whatever)


def scheduler_that_draws_ids(patch: Patch) -> None:
    numbers = count()

    def drawn(_: Schedule, __: Any) -> str:
        return f"00000000-0000-8000-8000-{next(numbers):012}"

    patch.setattr(Schedule, "id_of", drawn)


def scheduler_that_forgets(patch: Patch) -> None:
    """A leader that moves a schedule on, and enqueues none of its fires at each third time."""

    def some(*args: Any) -> Choice:
        choice = choose(*args)
        return msgspec.structs.replace(choice, enqueue=choice.enqueue if choice.schedule.enqueued % 3 else ())

    choose = firing.choose
    patch.setattr(firing, "choose", some)


def scheduler_that_is_ahead(patch: Patch) -> None:
    fire = Scheduler._fire

    async def early(self: Scheduler, operations: QueueOperations) -> Any:
        own = self._clock
        self._clock = SimpleNamespace(now=lambda: own.now() + timedelta(seconds=50))
        try:
            return await fire(self, operations)
        finally:
            self._clock = own

    patch.setattr(Scheduler, "_fire", early)


def scheduler_that_does_nothing(patch: Patch) -> None:
    async def look(_: Scheduler, __: QueueOperations) -> float:
        return 5.0

    patch.setattr(Scheduler, "look", look)


SCHEDULED = Setting(most=0, noise=False, windows=False, tasks=2, schedules=6, seconds=120)
FREEZES = Setting(kinds=(Kind.FREEZE,), noise=False, windows=False)
DEFECTS: list[tuple[Callable[[Patch], None], str, Setting]] = [
    (settler_that_drops, "thrown away", PEACE),
    (settler_that_drops, "stuck", PEACE),
    (settler_that_replaces, "failed", PEACE),
    (settler_that_ends, "raised", PEACE),
    (heart_that_beats_for_lost_tasks, "runs on", PEACE),
    (heart_that_stands_still, "silent", PEACE),
    (reaper_with_a_window_of(1.5), "taken early", PEACE),
    (reaper_without_a_grace, "taken early", Setting(kinds=(Kind.OUTAGE,), noise=False, windows=False)),
    (reaper_that_does_nothing, "stuck", Setting(kinds=(Kind.KILL,), noise=False, windows=False)),
    (claim_that_gives_twice, "settled twice", PEACE),
    (claim_that_gives_twice, "two owners", PEACE),
    (claim_in_the_wrong_order, "order", PEACE),
    (store_that_forgets, "lost", PEACE),
    (store_that_counts_twice, "attempts", PEACE),
    (store_that_ignores_the_fence, "settled twice", FREEZES),
    (scheduler_that_draws_ids, "fires", SCHEDULED),
    (scheduler_that_forgets, "fires", SCHEDULED),
    (scheduler_that_is_ahead, "fires", SCHEDULED),
    (scheduler_that_does_nothing, "fires", SCHEDULED),
]
SEEDS = 12


@pytest.mark.parametrize(
    ("defect", "rule", "setting"),
    [
        pytest.param(*row, id=f"{row[0].__qualname__.partition('.')[0]}-{row[1]}-{place}")
        for place, row in enumerate(DEFECTS)
    ],
)
def test_a_defect_is_found_within_a_few_seeds(
    monkeypatch: pytest.MonkeyPatch, defect: Callable[[Patch], None], rule: str, setting: Setting
) -> None:
    defect(monkeypatch)
    found: set[str] = set()
    for seed in range(SEEDS):
        found |= {violation.rule for violation in simulate(seed, setting).violations}
        if rule in found:
            return
    pytest.fail(f"{SEEDS} seeds break {sorted(found)}, and not {rule!r}")


def test_every_rule_but_two_has_a_defect() -> None:
    assert RULES.keys() - {rule for _, rule, _ in DEFECTS} == {"made up", "stalled"}
