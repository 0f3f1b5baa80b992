"""The scale profile: it is measured only if somebody asks for it, and its figure is no verdict."""

from __future__ import annotations

import json
from typing import Any

import pytest

from litestar_queues_conformance.cases import CASES
from litestar_queues_conformance.guarantees import GUARANTEES, Profile
from litestar_queues_conformance.harness import Check
from litestar_queues_conformance.outcomes import GROWS, SCALES
from litestar_queues_conformance.saboteur_run import suspect

pytest_plugins = ["pytester"]

SABOTEURS = "litestar_queues_conformance.saboteurs.resources"
SCALE = [id_ for id_, one in GUARANTEES.items() if one.profile is Profile.SCALE]


def run(pytester: pytest.Pytester, *arguments: str, backend: str = "memory") -> tuple[pytest.RunResult, dict[str, Any]]:
    path = pytester.path / "report.json"
    found = pytester.runpytest_inprocess(
        f"--backend={backend}", f"--report-json={path}", "--seed=1", *arguments, "-p", "no:cacheprovider"
    )
    return found, json.loads(path.read_text())


def test_nobody_who_did_not_ask_for_the_scale_profile_lacks_it(pytester: pytest.Pytester) -> None:
    result, found = run(pytester, str(CASES["scale"]), str(CASES["rcd"]))
    result.assert_outcomes(passed=len(found["cases"]), deselected=len(SCALE))
    assert result.ret == pytest.ExitCode.OK
    result.stdout.no_fnmatch_line("*CST-0*")
    assert {found["guarantees"][id_]["result"] for id_ in SCALE} == {"not run"}
    assert {found["guarantees"][id_]["reason"] for id_ in SCALE} == {"only --queue-scale measures it"}
    assert found["backlog"] is None
    assert sum(found["summary"].values()) == len(GUARANTEES) - len(SCALE), "they are in no sum"


def test_what_was_measured_stands_in_the_table_and_in_the_report(pytester: pytest.Pytester) -> None:
    result, found = run(pytester, "--queue-scale=2000", "-k", "CST-01")
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(
        ["CST-01  scales *", "scales: CST-01, a claim beside 2,000 tasks and beside 100 takes *"]
    )
    assert found["guarantees"]["CST-01"]["result"] == SCALES
    assert found["summary"][SCALES] == 1
    assert found["backlog"] == 2000
    [case] = found["cases"]
    assert case["figures"]["CST-01"][0] == SCALES


def test_a_cost_that_grows_is_a_figure_and_no_failure(pytester: pytest.Pytester) -> None:
    result, found = run(pytester, "--queue-scale=20000", "-k", "CST-01", backend=f"{SABOTEURS}:ReadsThemAll.target")
    assert result.ret == pytest.ExitCode.OK
    result.assert_outcomes(passed=1, deselected=result.parseoutcomes()["deselected"])
    result.stdout.fnmatch_lines(["CST-01  grows with the backlog *"])
    assert (found["guarantees"]["CST-01"]["result"], found["summary"]["broken"]) == (GROWS, 0)


def test_memory_that_is_kept_of_each_call_is_a_failure(pytester: pytest.Pytester) -> None:
    result, found = run(pytester, "--queue-scale=10", "-k", "CST-02", backend=f"{SABOTEURS}:KeepsEveryAnswer.target")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert found["guarantees"]["CST-02"]["result"] == "broken"


def test_a_figure_is_evidence() -> None:
    check = Check(["CST-01"])
    check.figure("CST-01", SCALES, "as long as beside few")
    assert (check.evidence, check.figures) == ({"CST-01": 1}, {"CST-01": (SCALES, "as long as beside few")})
    with pytest.raises(ValueError, match="not marked for CST-02"):
        check.figure("CST-02", SCALES, "flat")


@pytest.mark.parametrize("name", ["ReadsThemAll", "KeepsEveryAnswer"])
def test_the_saboteurs_of_the_scale_profile_meet_its_cases(name: str) -> None:
    assert "scale" in suspect(name).areas
