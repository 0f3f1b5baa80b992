"""Oracle's adapters on a PostgreSQL: what of them can be run where there is no Oracle.

Everything of ours, and SQLSpec's Oracle driver, is what an Oracle would see. Below it stands a client with python-oracledb's
methods, which puts each statement into PostgreSQL's words and sends it there. So what the statements say, in which order,
with which parameters, and what happens between several clients, is held to the guarantees. How Oracle itself takes the
statements, plans them and locks for them is not shown by it.
"""

from __future__ import annotations

from litestar_queues_matrix.oracle_standin.alchemy import alchemy_oracle_standin
from litestar_queues_matrix.oracle_standin.target import oracle_standin, oracle_standin_sync

__all__ = ("alchemy_oracle_standin", "oracle_standin", "oracle_standin_sync")
