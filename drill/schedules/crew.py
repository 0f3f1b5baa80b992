"""The workers of a drill of schedules: some die at a chosen step of a fire, and some have a wrong wall clock."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any, ClassVar

from drill.crew import Crew, Window, Worker
from drill.places import Place
from drill.schedules.clocks import Clocks
from drill.schedules.worker import STEPS

__all__ = ("LOOK", "WINDOW", "Firers", "options")

WINDOW = Window("schedules", 0.5, 5.0)
LOOK = 1.0
"""Seconds between two looks of a worker whether it can lead. The lock of the leader lasts three times as long."""
_ERRORS = (-400 * 86400, -86400, -3600, -90, 90, 3600, 86400, 400 * 86400)
"""Seconds by which wall clocks are wrong."""


def options() -> dict[str, Any]:
    """Of `QueueConfig`: short times, so that leaders change."""
    return {**WINDOW.config, "schedule_check_interval": LOOK}


class Firers(Crew):
    """So many workers.

    Args:
        place: Their store.
        folder: Where the journal, their output and their clocks are.
        workers: How many.
        plan: The seed and the number of the schedules.
        rng: Draws at which steps they die, and how wrong their clocks are.
    """

    module: ClassVar[str] = "drill.schedules.worker"

    def __init__(self, place: Place, folder: Path, workers: int, plan: tuple[int, int], rng: Random) -> None:
        super().__init__(place, folder)
        self.members = ((WINDOW, ("default",)),) * workers
        # Where there is no server, the wall clock of each process is the store's time.
        self.clocks = None if place.server is None else Clocks.of(folder)
        self.wrong = 0
        """How often a clock was put wrong."""
        self._plan, self._rng = plan, rng
        self.calm = False
        """Whether those that start now live on."""

    def settings(self, window: Window, queues: tuple[str, ...], port: int | None) -> dict[str, Any]:
        dies: tuple[str | None, int] = (self._rng.choice(STEPS), self._rng.randint(3, 40))
        if self.calm or self._rng.random() < 0.4:
            dies = None, 0
        given = super().settings(window, queues, port)
        given["config"] |= options()
        seed, count = self._plan
        return {**given, "dies": dies, "seed": seed, "count": count}

    def environment(self, number: int) -> dict[str, str]:
        if self.clocks is None:
            return {}
        error = self._rng.choice(_ERRORS) if self._rng.random() < 0.4 else 0
        self.wrong += error != 0
        return self.clocks.environment(number, error)

    def set_clock(self, worker: Worker) -> None:
        """Set a worker's wall clock to a wrong time, while it works."""
        if self.clocks is not None:
            self.clocks.put_wrong(self.all.index(worker), self._rng.choice(_ERRORS))
            self.wrong += 1

    def by_name(self, name: str) -> Worker | None:
        """The worker that calls itself so, while it is to be alive."""
        return next((worker for worker in self.now if name.split(":")[-2:-1] == [str(worker.pid)]), None)
