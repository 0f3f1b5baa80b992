"""A cancelled call never harms the process: through every adapter for a server."""

from __future__ import annotations

import os

import pytest
from cancel_lab import cancel_everywhere

from litestar_queues_matrix.alchemy import ALCHEMY
from litestar_queues_matrix.hosted import Hosted
from litestar_queues_matrix.sqlserver import TARGETS

pytestmark = pytest.mark.anyio

KNOWN: dict[str, Hosted] = {**TARGETS, **ALCHEMY}
FOUND = [target for target in KNOWN.values() if target.unavailable(os.environ) is None]


@pytest.mark.parametrize("place", FOUND, ids=lambda place: place.name)
async def test_a_process_is_well_after_a_call_was_cancelled_anywhere(place: Hosted) -> None:
    config = place.config(os.environ)
    await cancel_everywhere(place.name, config)
    await place.reset(config)
