"""What happens to the processes and the store of a run: drawn before it begins, done while it goes on."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from random import Random

from simulate.network import Noise, Trouble

__all__ = ("Fault", "Kind", "draw_faults", "draw_noise")


class Kind(StrEnum):
    """What can happen."""

    KILL = "kill"
    """A process ends without a word, and another one takes its place after a while."""
    FREEZE = "freeze"
    LEAVE = "leave"
    """A process is told to leave, and another one takes its place."""
    HURRY = "hurry"
    """The same, told twice."""
    CUT = "cut"
    """Trouble between one process and the store."""
    OUTAGE = "outage"
    """Trouble between everybody and the store."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault. In seconds."""

    at: float
    kind: Kind
    place: int
    """Which process; an outage is for everybody."""
    length: float
    trouble: Trouble


def draw_faults(rng: Random, kinds: tuple[Kind, ...], most: int, places: int, until: float) -> list[Fault]:
    """Up to so many faults of these kinds, all over before `until`."""
    drawn: list[Fault] = []
    for _ in range(rng.randint(1, most) if kinds and most else 0):
        at = rng.uniform(1, until - 10)
        length = min(rng.choice((rng.uniform(0.1, 4), rng.uniform(4, 20), rng.uniform(20, 80))), until - at)
        drawn.append(Fault(at, rng.choice(kinds), rng.randrange(places), length, rng.choice(list(Trouble))))
    return sorted(drawn, key=lambda fault: fault.at)


def draw_noise(rng: Random) -> Noise:
    """Half of the runs have none."""
    if rng.random() < 0.5:
        return Noise()
    return Noise(*(rng.choice((0.0, 0.0, 0.003, 0.02)) for _ in range(4)))
