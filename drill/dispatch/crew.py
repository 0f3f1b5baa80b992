"""The dispatchers of a drill: workers that die at a chosen step, and are replaced."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any, ClassVar

from drill.crew import Crew, Window, Worker
from drill.dispatch.dispatcher import STEPS
from drill.dispatch.reports import WINDOW
from drill.places import Place

__all__ = ("Dispatchers",)


class Dispatchers(Crew):
    """Three workers that dispatch.

    Args:
        place: Their store.
        folder: Where the journal and their output are.
        address: Of the box.
        rng: Draws the steps at which they die.
    """

    module: ClassVar[str] = "drill.dispatch.dispatcher"
    members = ((WINDOW, ("default",)),) * 3

    def __init__(self, place: Place, folder: Path, address: str, rng: Random) -> None:
        super().__init__(place, folder)
        self._address, self._rng = address, rng
        self.calm = False
        """Whether those that start now live on."""

    def settings(self, window: Window, queues: tuple[str, ...], port: int | None) -> dict[str, Any]:
        dies: tuple[str | None, int] = self._rng.choice(STEPS), self._rng.randint(1, 4)
        if self.calm or self._rng.random() < 0.3:
            dies = None, 0
        return {**super().settings(window, queues, port), "address": self._address, "dies": dies}

    def by_pid(self, pid: int) -> Worker | None:
        """The worker of this process, while it is to be alive."""
        return next((worker for worker in self.now if worker.pid == pid), None)
