"""Which guarantee names the reason, where a defect breaks several."""

from __future__ import annotations

from collections.abc import Collection

from litestar_queues_conformance.guarantees import GUARANTEES, Profile

__all__ = ("EXEMPT", "GENERAL", "ORDER", "SPECIAL", "first")

SPECIAL: tuple[str, ...] = (
    "EXE-31",
    *(id_ for id_, one in GUARANTEES.items() if one.profile is Profile.DISPATCH and id_ != "EXE-31"),
    *(id_ for id_, one in GUARANTEES.items() if one.profile is Profile.SCHEDULING),
)
"""Guarantees that come before all others: those of dispatched tasks and of schedules, which stand on those of the core.

They name the reason only where a saboteur is there for their profile; see `examine.Verdict.first`. A dispatched task that
is counted as pending (EXE-27) is also a count that is not as it should be (STA-01). Where backend and target disagree
about whether it keeps dispatched tasks at all (EXE-31), every case of dispatched tasks fails. Two clients that write one
named record at once (RCD-02) also lose what one of them counted of a schedule (SCH-12).
"""
GENERAL: tuple[str, ...] = (
    "EXE-32",
    "LIF-16",
    "LIF-17",
    "CLM-14",
    "LIF-03",
    "LIF-19",
    "LIF-20",
    "CLM-01",
    "CLM-05",
    "HBT-02",
    "REC-03",
    "REC-09",
    "REC-04",
    "REC-30",
    "REC-07",
    "HBT-05",
    "REC-08",
    "SCM-02",
    "LIF-13",
)
"""Guarantees that others imply in part, the more special first; they come after all that are not named here.

A cancellation that is not stored (CAN-01) is also a commit that is not stored as it should be (LIF-03); a nulled
heartbeat that stays its owner's (HBT-30) is also a batch of heartbeats that is answered wrongly (HBT-02).
"""

ORDER: tuple[str, ...] = (
    *(id_ for id_ in SPECIAL if id_ not in GENERAL),
    *(id_ for id_ in GUARANTEES if id_ not in SPECIAL and id_ not in GENERAL),
    *GENERAL,
)
"""Every guarantee, the special before the general: `SPECIAL`, the order of the registry, and then `GENERAL`."""

EXEMPT: dict[str, str] = {
    "LIF-16": "no other process sees the tasks of a backend in memory",
    "ARW-01": "memory has no columns",
    "ARW-02": "memory has no columns",
    "TXN-05": "no backend in memory has both transactions and hints",
    "TXN-31": "no backend in memory has both transactions and hints",
}
"""Guarantees that no backend in memory can break, each with the reason."""


def first(ids: Collection[str]) -> str | None:
    """The guarantee that names the reason: of those that were broken, the first in `ORDER`."""
    return min(ids, key=ORDER.index, default=None)
