"""The conformance suite against backends that are wrong on purpose: a sample, and the verdicts. `nox -s saboteurs` is all."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest

from litestar_queues_conformance import saboteur_run
from litestar_queues_conformance.examine import Suspect, Verdict, judge
from litestar_queues_conformance.guarantees import GUARANTEES
from litestar_queues_conformance.saboteur_run import main, run, suspect, uncovered
from litestar_queues_conformance.saboteurs import BENIGN, EXEMPT, ORDER, SABOTEURS, Saboteur, first
from litestar_queues_conformance.target import load_target

CAUGHT = Verdict(
    name="Some",
    defect="Something is wrong.",
    guarantee="KEY-01",
    broken=("KEY-01", "KEY-03"),
    otherwise=(),
    example="",
    passed=1,
    seconds=0.0,
)


@pytest.mark.parametrize(
    ("name", "areas"),
    [
        ("LooksUpKeysFirst", ("key", "bursts")),
        ("ReviveTakesTheKey", ("key",)),
        ("ReportsCandidates", ("rec", "own")),
        ("OwnerOfCancelledBeatsOn", ("can", "hbt")),
        ("LockRunsOutLate", ("lck",)),
        ("DeletesThenInsertsRecords", ("sch",)),
        ("ForgetsTheFold", ("sch",)),
    ],
)
def test_a_saboteur_is_caught_first_under_its_own_id(name: str, areas: tuple[str, ...]) -> None:
    verdict = run(name, areas=areas)
    assert verdict.first == SABOTEURS[name].guarantee, verdict
    assert not judge([verdict])


def test_the_state_machine_alone_catches_what_takes_a_longer_history() -> None:
    assert run("ForgetsPriorityOfLaterAttempts", areas=("machine",)).broken == ("LIF-13",)


def test_an_odd_but_legal_backend_passes() -> None:
    before = dict(os.environ)
    verdict = run("NeverPromotes", areas=("lif", "sta", "machine"))
    assert verdict.right, verdict
    assert {**os.environ, "PYTEST_CURRENT_TEST": ""} == {**before, "PYTEST_CURRENT_TEST": ""}, "the run left nothing"


class DoesNothingWrong(Saboteur):
    """Nothing is wrong with it."""

    guarantee = "LCK-01"


class RaisesWhateverIsAsked(Saboteur):
    """Locks end with an error that says nothing."""

    guarantee = "LCK-01"

    async def lock(self, name: str, owner: str, ttl: timedelta, *, now: datetime | None = None) -> bool:
        raise RuntimeError(name)


SABOTEURS.pop("DoesNothingWrong")
SABOTEURS.pop("RaisesWhateverIsAsked")


def test_a_saboteur_that_survives_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SABOTEURS, "DoesNothingWrong", DoesNothingWrong)
    verdict = run("DoesNothingWrong", areas=("lck",))
    assert verdict.passed > 0
    assert judge([verdict]) == ["DoesNothingWrong: survived"]


def test_an_error_that_no_check_names_catches_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SABOTEURS, "RaisesWhateverIsAsked", RaisesWhateverIsAsked)
    verdict = run("RaisesWhateverIsAsked", areas=("lck",))
    assert verdict.otherwise
    assert judge([verdict]) == ["RaisesWhateverIsAsked: survived: no check named what ended its cases"]


def test_a_run_without_a_store_to_run_on_is_no_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DoesNothingWrong.target, "name", "litestar_queues_conformance.saboteurs:nothing")
    monkeypatch.setitem(SABOTEURS, "DoesNothingWrong", DoesNothingWrong)
    with pytest.raises(RuntimeError, match="did not run"):
        run("DoesNothingWrong", areas=("lck",))


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({}, None),
        ({"broken": ()}, "Some: survived"),
        ({"broken": (), "otherwise": ("test_x: KeyError",)}, "Some: survived: no check named what ended its cases"),
        ({"guarantee": "KEY-03"}, "Some: caught under KEY-01, not KEY-03"),
        ({"guarantee": "KEY-09"}, "Some: caught under KEY-01, not KEY-09"),
        ({"guarantee": None}, "Some: refused: KEY-01, KEY-03"),
        ({"guarantee": None, "broken": (), "otherwise": ("test_x: KeyError",)}, "Some: refused: cases ended otherwise"),
        ({"guarantee": None, "broken": (), "passed": 0}, "Some: refused: cases ended otherwise"),
        ({"guarantee": None, "broken": ()}, None),
        ({"broken": (), "not_found_out": ("test_x: late",)}, "Some: not found out: test_x: late"),
        ({"guarantee": None, "broken": (), "not_found_out": ("test_x: late",)}, "Some: not found out: test_x: late"),
        ({"not_found_out": ("test_x: late",)}, None),
    ],
)
def test_a_verdict_says_what_is_wrong(changed: dict[str, object], words: str | None) -> None:
    assert judge([dataclasses.replace(CAUGHT, **changed)]) == ([] if words is None else [words])


def test_every_core_guarantee_has_a_saboteur_or_a_reason() -> None:
    assert uncovered() == []
    assert set(EXEMPT).isdisjoint(one.guarantee for one in SABOTEURS.values())


def test_a_guarantee_without_a_saboteur_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name, one in SABOTEURS.items() if one.guarantee == "REC-05"]:
        monkeypatch.delitem(SABOTEURS, name)
    assert uncovered() == ["REC-05"]


def test_the_order_holds_every_guarantee_once() -> None:
    assert sorted(ORDER) == sorted(GUARANTEES)
    assert first(["LIF-13", "LIF-01"]) == "LIF-01"
    assert first([]) is None


def verdict(guarantee: str | None, *broken: str) -> Verdict:
    return Verdict("Name", "It is wrong.", guarantee, broken, (), "", 1, 0.0)


def test_a_defect_of_the_core_is_not_named_by_what_it_does_to_dispatched_tasks() -> None:
    assert verdict("LIF-03", "EXE-13", "LIF-03").right
    assert not verdict("LIF-03", "EXE-13", "KEY-10", "LIF-03").right
    assert not verdict("LIF-03", "EXE-13").right
    assert verdict("EXE-13", "EXE-13", "LIF-03").right
    assert not verdict("EXE-13", "LIF-03").right
    assert verdict(None, "EXE-13", "LIF-03").first == "EXE-13"


def test_a_defect_is_named_by_what_it_does_to_schedules_only_where_it_is_there_for_them() -> None:
    assert verdict("RCD-02", "SCH-12", "RCD-02").right
    assert verdict("EXE-13", "EXE-13", "SCH-12", "RCD-02").right
    assert not verdict("RCD-02", "SCH-12").right
    assert verdict("SCH-12", "EXE-13", "SCH-12", "RCD-02").right
    assert not verdict("SCH-12", "SCH-12", "SCH-04").right


def test_the_cases_of_schedules_are_run_against_saboteurs_that_are_there_for_them() -> None:
    assert "sch" in suspect("StoresARacedIdAgain").areas
    assert "sch" in suspect("NeverPromotes").areas
    assert "sch" not in suspect("LockRunsOutLate").areas
    assert "sch" not in suspect("ReservesWhatItChose").areas


@pytest.mark.parametrize("name", [*SABOTEURS, *BENIGN])
def test_every_backend_can_be_named_on_the_command_line_and_says_what_it_does(name: str) -> None:
    backend = SABOTEURS.get(name) or BENIGN[name]
    assert load_target(backend.target.name) is backend.target
    assert backend.__doc__
    assert backend.__doc__.strip().endswith(".")


@pytest.mark.parametrize("part", ["0/3", "4/3", "1", "one/3"])
def test_a_part_that_there_is_not_is_refused(part: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--part", part])
    assert "1/3, 2/3 or 3/3" in capsys.readouterr().err


def test_the_parts_of_a_run_are_all_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []

    def conclude(suspects: Sequence[Suspect], *_: object, **__: object) -> int:
        ran.extend(one.name for one in suspects)
        return 0

    monkeypatch.setattr(saboteur_run, "conclude", conclude)
    for part in ("1/3", "2/3", "3/3"):
        before = len(ran)
        main(["--part", part])
        assert len(ran) - before in (len(SABOTEURS | BENIGN) // 3, len(SABOTEURS | BENIGN) // 3 + 1)
    assert sorted(ran) == sorted([*SABOTEURS, *BENIGN])
