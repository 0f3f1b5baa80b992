"""The page of the kill matrix says what a run of the saboteurs found out."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import pytest

from litestar_queues_conformance.examine import Verdict, document

GENERATE = Path(__file__).parents[2] / "docs" / "generate.py"


def verdict(**fields: Any) -> Verdict:
    known: dict[str, Any] = {
        "name": "ForgetsTheKey", "defect": "It forgets the key.", "guarantee": "KEY-01", "broken": ("KEY-01", "LIF-13"),
        "otherwise": (), "example": "", "passed": 3, "seconds": 1.0, "times": ("given",),
    }  # fmt: skip
    return Verdict(**{**known, **fields})


@pytest.fixture(scope="module")
def page() -> Any:
    return runpy.run_path(str(GENERATE))["kill_matrix_page"]


def test_it_names_the_guarantee_the_saboteur_its_defect_and_what_else_it_breaks(page: Any) -> None:
    run = [verdict(), verdict(name="Slow", defect="It is slow.", guarantee=None, broken=())]
    text = page(json.loads(json.dumps(document(run, seed=7, exempt={"SCM-01": "no saboteur can"}))))
    assert "| KEY-01 | `ForgetsTheKey` | It forgets the key. | given | LIF-13 |" in text
    assert "| `Slow` | It is slow. | passed |" in text
    assert "| SCM-01 | no saboteur can |" in text
    assert "the seed 7" in text
    assert "Not as it has to be" not in text


def test_it_says_which_saboteur_survived(page: Any) -> None:
    text = page(document([verdict(broken=())], seed=7, exempt={}))
    assert "- ForgetsTheKey: survived" in text
