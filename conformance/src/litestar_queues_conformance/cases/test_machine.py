from __future__ import annotations

import pytest

from litestar_queues_conformance.harness import Check, Store, guarantee
from litestar_queues_conformance.machine import EXAMPLES, histories, run_machine
from litestar_queues_conformance.moments import Time
from litestar_queues_conformance.progress import Progress


@guarantee("LIF-13", deadline=600)
def test_every_history_is_answered_and_stored_as_the_model_has_it(
    store: Store, check: Check, seed: str, request: pytest.FixtureRequest, time: Time
) -> None:
    progress = Progress(request.config, f"LIF-13, {time} time", "histories", histories(time))
    run_machine(store, check, seed, progress, time=time)
    if (drawn := histories(time)) < (whole := histories(time, EXAMPLES)):
        check.partial(
            "LIF-13", f"{drawn} histories were drawn in the mode of time {time!r}, of the {whole} of a whole run"
        )
