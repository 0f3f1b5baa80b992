"""What the state machine says of a backend that is wrong: which part of the promises the first difference belongs to."""

from __future__ import annotations

import pytest

from litestar_queues_conformance.cases import FOLDER
from litestar_queues_conformance.guarantees import AREAS
from litestar_queues_conformance.machine import EXAMPLES_VARIABLE, SHRINK_VARIABLE
from litestar_queues_conformance.saboteurs import SABOTEURS

pytest_plugins = ["pytester"]


@pytest.mark.parametrize(
    ("saboteur", "area"),
    [
        ("KeyPerQueue", "KEY"),
        ("BeatClearsProgress", "HBT"),
        ("StoresWhatItIsGiven", "OWN"),
        ("DeletesUnderAnyFence", "RET"),
        ("OverwritesNamedRecords", "RCD"),
        ("NextDueOfAllQueues", "STA"),
    ],
)
def test_the_first_difference_is_named_by_its_area(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, saboteur: str, area: str
) -> None:
    monkeypatch.setenv(EXAMPLES_VARIABLE, "50")
    monkeypatch.setenv(SHRINK_VARIABLE, "0")
    options = ("--tb=line", "--seed=1", "--queue-time=given", f"--backend={SABOTEURS[saboteur].target.name}")
    result = pytester.runpytest("-p", "no:cacheprovider", *options, str(FOLDER / "test_machine.py"))
    result.stdout.fnmatch_lines([f"broken: LIF-13, Violation: LIF-13: {AREAS[area]} ({area}): *"])
