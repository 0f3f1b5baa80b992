from __future__ import annotations

import pytest

from litestar_queues_conformance.harness import Check, Store, guarantee
from litestar_queues_conformance.machine import histories, run_machine
from litestar_queues_conformance.progress import Progress


@guarantee("LIF-13", deadline=600)
def test_every_history_is_answered_and_stored_as_the_model_has_it(
    store: Store, check: Check, seed: str, request: pytest.FixtureRequest
) -> None:
    run_machine(store, check, seed, Progress(request.config, "LIF-13", "histories", histories()))
