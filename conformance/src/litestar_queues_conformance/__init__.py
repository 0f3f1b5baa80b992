"""What a litestar-queues backend promises, and the tests that find out whether it keeps it."""

from litestar_queues_conformance.guarantees import GUARANTEES, Guarantee, Profile
from litestar_queues_conformance.harness import Check, NoEvidence, Store, Violation, guarantee
from litestar_queues_conformance.target import Capabilities, Target

__all__ = (
    "GUARANTEES",
    "Capabilities",
    "Check",
    "Guarantee",
    "NoEvidence",
    "Profile",
    "Store",
    "Target",
    "Violation",
    "guarantee",
)

__version__ = "1.0.0a1"
