"""What a litestar-queues backend promises, and the tests that find out whether it keeps it.

The names below are imported when they are first used. The package itself imports nothing, because pytest imports it in
every project of an environment that has the plugin, also where `litestar_queues` is missing or is another project.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from litestar_queues_conformance.capabilities import Capabilities
    from litestar_queues_conformance.guarantees import GUARANTEES, Guarantee, Profile
    from litestar_queues_conformance.harness import T0, Check, NoEvidence, NotFoundOut, Store, Violation, at, guarantee
    from litestar_queues_conformance.target import NeverAway, NobodyWaits, NoConnections, Target

__all__ = (
    "GUARANTEES",
    "T0",
    "Capabilities",
    "Check",
    "Guarantee",
    "NeverAway",
    "NoConnections",
    "NoEvidence",
    "NobodyWaits",
    "NotFoundOut",
    "Profile",
    "Store",
    "Target",
    "Violation",
    "at",
    "guarantee",
)

__version__ = "1.0.0a1"

_HOMES = {
    "Capabilities": "capabilities",
    **dict.fromkeys(("GUARANTEES", "Guarantee", "Profile"), "guarantees"),
    **dict.fromkeys(("T0", "Check", "NoEvidence", "NotFoundOut", "Store", "Violation", "at", "guarantee"), "harness"),
    **dict.fromkeys(("NeverAway", "NoConnections", "NobodyWaits", "Target"), "target"),
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
