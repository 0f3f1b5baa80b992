"""The Cloud Run of the tests, which is loaded by name: Google's packages are typed in part only."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from importlib import import_module
from math import inf
from random import Random
from typing import Any, Protocol, Self

from drill.crew import ROOT, python_path

__all__ = ("Box", "Run", "fault", "hooked_config")

_TESTS = str(ROOT / "tests")


class Run(Protocol):
    """One execution of the box."""

    name: str
    state: str
    exits: list[int]
    fault: Any
    overrides: dict[str, str]
    ended: asyncio.Event

    @property
    def short_name(self) -> str: ...
    @property
    def pid(self) -> int | None: ...
    @property
    def log(self) -> str: ...
    def cancel(self) -> None: ...
    def kill(self) -> None: ...
    async def migrate(self, meanwhile: Callable[[], Awaitable[object]]) -> None: ...


def _fixture(name: str) -> Any:
    if _TESTS not in sys.path:
        sys.path.append(_TESTS)
    return import_module(name)


def fault(**what: Any) -> Any:
    """What goes wrong with one call of RunJob, and with its execution."""
    return _fixture("cloudrun").Fault(**what)


def hooked_config(config: Any) -> Any:
    """The configuration of a queue backend whose claims and commits the box can kill a container at."""
    return _fixture("cloudrun_hooks").HookedConfig(config)


FATES: dict[str, tuple[int, dict[str, Any]]] = {
    "all is well": (24, {}),
    "the reply is lost": (2, {"reply": "lost"}),
    "503, though it started": (2, {"reply": "unavailable"}),
    "the reply names no execution": (2, {"reply": "nameless"}),
    "429": (2, {"refuse": "RESOURCE_EXHAUSTED"}),
    "503": (2, {"refuse": "UNAVAILABLE"}),
    "never starts, and has failed": (1, {"start": "never", "says": "failed"}),
    "never starts, and vanishes": (1, {"start": "never", "says": "missing"}),
    "killed before its claim": (2, {"kill_at": "before_claim"}),
    "killed after its claim": (2, {"kill_at": "after_claim"}),
    "killed before its commit": (2, {"kill_at": "before_commit"}),
    "killed after its commit": (2, {"kill_at": "after_commit"}),
    "slow start": (2, {"delay": 4.0}),
    "has succeeded, before it starts": (1, {"says": "succeeded", "delay": 4.0}),
    "has succeeded, while it runs": (2, {"says": "succeeded"}),
}
"""By name: how often, and the fault."""


class _Dice:
    """Draws the fate of each call, unless one is planned."""

    def __init__(self, rng: Random, box: Box) -> None:
        self._rng, self._box = rng, box
        self.calm: dict[str, Any] | None = {}
        """The fate of every call, while nothing is drawn."""
        self._next: list[tuple[dict[str, Any], asyncio.Event]] = []

    def take(self) -> Any:
        if self._next:
            what, taken = self._next.pop()
            taken.set()
            return fault(**what)
        if self.calm is not None:
            return fault(**self.calm)
        (name,) = self._rng.choices(list(FATES), [often for often, _ in FATES.values()])
        self._box.fates[name] += 1
        return fault(**FATES[name][1])

    def next(self, **what: Any) -> asyncio.Event:
        """Plan the fate of the next call; the event is set when it comes."""
        self._next.append((what, taken := asyncio.Event()))
        return taken


class Box:
    """A context manager: a Cloud Run, the times of its executions, and what the drill did to them.

    Args:
        environment: The variables of its containers.
        forks: Fork a process that has imported everything, instead of starting the entrypoint for each container.
        rng: Draws fates.
        preload: Modules that forks need.
    """

    def __init__(self, environment: Mapping[str, str], *, forks: bool, rng: Random, preload: list[str]) -> None:
        entrypoint = "litestar_queues.execution.cloudrun.entrypoint"
        os.environ["PYTHONPATH"] = python_path()  # the box hands it to containers
        os.environ |= {"GRPC_ENABLE_FORK_SUPPORT": "0", "GRPC_VERBOSITY": "ERROR"}  # this process forks to start others
        fixture = _fixture("cloudrun")
        starter = (
            fixture.ForkStarter(f"{entrypoint}:run", preload)
            if forks
            else fixture.ProcessStarter([sys.executable, "-m", entrypoint])
        )
        self.cloud: Any = fixture.CloudRun(
            starter=starter, environment=environment, jobs=["queue-worker", "queue-worker-heavy"], grace=10.0
        )
        self.fates = Counter[str]()
        self.dice = self.cloud.plan = _Dice(rng, self)
        self.killed: set[str] = set()
        """The executions that the drill has killed, by name."""
        self.ended_by_hand: set[str] = set()
        """Those that the drill has ended as Cloud Run does, with SIGTERM."""
        self.paused: dict[str, list[list[float]]] = {}
        """When an execution was paused."""
        self.ends: dict[str, float] = {}
        """When executions ended. Times are those of the machine's monotonic clock."""
        self._watching: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await self.cloud.__aenter__()
        self._watching = asyncio.create_task(self._watch())
        return self

    async def __aexit__(self, *error: object) -> None:
        if self._watching is not None:
            self._watching.cancel()
        await self.cloud.__aexit__(*error)

    @property
    def runs(self) -> dict[str, Run]:
        """Every execution by its full name, in the order of their starts."""
        found: dict[str, Run] = self.cloud.executions
        return found

    @property
    def running(self) -> list[Run]:
        """Those with a container."""
        return [run for run in self.runs.values() if run.pid is not None]

    @property
    def caller(self) -> int:
        """The process that sent the latest RunJob."""
        agent = str(self.cloud.metadata[-1].get("user-agent", ""))
        return int(agent.partition("drill-")[2].split()[0])

    def kill(self, run: Run) -> None:
        """Kill a container without warning."""
        self.killed.add(run.name)
        run.kill()

    def end(self, run: Run) -> None:
        """End an execution, as an operator does in the console."""
        self.ended_by_hand.add(run.name)
        run.cancel()

    async def pause(self, run: Run, seconds: float) -> None:
        """Stop a container for so long, as Cloud Run does when it moves it."""
        self.paused.setdefault(run.name, []).append(span := [time.monotonic(), inf])
        try:
            await run.migrate(lambda: asyncio.sleep(seconds))
        finally:
            span[1] = time.monotonic()

    async def all_ended(self, seconds: float) -> list[Run]:
        """End what never starts, and wait for the others for so long; returns those that still run."""
        for run in self.runs.values():
            if run.fault.start == "never":
                run.cancel()
        until = time.monotonic() + seconds
        while (left := [run for run in self.runs.values() if not run.ended.is_set()]) and time.monotonic() < until:  # noqa: ASYNC110  # no one event
            await asyncio.sleep(0.1)
        return left

    async def _watch(self) -> None:
        waiting: dict[str, Run] = {}
        seen = 0
        while True:
            runs = list(self.runs.values())
            waiting |= {run.name: run for run in runs[seen:]}
            seen = len(runs)
            for name, run in list(waiting.items()):
                if run.ended.is_set():
                    self.ends[name] = time.monotonic()
                    del waiting[name]
            await asyncio.sleep(0.1)
