"""Which guarantee names the reason, where a defect breaks several."""

from __future__ import annotations

from collections.abc import Collection

from litestar_queues_conformance.guarantees import GUARANTEES

__all__ = ("EXEMPT", "GENERAL", "ORDER", "first")

GENERAL: tuple[str, ...] = (
    "LIF-03",
    "CLM-01",
    "CLM-05",
    "HBT-02",
    "REC-03",
    "REC-04",
    "REC-07",
    "REC-08",
    "SCM-02",
    "LIF-13",
)
"""Guarantees that others imply in part, the more special first; they come after all that are not named here.

A cancellation that is not stored (CAN-01) is also a commit that is not stored as it should be (LIF-03); a nulled
heartbeat that stays its owner's (HBT-04) is also a batch of heartbeats that is answered wrongly (HBT-02).
"""

ORDER: tuple[str, ...] = (*(id_ for id_ in GUARANTEES if id_ not in GENERAL), *GENERAL)
"""Every guarantee, the special before the general: the order of the registry, and then `GENERAL`."""

EXEMPT: dict[str, str] = {
    "ARW-01": "memory has no columns",
    "ARW-02": "memory has no columns",
    "TXN-05": "no backend in memory has both transactions and hints",
}
"""Guarantees that no backend in memory can break, each with the reason."""


def first(ids: Collection[str]) -> str | None:
    """The guarantee that names the reason: of those that were broken, the first in `ORDER`."""
    return min(ids, key=ORDER.index, default=None)
