"""Backends that are wrong on purpose, and some that are odd but legal: what the suite itself is tested with."""

from litestar_queues_conformance.saboteurs import (
    benign,
    claims,
    dispatch,
    fields,
    hints,
    keys,
    life,
    own_time,
    owners,
    schedules,
    stores,
    transactions,
)
from litestar_queues_conformance.saboteurs.base import BENIGN, SABOTEURS, Benign, Saboteur
from litestar_queues_conformance.saboteurs.order import EXEMPT, ORDER, first

__all__ = (
    "BENIGN",
    "EXEMPT",
    "ORDER",
    "SABOTEURS",
    "Benign",
    "Saboteur",
    "benign",
    "claims",
    "dispatch",
    "fields",
    "first",
    "hints",
    "keys",
    "life",
    "own_time",
    "owners",
    "schedules",
    "stores",
    "transactions",
)
