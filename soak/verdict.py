"""What grows: a line fitted over the second half of the samples, and how much it may rise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ("BOUNDS", "COLUMNS", "Growth", "growths")

COLUMNS = ("rss", "descriptors", "threads", "connections", "objects")
BOUNDS = {"rss": 4096.0, "descriptors": 4.0, "threads": 4.0, "connections": 3.0, "objects": 2000.0}
"""How much the line may rise over the second half of a run, however long that is; `rss` in KiB. A statement that left two
objects behind, as SQLSpec's 0.69 does, would rise by 60,000 objects in a minute."""

Sample = dict[str, float]


@dataclass(frozen=True, slots=True)
class Growth:
    """How much something rose over the second half of a run."""

    column: str
    rise: float

    @property
    def is_too_much(self) -> bool:
        """Whether it is more than the bound."""
        return self.rise > BOUNDS[self.column]


def growths(samples: Sequence[Sample]) -> list[Growth]:
    """The rises of all columns that every sample has."""
    second = samples[len(samples) // 2 :]
    return [
        Growth(column, _rise([(one["seconds"], one[column]) for one in second]))
        for column in COLUMNS
        if all(column in one for one in second)
    ]


def _rise(points: Sequence[tuple[float, float]]) -> float:
    """What a fitted line (least squares) rises by from the first point to the last."""
    if len(points) < 2:
        return 0.0
    middle_x = sum(x for x, _ in points) / len(points)
    middle_y = sum(y for _, y in points) / len(points)
    spread = sum((x - middle_x) ** 2 for x, _ in points)
    slope = sum((x - middle_x) * (y - middle_y) for x, y in points) / spread if spread else 0.0
    return slope * (points[-1][0] - points[0][0])
