"""Each defect of a script is caught by the suite, first under the guarantee that it breaks; what is only odd passes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from litestar_queues_conformance.guarantees import GUARANTEES
from litestar_queues_conformance.plugin import CASES
from litestar_queues_conformance.saboteurs import ORDER, first
from litestar_queues_matrix.redis_saboteurs import BENIGN, SABOTEURS, Benign, Edited, NothingToBreak, Saboteur
from litestar_queues_matrix.servers import ServerUnavailable, find_first, rows_of

NAMED = re.compile(r"\bViolation: ([A-Z]{3}-\d{2}): ")


@pytest.fixture(scope="module")
def variables() -> Iterator[dict[str, str]]:
    """The environment of runs that share one server."""
    try:
        name = find_first((*rows_of("valkey"), *rows_of("redis")), os.environ, docker=False).row.name
    except ServerUnavailable as error:
        pytest.skip(str(error))
    suspect = next(iter(SABOTEURS.values()))(name)
    with suspect.serve(os.environ) as found:
        (url,) = [json.loads(value)["url"] for value in found.values()]
        yield {"SERVER": name, f"LITESTAR_QUEUES_{name.upper()}_URL": url}


def broken(suspect: type[Saboteur | Benign], variables: dict[str, str], folder: Path) -> tuple[list[str], list[str]]:
    """The guarantees that a check found broken, and the cases that ended in another way, of those that may name it first."""
    report = folder / "report.json"
    areas = [CASES / f"test_{area.lower()}.py" for area in suspect.areas]
    command = [
        sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--tb=short", "-W", "ignore", "-n0",
        f"--queue-backend={suspect.target_name(variables['SERVER'])}", "--queue-seed=1", f"--report-json={report}",
        *map(str, areas),
    ]  # fmt: skip
    done = subprocess.run(command, env={**os.environ, **variables}, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    failed = [case for case in json.loads(report.read_text())["cases"] if case["outcome"] != "passed"]
    named = [(NAMED.search(case["message"] or ""), case["case"]) for case in failed]
    return [found[1] for found, _ in named if found], [case for found, case in named if not found]


@pytest.mark.parametrize("saboteur", SABOTEURS.values(), ids=list(SABOTEURS))
def test_a_saboteur_is_caught_first_under_its_own_guarantee(
    saboteur: type[Saboteur], variables: dict[str, str], tmp_path: Path
) -> None:
    ids, otherwise = broken(saboteur, variables, tmp_path)
    assert first(ids) == saboteur.guarantee, f"{sorted(set(ids))}, and ended otherwise: {otherwise}"


@pytest.mark.parametrize("benign", BENIGN.values(), ids=list(BENIGN))
def test_what_is_only_odd_passes(benign: type[Benign], variables: dict[str, str], tmp_path: Path) -> None:
    assert broken(benign, variables, tmp_path) == ([], [])


def test_every_script_that_decides_has_a_saboteur() -> None:
    assert all(one.guarantee in GUARANTEES and one.guarantee in ORDER for one in SABOTEURS.values())
    assert all(GUARANTEES[one.guarantee].area in one.areas for one in SABOTEURS.values())
    whole, touched = Edited().all(), set[str]()
    for one in SABOTEURS.values():
        edited = Edited()
        one.edit(one.__new__(one), edited)
        changed = {name for name, script in edited.all().items() if script.digest != whole[name].digest}
        touched |= changed if len(changed) < len(whole) else set()
    assert set(whole) - touched == {"count", "get", "now"}


def test_a_saboteur_that_has_nothing_to_break_says_so() -> None:
    with pytest.raises(NothingToBreak, match=r"claim\.lua"):
        Edited().replace("claim", "what is not there")
