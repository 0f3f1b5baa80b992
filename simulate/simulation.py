"""One run: processes, work and faults, all drawn from one seed, and the verdict on it."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from random import Random
from typing import Any

from litestar_queues import TaskRegistry
from litestar_queues.lifecycle import ACTIVE
from simulate.faults import Fault, Kind, draw_faults, draw_noise
from simulate.journal import Journal
from simulate.loop import Stalled, VirtualLoop, virtual_time
from simulate.network import Network, Noise, Trouble
from simulate.processes import LONG, SHORT, Process, World
from simulate.rules import Violation, judge
from simulate.schedules import BEGINNINGS, draw_schedules, judge_schedules, late, pause_all
from simulate.schedules import registering as registering_schedules
from simulate.store import EPOCH, SharedStore
from simulate.work import Piece, enqueue_all, pieces, registering

__all__ = ("Outcome", "Setting", "simulate")

_PATIENCE = 900.0
"""Seconds after that in which every task has to come to its end."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What a run may draw.

    Attributes:
        kinds: The kinds of faults.
        most: The most faults; the run draws how many.
        noise: Whether single calls may go wrong.
        windows: Whether half of the runs have a second application, with another stale window.
        tasks: The most tasks; a run has at least half as many.
        schedules: How many schedules.
        seconds: When the faults are over, and nothing happens any more but what the workers do themselves.
    """

    kinds: tuple[Kind, ...] = tuple(Kind)
    most: int = 8
    noise: bool = True
    windows: bool = True
    tasks: int = 50
    schedules: int = 0
    seconds: float = 100.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run came to."""

    seed: int
    digest: str
    tasks: int
    executions: int
    faults: int
    seconds: float
    violations: tuple[Violation, ...]
    trace: tuple[str, ...] = ()


def simulate(seed: int, setting: Setting = Setting(), *, trace: bool = False) -> Outcome:
    """Run one seed, and judge it; the same seed and setting give the same outcome.

    Args:
        seed: What everything is drawn from.
        setting: What may be drawn.
        trace: Whether the outcome has the lines of the trace, and warnings of the library among them.
    """
    silenced = logging.getLogger("litestar_queues")
    handlers, level, spread = silenced.handlers[:], silenced.level, silenced.propagate
    silenced.propagate = False
    silenced.handlers = []
    silenced.setLevel(logging.WARNING if trace else logging.CRITICAL + 1)
    try:
        with virtual_time(seed) as loop:
            run = _Run(seed, setting, loop)
            if trace:
                silenced.addHandler(_ToTrace(run.world.journal))
            return run.outcome(trace=trace)
    finally:
        silenced.handlers, silenced.propagate = handlers, spread
        silenced.setLevel(level)


class _ToTrace(logging.Handler):
    """Writes warnings into the trace, between what happens."""

    def __init__(self, journal: Journal) -> None:
        super().__init__()
        self._journal = journal

    def emit(self, record: logging.LogRecord) -> None:
        self._journal.remark(record.getMessage())


class _Run:
    def __init__(self, seed: int, setting: Setting, loop: VirtualLoop) -> None:
        rng = Random(seed)
        self._seed, self._setting = seed, setting
        journal = Journal(loop)
        store = SharedStore(journal, rng.choice(BEGINNINGS) if setting.schedules else EPOCH)
        noise = draw_noise(rng) if setting.noise else Noise()
        self._applications = (SHORT, LONG) if setting.windows and rng.random() < 0.5 else (SHORT,)
        self.world = World(loop, rng, journal, store, Network(loop, store, journal, rng, noise))
        self._pieces: list[Piece] = pieces(rng, rng.randint(setting.tasks // 2, setting.tasks), setting.seconds)
        self._planned = draw_schedules(rng, setting.schedules)
        self._registers = registering(self._pieces), registering_schedules(self._planned)
        self._until, self._stopped = store.begin, list[str]()
        self._places: list[Process] = []
        self._lives: list[int] = []
        self._wanted = rng.randint(2, 4)
        self._faults = draw_faults(rng, setting.kinds, setting.most, self._wanted, setting.seconds)

    def outcome(self, *, trace: bool) -> Outcome:
        world, journal = self.world, self.world.journal
        world.loop.set_exception_handler(self._on_error)
        try:
            world.loop.run_until_complete(self._live())
        except Stalled as error:
            journal.errors.append(f"stalled: {error}")
        violations = judge(world)
        if self._planned:
            violations += judge_schedules(world, self._planned, self._until, self._stopped)
        journal.closed = True
        seconds, digest = journal.now, journal.digest()
        self._clear_up()
        return Outcome(
            seed=self._seed,
            digest=digest,
            tasks=len(world.store.tasks),
            executions=len(journal.executions),
            faults=len(self._faults),
            seconds=seconds,
            violations=tuple(violations),
            trace=tuple(journal.lines) if trace else (),
        )

    async def _live(self) -> None:
        journal = self.world.journal
        for place in range(self._wanted):
            self._places.append(self._start(place))
        web = Process(self.world, "web", SHORT, self._register, main=self._enqueue)
        faults = [asyncio.create_task(self._suffer(fault)) for fault in self._faults]
        await asyncio.sleep(self._setting.seconds)
        await asyncio.gather(*faults)
        self.world.network.noise = Noise()
        journal.write("run", "quiet from now on")
        if self._planned:
            await self._end_schedules()
        end = journal.now + _PATIENCE
        while journal.now < end and (web.is_alive or not self._is_still()):  # noqa: ASYNC110  # the time costs nothing
            await asyncio.sleep(1)
        end = journal.now + 60
        while journal.now < end and any(process.is_alive for process in self._places):
            for process in self._places:
                process.signal()
            await asyncio.sleep(1)
        for process in self._places:
            if process.is_alive:
                journal.errors.append(f"stuck: {process.name} does not leave in 60 s, with nothing to do")

    async def _end_schedules(self) -> None:
        """Give the workers time to decide every fire until now, and let no fire come after that."""
        world = self.world
        self._until = world.store.clock.now()
        end = world.journal.now + _PATIENCE
        while world.journal.now < end and late(world, self._until):  # noqa: ASYNC110  # the time costs nothing
            await asyncio.sleep(1)
        self._stopped = late(world, self._until)
        pauser = Process(world, "cli", SHORT, self._register, main=lambda service: pause_all(service, self._planned))
        while world.journal.now < end and pauser.is_alive:  # noqa: ASYNC110  # the time costs nothing
            await asyncio.sleep(1)

    def _register(self, process: Process, registry: TaskRegistry) -> None:
        for register in self._registers:
            register(process, registry)

    def _start(self, place: int) -> Process:
        while len(self._lives) <= place:
            self._lives.append(0)
        self._lives[place] += 1
        application = self._applications[place % len(self._applications)]
        name = f"w{place}.{self._lives[place]}"
        return Process(self.world, name, application, self._register, concurrency=self.world.rng.randint(1, 6))

    async def _enqueue(self, service: Any) -> None:
        web = next(process for process in self.world.processes if process.name == "web")
        await enqueue_all(web, service, self._pieces)

    def _is_still(self) -> bool:
        return not any(record.state in ACTIVE for record in self.world.store.tasks.values())

    async def _suffer(self, fault: Fault) -> None:
        await asyncio.sleep(fault.at)
        if fault.kind is Kind.OUTAGE:
            await self._outage(fault)
            return
        process = self._places[fault.place]
        if not process.is_alive or process.is_frozen:
            return
        if fault.kind is Kind.CUT:
            await process.cut_off(fault.trouble, fault.length)
        elif fault.kind is Kind.FREEZE:
            process.freeze()
            await asyncio.sleep(fault.length)
            if process.is_alive:
                process.thaw()
        elif fault.kind is Kind.KILL:
            process.kill()
            await self._replace(fault, process)
        elif process.signal(twice=fault.kind is Kind.HURRY):
            await self._replace(fault, process)

    async def _replace(self, fault: Fault, process: Process) -> None:
        await asyncio.sleep(fault.length)
        while process.is_alive:  # noqa: ASYNC110  # the time costs nothing
            await asyncio.sleep(0.5)
        if self._places[fault.place] is process:
            self._places[fault.place] = self._start(fault.place)

    async def _outage(self, fault: Fault) -> None:
        journal, network = self.world.journal, self.world.network
        journal.write("store", f"is {fault.trouble} for everybody, for {fault.length:.1f} s")
        network.everybody.append(fault.trouble)
        began = journal.now
        await asyncio.sleep(fault.length)
        network.everybody.remove(fault.trouble)
        if fault.trouble is not Trouble.SLOW:
            network.outages.add(began, journal.now)
        for process in self.world.processes:
            process.line.spans.add(began, journal.now)
        journal.write("store", f"is no longer {fault.trouble}")

    def _on_error(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if not self.world.journal.closed:
            error = context.get("exception")
            self.world.journal.errors.append(f"raised: {context.get('message')}: {error!r}")

    def _clear_up(self) -> None:
        """Bring every task of the run to its end, since one that is destroyed while it waits runs code of its own."""
        loop = self.world.loop
        for _ in range(20):
            for process in self.world.processes:
                process.clear_up()
            left = asyncio.all_tasks(loop)
            if not left:
                return
            for one in left:
                one.cancel()
            loop.run_until_complete(asyncio.wait(left, timeout=100))
