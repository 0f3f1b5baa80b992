"""What a litestar-queues backend promises, and the tests that find out whether it keeps it."""

from litestar_queues_conformance.guarantees import GUARANTEES, Guarantee, Profile
from litestar_queues_conformance.harness import Check, NoEvidence, NotFoundOut, Store, Violation, guarantee
from litestar_queues_conformance.target import Capabilities, Target

__all__ = (
    "GUARANTEES",
    "Capabilities",
    "Check",
    "Guarantee",
    "NoEvidence",
    "NotFoundOut",
    "Profile",
    "Store",
    "Target",
    "Violation",
    "guarantee",
)

__version__ = "0.1.0"
