"""Backends on real servers, wrong on purpose in one thing each; and odd but legal.

`python -m litestar_queues_matrix.saboteurs --server postgresql18` runs the suite against them.
"""

from litestar_queues_matrix.saboteurs import between, errors, mysql, postgresql, ranges, redis, resources
from litestar_queues_matrix.saboteurs.base import BENIGN, SABOTEURS, Benign, NothingToBreak, Saboteur, Statements

__all__ = (
    "BENIGN",
    "SABOTEURS",
    "Benign",
    "NothingToBreak",
    "Saboteur",
    "Statements",
    "between",
    "errors",
    "mysql",
    "postgresql",
    "ranges",
    "redis",
    "resources",
)
